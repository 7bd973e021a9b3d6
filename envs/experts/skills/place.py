"""Carry the object in the hand above a spot, lower it, let go, retreat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.experts.geometry import Boxes, rectangle, vertical_hand, yaw_of
from envs.experts.grasps import FINGER_HALF, FINGER_INNER, FINGER_OUTER, PALM, PALM_HALF, TIP
from envs.experts.servo import Command
from envs.experts.skills.base import Phases, travel, way_out
from envs.experts.skills.pick import PlaceCost, stretch_cost
from envs.experts.world import World
from vla.protocols import SceneRefused
from vla.types import FloatArray

STEP = 0.006  # [m] grid of the maps
MAP_HALF = 0.18  # [m] the hand is 0.10 long, the object reaches up to 0.08 from it
GROWN = 0.003  # [m] walls are this much thicker in the map, so that none is missed between its points
OVER = 0.012  # [m] the object is above the spot: go down
SETTLED = 0.006  # [m] the object is this far above what will carry it: let go
HAND_CLEARANCE = 0.005  # [m] hand and fingers stay this far above what is below
INSET = 0.025  # [m] an object's middle stays this far inside a container
GRIPPED_AT = 0.6  # part of an object's height at which the finger tips are, roughly
BESIDE = 0.004  # [m] room wanted between the object and the walls around it
OVERHANG_COST = 0.05  # [m] of height that an object is worth which is covered from above entirely
HAND_COST = 0.2  # [m] of height that a metre of free fall is worth
OFF_MIDDLE_COST = 0.1  # [m] of height that a metre away from the middle is worth
TURN_COST = 0.002  # [m] of overlap that a radian of turning is worth
DROP_COST = 0.3  # [m] of grasp score a metre of free fall
LOST_STEPS = 4  # steps without both contacts until the object counts as lost
ESCAPE_LIMIT = 40  # steps to get out from under something before it is tried upwards
STALL_STEPS = 8
RELEASE_STEPS = 5  # steps the fingers take to open clear of the object
RELEASE_LIMIT = 14
RETREAT = 0.08  # [m]


@dataclass(frozen=True, eq=False)
class Spot:
    """Where an object goes.

    Attributes:
        name: object or region; None for a fixed place.
        offset: (3,) [m] from its middle, along its own axes; from the world's origin for a fixed place.
        centered: whether the middle of the object's bounds goes there, instead of its body's origin.
    """

    name: str | None
    offset: FloatArray
    centered: bool

    def position(self, world: World) -> FloatArray:
        """(3,) [m] in the world frame."""
        if self.name is None:
            return self.offset
        pose = world.site(self.name) if self.name in world.regions else world.pose(self.name)
        return pose.point(self.offset)

    def reference(self, world: World, name: str) -> FloatArray:
        """(3,) [m] the point of the object that goes there."""
        if self.centered:
            low, high = world.boxes(name).bounds()
            return np.asarray(0.5 * (low + high))
        return world.pose(name).position


class SupportMap:
    """Height map of what is around a spot, without the robot and the carried object."""

    def __init__(self, others: Boxes, center: FloatArray) -> None:
        count = 2 * round(MAP_HALF / STEP) + 1
        self._low = center[:2] - STEP * (count // 2)
        axis = np.arange(count) * STEP
        x, y = np.meshgrid(self._low[0] + axis, self._low[1] + axis, indexing="ij")
        tops = others.heights(np.stack([x.ravel(), y.ravel()], axis=1), GROWN)[1]
        self._tops = tops.reshape(count, count)

    def tops(self, points: FloatArray) -> FloatArray:
        """(..., 2) -> (...) [m] height of the highest thing at each point."""
        index = np.rint((points - self._low) / STEP).astype(int)
        index = np.clip(index, 0, len(self._tops) - 1)
        return np.asarray(self._tops[index[..., 0], index[..., 1]])

    def lowest(self, positions: FloatArray, yaw: float) -> FloatArray:
        """(M, 2) hand positions -> (M,) [m] the lowest height of the finger tips' middle for a vertical hand."""
        zero = np.zeros(2)
        palm = rectangle(zero, yaw, PALM_HALF, 1.5 * STEP)
        fingers = rectangle(zero, yaw, (0.5 * (FINGER_OUTER - FINGER_INNER), FINGER_HALF), STEP)
        out = 0.5 * (FINGER_OUTER + FINGER_INNER) * np.array([np.cos(yaw), np.sin(yaw)])
        fingers = np.concatenate([fingers + out, fingers - out])
        palm_top = self.tops(positions[:, None] + palm).max(axis=1)
        finger_top = self.tops(positions[:, None] + fingers).max(axis=1)
        return np.asarray(np.maximum(palm_top - PALM, finger_top + TIP) + HAND_CLEARANCE)


