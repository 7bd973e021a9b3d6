"""The linkage between a gripper's servo, which turns, and its fingers, which slide."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from envs.aloha.robot import finger_position
from vla.types import FloatArray

_FLAT = 1e-3  # [m/rad] wide open the horn stands along the rod and hardly moves the finger; no slope below is used


class GripperCalibration(Protocol):
    """Where the fingers are when the servo stands somewhere."""

    def from_joint(self, angle: float) -> float:
        """[rad] -> 0 closed, 1 open, linear in the servo's angle: the scale of a real robot's actions."""

    def finger_from_joint(self, angle: float) -> float:
        """[rad] -> 0 closed, 1 open, linear in the fingers' distance."""


class Opening(Protocol):
    """A way in which robots were assembled.

    Attributes:
        follower: its linkage.
    """

    @property
    def follower(self) -> GripperCalibration:
        """The followers' linkage."""


class GripperLinkage:
    """The servo's angle <-> the finger's position, both ways, by a table.

    Args:
        grippers: whose linkage.
    """

    def __init__(self, grippers: Opening) -> None:
        self._from_joint = grippers.follower.from_joint
        self._angles: FloatArray = np.linspace(-math.pi / 2, math.pi / 2, 2001)  # beyond, the fingers would turn round
        openings = [grippers.follower.finger_from_joint(float(angle)) for angle in self._angles]
        self._fingers: FloatArray = finger_position(np.array(openings))
        self._slopes = np.maximum(np.gradient(self._fingers, self._angles), _FLAT)

    def finger(self, angle: float) -> float:
        """[rad] -> [m]."""
        return float(np.interp(angle, self._angles, self._fingers))

    def angle(self, finger: float) -> float:
        """[m] -> [rad]."""
        return float(np.interp(finger, self._fingers, self._angles))

    def commanded(self, opened: float) -> float:
        """0 closed to 1 open of the fingers, as gym-aloha is commanded -> the same of the servo, as a robot is."""
        return float(np.clip(self._from_joint(self.angle(finger_position(opened))), 0.0, 1.0))

    def slope(self, finger: float) -> float:
        """How far the finger goes for an angle, there where it is [m]: [m/rad]."""
        return float(np.interp(finger, self._fingers, self._slopes))
