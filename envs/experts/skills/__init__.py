"""One skill a file; each turns the present state into the next hand command."""
