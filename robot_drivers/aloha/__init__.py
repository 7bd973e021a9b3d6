"""The ALOHA robot: two ViperX-300 followers, two WidowX-250 leaders, on four Dynamixel buses.

Start with `robot.py` (the whole), `layout.py` (the arms as data), `worker.py` (one tick of one arm) and docs/aloha.md.
"""
