"""The motors of all servos, as arrays (N,): from registers to torques, and from motion to what the sensors read.

Torque, speed and current follow from the manual's stall torque, stall current and no-load speed. A position error of
`FULL / (P / 128)` ticks asks for full voltage, as in the manual's block diagram; I, D and feed-forward are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from robot_drivers.dynamixel import units
from robot_drivers.emulator.backend import Drive, Motion
from robot_drivers.emulator.profile import ANY_ACCELERATION, ANY_SPEED, Profile
from robot_drivers.emulator.spec import ServoSpec
from vla.types import FloatArray

IndexArray = npt.NDArray[np.intp]

RAD = units.POSITION.factor  # [rad] of one tick
CENTRE = units.POSITION.zero
FULL = 885  # `goal_pwm` of full voltage
REVERSE, TIME_BASED = 1, 4  # bits of `drive_mode`
CURRENT, VELOCITY, POSITION, EXTENDED, CURRENT_POSITION, PWM = 0, 1, 3, 4, 5, 16  # `operating_mode`

SUPPLY = 12.0  # [V]
CABLE = 0.05  # [Ohm] of supply and cable of one bus
AMBIENT = 25.0  # [degC]
# Plausible, not measured: at a fifth of the stall current, the most ROBOTIS advises for long, 20 K above ambient.
HEATING = 20.0 / 0.2**2  # [K] at the stall current, if it got that far
THERMAL_TIME = 300.0  # [s]
OVERLOAD_SHARE, OVERLOAD_TIME = 0.8, 2.0  # of the stall torque, [s]

# Copies of registers that the motors follow.
FOLLOWED = (
    "torque_enable", "operating_mode", "drive_mode", "homing_offset", "moving_threshold", "position_p_gain",
    "goal_pwm", "goal_current", "goal_velocity", "goal_position", "profile_velocity", "profile_acceleration",
    "temperature_limit", "min_voltage_limit", "max_voltage_limit", "shutdown", "hardware_error_status", "bus_watchdog",
)  # fmt: skip


class Motors:
    """State of N servos on J joints.

    Args:
        specs: the servos.
        joint_of: (N,) index of the joint of each.
        bus_of: (N,) index of the bus of each.
        position: (J,) [rad] where the joints are.

    Attributes:
        raw: register name -> (N,) its value.
        profile: set points.
        temperature: [degC] (N,) true ones.
        tripped: (N,) whose bus watchdog fired: they hold.
        heard: [s] (N,) when the last intact request came.
        encoder_shift: [ticks] (N,) added to readings.
        encoder_stuck: [ticks] (N,) replaces readings; NaN for none.
        sensor_stuck: [degC] (N,) replaces temperatures; NaN for none.
        heat: [K/s] (N,) from outside.
        burden: (N,) share of the stall torque that presses on the servo from outside.
        dip: [V] (N,) missing from the supply.
    """

    def __init__(
        self, specs: Sequence[ServoSpec], joint_of: IndexArray, bus_of: IndexArray, position: FloatArray
    ) -> None:
        count = len(specs)
        self.raw = {name: np.zeros(count) for name in FOLLOWED}
        self.temperature = np.full(count, AMBIENT)
        self.tripped = np.zeros(count, dtype=bool)
        self.heard = np.zeros(count)
        self.encoder_shift, self.heat, self.burden, self.dip = (np.zeros(count) for _ in range(4))
        self.encoder_stuck, self.sensor_stuck = (np.full(count, math.nan) for _ in range(2))
        self.overloaded = np.zeros(count)  # [s]
        self._joint_of, self._bus_of, self._joints = joint_of, bus_of, len(position)
        self._stall = np.array([spec.model.stall_torque for spec in specs])
        self._stall_current = np.array([spec.model.stall_current for spec in specs])
        self._no_load = np.array([spec.model.no_load_speed for spec in specs])
        self._torque_constant = self._stall / self._stall_current
        self._mount = np.array([-1.0 if spec.mirrored else 1.0 for spec in specs])
        self._mount_error = np.array([float(spec.mount_error) for spec in specs])
        self._offset_first = np.array([spec.offset_before_reverse for spec in specs])
        self._has_current = np.array([spec.model.has_current for spec in specs])
        self._turns = np.zeros(count)  # [ticks] full turns that a reboot forgot
        self._torque, self._share = np.zeros(count), np.zeros(count)
        self._against = np.zeros(count)
        self._angle, self._speed = position[joint_of].copy(), np.zeros(count)
        self.profile = Profile.at(self.readings(0.0))

    @property
    def _sign(self) -> FloatArray:
        """(N,) -1 for servos in reverse mode."""
        reverse = self.raw["drive_mode"].astype(np.int64) & REVERSE > 0
        return np.where(reverse, -1.0, 1.0)

    @property
    def _offset(self) -> FloatArray:
        """[ticks] (N,) added to readings: homing offset, which position mode ignores beyond a quarter turn."""
        offset = self.raw["homing_offset"]
        ignored = (self.raw["operating_mode"] == POSITION) & (np.abs(offset) > units.TICKS_PER_TURN / 4)
        return np.where(ignored, 0.0, offset) * np.where(self._offset_first, self._sign, 1.0) + self._turns

    def readings(self, lag: float) -> FloatArray:
        """[ticks] (N,) true positions as the servos count them, `lag` [s] after the last step."""
        shaft = self._mount * (self._angle + lag * self._speed) / RAD + self._mount_error
        return np.asarray(CENTRE + self._sign * shaft + self._offset)

    def _angles(self, ticks: FloatArray) -> FloatArray:
        """[rad] (N,) joint angles at which the servos read `ticks`; the inverse of `readings`."""
        shaft = self._sign * (ticks - CENTRE - self._offset)
        return np.asarray(self._mount * (shaft - self._mount_error) * RAD)

    def forget_turns(self, servo: int) -> None:
        """After a reboot, a servo reads a position within one turn."""
        self._turns[servo] -= units.TICKS_PER_TURN * math.floor(self.readings(0.0)[servo] / units.TICKS_PER_TURN)

    def hold(self, servo: int) -> None:
        """Set point at the present position."""
        self.profile.halt(servo, float(self.readings(0.0)[servo]))

    def aim(self, servo: int) -> None:
        """A goal was written: plan the profile from the set point to it."""
        raw, profile = {name: values[servo] for name, values in self.raw.items()}, self.profile
        if raw["operating_mode"] != VELOCITY:
            profile.goal[servo] = raw["goal_position"]
        if int(raw["drive_mode"]) & TIME_BASED:
            duration = raw["profile_velocity"] * units.TICK.factor
            rise = min(raw["profile_acceleration"] * units.TICK.factor, duration / 2)
            speed = abs(profile.goal[servo] - profile.position[servo]) / (duration - rise) if duration else ANY_SPEED
            acceleration = speed / rise if rise else ANY_ACCELERATION
        else:
            speed = raw["profile_velocity"] * units.VELOCITY.factor / RAD or ANY_SPEED
            acceleration = raw["profile_acceleration"] * units.ACCELERATION.factor / RAD or ANY_ACCELERATION
        profile.speed[servo], profile.acceleration[servo] = speed, acceleration

    def drive(self, dt: float) -> Drive:
        """Move the set points on by `dt` [s] and add up the motors of each joint."""
        raw, mode = self.raw, self.raw["operating_mode"]
        at_speed = (mode == VELOCITY) & self.on
        positional = (mode != VELOCITY) & (mode != CURRENT) & (mode != PWM) & self.on
        self.profile.toward_goal(dt, positional)
        if at_speed.any():
            wanted = np.where(self.tripped, 0.0, raw["goal_velocity"]) * units.VELOCITY.factor / RAD
            self.profile.at_speed(dt, at_speed, wanted)

        stiffness = np.where(
            positional | at_speed, self._stall * raw["position_p_gain"] / 128 / FULL / RAD, 0.0
        )  # [Nm/rad]
        limit = np.where(self.on, self._stall * np.abs(raw["goal_pwm"]) / FULL, 0.0)
        capped = self._torque_constant * np.abs(raw["goal_current"]) * units.CURRENT.factor
        limit = np.where(mode == CURRENT_POSITION, np.minimum(limit, capped), limit)
        live = self.on & ~self.tripped
        forward = self._mount * self._sign
        feed = np.zeros_like(limit)
        feed += np.where(
            live & (mode == CURRENT), self._torque_constant * raw["goal_current"] * units.CURRENT.factor, 0
        )
        feed += np.where(live & (mode == PWM), self._stall * raw["goal_pwm"] / FULL, 0)
        damping = np.where(self.on & (mode != CURRENT), self._stall / self._no_load, 0.0)

        targets = self._angles(self.profile.position)
        total = self._per_joint(stiffness)
        weight = stiffness / np.where(total > 0, total, 1.0)[self._joint_of]
        target = self._per_joint(weight * targets)
        joint_limit = self._per_joint(np.where(positional | at_speed, limit, 0.0))
        # What a servo pushes against the others of its joint when their zeros differ, beside its share of the load.
        against = stiffness * (targets - target[self._joint_of])
        motors = np.maximum(self._per_joint(self.on.astype(np.float64)), 1.0)
        self._share = np.where(total[self._joint_of] > 0, weight, self.on / motors[self._joint_of])
        self._against = np.clip(against, -limit, limit)
        return Drive(target, total, self._per_joint(damping), joint_limit, self._per_joint(forward * feed))

    def measure(self, dt: float, motion: Motion) -> None:
        """Take over what the joints did, and let `dt` [s] of current and heat pass."""
        self._angle, self._speed = motion.position[self._joint_of], motion.velocity[self._joint_of]
        torque = motion.torque[self._joint_of] * self._share + self._against
        self._torque = np.where(self.on, torque + self.burden * self._stall, 0.0)
        load = np.abs(self._torque) / self._stall
        self.temperature += dt * ((HEATING * load**2 - (self.temperature - AMBIENT)) / THERMAL_TIME + self.heat)
        self.overloaded = np.where(load > OVERLOAD_SHARE, self.overloaded + dt, 0.0)

    @property
    def position(self) -> FloatArray:
        """(N,) joint angles [rad]."""
        return self._angle

    @property
    def on(self) -> npt.NDArray[np.bool_]:
        """(N,) whose torque is on."""
        return np.asarray(self.raw["torque_enable"] > 0)

    @property
    def load(self) -> FloatArray:
        """(N,) torque as a share of the stall torque, in the servo's own direction."""
        return np.asarray(self._mount * self._sign * self._torque / self._stall)

    @property
    def force(self) -> FloatArray:
        """(N,) as the register at 126 has it: current in units of 2.69 mA, or load in 0.1 %."""
        current = self.load * self._stall_current / units.CURRENT.factor
        return np.where(self._has_current, current, self.load / units.LOAD.factor)

    @property
    def velocity(self) -> FloatArray:
        """[rad/s] (N,) in the servo's own direction."""
        return np.asarray(self._mount * self._sign * self._speed)

    @property
    def pwm(self) -> FloatArray:
        """(N,) voltage on the motor as a share of the full one: for the torque, and against the back-EMF."""
        share = self.load + self.velocity / self._no_load
        return np.where(self.on, np.clip(share, -1.0, 1.0), 0.0)

    @property
    def voltage(self) -> FloatArray:
        """[V] (N,) at the servos; it sags with the current of the whole bus."""
        total = np.bincount(self._bus_of, weights=np.abs(self.load) * self._stall_current)[self._bus_of]
        return np.maximum(SUPPLY - self.dip - CABLE * total, 0.0)

    @property
    def sensed_temperature(self) -> FloatArray:
        """[degC] (N,) as the servo itself knows it."""
        return np.where(np.isnan(self.sensor_stuck), self.temperature, self.sensor_stuck)

    def sensed_position(self, lag: float) -> FloatArray:
        """[ticks] (N,) as the encoder reports it."""
        reading = self.readings(lag) + self.encoder_shift
        return np.where(np.isnan(self.encoder_stuck), reading, self.encoder_stuck)

    def _per_joint(self, values: FloatArray) -> FloatArray:
        return np.bincount(self._joint_of, weights=values, minlength=self._joints).astype(np.float64)
