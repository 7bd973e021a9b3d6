"""Handing over the cube: the right arm brings it to the middle, the left one takes it from above and below."""

from __future__ import annotations

import math

import numpy as np

from envs.aloha.robot import START
from envs.experts.aloha.arm import Arm
from envs.experts.aloha.pose import Pose
from envs.experts.aloha.reach import CLOSED, STANDOFF, Grasp, go, hand, reach
from envs.experts.aloha.servo import SLOW, SPEED, Command
from envs.experts.aloha.table import PITCHES, table_grasp
from envs.experts.aloha.world import World, opening_for
from envs.experts.geometry import turn
from vla.types import FloatArray

CUBE = ("red_box",)
WIDTH = 0.04  # [m]
MEETING = np.array([0.0, 0.5, 0.3])  # [m] where the cube changes hands
LEAN = math.radians(30)  # the cube is turned by this, so that neither arm's wrist is straight
PRESENTED = 0.015, 0.15  # [m], [rad] how near the cube must be to the meeting, for the left arm to come
SHALLOW = 0.004  # [m] the left tool stays this far before the cube's centre, clear of the right hand
KEEP = np.array([-0.15, 0.5, 0.3])  # [m] where the left hand takes the cube in the end


class TransferCube:
    """Decides from the present state what both arms do."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._left, self._right = world.arms["left"], world.arms["right"]

    def commands(self) -> dict[str, Command]:
        """What each arm does now."""
        world, left, right = self._world, self._left, self._right
        cube = world.body("box")
        if world.holds(left, CUBE):
            return {"left": self._keep(), "right": self._let_go()}
        if not world.holds(right, CUBE):
            symmetry = math.pi / 2
            return {"left": rest(), "right": reach(world, right, table_grasp(world, right, cube, symmetry, WIDTH))}
        tool = world.tool(right)
        upright = _as_upright(cube, tool.rotation @ hand(right, 0.0, PITCHES[0]).T)
        meeting = Pose(MEETING, turn(np.array([0.0, 1.0, 0.0]), LEAN))
        carry = meeting @ upright.inverse() @ tool
        presented = upright.distance(meeting) < PRESENTED[0] and upright.angle(meeting) < PRESENTED[1]
        if presented:
            return {"left": reach(world, left, _taking(left, upright)), "right": go(world, right, carry, CLOSED, SLOW)}
        before = _taking(left, meeting).pose.moved(np.array([-STANDOFF, 0.0, 0.0]))
        opening = opening_for(WIDTH + 0.024)
        return {"left": go(world, left, before, opening, SPEED), "right": go(world, right, carry, CLOSED, SPEED)}

    def _keep(self) -> Command:
        """The left hand has the cube: it waits until the right one is open, then takes it away."""
        world, left = self._world, self._left
        tool = world.tool(left)
        if world.touches(self._right, CUBE):
            return go(world, left, tool, CLOSED, SLOW)
        return go(world, left, Pose(KEEP, tool.rotation), CLOSED, SLOW)

    def _let_go(self) -> Command:
        """The right hand opens, backs off along its fingers, and goes to rest."""
        world, right = self._world, self._right
        tool, opened = world.tool(right), opening_for(WIDTH + 0.024)
        if world.touches(right, CUBE) or world.gap(right) < WIDTH + 0.01:
            return go(world, right, tool, opened, SLOW)
        if tool.distance(world.body("box")) < 2 * STANDOFF:
            return go(world, right, tool.moved(np.array([-0.05, 0.0, 0.0])), opened, SLOW)
        return rest()


def rest() -> Command:
    """The start pose, with the gripper as it begins."""
    return Command(START[:6], 0.1)


def _taking(left: Arm, cube: Pose) -> Grasp:
    """The left tool on the cube's upper and lower face, coming along its x axis."""
    rolled = turn(np.array([1.0, 0.0, 0.0]), math.pi / 2)
    return Grasp(Pose(cube.position, cube.rotation @ rolled).moved(np.array([-SHALLOW, 0.0, 0.0])), WIDTH)


def _as_upright(cube: Pose, expected: FloatArray) -> Pose:
    """The cube with its axes renamed such that its orientation is the nearest to (3, 3) `expected`."""
    likeness = cube.rotation.T @ expected  # (3, 3)
    names = np.zeros((3, 3))
    rows = np.argmax(np.abs(likeness), axis=0)
    names[rows, range(3)] = np.sign(likeness[rows, range(3)])
    return Pose(cube.position, cube.rotation @ names)
