"""The motors of all servos, as arrays (N,): from goals to torques, and from motion to what the sensors read."""

from __future__ import annotations

import math

import numpy as np

from robot_drivers.dynamixel import units
from robot_drivers.emulator.backend import Drive, Motion
from robot_drivers.emulator.profile import ANY_ACCELERATION, ANY_SPEED, Profile
from robot_drivers.emulator.settings import FOLLOWED, RAD, TIME_BASED, VELOCITY, BoolArray, Hardware, Settings, settings
from vla.types import FloatArray

SUPPLY = 12.0  # [V]
CABLE = 0.05  # [Ohm] of supply and cable of one bus
AMBIENT = 25.0  # [degC]
# Plausible, not measured: at a fifth of the stall current, the most ROBOTIS advises for long, 20 K above ambient.
HEATING = 20.0 / 0.2**2  # [K] at the stall current, if it got that far
THERMAL_TIME = 300.0  # [s]
OVERLOAD_SHARE, OVERLOAD_TIME = 0.8, 2.0  # of the stall torque, [s]


class Motors:
    """State of N servos on J joints.

    Args:
        hardware: the servos.
        position: (J,) [rad] where the joints are.

    Attributes:
        raw: register name -> (N,) its value; after writing here, call `changed`.
        profile: set points.
        temperature: [degC] (N,) true ones.
        overloaded: [s] (N,) for how long already.
        tripped: (N,) whose bus watchdog fired: they hold.
        heard: [s] (N,) when the last intact request came.
        wakes: [s] (N,) when a reboot is over; inf for servos that are awake.
        encoder_shift: [ticks] (N,) added to readings.
        encoder_stuck: [ticks] (N,) replaces readings; NaN for none.
        sensor_stuck: [degC] (N,) replaces temperatures; NaN for none.
        heat: [K/s] (N,) from outside.
        burden: (N,) share of the stall torque that presses on the servo from outside.
        dip: [V] (N,) missing from the supply.
    """

    def __init__(self, hardware: Hardware, position: FloatArray) -> None:
        count = len(hardware.mount)
        self.raw = {name: np.zeros(count) for name in FOLLOWED}
        self.temperature = np.full(count, AMBIENT)
        self.tripped = np.zeros(count, dtype=bool)
        self.heard, self.overloaded = np.zeros(count), np.zeros(count)
        self.wakes = np.full(count, math.inf)
        self.encoder_shift, self.heat, self.burden, self.dip = (np.zeros(count) for _ in range(4))
        self.encoder_stuck, self.sensor_stuck = (np.full(count, math.nan) for _ in range(2))
        self._hardware = hardware
        self._settings: Settings | None = None
        self._turns = np.zeros(count)  # [ticks] whole turns that a reboot forgot
        self._against, self._load = np.zeros(count), np.zeros(count)
        self._angle, self._speed = position[hardware.joint_of], np.zeros(count)
        self.profile = Profile.at(self.readings(0.0))

    @property
    def settings(self) -> Settings:
        """What the registers mean now."""
        if self._settings is None:
            self._settings = settings(self.raw, self._hardware, self.tripped, self._turns)
        return self._settings

    def changed(self) -> None:
        """Registers other than the goal position, or `tripped`, have changed."""
        self._settings = None

    def readings(self, lag: float) -> FloatArray:
        """[ticks] (N,) true positions as the servos count them, `lag` [s] after the last step."""
        return np.asarray(self.settings.zero + self.settings.slope * (self._angle + lag * self._speed) / RAD)

    def forget_turns(self, servo: int) -> None:
        """After a reboot, a servo reads a position within one turn."""
        self._turns[servo] -= units.TICKS_PER_TURN * math.floor(self.readings(0.0)[servo] / units.TICKS_PER_TURN)
        self.changed()

    def hold(self, servo: int) -> None:
        """Set point at the present position."""
        self.profile.halt(servo, float(self.readings(0.0)[servo]))

    def aim(self, servo: int) -> None:
        """A goal was written: plan the profile from the set point to it."""
        raw, profile = self.raw, self.profile
        rate, rise = float(raw["profile_velocity"][servo]), float(raw["profile_acceleration"][servo])
        if raw["operating_mode"][servo] != VELOCITY:
            profile.goal[servo] = raw["goal_position"][servo]
        if int(raw["drive_mode"][servo]) & TIME_BASED:
            duration = rate * units.TICK.factor  # [s]
            rise = min(rise * units.TICK.factor, duration / 2)  # [s]
            speed = abs(profile.goal[servo] - profile.position[servo]) / (duration - rise) if duration else ANY_SPEED
            acceleration = speed / rise if rise else ANY_ACCELERATION
        else:
            speed = rate * units.VELOCITY.factor / RAD or ANY_SPEED
            acceleration = rise * units.ACCELERATION.factor / RAD or ANY_ACCELERATION
        profile.speed[servo], profile.acceleration[servo] = speed, acceleration

    def drive(self, dt: float) -> Drive:
        """Move the set points on by `dt` [s] and add up the motors of each joint."""
        now, hardware = self.settings, self._hardware
        if (self.profile.ongoing & now.positional).any():
            self.profile.toward_goal(dt, now.positional)
        if now.at_speed.any():
            wanted = np.where(self.tripped, 0.0, self.raw["goal_velocity"]) * units.VELOCITY.factor / RAD
            self.profile.at_speed(dt, now.at_speed, wanted)
        targets = now.slope * (self.profile.position - now.zero) * RAD
        target = hardware.per_joint(now.share * targets)
        # What a servo pushes against the others of its joint when their zeros differ, beside its share of the load.
        against = now.stiffness * (targets - target[hardware.joint_of])
        self._against = np.minimum(np.maximum(against, -now.limit), now.limit)
        return Drive(target, now.joint_stiffness, now.joint_damping, now.joint_limit, now.joint_feed)

    def measure(self, dt: float, motion: Motion) -> None:
        """Take over what the joints did, and let `dt` [s] of current and heat pass."""
        now, hardware = self.settings, self._hardware
        self._angle, self._speed = motion.position[hardware.joint_of], motion.velocity[hardware.joint_of]
        torque = motion.torque[hardware.joint_of] * now.share + self._against
        self._load = now.slope * now.on * (torque / hardware.stall_torque + self.burden)
        heating = HEATING * self._load**2 - (self.temperature - AMBIENT)
        self.temperature += dt * (heating / THERMAL_TIME + self.heat)
        self.overloaded = np.where(np.abs(self._load) > OVERLOAD_SHARE, self.overloaded + dt, 0.0)

    @property
    def on(self) -> BoolArray:
        """(N,) whose torque is on."""
        return self.settings.on

    @property
    def load(self) -> FloatArray:
        """(N,) torque as a share of the stall torque, in the servo's own direction."""
        return self._load

    @property
    def force(self) -> FloatArray:
        """(N,) as the register at 126 has it: current in units of 2.69 mA, or load in 0.1 %."""
        current = self._load * self._hardware.stall_current / units.CURRENT.factor
        return np.where(self._hardware.has_current, current, self._load / units.LOAD.factor)

    @property
    def velocity(self) -> FloatArray:
        """[rad/s] (N,) in the servo's own direction."""
        return np.asarray(self.settings.slope * self._speed)

    @property
    def pwm(self) -> FloatArray:
        """(N,) voltage on the motor as a share of the full one: for the torque, and against the back-EMF."""
        share = self._load + self.velocity / self._hardware.no_load_speed
        return np.where(self.on, np.clip(share, -1.0, 1.0), 0.0)

    @property
    def voltage(self) -> FloatArray:
        """[V] (N,) at the servos; it sags with the current of the whole bus."""
        amperes = np.abs(self._load) * self._hardware.stall_current
        total = np.bincount(self._hardware.bus_of, weights=amperes)[self._hardware.bus_of]
        return np.maximum(SUPPLY - self.dip - CABLE * total, 0.0)

    @property
    def sensed_temperature(self) -> FloatArray:
        """[degC] (N,) as the servo itself knows it."""
        return np.where(np.isnan(self.sensor_stuck), self.temperature, self.sensor_stuck)

    def sensed_position(self, lag: float) -> FloatArray:
        """[ticks] (N,) as the encoder reports it."""
        reading = self.readings(lag) + self.encoder_shift
        return np.where(np.isnan(self.encoder_stuck), reading, self.encoder_stuck)
