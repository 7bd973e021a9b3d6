"""Move something too flat to grip: clear its way, then drag it along with a finger tip inside its rim."""

from __future__ import annotations

import math

import numpy as np

from envs.experts.geometry import vertical_hand
from envs.experts.goals import Goal, is_met
from envs.experts.grasps import TIP
from envs.experts.servo import Command
from envs.experts.skills.base import Phases, Skill, travel
from envs.experts.skills.pick import REST_YAW, hold
from envs.experts.skills.pick_place import PickPlace
from envs.experts.skills.place import Spot
from envs.experts.world import STRETCH_COMFORT, World
from vla.protocols import SceneRefused
from vla.types import FloatArray

AHEAD = 0.02  # [m] the tips push this far ahead of the middle: farther out they tip the plate, or slip off
LOW = 0.015  # [m] an object is climbed and jams unless it is this much taller than the plate
NUDGE = 0.03  # [m] taller ones may reach this much farther into the way: they are pushed aside
PRESS = 0.014  # [m] the tips are sent this far below the surface: less slips, 30 mm would lock the plate to the table
OVER = 0.04  # [m] above the surface before going down
CLOSED = 0.01  # [m] of opening at most
INSET = 0.015  # [m] the goal is this far inside the region
BEYOND = 0.03  # [m] past the goal that the tips are sent: a learner that slows down before the edge stops there
GRAZE = 0.012  # [m] things that reach this little into the way are nudged aside
ON_IT, TOUCHING = 0.03, 0.012  # [m] the tips are this near to where they push, and this near to the surface
SLIPPED = 0.055  # [m] from the middle: the tips have left the plate
LOST_GRIP_STEPS = 10  # steps without progress before starting over
TOUCH_STEPS = 40  # steps of going down at most
SPOT_RINGS = np.arange(0.0, 0.40, 0.02)  # [m] from the middle of the way, how far an object may be put aside
ROBOT_SIDE = 0.3  # of this distance a place is nearer by as much as it is towards the robot
SPOT_MARGIN = 0.012  # [m] around an object that is put aside


class Push(Phases):
    """Drags an object to a region of the table.

    Args:
        goal: `on(object, region)`.
        world: the present state.
    """

    def __init__(self, goal: Goal, world: World) -> None:
        self._goal, self._name = goal, goal.subject
        held = [other for other in world.movable if world.held(other)]  # it is on its way out of the way
        self.around = (goal.subject, *held, *choose_target(world, goal)[1])
        self._start("begin")
        self._clearing: Skill | None = None

    def step(self, world: World) -> Command | None:
        """The next command; None when the object is there and the hand away."""
        self._steps += 1
        if self._phase == "begin":
            self._start(self._first_phase(world))
        if is_met(self._goal, world) and self._phase not in ("retreat", "clear"):
            self._start("retreat")
            self._at = world.hand.position
        if self._phase == "clear":
            command = self._clear(world)
            if command is not None:
                return command
            self._start("reach")
        phases = {"reach": self._reach, "touch": self._touch, "drag": self._drag, "retreat": self._retreat}
        return phases[self._phase](world)

    def _clear(self, world: World) -> Command | None:
        """Put aside what stands in the way; None when nothing does."""
        if self._clearing is not None:
            command = self._clearing.step(world)
            if command is not None:
                return command
            self._clearing = None
        self._target, obstacles = choose_target(world, self._goal)
        if not obstacles:
            return None
        self._clearing = self._put_aside(world, obstacles[0])
        return None if self._clearing is None else self._clearing.step(world)

    def _put_aside(self, world: World, name: str) -> Skill | None:
        """Pick an object up and put it beside the way; None when there is no room."""
        spot = free_spot(world, name, self._name, self._target)
        return None if spot is None else PickPlace(name, Spot(None, spot, centered=True), world)

    def _first_phase(self, world: World) -> str:
        """Dragging goes on where it is; what is in the hand is put aside first."""
        self._target, obstacles = choose_target(world, self._goal)
        held = next((other for other in world.movable if other != self._name and world.held(other)), None)
        if held is not None:
            self._clearing = self._put_aside(world, held)
        if obstacles or held is not None:
            return "clear"
        contact, _ = self._contact(world)
        gap = world.hand.position - contact
        if world.opening > CLOSED or np.linalg.norm(gap[:2]) > ON_IT or gap[2] > OVER + TOUCHING:
            return "reach"
        return "drag" if gap[2] < TOUCHING and world.touched_by_hand(self._name) else "touch"

    def _contact(self, world: World) -> tuple[FloatArray, FloatArray]:
        """(3,) [m] hand position with the tips on the object, ahead of its middle, and (2,) direction of the way."""
        middle = world.pose(self._name).position
        way = self._target - middle[:2]
        direction = way / max(float(np.linalg.norm(way)), 1e-6)
        xy = middle[:2] + AHEAD * direction
        surface = float(world.boxes(self._name).heights(xy[None], 0.003)[1][0])
        surface = max(surface, float(middle[2]))
        return np.append(xy, surface + TIP), direction

    def _reach(self, world: World) -> Command | None:
        contact, _ = self._contact(world)
        over = contact + np.array([0.0, 0.0, OVER])
        if np.linalg.norm(over[:2] - world.hand.position[:2]) < 0.010 and world.opening < CLOSED:
            self._start("touch")
            return self._touch(world)
        return travel(world, over, vertical_hand(REST_YAW), close=True)

    def _touch(self, world: World) -> Command | None:
        contact, _ = self._contact(world)
        height = float(world.hand.position[2] - contact[2])
        if world.touched_by_hand(self._name) or height < 0.0 or self._steps > TOUCH_STEPS:
            self._start("drag")
        return Command(
            contact - np.array([0.0, 0.0, PRESS]), vertical_hand(REST_YAW), True, 0.6 if height > 0.02 else 0.3
        )

    def _drag(self, world: World) -> Command | None:
        contact, direction = self._contact(world)
        middle = world.pose(self._name).position
        left = float(np.linalg.norm(self._target - middle[:2]))
        self._watch(left)
        away = float(np.linalg.norm(world.hand.position[:2] - middle[:2]))
        if away > SLIPPED or self._since_best > LOST_GRIP_STEPS:
            self._start("clear")
            return hold(world, close=True)
        goal = np.append(self._target + (AHEAD + BEYOND) * direction, contact[2] - PRESS)
        return Command(goal, vertical_hand(REST_YAW), True)

    def _retreat(self, world: World) -> Command | None:
        if world.hand.position[2] > self._at[2] + 0.06 or self._steps > 25:
            return None
        return Command(self._at + np.array([0.0, 0.0, 0.08]), vertical_hand(REST_YAW), True, 0.5)


