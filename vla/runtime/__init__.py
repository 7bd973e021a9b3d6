"""The control loop and what runs in it: inference executors and the polite safety layer."""
