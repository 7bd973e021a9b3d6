"""An emulated Dynamixel bus: what the driver and the unmodified SDK talk to when there is no hardware.

Start with `robot.py` (the whole), `aloha.py` (what an ALOHA robot consists of) and docs/emulator.md.
"""
