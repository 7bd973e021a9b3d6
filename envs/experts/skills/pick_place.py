"""Pick an object up and put it on a spot, as often as it takes."""

from __future__ import annotations

import numpy as np

from envs.experts.geometry import yaw_of
from envs.experts.servo import Command
from envs.experts.skills.pick import Pick, nearest_yaw
from envs.experts.skills.place import OVER, Place, Spot, fitting_turn, place_cost
from envs.experts.world import World
from vla.types import FloatArray


class PickPlace:
    """Moves one object.

    Args:
        name: of the object.
        spot: where it goes.
        world: the present state.
    """

    def __init__(self, name: str, spot: Spot, world: World) -> None:
        self._name, self._spot = name, spot
        self.around: tuple[str, ...] = (name,)
        self._pick = Pick(name, lambda: place_cost(world, name, spot), lambda: spot.position(world))
        self._place: Place | None = None
        if world.held(name) and float(np.linalg.norm((spot.position(world) - spot.reference(world, name))[:2])) < OVER:
            self._place = Place(name, spot, self._fitting_yaw(world))  # being lowered; picking would lift it again

    @property
    def aim(self) -> FloatArray | None:
        """(3,) [m] where the hand will close; None before there is a plan."""
        return self._pick.aim

    def step(self, world: World) -> Command | None:
        """The next command; None when the object was put down."""
        if self._place is None:
            command = self._pick.step(world)
            if command is not None:
                return command
            self._place = Place(self._name, self._spot, self._fitting_yaw(world))
        command = self._place.step(world)
        if command is None and self._place.lost:
            self._place = None
            return self.step(world)
        return command

    def _fitting_yaw(self, world: World) -> float | None:
        """[rad] the hand's closing direction with which the object in it fits into its container."""
        region = self._spot.name
        if not self._spot.centered or region is None or region not in world.regions:
            return None
        turn = fitting_turn(world, self._name, region)
        if turn == 0.0:
            return None
        return nearest_yaw(world, yaw_of(world.hand.rotation) + turn, self._spot.position(world))
