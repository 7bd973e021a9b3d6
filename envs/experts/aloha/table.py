"""Grasps of things that lie on the table: from above, the hand leaning back towards its arm."""

from __future__ import annotations

import math

import numpy as np

from envs.experts.aloha.arm import REACHED, Arm
from envs.experts.aloha.pose import Pose
from envs.experts.aloha.reach import Grasp, hand
from envs.experts.aloha.world import World

PITCHES = tuple(math.radians(degrees) for degrees in (75, 90, 60))  # the first that can be reached is taken
LOWEST_TOOL = 0.019  # [m] over the table; lower, finger tips would touch it


def table_grasp(world: World, arm: Arm, thing: Pose, symmetry: float, width: float) -> Grasp:
    """How an arm takes a box at its centre, with the fingers on two upright faces.

    Args:
        world: what is where.
        arm: that takes it.
        thing: the box; its fingers go to both sides of its x axis.
        symmetry: [rad] turned by this, the box looks the same from above.
        width: [m] of the box between the fingers.
    """
    yaw = heading(thing, symmetry) - heading(Pose(thing.position, arm.facing), 2 * math.pi)
    yaw = wrap(yaw, symmetry)
    position = np.array([*thing.position[:2], max(float(thing.position[2]), LOWEST_TOOL)])
    poses = [Pose(position, hand(arm, yaw, pitch)) for pitch in PITCHES]
    reachable = (pose for pose in poses if arm.solve(pose, world.angles(arm))[1] < REACHED)
    return Grasp(next(reachable, poses[0]), width)


def heading(thing: Pose, symmetry: float) -> float:
    """[rad] direction of the x axis seen from above; of the y axis if x is upright and they look the same."""
    axis = thing.rotation[:, 0]
    if symmetry < math.pi and abs(axis[2]) > math.sqrt(0.5):
        axis = thing.rotation[:, 1]
    return math.atan2(axis[1], axis[0])


def wrap(angle: float, period: float) -> float:
    """[rad] the same angle modulo `period`, nearest to 0."""
    return angle - period * round(angle / period)
