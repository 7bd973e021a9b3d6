"""The numbers of an arm's behaviour that an owner may tighten. Each has one home: here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from robot_drivers.aloha.layout import MAX_SPEED


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
    """

    margin: float = 0.02
    speed: float = 0.8 * MAX_SPEED
    acceleration: float = 160.0
    tracking: float = 0.4
    age: float = 0.1


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
    """Everything about one arm that is not its layout.

    Attributes:
        hz: [1/s] ticks of its bus.
        limits, homing, watch, warmth: see there.
        gains: RAM registers of position control, raw, for all servos; the vendor's factory gains.
        profile_velocity: [0.229 rpm] cap in the servo itself; 131 is 3.14 rad/s, 0 is no cap (as ALOHA's data had).
        profile_acceleration: [214.577 rpm^2] 0 is no cap.
        gripper_current: [2.69 mA] with which the follower's gripper may push; 200 is 538 mA.
        gripper_speed: [rad/s] of the gripper's goal.
        shadow_gap: [ticks] between the two servos of a joint.
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

    @property
    def period(self) -> float:
        """[s] of a tick."""
        return 1.0 / self.hz
