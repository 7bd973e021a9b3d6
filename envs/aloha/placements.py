"""Where a task's objects begin: gym-aloha's draws for evaluation, wider ones for training."""

from __future__ import annotations

import functools
import zlib
from dataclasses import dataclass

import numpy as np

from vla.types import FloatArray

OFFICIAL_TRIALS = 50  # trial k has the poses that gym-aloha draws from seed k
TRAINING_SEEDS = 2**31
TRAINING_SALT = 1  # keeps the training draws apart from any other use of a seed
APART_M = 0.002  # [m] a training draw nearer than this to an official trial is refused
DROP_HEIGHT = 0.05  # [m] objects fall from here


@dataclass(frozen=True)
class Area:
    """A rectangle of the table and a range of headings.

    Attributes:
        x, y: [m] lowest and highest.
        yaw: [rad] objects are turned by up to this much to either side.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    yaw: float = 0.0

    def towards(self, other: Area, share: float) -> Area:
        """What lies between the two: this one for a share of 0, the other one for 1."""
        low, high = (1 - share) * self.edges() + share * other.edges()
        return Area((low[0], high[0]), (low[1], high[1]), high[2])

    def edges(self) -> FloatArray:
        """(2, 3) lowest and highest x [m], y [m] and yaw [rad]."""
        return np.transpose([self.x, self.y, (-self.yaw, self.yaw)])


@dataclass(frozen=True)
class Placement:
    """Where one object may begin, in the order in which the model lists the objects."""

    official: Area
    training: Area


# gym_aloha/utils.py: sample_box_pose and sample_insertion_pose (peg, then socket, from one generator).
PLACEMENTS = {
    "transfer_cube": (Placement(Area((0.0, 0.2), (0.4, 0.6)), Area((-0.05, 0.25), (0.36, 0.64), np.pi / 4)),),
    "insertion": (
        Placement(Area((0.1, 0.2), (0.4, 0.6)), Area((0.08, 0.24), (0.36, 0.64), 0.5)),
        Placement(Area((-0.2, -0.1), (0.4, 0.6)), Area((-0.24, -0.08), (0.36, 0.64), 0.5)),
    ),
}


def official_poses(task: str, trial: int) -> FloatArray:
    """(objects, 7) position [m] and quaternion (wxyz) of each object in an evaluation trial."""
    generator = np.random.RandomState(trial)
    return np.stack([_upstream_draw(placement.official, generator) for placement in PLACEMENTS[task]])


def training_poses(task: str, seed: int, widen: float = 1.0) -> FloatArray:
    """(objects, 7) poses of a training scene; a draw that equals an evaluation trial is refused and drawn again.

    Args:
        task: name.
        seed: of the scene.
        widen: how far scenes go beyond the evaluation's area, 0 not at all, 1 as far as `PLACEMENTS` says.
    """
    areas = [placement.official.towards(placement.training, widen) for placement in PLACEMENTS[task]]
    generator = np.random.default_rng([zlib.crc32(task.encode()), TRAINING_SALT, seed])
    while True:
        poses = np.stack([_wide_draw(area, generator) for area in areas])
        if nearest_official_m(task, poses) > APART_M:
            return poses


def nearest_official_m(task: str, poses: FloatArray) -> float:
    """[m] distance to the nearest evaluation trial: of the object farthest from its place there, from above.

    Args:
        task: name.
        poses: (objects, 7).
    """
    gaps = np.linalg.norm(_all_official(task)[:, :, :2] - poses[:, :2], axis=2)  # (trials, objects)
    return float(gaps.max(axis=1).min())


@functools.cache
def _all_official(task: str) -> FloatArray:
    """(trials, objects, 7)."""
    return np.stack([official_poses(task, trial) for trial in range(OFFICIAL_TRIALS)])


def _upstream_draw(area: Area, generator: np.random.RandomState) -> FloatArray:
    """(7,) as upstream draws it: three numbers, though the height is fixed."""
    low, high = np.transpose([area.x, area.y, (DROP_HEIGHT, DROP_HEIGHT)])
    return np.concatenate([generator.uniform(low, high), [1.0, 0.0, 0.0, 0.0]])


def _wide_draw(area: Area, generator: np.random.Generator) -> FloatArray:
    """(7,) anywhere in the area, turned about the vertical."""
    low, high = area.edges()
    x, y, yaw = generator.uniform(low, high)
    return np.array([x, y, DROP_HEIGHT, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])
