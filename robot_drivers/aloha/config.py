"""The numbers of an arm's behaviour that an owner may tighten. Each has one home: here.

`conf/robot/config/arm.yaml` repeats them, so that each can be named on a command line; a test holds the two together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from robot_drivers.aloha.layout import MAX_SPEED

GAINS = ("position_p_gain", "position_i_gain", "position_d_gain", "feedforward_1st_gain", "feedforward_2nd_gain")
LARGEST_GAIN, LARGEST_PROFILE = 16_383, 32_767  # of the registers
TICKS_HELD = 1.5  # a command counts for so many ticks at least
SHORTEST_WATCHDOG = 0.04  # [s] two units of the servos' register; rounded to none, their watchdog would be off


@dataclass(frozen=True)
class Limits:
    """What the gate refuses.

    Attributes:
        margin: [rad] kept from the joint limits.
        speed: [rad/s] of a joint, between two commands a tick apart. A servo turns at MAX_SPEED without load; what is
            faster than this it cannot follow.
        acceleration: [rad/s^2]; from rest to full speed in one tick is allowed, a reversal at full speed is not.
        tracking: [rad] between command and measured position; at full speed an arm that is well lags 0.25 rad behind.
        age: [s] of a command.
        effort_share: of the stall current; a joint that presses harder than this ...
        effort_patience: [s] ... for so long makes the arm give way and hold. Its servo switches itself off after 2 s.
    """

    margin: float = 0.02
    speed: float = 0.8 * MAX_SPEED
    acceleration: float = 160.0
    tracking: float = 0.4
    age: float = 0.1
    effort_share: float = 0.7
    effort_patience: float = 1.0


@dataclass(frozen=True)
class Homing:
    """Slow moves.

    Attributes:
        speed: [rad/s] largest, of an arm's joint.
        gripper_speed: [rad/s] largest.
        current_share: of the stall current; more than this ...
        patience: [s] ... for so long ends the move.
        tracking: [rad] between goal and measured position; more ends the move.
    """

    speed: float = 0.5
    gripper_speed: float = 2.0
    current_share: float = 0.6
    patience: float = 0.3
    tracking: float = 0.3


@dataclass(frozen=True)
class Watch:
    """When nobody commands.

    Attributes:
        hold_after: [s] without a command the arm holds.
        rest_after: [s] without a command it goes to rest slowly; inf for never.
        servo: [s] without any request the servos stop by themselves (bus watchdog).
        stale_ticks: so many ticks may reuse a servo's last reading.
    """

    hold_after: float = 0.1
    rest_after: float = 1.0
    servo: float = 0.2
    stale_ticks: int = 3


@dataclass(frozen=True)
class Warmth:
    """Temperatures [degC] and voltage [V] at which something is done; the servo's own limit is 80 degC.

    Attributes:
        warn: an event.
        slow: commands are slowed down to `slow_share`.
        stop: the arm holds.
        low_voltage: an event.
        slow_share: of the speed.
    """

    warn: float = 60.0
    slow: float = 65.0
    stop: float = 70.0
    low_voltage: float = 11.0
    slow_share: float = 0.25


@dataclass(frozen=True)
class ArmConfig:
    """Everything about one arm that is not its layout. What limits it may be tightened and never widened.

    Attributes:
        hz: [1/s] ticks of its bus.
        limits, homing, watch, warmth: see there.
        gains: RAM registers of position control, raw, for all servos; the vendor's factory gains.
        profile_velocity: [0.229 rpm] cap in the servo itself; 131 is 3.14 rad/s, 0 is no cap (as ALOHA's data had).
        profile_acceleration: [214.577 rpm^2] 0 is no cap.
        gripper_current: [2.69 mA] with which the follower's gripper may push; 200 is 538 mA.
        gripper_speed: [rad/s] of the gripper's goal.
        shadow_gap: [ticks] between the two servos of a joint.

    Raises:
        ValueError: a number that is none, or wider than the driver's own limit; a gain that servos do not have.
    """

    hz: float = 50.0
    limits: Limits = field(default_factory=Limits)
    homing: Homing = field(default_factory=Homing)
    watch: Watch = field(default_factory=Watch)
    warmth: Warmth = field(default_factory=Warmth)
    gains: Mapping[str, int] = field(
        default_factory=lambda: {"position_p_gain": 800, "position_i_gain": 0, "position_d_gain": 0}
    )
    profile_velocity: int = 0
    profile_acceleration: int = 0
    gripper_current: int = 200
    gripper_speed: float = 2 * math.pi
    shadow_gap: int = 15

    def __post_init__(self) -> None:
        for name, kind in _PARTS.items():
            if not isinstance(part := getattr(self, name), kind):
                raise ValueError(f"config.{name}: expected {kind.__name__}, got {part!r}")
        for name, bound in _BOUNDS.items():
            part, _, key = name.rpartition(".")
            bound.check(name, getattr(getattr(self, part) if part else self, key))
        for name, gain in self.gains.items():
            if name not in GAINS:
                raise ValueError(f"config.gains: expected some of {', '.join(GAINS)}, got {name!r}")
            # Without its P gain an arm would fall although its torque is on.
            _Bound(int(name == "position_p_gain"), LARGEST_GAIN, whole=True).check(f"gains.{name}", gain)
        watch, warmth = self.watch, self.warmth
        if self.hz * watch.hold_after < TICKS_HELD:
            raise ValueError(
                f"config.hz: expected at least {TICKS_HELD / watch.hold_after:g}, or the arm would hold between two "
                f"commands (watch.hold_after = {watch.hold_after} s), got {self.hz}; give it more commands a second"
            )
        if watch.rest_after < watch.hold_after:
            raise ValueError(
                f"config.watch.rest_after: expected at least hold_after = {watch.hold_after} s, got {watch.rest_after}"
            )
        if not warmth.warn <= warmth.slow <= warmth.stop:
            raise ValueError(
                f"config.warmth: expected warn <= slow <= stop, got {warmth.warn}, {warmth.slow}, {warmth.stop}"
            )

    @property
    def period(self) -> float:
        """[s] of a tick."""
        return 1.0 / self.hz


@dataclass(frozen=True)
class _Bound:
    """What a number may be: `low` to `high`, both included, but for a `low` of None: then above 0."""

    low: float | None
    high: float
    whole: bool = False

    def check(self, name: str, value: Any) -> None:
        """Refuse any other number.

        Raises:
            ValueError: with the key of the config.
        """
        number = isinstance(value, int if self.whole else int | float) and not isinstance(value, bool)
        if not (number and (value > 0 if self.low is None else value >= self.low) and value <= self.high):
            kind = "a whole number" if self.whole else "a number"
            low = "above 0" if self.low is None else f"of at least {self.low:g}"
            high = f"at most {self.high:g}, the driver's own limits"
            raise ValueError(f"config.{name}: expected {kind} {low} and {high}, got {value!r}")


_PARTS: Mapping[str, type] = {"limits": Limits, "homing": Homing, "watch": Watch, "warmth": Warmth, "gains": Mapping}
_BOUNDS: Mapping[str, _Bound] = {
    "hz": _Bound(None, 200.0),
    "limits.margin": _Bound(Limits.margin, 0.5),
    "limits.speed": _Bound(None, Limits.speed),
    "limits.acceleration": _Bound(None, Limits.acceleration),
    "limits.tracking": _Bound(None, Limits.tracking),
    "limits.age": _Bound(None, Limits.age),
    "limits.effort_share": _Bound(None, Limits.effort_share),
    "limits.effort_patience": _Bound(None, Limits.effort_patience),
    "homing.speed": _Bound(None, Homing.speed),
    "homing.gripper_speed": _Bound(None, Homing.gripper_speed),
    "homing.current_share": _Bound(None, Homing.current_share),
    "homing.patience": _Bound(None, Homing.patience),
    "homing.tracking": _Bound(None, Homing.tracking),
    "watch.hold_after": _Bound(None, Watch.hold_after),
    "watch.rest_after": _Bound(None, math.inf),
    "watch.servo": _Bound(SHORTEST_WATCHDOG, Watch.servo),
    "watch.stale_ticks": _Bound(0, Watch.stale_ticks, whole=True),
    "warmth.warn": _Bound(None, Warmth.warn),
    "warmth.slow": _Bound(None, Warmth.slow),
    "warmth.stop": _Bound(None, Warmth.stop),
    "warmth.low_voltage": _Bound(Warmth.low_voltage, 12.0),
    "warmth.slow_share": _Bound(None, Warmth.slow_share),
    "profile_velocity": _Bound(0, LARGEST_PROFILE, whole=True),
    "profile_acceleration": _Bound(0, LARGEST_PROFILE, whole=True),
    "gripper_current": _Bound(1, ArmConfig.gripper_current, whole=True),
    "gripper_speed": _Bound(None, ArmConfig.gripper_speed),
    "shadow_gap": _Bound(1, ArmConfig.shadow_gap, whole=True),
}