def choose_target(world: World, goal: Goal) -> tuple[FloatArray, list[str]]:
    """The (2,) [m] point of the region with the freest straight way, and the movable objects in that way."""
    site, half = world.site(goal.place), world.region_half(goal.place)
    start = world.pose(goal.subject).position[:2]
    low, high = world.boxes(goal.subject).bounds()
    radius = 0.5 * float(np.max((high - low)[:2])) - GRAZE
    best: tuple[float, FloatArray, list[str]] | None = None
    for u in np.linspace(-1.0, 1.0, 5):
        for v in np.linspace(-1.0, 1.0, 5):
            local = np.array([u, v]) * np.maximum(half[:2] - INSET, 0.0)
            target = site.point(np.append(local, 0.0))[:2]
            blocking, fixed = _in_the_way(world, goal.subject, start, target, radius)
            cost = 10.0 * fixed + 1.0 * len(blocking) + float(np.linalg.norm(target - start))
            if best is None or cost < best[0]:
                best = (cost, target, blocking)
    if best is None:
        raise SceneRefused(f"push {goal.subject}: no target")
    return best[1], best[2]


def _in_the_way(world: World, name: str, start: FloatArray, target: FloatArray, radius: float) -> tuple[list[str], int]:
    """Movable objects, and the number of fixtures, that come within `radius` [m] of the way."""
    blocking, fixed = [], 0
    low_top = float(world.boxes(name).bounds()[1][2]) + LOW
    samples = start + np.linspace(0.0, 1.0, 20)[:, None] * (target - start)
    for other in world.names:
        if other == name:
            continue
        boxes = world.boxes(other)
        gap = np.abs(samples[:, None] - boxes.center[:, :2]) - boxes.reach[:, :2]
        distance = np.linalg.norm(np.maximum(gap, 0.0), axis=2).min(axis=1)  # (20,) along the way
        distance = distance[distance < distance[0] - 0.005]  # what it moves away from is not in the way
        tall = float((boxes.center + boxes.reach)[:, 2].max()) > low_top
        if len(distance) and float(distance.min()) < radius - (NUDGE if tall else 0.0):
            if other in world.movable:
                blocking.append(other)
            else:
                fixed += 1
    return blocking, fixed


def free_spot(world: World, name: str, pushed: str, target: FloatArray) -> FloatArray | None:
    """Where (3,) [m] beside the way an object is put aside; None when there is no room.

    It lies near the middle of the way, rather on the robot's side, and does not depend on where the object is: asked
    again while it carries the object, the expert still means the same place.
    """
    low, high = world.boxes(name).bounds()
    half = 0.5 * (high - low)[:2] + SPOT_MARGIN
    start = world.pose(pushed).position[:2]
    plate_low, plate_high = world.boxes(pushed).bounds()
    radius = 0.5 * float(np.max((plate_high - plate_low)[:2])) + SPOT_MARGIN + float(np.hypot(*half))
    others = world.others(name).above(float(plate_low[2]) + 0.004)
    samples = start + np.linspace(0.0, 1.0, 20)[:, None] * (target - start)
    middle = 0.5 * (start + target)
    toward = (world.base[:2] - middle) / float(np.linalg.norm(world.base[:2] - middle))
    best: tuple[float, FloatArray] | None = None
    for distance in SPOT_RINGS:
        for angle in np.arange(16) * np.pi / 8:
            offset = distance * np.array([math.cos(angle), math.sin(angle)])
            spot = np.append(middle + offset, 0.5 * (low[2] + high[2]))
            cost = distance - ROBOT_SIDE * float(offset @ toward)
            if best is not None and cost >= best[0]:
                continue
            gap = np.abs(others.center[:, :2] - spot[:2]) - others.reach[:, :2] - half
            free = not np.any(np.all(gap < 0.0, axis=1))
            beside = float(np.linalg.norm(samples - spot[:2], axis=1).min()) > radius
            if free and beside and world.stretch(spot) < STRETCH_COMFORT:
                best = (cost, spot)
    return None if best is None else best[1]