def place_cost(world: World, name: str, spot: Spot) -> PlaceCost:
    """What grasps cost at the spot: being far away, and letting the object fall because the hand does not fit."""
    goal, reference = spot.position(world), spot.reference(world, name)
    low, high = world.boxes(name).bounds()
    support_map = SupportMap(world.others(name), goal)
    half = 0.5 * (high - low)[:2]
    footprint = goal[:2] + 0.5 * (low + high)[:2] - reference[:2]
    support = float(support_map.tops(rectangle(footprint, 0.0, (0.6 * half[0], 0.6 * half[1]), STEP)).max())

    def cost(positions: FloatArray, yaw: float) -> FloatArray:
        at_place = positions + (goal - reference)
        at_place[:, 2] = positions[:, 2] - low[2] + support
        drop = np.maximum(0.0, support_map.lowest(at_place[:, :2], yaw) - at_place[:, 2])
        at_place[:, 2] += drop
        return stretch_cost(world, at_place) + DROP_COST * drop

    return cost


def best_spot(world: World, name: str, region: str) -> Spot:
    """The place in a container where the object goes down farthest before the hand meets a wall.

    Args:
        world: the present state.
        name: of the object.
        region: inside of the container.
    """
    site = world.site(region)
    half = np.abs(site.rotation) @ world.region_half(region)
    low, high = world.boxes(name).bounds()
    size = high - low
    others = world.others(name)
    filled = float(site.position[2] - half[2] + size[2])  # [m] height of the object's top when it lies inside
    everything = SupportMap(others, site.position)
    walls = SupportMap(others.reaching_below(filled), site.position)
    best: tuple[float, FloatArray] | None = None
    for u in np.linspace(-1.0, 1.0, 7):
        for v in np.linspace(-1.0, 1.0, 7):
            offset = np.array([u, v]) * np.maximum(half[:2] - INSET, 0.0)
            center = site.position[:2] + offset
            footprint = rectangle(center, 0.0, (0.5 * size[0] + BESIDE, 0.5 * size[1] + BESIDE), STEP)
            support = float(walls.tops(footprint).max())
            covered = float(np.mean(everything.tops(footprint) > max(filled, support)))
            lowest = min(float(everything.lowest(center[None], yaw)[0]) for yaw in (0.0, np.pi / 2))
            drop = max(0.0, lowest - (support + GRIPPED_AT * size[2]))
            cost = support + OVERHANG_COST * covered + HAND_COST * drop
            cost += OFF_MIDDLE_COST * float(np.linalg.norm(offset))
            if best is None or cost < best[0]:
                best = (cost, offset)
    if best is None:
        raise SceneRefused(f"place {name}: no spot in {region}")
    return Spot(region, site.rotation.T @ np.append(best[1], 0.0), centered=True)


def fitting_turn(world: World, name: str, region: str) -> float:
    """[rad] the smallest turn about the vertical after which the object's bounds fit between a region's walls."""
    site = world.site(region)
    half = (np.abs(site.rotation) @ world.region_half(region))[:2]
    boxes = world.boxes(name)
    corners = np.array(np.meshgrid(*[[-1.0, 1.0]] * 3)).reshape(3, -1).T  # (8, 3)
    points = boxes.center[:, None] + np.einsum("gij,gcj->gci", boxes.rotation, corners[None, :] * boxes.half[:, None])
    points = points.reshape(-1, 3)[:, :2]
    best, best_cost = 0.0, np.inf
    for turn in np.radians(np.arange(-90, 90, 3)):
        c, s = np.cos(turn), np.sin(turn)
        size = np.ptp(points @ np.array([[c, s], [-s, c]]), axis=0)
        cost = float(np.maximum(0.5 * size - half, 0.0).sum()) + TURN_COST * abs(float(turn))
        if cost < best_cost:
            best, best_cost = float(turn), cost
    return best


