"""Inserting the peg: the left arm holds the socket still in the middle, the right one brings the peg in."""

from __future__ import annotations

import math

import numpy as np

from envs.experts.aloha.pose import Pose
from envs.experts.aloha.servo import SLOW, SPEED, Command
from envs.experts.aloha.table import carry, pick
from envs.experts.aloha.world import World
from envs.experts.geometry import turn
from vla.types import FloatArray

PEG, PEG_WIDTH = ("red_peg",), 0.02  # [m]
SOCKET, SOCKET_WIDTH = ("socket-1", "socket-2", "socket-3", "socket-4"), 0.044  # [m]
MEETING = np.array([-0.06, 0.5, 0.18])  # [m] where the socket is held
WAITING = {"left": np.array([-0.2, 0.5, 0.2]), "right": np.array([0.2, 0.5, 0.2])}  # [m] while the other is not ready
APART = 0.15  # [m] between the centres before the peg goes in: 3 cm between the ends
INSIDE = 0.085  # [m] between the centres in the end; at 0.1 the peg meets the pin
HALF_LENGTH = 0.06  # [m] of peg and socket
ALIGNED = 0.005  # [m] of the peg's middle and end to the socket's axis, to move in; there are 8 mm of room
LOST = 0.01  # [m] off the axis, where the peg is to be outside
STEADY = 0.02, 0.15  # [m], [rad] how near the socket must be to the meeting, for the peg to come
AWAY = 0.04, 0.3  # [m], [rad] from here on the peg waits where it will be
AHEAD = 0.012  # [m] how far ahead of the peg its goal is


class Insertion:
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
        socket, peg = world.body("socket"), world.body("peg")
        has_socket, has_peg = world.holds(left, SOCKET, SOCKET_WIDTH), world.holds(right, PEG, PEG_WIDTH)
        if has_socket and has_peg:
            return self._insert(socket, peg)
        commands = {}
        for arm, thing, width, held in ((left, socket, SOCKET_WIDTH, has_socket), (right, peg, PEG_WIDTH, has_peg)):
            if held:
                goal = Pose(WAITING[arm.name], _levelled(thing.rotation))
                commands[arm.name] = carry(world, arm, thing, goal, SPEED)
            else:
                commands[arm.name] = pick(world, arm, thing, math.pi, width)
        return commands

    def _insert(self, socket: Pose, peg: Pose) -> dict[str, Command]:
        """Both are held: the socket goes to the meeting, the peg to where the socket is."""
        world, left, right = self._world, self._left, self._right
        meeting = Pose(MEETING, _levelled(socket.rotation))
        away = meeting.beyond(socket, STEADY, AWAY)
        goal = _peg_goal(meeting.towards(socket, 1.0 - away), peg, away)
        speed = SLOW + away * (SPEED - SLOW)
        return {
            "left": carry(world, left, socket, meeting, speed),
            "right": carry(world, right, peg, goal, speed),
        }


def _peg_goal(socket: Pose, peg: Pose, away: float) -> Pose:
    """Where the peg shall go: onto the socket's axis, and along it the farther in, the nearer it is to the axis.

    Args:
        socket: where it is held, or will be.
        peg: where it is.
        away: how far the socket is from where it will be: 0 there, 1 where the peg stays outside.
    """
    axis = socket.rotation[:, 0] * np.sign(socket.rotation[0, 0])  # towards the right arm
    rotation = _with_axis(peg.rotation, axis)
    offset = peg.position - socket.position
    along = float(offset @ axis)
    aside = float(np.linalg.norm(offset - along * axis))
    end = offset - HALF_LENGTH * peg.rotation[:, 0] * np.sign(peg.rotation[:, 0] @ axis)
    aside = max(aside, float(np.linalg.norm(end - (end @ axis) * axis)))
    out = max(away, float(np.clip((aside - ALIGNED) / (LOST - ALIGNED), 0.0, 1.0)))
    wanted = INSIDE + out * (APART - INSIDE)
    return Pose(socket.position + max(along - AHEAD, wanted) * axis, rotation)


def _levelled(rotation: FloatArray) -> FloatArray:
    """(3, 3) the nearest orientation whose x axis lies along the world's."""
    return _with_axis(rotation, np.array([1.0, 0.0, 0.0]))


def _with_axis(rotation: FloatArray, axis: FloatArray) -> FloatArray:
    """(3, 3) the nearest orientation whose x axis lies along (3,) `axis`, in this direction or the other."""
    present = rotation[:, 0]
    wanted = axis * (1.0 if present @ axis >= 0 else -1.0)
    cross = np.cross(present, wanted)
    sine, cosine = float(np.linalg.norm(cross)), float(present @ wanted)
    if sine < 1e-9:
        return rotation
    return np.asarray(turn(cross / sine, math.atan2(sine, cosine)) @ rotation)
