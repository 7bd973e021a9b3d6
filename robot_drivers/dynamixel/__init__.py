"""Dynamixel protocol 2.0: registers as data, units, packets, errors."""
