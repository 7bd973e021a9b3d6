"""What people command with besides leader arms, and stand-ins for people."""
