"""Reaching for something: over it or before it, along the fingers, and close. Decided anew from where things are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.experts.aloha.arm import REACHED, Arm
from envs.experts.aloha.pose import Pose
from envs.experts.aloha.servo import SLOW, SPEED, Command
from envs.experts.aloha.world import World, opening_for
from envs.experts.geometry import turn
from vla.types import FloatArray

STANDOFF = 0.08  # [m] before the grasp, along the fingers
CLEAR = 0.05  # [m] from here on the hand may move sideways
ROOM = 0.012  # [m] on each side of the object, between open fingers
NEEDED_ROOM = 0.007  # [m] on each side, to move on
TIGHT, WIDE = 0.006, 0.015  # [m] tolerance of the grasp with open fingers, and once they close
CONE = 0.12  # [m] of tolerance sideways per metre of distance
TILT, TILT_CONE = 0.08, 1.0  # [rad] tolerance of the orientation, and per metre of distance
CLOSED, OPEN = 0.0, 1.0  # commands of a gripper


@dataclass(frozen=True, eq=False)
class Grasp:
    """Where a tool closes on an object.

    Attributes:
        pose: of the tool.
        width: [m] of the object between the fingers.
        tight: [m] tolerance with open fingers.
        wide: [m] tolerance once they close.
    """

    pose: Pose
    width: float
    tight: float = TIGHT
    wide: float = WIDE


def reach(world: World, arm: Arm, grasp: Grasp) -> Command:
    """The next step towards holding an object; closes where that does it.

    The hand goes to a place before the object, moves in within a cone that ends at the grasp, and backs off when it is
    near and outside the cone.
    """
    tool, goal, opened = world.tool(arm), grasp.pose, opening_for(grasp.width + 2 * ROOM)
    relative = goal.inverse() @ tool
    distance, aside = -float(relative.position[0]), float(np.linalg.norm(relative.position[1:]))
    tilt = goal.angle(tool)
    closing = world.commanded(arm)[6] < opening_for(grasp.width + NEEDED_ROOM)
    tolerance = grasp.wide if closing else grasp.tight
    if abs(distance) < tolerance and aside < tolerance and tilt < 2 * TILT:
        return go(world, arm, goal, CLOSED, SLOW)
    ahead = max(distance, 0.0)
    is_open = world.gap(arm) > grasp.width + 2 * NEEDED_ROOM
    if is_open and aside < grasp.tight + CONE * ahead and tilt < TILT + TILT_CONE * ahead and distance > -grasp.tight:
        return go(world, arm, goal, opened, SPEED if distance > CLEAR else SLOW)
    if distance > CLEAR:
        return go(world, arm, goal.moved(np.array([-STANDOFF, 0.0, 0.0])), opened, SPEED)
    return go(world, arm, _back(world, arm, tool, goal), opened, SLOW)


def _back(world: World, arm: Arm, tool: Pose, goal: Pose) -> Pose:
    """Away from the object the way the hand should have come; turned as it is, if it can be."""
    position = tool.position - CLEAR * goal.rotation[:, 0]
    as_it_is = Pose(position, tool.rotation)
    return as_it_is if arm.solve(as_it_is, world.angles(arm))[1] < REACHED else Pose(position, goal.rotation)


def go(world: World, arm: Arm, pose: Pose, opening: float, speed: float) -> Command:
    """Bring the tool to a pose."""
    angles, _ = arm.solve(pose, world.angles(arm))
    return Command(angles + arm.sag(angles), opening, speed)


def hand(arm: Arm, yaw: float, pitch: float) -> FloatArray:
    """(3, 3) a hand that points away from the arm's base, turned by `yaw`, then down by `pitch` [rad]."""
    _, y, z = np.eye(3)
    return np.asarray(turn(z, yaw) @ arm.facing @ turn(y, pitch))
