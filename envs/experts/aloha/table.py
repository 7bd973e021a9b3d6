"""Picking things up from the table and carrying them."""

from __future__ import annotations

import math

import numpy as np

from envs.experts.aloha.arm import REACHED, Arm
from envs.experts.aloha.pose import Pose
from envs.experts.aloha.reach import CLOSED, OPEN, Grasp, go, hand, reach
from envs.experts.aloha.servo import SLOW, Command
from envs.experts.aloha.world import World

PITCHES = tuple(math.radians(degrees) for degrees in (75, 90, 60))  # the first that can be reached is taken
MISSED = 0.005  # [m] a goal that is missed by more cannot be reached
LOWEST_TOOL = 0.019  # [m] over the table; lower, finger tips would touch it


def pick(world: World, arm: Arm, thing: Pose, symmetry: float, width: float) -> Command:
    """The next step towards holding a box that lies on the table; see `_table_grasp` for the arguments."""
    return reach(world, arm, Grasp(_table_grasp(world, arm, thing, symmetry, width), width))


def carry(world: World, arm: Arm, thing: Pose, goal: Pose, speed: float) -> Command:
    """Bring what the arm holds to a pose; let it go, to be taken anew, if this grasp does not allow it."""
    tool = world.tool(arm)
    wanted = goal @ thing.inverse() @ tool
    if arm.solve(wanted, world.angles(arm))[1] > MISSED:
        return go(world, arm, tool, OPEN, SLOW)
    return go(world, arm, wanted, CLOSED, speed)


def _table_grasp(world: World, arm: Arm, thing: Pose, symmetry: float, width: float) -> Pose:
    """Where the tool of an arm takes a box: at its centre, with the fingers on two of its faces.

    Args:
        world: what is where.
        arm: that takes it.
        thing: the box; its fingers go to both sides of its x axis.
        symmetry: [rad] turned by this, the box looks the same from above; half a turn or a quarter.
        width: [m] of the box between the fingers.
    """
    # Both arms face along the table's x axis, one way or the other, which is all the same for a box.
    yaw = _wrapped(_heading(thing, symmetry), symmetry)
    position = np.array([*thing.position[:2], max(float(thing.position[2]), LOWEST_TOOL)])
    poses = [Pose(position, hand(arm, yaw, pitch)) for pitch in PITCHES]
    reachable = (pose for pose in poses if arm.solve(pose, world.angles(arm))[1] < REACHED)
    return next(reachable, poses[0])


def _heading(thing: Pose, symmetry: float) -> float:
    """[rad] direction of the x axis seen from above; of the y axis if x is upright and they look the same."""
    axis = thing.rotation[:, 0]
    if symmetry < math.pi and abs(axis[2]) > math.sqrt(0.5):
        axis = thing.rotation[:, 1]
    return math.atan2(axis[1], axis[0])


def _wrapped(angle: float, period: float) -> float:
    """[rad] the same angle modulo `period`, nearest to 0."""
    return angle - period * round(angle / period)
