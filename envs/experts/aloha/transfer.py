"""Handing over the cube: the right arm brings it to the middle, the left one takes it from above and below."""

from __future__ import annotations

import itertools
import math

import numpy as np

from envs.aloha.robot import START
from envs.experts.aloha.pose import Pose
from envs.experts.aloha.reach import CLOSED, ROOM, STANDOFF, Grasp, go, hand, reach
from envs.experts.aloha.servo import SLOW, SPEED, Command
from envs.experts.aloha.table import carry, pick
from envs.experts.aloha.world import World, opening_for
from envs.experts.geometry import turn
from vla.types import FloatArray

CUBE, WIDTH = ("red_box",), 0.04  # [m]
OPENED = opening_for(WIDTH + 2 * ROOM)
MEETING = np.array([0.0, 0.5, 0.36])  # [m] where the cube changes hands
# The cube is turned there by this part of the right hand's pitch on it: neither arm's wrist must be straight.
LEAN, LEAN_RANGE = 0.4, (math.radians(20), math.radians(40))
PRESENTED = 0.022, 0.2  # [m], [rad] how near the cube must be to the meeting, for the left arm to come
AWAY = 0.044, 0.4  # [m], [rad] from here on the left arm waits where it will be
EXPECTED_PITCH = math.radians(60)  # of the right hand on the upright cube, give or take 45 degrees
SHALLOW = 0.004  # [m] the left tool stays this far before the cube's centre, clear of the right hand
# (24, 3, 3) the rotations that turn a cube into itself.
RENAMINGS = np.array(
    [
        matrix
        for order in itertools.permutations(range(3))
        for signs in itertools.product((-1.0, 1.0), repeat=3)
        if np.linalg.det(matrix := np.diag(signs)[:, order]) > 0
    ]
)
KEEP = np.array([-0.15, 0.5, 0.3])  # [m] where the left hand takes the cube in the end


class TransferCube:
    """Decides from the present state what both arms do.

    Args:
        world: what is where.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._left, self._right = world.arms["left"], world.arms["right"]

    def commands(self) -> dict[str, Command]:
        """What each arm does now, by its name."""
        world, left, right = self._world, self._left, self._right
        cube = world.body("box")
        if world.holds(left, CUBE, WIDTH):
            return {"left": self._keep(), "right": self._let_go(cube)}
        if not world.holds(right, CUBE, WIDTH):
            return {"left": rest(), "right": pick(world, right, cube, math.pi / 2, WIDTH)}
        cube = _upright(cube, world.tool(right).rotation @ hand(right, 0.0, EXPECTED_PITCH).T)
        meeting = _meeting(cube, world.tool(right))
        away = meeting.beyond(cube, PRESENTED, AWAY)
        taking = Grasp(_taking(meeting.towards(cube, 1.0 - away)), WIDTH)
        return {
            "left": reach(world, left, taking, at_least=away * STANDOFF),
            "right": carry(world, right, cube, meeting, SLOW + away * (SPEED - SLOW)),
        }

    def _keep(self) -> Command:
        """The left hand has the cube: it waits until the right one is off, then takes it away."""
        world, left = self._world, self._left
        tool = world.tool(left)
        if world.touches(self._right, CUBE):
            return go(world, left, tool, CLOSED, SLOW)
        return go(world, left, Pose(KEEP, tool.rotation), CLOSED, SLOW)

    def _let_go(self, cube: Pose) -> Command:
        """The right hand opens, backs off along its fingers, and goes to rest."""
        world, right = self._world, self._right
        tool = world.tool(right)
        if world.gap(right) < WIDTH + ROOM:
            return go(world, right, tool, OPENED, SLOW)
        if tool.distance(cube) < 2 * STANDOFF:
            return go(world, right, tool.moved(np.array([-STANDOFF, 0.0, 0.0])), OPENED, SLOW)
        return rest()


def rest() -> Command:
    """The start pose, with the gripper as it begins: closed."""
    return Command(START[:6], CLOSED)


def _meeting(cube: Pose, tool: Pose) -> Pose:
    """Where the cube changes hands, when the right tool holds it so."""
    along = cube.rotation.T @ tool.rotation[:, 0]  # (3,) the fingers' direction, seen from the cube
    pitch = math.atan2(-along[2], -along[0])
    lean = float(np.clip(LEAN * pitch, *LEAN_RANGE))
    return Pose(MEETING, turn(np.array([0.0, 1.0, 0.0]), lean))


def _taking(cube: Pose) -> Pose:
    """The left tool: along the cube's x axis, its fingers on the upper and the lower face."""
    rolled = turn(np.array([1.0, 0.0, 0.0]), math.pi / 2)
    return Pose(cube.position, cube.rotation @ rolled).moved(np.array([-SHALLOW, 0.0, 0.0]))


def _upright(cube: Pose, expected: FloatArray) -> Pose:
    """The cube with its axes renamed such that its orientation is the nearest to (3, 3) `expected`."""
    likeness = cube.rotation.T @ expected  # (3, 3)
    names = RENAMINGS[int(np.argmax(np.einsum("nij,ij->n", RENAMINGS, likeness)))]
    return Pose(cube.position, cube.rotation @ names)
