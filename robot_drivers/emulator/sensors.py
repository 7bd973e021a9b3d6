"""What the servos report: the registers from `realtime_tick` (120) to `present_temperature` (146), as bytes."""

from __future__ import annotations

import struct

import numpy as np

from robot_drivers.dynamixel import units
from robot_drivers.emulator.motors import Motors
from robot_drivers.emulator.settings import RAD

FIRST, END = 120, 147  # addresses
IN_POSITION, ONGOING, FOLLOWING_ERROR = 0x01, 0x02, 0x08  # bits of `moving_status`
CLOSE, FAR = 10.0, 100.0  # [ticks] what counts as in position and as following error; plausible, not measured

_LAYOUT = struct.Struct("<HBBhhiiiiHB")


def sensed(motors: Motors, time: float, lag: float) -> list[bytes]:
    """The registers 120..146 of every servo.

    Args:
        motors: all servos.
        time: [s] now.
        lag: [s] since the last step of the physics.
    """
    profile = motors.profile
    position = motors.sensed_position(lag)
    velocity = motors.velocity / units.VELOCITY.factor
    ongoing = profile.ongoing & motors.on
    behind = np.abs(profile.position - position)
    moving = (np.abs(velocity) > motors.raw["moving_threshold"]) | ongoing
    status = IN_POSITION * (np.abs(profile.goal - position) <= CLOSE) + ONGOING * ongoing
    status = status + FOLLOWING_ERROR * (motors.on & (behind > FAR))
    columns = (
        moving,
        status,
        motors.pwm / units.PWM.factor,
        motors.force,
        velocity,
        position,
        profile.velocity * RAD / units.VELOCITY.factor,
        profile.position,
        motors.voltage / units.VOLTAGE.factor,
        motors.sensed_temperature,
    )
    rows = np.rint(np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)).astype(np.int64)
    tick = int(time / units.TICK.factor) & 0x7FFF
    return [_LAYOUT.pack(tick, *row) for row in rows.tolist()]
