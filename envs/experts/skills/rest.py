"""Nothing to do: rise out of the way and hold still."""

from __future__ import annotations

import numpy as np

from envs.experts.geometry import vertical_hand, yaw_of
from envs.experts.servo import Command
from envs.experts.world import World

RISE = 0.08  # [m]


class Rest:
    """Ends an episode: opens the gripper, rises a little, then keeps the pose.

    Args:
        world: the state when there was nothing left to do.
    """

    around: tuple[str, ...] = ()

    def __init__(self, world: World) -> None:
        hand = world.hand
        height = min(hand.position[2] + RISE, world.base[2] + 0.45)  # [m] well below the arm's reach
        self._goal = np.append(hand.position[:2], max(height, hand.position[2]))
        self._rotation = vertical_hand(yaw_of(hand.rotation))

    def step(self, world: World) -> Command | None:
        """The next command, for ever."""
        return Command(self._goal, self._rotation, False, 0.5)