class Place(Phases):
    """Puts the object in the hand on a spot.

    Args:
        name: of the object.
        spot: where it goes.
        yaw: [rad] the hand's closing direction at the spot; None keeps the one it has.

    Attributes:
        lost: the object is no longer in the hand, and was not let go.
    """

    def __init__(self, name: str, spot: Spot, yaw: float | None = None) -> None:
        self.name, self.spot, self.lost = name, spot, False
        self._yaw = yaw
        self._start("carry")
        self._missing = self._escaping = 0
        self._map: SupportMap | None = None

    def step(self, world: World) -> Command | None:
        """The next command; None when the hand has retreated, or the object is lost."""
        self._steps += 1
        if self._phase in ("carry", "lower"):
            self._missing = 0 if world.held(self.name) else self._missing + 1
            if self._missing >= LOST_STEPS:
                self.lost = True
                return None
        phases = {"carry": self._carry, "lower": self._lower, "release": self._release, "retreat": self._retreat}
        return phases[self._phase](world)

    def _carry(self, world: World) -> Command | None:
        gap = self._gap(world)
        if np.linalg.norm(gap) < OVER:
            self._start("lower")
            self._map = SupportMap(world.others(self.name), self.spot.position(world))
            self._turn = self._rotation(world)
            return self._lower(world)
        hand = world.hand
        step_out = way_out(world, self.name) if self._escaping < ESCAPE_LIMIT else None
        self._escaping += int(step_out is not None)
        if step_out is not None and np.linalg.norm(gap) > OVER + 0.05:
            return Command(hand.position + np.append(step_out, 0.0), self._rotation(world), True, 0.5)
        goal = np.append(hand.position[:2] + gap, self._height_over(world))
        return travel(world, goal, self._rotation(world), close=True, carried=self.name)

    def _lower(self, world: World) -> Command | None:
        hand, gap = world.hand, self._gap(world)
        clearance = self._clearance(world)
        lowest = float(self._needed_map().lowest(hand.position[None, :2], yaw_of(hand.rotation))[0])
        down = min(clearance, float(hand.position[2]) - lowest)
        self._watch(down)
        distance = float(np.linalg.norm(gap))
        if (down < SETTLED and distance < OVER) or self._since_best > STALL_STEPS:
            self._start("release")
            self._at = hand.position.copy()
            return self._release(world)
        down = down if distance < 2 * OVER else 0.0
        position = hand.position + np.append(gap, -down)
        return Command(position, self._turn, True, 0.5, precise=True)

    def _release(self, world: World) -> Command | None:
        free = not any(world.finger_contacts(self.name))
        if (self._steps > RELEASE_STEPS and free) or self._steps > RELEASE_LIMIT:
            self._start("retreat")
            return self._retreat(world)
        return Command(self._at, self._turn, False, 0.3)

    def _retreat(self, world: World) -> Command | None:
        goal = self._at + np.array([0.0, 0.0, RETREAT + 0.02])
        if world.hand.position[2] > self._at[2] + RETREAT or self._steps > 30:
            return None
        return Command(goal, self._turn, False, 0.6)

    def _gap(self, world: World) -> FloatArray:
        """(2,) [m] from the object to the spot."""
        return (self.spot.position(world) - self.spot.reference(world, self.name))[:2]

    def _height_over(self, world: World) -> float:
        """[m] height of the hand just above the spot, where going down begins."""
        hand = world.hand.position
        low, high = world.boxes(self.name).bounds()
        spot = self.spot.position(world)
        top = world.top_along(spot[:2], spot[:2], 0.5 * float(np.max(high - low)), self.name)
        return float(top + 0.03 + hand[2] - low[2])

    def _clearance(self, world: World) -> float:
        """[m] how far the object can fall before it touches something."""
        boxes = world.boxes(self.name)
        low, high = boxes.bounds()
        middle, half = 0.5 * (low + high)[:2], 0.5 * (high - low)[:2]
        points = rectangle(middle, 0.0, (float(half[0]), float(half[1])), STEP)
        bottom = boxes.heights(points, 0.001)[0]
        return float((bottom - self._needed_map().tops(points)).min())

    def _needed_map(self) -> SupportMap:
        if self._map is None:
            raise RuntimeError(f"place {self.name}: phase '{self._phase}' without a map")
        return self._map

    def _rotation(self, world: World) -> FloatArray:
        return vertical_hand(yaw_of(world.hand.rotation) if self._yaw is None else self._yaw)
