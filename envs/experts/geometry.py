"""Boxes, vertical rays and hand orientations: the pure geometry behind the expert's plans.

The collision geometry of LIBERO's objects is made of boxes, so vertical rays are intersected exactly and all at
once in numpy; nothing in the simulator has to be touched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vla.types import FloatArray

IntArray = npt.NDArray[np.intp]

NOTHING = -10.0  # [m] height of a ray that hits nothing; below every floor


@dataclass(frozen=True, eq=False)
class Boxes:
    """Oriented boxes in the world frame.

    Attributes:
        center: (G, 3) [m].
        rotation: (G, 3, 3) columns are the boxes' axes.
        half: (G, 3) [m] half sizes.
    """

    center: FloatArray
    rotation: FloatArray
    half: FloatArray

    @property
    def reach(self) -> FloatArray:
        """(G, 3) [m] half sizes of the axis-aligned bounds."""
        return np.asarray(np.einsum("gij,gj->gi", np.abs(self.rotation), self.half))

    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """(3,) lowest and (3,) highest corner of all boxes together [m]."""
        reach = self.reach
        return (self.center - reach).min(axis=0), (self.center + reach).max(axis=0)

    def near(self, low: FloatArray, high: FloatArray) -> Boxes:
        """The boxes whose bounds overlap the rectangle from (2,) `low` to (2,) `high` [m]."""
        reach = self.reach[:, :2]
        center = self.center[:, :2]
        keep = np.all((center + reach >= low) & (center - reach <= high), axis=1)
        return Boxes(self.center[keep], self.rotation[keep], self.half[keep])

    def turned(self, rotation: FloatArray) -> Boxes:
        """The boxes of a world that was turned about its origin by (3, 3)."""
        return Boxes(self.center @ rotation.T, np.einsum("ij,gjk->gik", rotation, self.rotation), self.half)

    def above(self, height: float) -> Boxes:
        """The boxes that reach higher than `height` [m]."""
        keep = self.center[:, 2] + self.reach[:, 2] > height
        return Boxes(self.center[keep], self.rotation[keep], self.half[keep])

    def beginning_above(self, height: float) -> Boxes:
        """The boxes that begin higher than `height` [m]."""
        keep = self.center[:, 2] - self.reach[:, 2] > height
        return Boxes(self.center[keep], self.rotation[keep], self.half[keep])

    def reaching_below(self, height: float) -> Boxes:
        """The boxes that begin lower than `height` [m]."""
        keep = self.center[:, 2] - self.reach[:, 2] < height
        return Boxes(self.center[keep], self.rotation[keep], self.half[keep])

    def heights(self, points: FloatArray, margin: float = 0.0) -> tuple[FloatArray, FloatArray]:
        """Where vertical lines through `points` enter and leave the boxes.

        Args:
            points: (N, 2) [m].
            margin: [m] the boxes are grown by this much, so that thin walls are not missed between rays.

        Returns:
            (N,) lowest and (N,) highest point on each line [m]; -NOTHING and NOTHING where it meets no box.
        """
        bottom, top = np.full(len(points), -NOTHING), np.full(len(points), NOTHING)
        near = self.near(points.min(axis=0) - margin, points.max(axis=0) + margin)
        reach = near.reach[:, :2] + 2 * margin
        for center, rotation, box_half, box_reach in zip(near.center, near.rotation, near.half, reach, strict=True):
            under = np.flatnonzero(np.all(np.abs(points - center[:2]) <= box_reach, axis=1))
            offset = np.concatenate([points[under], np.zeros((len(under), 1))], axis=1) - center  # (n, 3)
            origin = offset @ rotation
            direction = np.where(np.abs(rotation[2]) < 1e-9, 1e-9, rotation[2])  # a line in a face's plane
            half = box_half + margin
            first, second = (-half - origin) / direction, (half - origin) / direction
            enter, leave = np.minimum(first, second).max(axis=1), np.maximum(first, second).min(axis=1)  # (n,)
            hit = enter <= leave
            inside = under[hit]
            bottom[inside] = np.minimum(bottom[inside], enter[hit] + margin)
            top[inside] = np.maximum(top[inside], leave[hit] - margin)
        return bottom, top


def concatenate(parts: list[Boxes]) -> Boxes:
    """All boxes of several groups."""
    return Boxes(
        np.concatenate([part.center for part in parts]),
        np.concatenate([part.rotation for part in parts]),
        np.concatenate([part.half for part in parts]),
    )


def rectangle(center: FloatArray, yaw: float, half: tuple[float, float], step: float) -> FloatArray:
    """(N, 2) points that fill a rectangle: `half` [m] along and across the direction `yaw` [rad]."""
    along = np.linspace(-half[0], half[0], max(2, math.ceil(2 * half[0] / step) + 1))
    across = np.linspace(-half[1], half[1], max(2, math.ceil(2 * half[1] / step) + 1))
    u, v = np.meshgrid(along, across, indexing="ij")
    c, s = math.cos(yaw), math.sin(yaw)
    return np.stack([center[0] + c * u.ravel() - s * v.ravel(), center[1] + s * u.ravel() + c * v.ravel()], axis=1)


def vertical_hand(yaw: float) -> FloatArray:
    """(3, 3) hand pointing down whose closing axis (x column) has direction `yaw` [rad]."""
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([[c, s, 0.0], [s, -c, 0.0], [0.0, 0.0, -1.0]])


def hand_frame(approach: FloatArray, closing: FloatArray) -> FloatArray:
    """(3, 3) hand whose z column points along `approach` (3,) and whose x column is nearest `closing` (3,)."""
    z = approach / np.linalg.norm(approach)
    x = closing - (closing @ z) * z
    x = x / np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], axis=1)


def yaw_of(rotation: FloatArray) -> float:
    """[rad] direction of the hand's closing axis seen from above."""
    return math.atan2(rotation[1, 0], rotation[0, 0])


def wrap(angle: float, period: float = 2 * math.pi) -> float:
    """`angle` [rad] brought into [-period / 2, period / 2)."""
    return (angle + period / 2) % period - period / 2


def rotation_vector(rotation: FloatArray) -> FloatArray:
    """(3,) [rad] axis times angle of a (3, 3) rotation; angle in [0, pi]."""
    skew = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    sine, cosine = 0.5 * float(np.linalg.norm(skew)), 0.5 * (float(np.trace(rotation)) - 1.0)
    angle = math.atan2(sine, cosine)
    if sine > 1e-6:
        return np.asarray(skew * (angle / (2.0 * sine)))
    if cosine > 0.0:
        return np.asarray(0.5 * skew)
    axis = np.sqrt(np.maximum(0.0, (np.diag(rotation) + 1.0) / 2.0))  # half a turn: read it off the diagonal
    return np.asarray(axis * angle)


def turn(axis: FloatArray, angle: float) -> FloatArray:
    """(3, 3) rotation by `angle` [rad] about the unit vector `axis` (3,)."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.asarray(np.eye(3) + math.sin(angle) * cross + (1.0 - math.cos(angle)) * cross @ cross)
