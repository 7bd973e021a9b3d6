"""Cameras: capture threads that keep the newest good frame, and never hand out an old one."""
