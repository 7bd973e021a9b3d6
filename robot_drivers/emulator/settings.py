"""What construction and registers make of the motors; computed anew only when a register changes.

Torque, speed and current follow from the manual's stall torque, stall current and no-load speed. A position error of
885 / (P / 128) ticks asks for full voltage, as in the manual's block diagram; I, D and feed-forward are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robot_drivers.dynamixel import units
from robot_drivers.emulator.spec import ServoSpec
from vla.types import FloatArray

IndexArray = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]

RAD = units.POSITION.factor  # [rad] of one tick
FULL = 885  # `goal_pwm` of full voltage
REVERSE, TIME_BASED = 1, 4  # bits of `drive_mode`
CURRENT, VELOCITY, POSITION, CURRENT_POSITION, PWM = 0, 1, 3, 5, 16  # `operating_mode`

# Copies of registers that the motors follow.
FOLLOWED = (
    "torque_enable", "operating_mode", "drive_mode", "homing_offset", "moving_threshold", "position_p_gain",
    "goal_pwm", "goal_current", "goal_velocity", "goal_position", "profile_velocity", "profile_acceleration",
    "temperature_limit", "min_voltage_limit", "max_voltage_limit", "shutdown", "hardware_error_status", "bus_watchdog",
)  # fmt: skip


class Hardware:
    """What cannot be changed by registers; arrays (N,).

    Args:
        specs: the N servos.
        joint_of: (N,) index of the joint of each.
        bus_of: (N,) index of the bus of each.
        joints: J.

    Attributes:
        stall_torque: [Nm]
        stall_current: [A]
        no_load_speed: [rad/s]
        mount: -1 where the shaft turns against the joint.
        mount_error: [ticks]
        offset_first: whether reverse mode also turns the homing offset.
        has_current: whether it measures current.
    """

    def __init__(self, specs: Sequence[ServoSpec], joint_of: IndexArray, bus_of: IndexArray, joints: int) -> None:
        self.joint_of, self.bus_of, self.joints = joint_of, bus_of, joints
        self.stall_torque = np.array([spec.model.stall_torque for spec in specs])
        self.stall_current = np.array([spec.model.stall_current for spec in specs])
        self.no_load_speed = np.array([spec.model.no_load_speed for spec in specs])
        self.mount = np.array([-1.0 if spec.mirrored else 1.0 for spec in specs])
        self.mount_error = np.array([float(spec.mount_error) for spec in specs])
        self.offset_first = np.array([spec.offset_before_reverse for spec in specs])
        self.has_current = np.array([spec.model.has_current for spec in specs])

    def per_joint(self, values: FloatArray) -> FloatArray:
        """(N,) -> (J,) sums over the servos of each joint."""
        return np.bincount(self.joint_of, weights=values, minlength=self.joints).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Settings:
    """What the registers make of it. reading = zero + slope * angle / RAD.

    Attributes:
        slope: (N,) 1 or -1.
        zero: [ticks] (N,)
        on: (N,) whose torque is on.
        positional, at_speed: (N,) on, and following a goal position, or a goal velocity.
        stiffness: [Nm/rad] (N,)
        limit: [Nm] (N,) of the position controller.
        share: (N,) of its joint's torque.
        joint_stiffness, joint_damping, joint_limit, joint_feed: (J,) see `backend.Drive`.
    """

    slope: FloatArray
    zero: FloatArray
    on: BoolArray
    positional: BoolArray
    at_speed: BoolArray
    stiffness: FloatArray
    limit: FloatArray
    share: FloatArray
    joint_stiffness: FloatArray
    joint_damping: FloatArray
    joint_limit: FloatArray
    joint_feed: FloatArray


def settings(raw: Mapping[str, FloatArray], hardware: Hardware, tripped: BoolArray, turns: FloatArray) -> Settings:
    """What these registers mean.

    Args:
        raw: name -> (N,) values of FOLLOWED.
        hardware: the servos.
        tripped: (N,) whose watchdog fired: nothing pushes but what holds the position.
        turns: [ticks] (N,) whole turns that a reboot forgot.
    """
    mode, on = raw["operating_mode"], raw["torque_enable"] > 0
    driven = (mode == CURRENT) | (mode == PWM)
    at_speed, positional = on & (mode == VELOCITY), on & ~driven & (mode != VELOCITY)
    sign = np.where(raw["drive_mode"].astype(np.int64) & REVERSE > 0, -1.0, 1.0)
    slope = hardware.mount * sign
    # Position mode ignores offsets beyond a quarter turn.
    ignored = (mode == POSITION) & (np.abs(raw["homing_offset"]) > units.TICKS_PER_TURN / 4)
    offset = np.where(ignored, 0.0, raw["homing_offset"]) * np.where(hardware.offset_first, sign, 1.0)

    stall = hardware.stall_torque
    current = stall / hardware.stall_current * raw["goal_current"] * units.CURRENT.factor  # [Nm]
    voltage = stall * raw["goal_pwm"] / FULL  # [Nm] at rest
    servoed = positional | at_speed
    stiffness = np.where(servoed, stall * raw["position_p_gain"] / 128 / FULL / RAD, 0.0)
    limit = np.abs(voltage)
    limit = np.where(mode == CURRENT_POSITION, np.minimum(limit, np.abs(current)), limit)
    limit = np.where(servoed, limit, 0.0)
    feed = np.where(on & driven & ~tripped, np.where(mode == PWM, voltage, current), 0.0)
    damping = np.where(on & (mode != CURRENT), stall / hardware.no_load_speed, 0.0)

    joint_stiffness = hardware.per_joint(stiffness)
    total, motors = joint_stiffness[hardware.joint_of], hardware.per_joint(on.astype(np.float64))[hardware.joint_of]
    share = np.where(total > 0, stiffness / np.maximum(total, 1e-12), on / np.maximum(motors, 1.0))
    return Settings(
        slope=slope,
        zero=units.POSITION.zero + sign * hardware.mount_error + offset + turns,
        on=on,
        positional=positional,
        at_speed=at_speed,
        stiffness=stiffness,
        limit=limit,
        share=share,
        joint_stiffness=joint_stiffness,
        joint_damping=hardware.per_joint(damping),
        joint_limit=hardware.per_joint(limit),
        joint_feed=hardware.per_joint(slope * feed),
    )
