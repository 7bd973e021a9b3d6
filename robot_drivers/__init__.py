"""Hardware: the Dynamixel bus, the ALOHA robot, cameras, and an emulator that stands in for the servos."""
