"""Reaching for something: over it or before it, along the fingers, and close. Decided anew from where things are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.experts.aloha.arm import Arm
from envs.experts.aloha.pose import Pose
from envs.experts.aloha.servo import SLOW, SPEED, Command
from envs.experts.aloha.world import World, opening_for
from envs.experts.geometry import turn
from vla.types import FloatArray

STANDOFF = 0.08  # [m] before the grasp, along the fingers
CLEAR = 0.05  # [m] from here on the hand may move sideways
SOON = 0.02  # [m] nearer than it should be by this, the hand does not move sideways at all
ROOM = 0.012  # [m] on each side of the object, between open fingers
NEEDED_ROOM = 0.007  # [m] on each side, to move on
# [m] tolerance of a grasp with open fingers, and once they close. It could be less, but a learner that gets no nearer
# must be told to close all the same.
TIGHT, WIDE = 0.011, 0.018
CONE = 0.12  # [m] of tolerance sideways per metre of distance
TILT, TILT_CONE = 0.2, 2.0  # [rad] tolerance of the orientation, and per metre of distance
CLOSED, OPEN = 0.0, 1.0  # commands of a gripper


@dataclass(frozen=True, eq=False)
class Grasp:
    """Where a tool closes on an object.

    Attributes:
        pose: of the tool.
        width: [m] of the object between the fingers.
    """

    pose: Pose
    width: float


def reach(world: World, arm: Arm, grasp: Grasp, at_least: float = 0.0) -> Command:
    """The next step towards holding an object; closes where that does it.

    Args:
        world: what is where.
        arm: that reaches.
        grasp: what for.
        at_least: [m] before the object; it does not come nearer, nor close, while this is not 0.
    """
    tool = world.tool(arm)
    closing = world.commanded(arm)[6] < opening_for(grasp.width + NEEDED_ROOM)
    if not at_least and _is_there(grasp, tool, WIDE if closing else TIGHT):
        return go(world, arm, grasp.pose, CLOSED, SLOW)
    goal, near = approach(grasp, tool, world.gap(arm), at_least)
    return go(world, arm, goal, opening_for(grasp.width + 2 * ROOM), SPEED + near * (SLOW - SPEED))


def approach(grasp: Grasp, tool: Pose, gap: float, at_least: float = 0.0) -> tuple[Pose, float]:
    """Where the tool should go, and how near the object it is: 0 far, 1 where it could touch it.

    The tool moves in on the fingers' axis, and the farther off this axis, turned away or closed it is, the farther from
    the object it is told to be. All of that changes little where the tool is a little elsewhere: a learner that cannot
    tell two places apart is told nearly the same in both, instead of forwards in one and backwards in the other, of
    which it would learn to hover between them.

    Args:
        grasp: what it is for.
        tool: where the tool is.
        gap: [m] between the fingers.
        at_least: [m] before the object.
    """
    relative = grasp.pose.inverse() @ tool
    ahead, aside = -float(relative.position[0]), relative.position * np.array([0.0, 1.0, 1.0])
    off = max(float(np.linalg.norm(aside)) - TIGHT, 0.0) / CONE
    turned = max(grasp.pose.angle(tool) - TILT, 0.0) / TILT_CONE
    shut = max(grasp.width + 2 * NEEDED_ROOM - gap, 0.0) / NEEDED_ROOM * CLEAR
    needed = min(max(off, turned, shut, at_least), STANDOFF)
    near = float(np.clip((STANDOFF - ahead) / (STANDOFF - CLEAR), 0.0, 1.0))
    # Beside the object it first goes back as it is, and sideways the less, the nearer it is.
    wait = near * float(np.clip((needed - ahead) / SOON, 0.0, 1.0))
    goal = grasp.pose.moved(np.array([-needed, 0.0, 0.0]) + wait * aside)
    return Pose(goal.position, goal.towards(tool, wait).rotation), near


def _is_there(grasp: Grasp, tool: Pose, tolerance: float) -> bool:
    """Whether the fingers may close."""
    relative = grasp.pose.inverse() @ tool
    aside = float(np.linalg.norm(relative.position[1:]))
    return max(abs(float(relative.position[0])), aside) < tolerance and grasp.pose.angle(tool) < TILT


def go(world: World, arm: Arm, pose: Pose, opening: float, speed: float) -> Command:
    """Bring the tool to a pose."""
    angles, _ = arm.solve(pose, world.angles(arm))
    return Command(angles + arm.sag(angles), opening, speed)


def hand(arm: Arm, yaw: float, pitch: float) -> FloatArray:
    """(3, 3) a hand that points away from the arm's base, turned by `yaw`, then down by `pitch` [rad]."""
    _, y, z = np.eye(3)
    return np.asarray(turn(z, yaw) @ arm.facing @ turn(y, pitch))
