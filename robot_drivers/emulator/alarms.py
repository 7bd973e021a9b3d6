"""The conditions on which a servo switches its motor off to protect itself."""

from __future__ import annotations

import numpy as np

from robot_drivers.dynamixel import units
from robot_drivers.emulator.motors import OVERLOAD_TIME, Motors

VOLTAGE, OVERHEATING, OVERLOAD = 0x01, 0x04, 0x20  # bits of `shutdown` and `hardware_error_status`


def alarms(motors: Motors) -> list[tuple[int, int]]:
    """(index of the servo, bits) of every servo that must shut down now, by its `shutdown` mask."""
    raw = motors.raw
    volts = motors.voltage / units.VOLTAGE.factor
    outside = (volts < raw["min_voltage_limit"]) | (volts > raw["max_voltage_limit"])
    hot = motors.sensed_temperature > raw["temperature_limit"]
    loaded = motors.overloaded >= OVERLOAD_TIME
    if not (outside | hot | loaded).any():
        return []
    watched = raw["shutdown"].astype(np.int64) & ~raw["hardware_error_status"].astype(np.int64)
    bits = (VOLTAGE * outside + OVERHEATING * hot + OVERLOAD * loaded) & watched
    return [(int(servo), int(bits[servo])) for servo in np.flatnonzero(bits)]
