"""Let go of a fixture and back away from it, the way the hand came."""

from __future__ import annotations

import numpy as np

from envs.experts.servo import Command
from envs.experts.skills.base import Phases
from envs.experts.world import World

VERTICAL = -0.8  # a hand whose axis points down more than this simply rises
NEAR = 0.06  # [m] a fixture this near to the finger tips is in the way of anything else
STEP = 0.05  # [m] ahead of the hand while it backs away
BELOW = 0.01  # [m] what ends so far below the finger tips cannot catch them
STALL_STEPS = 12
FREE = 0.05  # [m] of opening: the fingers have let go


def is_entangled(world: World) -> bool:
    """Whether a tilted hand is at a handle or inside something, where no motion but backwards is safe."""
    hand = world.hand
    if hand.rotation[2, 2] < VERTICAL:
        return False
    boxes = world.others(*world.movable)
    boxes = boxes.above(float(hand.position[2]) - BELOW)  # a table is in nobody's way
    return bool(np.any(np.all(np.abs(hand.position - boxes.center) < boxes.reach + NEAR, axis=1)))


class Withdraw(Phases):
    """Opens the hand and moves it backwards until no fixture is near, or nothing moves any more."""

    def __init__(self) -> None:
        self._start("withdraw")

    def step(self, world: World) -> Command | None:
        """The next command; None when nothing is near any more, or it is stuck."""
        hand = world.hand
        back = -hand.rotation[:, 2] * np.array([1.0, 1.0, 0.0])  # level, as drawers and openings are
        back = back / max(float(np.linalg.norm(back)), 1e-6)
        self._watch(-float(hand.position @ back) - world.opening)
        if self._since_best > STALL_STEPS or not is_entangled(world):
            return None
        return Command(hand.position + back * (0.0 if world.opening < FREE else STEP), hand.rotation, False, 0.5)
