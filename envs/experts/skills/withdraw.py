"""Let go and back away, the way the hand came."""

from __future__ import annotations

import numpy as np

from envs.experts.grasps import TIP
from envs.experts.servo import Command
from envs.experts.skills.base import EMPTY, Phases
from envs.experts.world import World
from vla.types import FloatArray

VERTICAL = -0.8  # a hand whose axis points down more than this simply rises
NEAR = 0.06  # [m] a fixture this near to the finger tips is in the way of anything else
STEP = 0.05  # [m] ahead of the hand while it backs away
BELOW = 0.01  # [m] what ends so far below the finger tips cannot catch them
STALL_STEPS = 12
FREE = 0.05  # [m] of opening: the fingers have let go
BETWEEN, OVER = 0.008, 0.015  # [m] what the tips are around is this near beside the hand, this far below them at most


def is_entangled(world: World) -> bool:
    """Whether a tilted hand is at a handle or inside something, where no motion but backwards is safe."""
    hand = world.hand
    if hand.rotation[2, 2] < VERTICAL:
        return False
    boxes = world.others(*world.movable)
    boxes = boxes.above(float(hand.position[2]) - BELOW)  # a table is in nobody's way
    return bool(np.any(np.all(np.abs(hand.position - boxes.center) < boxes.reach + NEAR, axis=1)))


def is_around(world: World, *allowed: str) -> bool:
    """Whether the fingers of a vertical hand are around an object or a knob that was let go, or should be.

    Args:
        world: the present state.
        allowed: what the fingers may be around.
    """
    hand = world.hand
    if hand.rotation[2, 2] > VERTICAL or world.opening < EMPTY:
        return False
    for name in {*world.movable, *world.turnable} - {*allowed}:
        boxes = world.boxes(name).above(float(hand.position[2]) - TIP - OVER)
        if np.any(np.all(np.abs(hand.position - boxes.center)[:, :2] < boxes.reach[:, :2] + BETWEEN, axis=1)):
            return True
    return False


class Withdraw(Phases):
    """Opens the hand and moves it backwards until nothing is near, or nothing moves any more.

    Args:
        allowed: what the fingers may be around.
    """

    def __init__(self, *allowed: str) -> None:
        self._allowed = allowed
        self._start("withdraw")

    def step(self, world: World) -> Command | None:
        """The next command; None when nothing is near any more, or it is stuck."""
        hand, back = world.hand, _backwards(world)
        self._watch(-float(hand.position @ back) - world.opening)
        if self._since_best > STALL_STEPS or not (is_entangled(world) or is_around(world, *self._allowed)):
            return None
        return Command(hand.position + back * (0.0 if world.opening < FREE else STEP), hand.rotation, False, 0.5)


def _backwards(world: World) -> FloatArray:
    """(3,) unit vector: up for a vertical hand, else level, as drawers and openings are."""
    axis = world.hand.rotation[:, 2]
    if axis[2] < VERTICAL:
        return np.array([0.0, 0.0, 1.0])
    back = -axis * np.array([1.0, 1.0, 0.0])
    return np.asarray(back / max(float(np.linalg.norm(back)), 1e-6))
