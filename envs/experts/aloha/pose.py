"""Poses: composed, inverted, compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.experts.geometry import rotation_vector, turn
from vla.types import FloatArray


@dataclass(frozen=True, eq=False)
class Pose:
    """A frame in another frame.

    Attributes:
        position: (3,) [m].
        rotation: (3, 3), its axes as columns.
    """

    position: FloatArray
    rotation: FloatArray

    def __matmul__(self, other: Pose) -> Pose:
        """`other`, given in this frame, in the frame that this one is given in."""
        return Pose(self.position + self.rotation @ other.position, self.rotation @ other.rotation)

    def inverse(self) -> Pose:
        """The frame it is given in, in this one."""
        return Pose(-self.rotation.T @ self.position, self.rotation.T)

    def moved(self, offset: FloatArray) -> Pose:
        """The same frame, displaced by (3,) [m] along its own axes."""
        return Pose(self.position + self.rotation @ offset, self.rotation)

    def towards(self, other: Pose, part: float) -> Pose:
        """The frame on the way to another, after this part of it."""
        vector = rotation_vector(other.rotation @ self.rotation.T)
        angle = float(np.linalg.norm(vector))
        turned = turn(vector / max(angle, 1e-9), part * angle) @ self.rotation
        return Pose(self.position + part * (other.position - self.position), turned)

    def beyond(self, other: Pose, near: tuple[float, float], far: tuple[float, float]) -> float:
        """0 where another frame is near this one, 1 where it is far, in between in between; each ([m], [rad])."""
        found = np.array([self.distance(other), self.angle(other)])
        return float(np.clip((found - near) / np.subtract(far, near), 0.0, 1.0).max())

    def distance(self, other: Pose) -> float:
        """[m] between the origins."""
        return float(np.linalg.norm(other.position - self.position))

    def angle(self, other: Pose) -> float:
        """[rad] between the orientations."""
        return float(np.linalg.norm(rotation_vector(other.rotation @ self.rotation.T)))
