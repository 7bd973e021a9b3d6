"""The built-in back end: each joint is an inertia of its own, with gravity, end stops, obstacles and a hand on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from robot_drivers.emulator.backend import Drive, Motion

Hand = Callable[[float], Mapping[str, float]]
HAND_SPEED = 3.0  # [rad/s] no faster does a hand pull a joint to where it wants it


@dataclass(frozen=True)
class Joint:
    """One joint of the built-in back end. The numbers are plausible, not measured.

    Attributes:
        name: `bus/joint`.
        low, high: [rad] end stops.
        inertia: [kg m^2] about the axis, rotor and gears included.
        friction: [Nm s/rad] of the gears, also with torque off.
        weight: [Nm] torque of gravity at 90 degrees from rest; 0 for a joint that does not fall.
        rest: [rad] where it would hang.
        start: [rad]
    """

    name: str
    low: float
    high: float
    inertia: float = 0.1
    friction: float = 1.0
    weight: float = 0.0
    rest: float = 0.0
    start: float = 0.0


class JointBackend:
    """Joints that do not feel each other.

    Args:
        joints: their properties.
        gravity: False keeps joints where they are when torque goes off.
    """

    def __init__(self, joints: Sequence[Joint], *, gravity: bool = True) -> None:
        self.joints = tuple(joint.name for joint in joints)
        self._low, self._high, self._inertia, self._friction, self._weight, self._rest, self._position = (
            np.array([getattr(joint, name) for joint in joints], dtype=np.float64)
            for name in ("low", "high", "inertia", "friction", "weight", "rest", "start")
        )
        if not gravity:
            self._weight = np.zeros_like(self._weight)
        self._stops = self._low.copy(), self._high.copy()
        self._velocity = np.zeros_like(self._position)
        self._torque = np.zeros_like(self._position)
        self._hand: Hand | None = None
        self._time = 0.0

    def motion(self) -> Motion:
        """The last state."""
        return Motion(self._position.copy(), self._velocity.copy(), self._torque.copy())

    def place(self, positions: Mapping[str, float]) -> None:
        """Put joints somewhere [rad], at rest."""
        for name, position in positions.items():
            self._position[self._index(name)] = position
            self._velocity[self._index(name)] = 0.0

    def obstruct(self, name: str, low: float = -np.inf, high: float = np.inf) -> None:
        """Keep a joint within low..high [rad], as a grasped object or a table does; without numbers, remove it."""
        joint = self._index(name)
        self._low[joint] = max(low, self._stops[0][joint])
        self._high[joint] = min(high, self._stops[1][joint])

    def guide(self, hand: Hand | None) -> None:
        """Let a hand move joints whose torque is off: time since the start [s] -> {joint: position [rad]}."""
        self._hand = hand

    def step(self, dt: float, drive: Drive) -> Motion:
        """Semi-implicit in stiffness and damping, so that a stiff servo on a light joint stays stable."""
        self._time += dt
        spring = drive.stiffness * (drive.target - self._position)
        stiffness = np.where(np.abs(spring) > drive.limit, 0.0, drive.stiffness)
        push = np.clip(spring, -drive.limit, drive.limit) + drive.feed
        push -= self._weight * np.sin(self._position - self._rest)
        resisted = self._inertia + dt * (drive.damping + self._friction) + dt * dt * stiffness
        velocity = (self._inertia * self._velocity + dt * push) / resisted
        position = np.clip(self._position + dt * velocity, self._low, self._high)
        velocity = (position - self._position) / dt
        for name, wanted in self._hand(self._time).items() if self._hand else ():
            joint = self._index(name)
            if drive.stiffness[joint] == 0 and drive.feed[joint] == 0:
                step = np.clip(wanted - self._position[joint], -HAND_SPEED * dt, HAND_SPEED * dt)
                position[joint], velocity[joint] = self._position[joint] + step, step / dt
        self._position, self._velocity = position, velocity
        spring = np.clip(drive.stiffness * (drive.target - position), -drive.limit, drive.limit)
        self._torque = spring + drive.feed - drive.damping * velocity
        return self.motion()

    def _index(self, name: str) -> int:
        try:
            return self.joints.index(name)
        except ValueError:
            raise KeyError(f"joint {name!r} is unknown; known are {', '.join(self.joints)}") from None
