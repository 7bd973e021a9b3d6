"""Joints and grippers: ticks <-> radians, and the gripper's three scales, by name of the constant set.

ALOHA's data uses two scales for one gripper. An action is the joint angle, 0 closed and 1 open; a state is the distance
of the fingers, 0 closed and 1 open. They are not proportional: at the action 0.76 the state is 0.85. Both are kept,
because recorded data has them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from robot_drivers.dynamixel import units
from vla.types import FloatArray


@dataclass(frozen=True)
class GripperCalibration:
    """One gripper: a horn of radius r pulls the fingers by rods of length L, x = r sin a + sqrt(L^2 - r^2 cos^2 a).

    Attributes:
        joint_closed, joint_open: [rad] of the servo.
        horn, rod: [m] r and L.
        finger_closed, finger_open: [m] as published with data; None: where the geometry has them.
    """

    joint_closed: float
    joint_open: float
    horn: float
    rod: float
    finger_closed: float | None = None
    finger_open: float | None = None

    def from_joint(self, angle: float) -> float:
        """[rad] -> the scale of actions, 0 closed, 1 open."""
        return (angle - self.joint_closed) / (self.joint_open - self.joint_closed)

    def to_joint(self, opening: float) -> float:
        """The scale of actions -> [rad]."""
        return self.joint_closed + opening * (self.joint_open - self.joint_closed)

    def finger_from_joint(self, angle: float) -> float:
        """[rad] -> the scale of states, 0 closed, 1 open."""
        closed = self._finger(self.joint_closed) if self.finger_closed is None else self.finger_closed
        opened = self._finger(self.joint_open) if self.finger_open is None else self.finger_open
        return (self._finger(angle) - closed) / (opened - closed)

    def _finger(self, angle: float) -> float:
        """[rad] -> [m] from the axis of the horn to the finger."""
        return self.horn * math.sin(angle) + math.sqrt(self.rod**2 - (self.horn * math.cos(angle)) ** 2)


@dataclass(frozen=True)
class GripperSet:
    """The grippers of one way in which ALOHA robots were assembled.

    Attributes:
        follower, leader: calibrations.
        squeezed_below: [rad] of the leader's gripper, by which a person says that they begin.
    """

    follower: GripperCalibration
    leader: GripperCalibration
    squeezed_below: float


# Never mix them: a follower closed by another set's angle stalls, or never closes.
GRIPPER_SETS: Mapping[str, GripperSet] = MappingProxyType(
    {
        "aloha": GripperSet(
            GripperCalibration(-0.6213, 1.4910, 0.022, 0.036, 0.01844, 0.05800),
            GripperCalibration(-0.6842, 0.3083, 0.014, 0.024),
            -0.3,
        ),
        "mobile_aloha": GripperSet(
            GripperCalibration(-0.6213, 1.4910, 0.022, 0.036, 0.01844, 0.05800),
            GripperCalibration(-1.65, -0.8, 0.014, 0.024),
            -1.4,
        ),
        # The finger positions published with this set do not follow from its geometry; only ratios are used here.
        "interbotix": GripperSet(
            GripperCalibration(0.6197, 1.6214, 0.0275, 0.035),
            GripperCalibration(-0.0552, 0.8298, 0.020, 0.020),
            0.0,
        ),
    }
)


def gripper_set(name: str) -> GripperSet:
    """The constants of that name.

    Raises:
        ValueError: an unknown name, with the known ones.
    """
    try:
        return GRIPPER_SETS[name]
    except KeyError:
        raise ValueError(f"gripper set {name!r} is unknown; known are {', '.join(GRIPPER_SETS)}") from None


def to_ticks(radians: FloatArray) -> list[int]:
    """(N,) [rad] -> the nearest ticks.

    Raises:
        ValueError: NaN or infinity.
    """
    return [int(tick) for tick in units.POSITION.encode(radians)]
