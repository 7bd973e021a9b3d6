"""Put an object through a side opening, such as a microwave's: grip it with a tilted hand, slide it in."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from envs.experts.geometry import hand_frame, rotation_vector, yaw_of
from envs.experts.grasps import Preferences, plan_grasps
from envs.experts.servo import Command
from envs.experts.skills.base import BESIDE_LINE, CLOSING, OFF_TURN, Phases, is_closing, off_line, travel
from envs.experts.skills.pick import hold
from envs.experts.world import Pose, World
from vla.types import FloatArray

TILTS = tuple(math.radians(angle) for angle in (65, 75, 55))  # of the hand, from straight down
DOWN = np.array([0.0, 0.0, -1.0])
STANDOFF = 0.08  # [m] before the grasp
OUTSIDE = 0.03  # [m] the hand shall grip at least this far on the near side of the object's middle
INSIDE_COST = 1.0  # [m] of grasp score a metre nearer than that
SKEW_COST = 0.1  # [m] of grasp score a radian of skewness of the closing axis
TROUBLE_COST = 0.02  # [m] of grasp score for each contact the arm would have
FRONT = 0.06  # [m] between the object and the opening before sliding in
RAISED = 0.012  # [m] above the inner floor while sliding in
DEPTH = -0.3  # where in the region the object's origin goes: parts of its half depth from its middle
ALIGNED, TURNED = 0.012, 0.15  # [m], [rad]
AT_GRASP, AT_END = 0.006, 0.012  # [m]
INSIDE = 0.05  # [m] an object that stands no farther than this from its end stands inside
LIFT = 0.06  # [m]
STALL_STEPS = 12
LIMIT = 150  # steps for one phase
RETREAT = 0.14  # [m]


@dataclass(frozen=True, eq=False)
class Opening:
    """The inside of a container that is entered from the side.

    Attributes:
        inward: (3,) horizontal unit vector.
        side: (3,) horizontal unit vector across it.
        middle: (3,) [m] middle of the floor between the side walls, at the region's middle depth.
        half_depth: [m] of the region along `inward`.
    """

    inward: FloatArray
    side: FloatArray
    middle: FloatArray
    half_depth: float


def find_opening(world: World, region: str) -> Opening | None:
    """The opening of a roofed region that faces the robot most; None for a region that is open from above."""
    site = world.site(region)
    half = np.abs(site.rotation) @ world.region_half(region)
    owner = world.owner(region)
    if owner is None:
        return None
    walls = world.fixed_boxes(owner)
    low, high = walls.center - walls.reach, walls.center + walls.reach
    over = np.all((low[:, :2] < site.position[:2]) & (high[:, :2] > site.position[:2]), axis=1)
    if not np.any(over & (low[:, 2] > site.position[2])):
        return None
    floor = float(high[:, 2][over & (high[:, 2] < site.position[2])].max(initial=site.position[2] - half[2]))
    best: tuple[float, FloatArray] | None = None
    for inward in (np.array(v) for v in ([1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0], [0, -1.0, 0])):
        path = site.position - np.linspace(0.0, 0.3, 31)[:, None] * inward
        if np.any(np.all((path[:, None] > low) & (path[:, None] < high), axis=2)):
            continue
        toward = float((world.base - site.position) @ -inward)
        if best is None or toward > best[0]:
            best = (toward, inward)
    if best is None:
        return None
    inward = best[1]
    side = np.cross(inward, -DOWN)
    return Opening(inward, side, _between_walls(site.position, side, low, high, floor), float(half @ np.abs(inward)))


def _between_walls(point: FloatArray, side: FloatArray, low: FloatArray, high: FloatArray, floor: float) -> FloatArray:
    """(3,) [m] on the floor below `point`, midway between the nearest walls to both sides."""
    across = np.abs(side) > 0.5
    beside = np.all((low < point) & (high > point) | across, axis=1)
    left = float(high[beside][:, across].max(initial=-np.inf, where=high[beside][:, across] < point[across]))
    right = float(low[beside][:, across].min(initial=np.inf, where=low[beside][:, across] > point[across]))
    middle = point.copy()
    if np.isfinite(left) and np.isfinite(right):
        middle[across] = 0.5 * (left + right)
    middle[2] = floor
    return middle


class Insert(Phases):
    """Grips an object from the side that faces away from the container and slides it in.

    Args:
        name: of the object.
        region: where it goes.
        opening: of that region.
    """

    def __init__(self, name: str, region: str, opening: Opening) -> None:
        self._name, self._region, self._opening = name, region, opening
        self._failed: list[tuple[FloatArray, float]] = []
        self._grasp: Pose | None = None
        self._seen = Pose(np.zeros(3), np.eye(3))
        self._missing = 0
        self._start("begin")

    def step(self, world: World) -> Command | None:
        """The next command; None when the object is inside and the hand outside."""
        self._steps += 1
        self._opening = find_opening(world, self._region) or self._opening
        if self._phase == "begin":
            self._begin(world)
        if self._phase in ("reach", "approach", "close"):
            return self._pick(world)
        if self._phase in ("lift", "front", "slide", "lower"):
            if not world.held(self._name):
                self._missing += 1
                if self._missing > 4:
                    self._again(world)
                    return hold(world, close=False)
            else:
                self._missing = 0
            return self._carry(world)
        return self._leave(world)

    def _begin(self, world: World) -> None:
        """An object that is in the hand is let go inside, and carried on when it is in the air."""
        self._start("reach")
        self._first = not world.held(self._name)
        if self._first:
            return
        gap, inward = self._gap(world), self._opening.inward
        aside = float(np.linalg.norm(gap - (gap @ inward) * inward))
        if aside < BESIDE_LINE and float(gap @ inward) < (INSIDE if world.supported(self._name) else AT_END):
            self._start("release")
            self._at, self._with = world.hand.position, world.hand.rotation
        elif not world.supported(self._name):
            self._take(world)
            back = self._way_to_front(world)
            depth = float(back @ inward)
            entering = depth < ALIGNED and float(np.linalg.norm(back - depth * inward)) < BESIDE_LINE
            self._start("slide" if entering else "front")

    def _first_phase(self, world: World, grasp: Pose) -> str:
        """What is left to do before the object is in the hand."""
        depth, aside = off_line(world.hand.position, grasp.position, -grasp.rotation[:, 2])
        turned = float(np.linalg.norm(rotation_vector(grasp.rotation @ world.hand.rotation.T)))
        if aside > BESIDE_LINE or turned > OFF_TURN or not -CLOSING < depth < STANDOFF + ALIGNED:
            return "reach"
        return "close" if is_closing(world, depth) else "approach"

    def _pick(self, world: World) -> Command | None:
        pose = world.pose(self._name)
        first, self._first = self._first, False
        if self._phase == "reach" and world.held(self._name):
            self._take(world)
            return self._carry(world)
        if self._grasp is None or np.linalg.norm(pose.position - self._seen.position) > 0.012:
            if world.speed(self._name) > 0.05 and self._steps < 30:
                return hold(world, close=False)
            self._seen, self._grasp = pose, self._plan(world)
            self._start("reach")
            if self._grasp is None:
                return hold(world, close=False)
        grasp, hand = self._grasp, world.hand
        approach = grasp.rotation[:, 2]
        if first:
            self._start(self._first_phase(world, grasp))
        before = grasp.position - STANDOFF * approach
        if self._phase == "reach":
            turned = float(np.linalg.norm(rotation_vector(grasp.rotation @ hand.rotation.T)))
            distance = float(np.linalg.norm(before - hand.position))
            self._watch(distance + 0.1 * turned)
            if distance < ALIGNED and turned < TURNED:
                self._start("approach")
            elif self._since_best > 2 * STALL_STEPS or self._steps > LIMIT:
                self._again(world)
            return travel(world, before, grasp.rotation, close=False)
        distance = float(np.linalg.norm(grasp.position - hand.position))
        self._watch(distance)
        if self._phase == "approach":
            if distance < AT_GRASP or (self._since_best > STALL_STEPS and distance < 0.02):
                self._start("close")
            elif self._since_best > STALL_STEPS:
                self._again(world)
            return Command(grasp.position, grasp.rotation, False, 0.4, precise=True)
        if self._steps > 9:
            if world.held(self._name):
                self._take(world)
            elif self._steps > 18:
                self._again(world)
        return Command(grasp.position, grasp.rotation, True, 0.3, precise=True)

    def _take(self, world: World) -> None:
        self._start("lift")
        self._from, self._with, self._missing = world.hand.position, world.hand.rotation, 0
        if self._grasp is not None:
            self._with = self._grasp.rotation

    def _carry(self, world: World) -> Command | None:
        hand, opening = world.hand.position, self._opening
        gap = self._gap(world)
        if self._phase == "lift":
            if hand[2] > self._from[2] + LIFT - 0.015 or self._steps > 30:
                self._start("front")
            return Command(self._from + np.array([0.0, 0.0, LIFT]), self._with, True, 0.5)
        if self._phase == "front":
            back = self._way_to_front(world)
            if np.linalg.norm(back) < ALIGNED:
                self._start("slide")
            return travel(world, hand + back, self._with, close=True, carried=self._name)
        if self._phase == "slide":
            left = float(gap @ opening.inward)
            self._watch(abs(left))
            if left < AT_END or self._since_best > 2 * STALL_STEPS:
                self._start("lower")
            return Command(hand + gap, self._with, True, 0.4)
        if world.supported(self._name) or self._steps > 20:
            self._start("release")
            self._at = hand
        return Command(hand - np.array([0.0, 0.0, 0.02]), self._with, True, 0.2)

    def _gap(self, world: World) -> FloatArray:
        """(3,) [m] from the object's origin to its place, a little above the floor."""
        opening = self._opening
        gap = opening.middle + DEPTH * opening.half_depth * opening.inward - world.pose(self._name).position
        gap[2] = opening.middle[2] + RAISED - world.boxes(self._name).bounds()[0][2]
        return np.asarray(gap)

    def _way_to_front(self, world: World) -> FloatArray:
        """(3,) [m] how far the object is from where it stands before the opening, ready to slide in."""
        opening, gap = self._opening, self._gap(world)
        low, high = world.boxes(self._name).bounds()
        toward = np.abs(opening.inward)
        ahead = float(high @ toward) if opening.inward.sum() > 0 else float(-(low @ toward))
        entrance = float((opening.middle - opening.half_depth * opening.inward) @ opening.inward) - FRONT
        return np.asarray(gap + (entrance - ahead - gap @ opening.inward) * opening.inward)

    def _leave(self, world: World) -> Command | None:
        if self._phase == "release":
            if (self._steps > 6 and not any(world.finger_contacts(self._name))) or self._steps > 14:
                self._start("retreat")
            return Command(self._at, self._with, False, 0.3)
        goal = self._at - (RETREAT + 0.02) * self._opening.inward
        if (self._at - world.hand.position) @ self._opening.inward > RETREAT or self._steps > 40:
            return None
        return Command(goal, self._with, False, 0.5)

    def _plan(self, world: World) -> Pose | None:
        """The best grasp over a few tilts of the hand, with an arm that fits."""
        best: tuple[float, Pose] | None = None
        for tilt in TILTS:
            approach = math.sin(tilt) * self._opening.inward + math.cos(tilt) * DOWN
            upright = hand_frame(DOWN, self._opening.side) @ hand_frame(approach, self._opening.side).T
            for score, pose in self._tilted(world, upright)[:3]:
                before = pose.position - STANDOFF * pose.rotation[:, 2]
                trouble = sum(world.trouble(at, pose.rotation, self._name) for at in (before, pose.position))
                total = score - TROUBLE_COST * trouble
                if best is None or total > best[0]:
                    best = (total, pose)
        return None if best is None else best[1]

    def _tilted(self, world: World, upright: FloatArray) -> list[tuple[float, Pose]]:
        """Grasps with a hand that is vertical after the world was turned by `upright` (3, 3)."""
        target = world.boxes(self._name).turned(upright)
        others = world.others(self._name).turned(upright)
        center = upright @ world.mass_center(self._name)
        inward = upright @ self._opening.inward
        side = yaw_of(hand_frame(DOWN, upright @ self._opening.side))

        def cost(positions: FloatArray, yaw: float) -> FloatArray:
            outside = (center - positions) @ inward
            skew = abs((yaw - side + math.pi / 2) % math.pi - math.pi / 2)
            return np.asarray(INSIDE_COST * np.maximum(0.0, OUTSIDE - outside) + SKEW_COST * skew)

        failed = [(upright @ self._seen.point(local), yaw) for local, yaw in self._failed]
        grasps = plan_grasps(target, others, center, Preferences(side, failed, cost))
        found = []
        for grasp in grasps:
            closing = np.array([math.cos(grasp.yaw), math.sin(grasp.yaw), 0.0])
            frames = [upright.T @ hand_frame(DOWN, sign * closing) for sign in (1.0, -1.0)]
            now = world.hand.rotation
            rotation = min(frames, key=lambda frame: float(np.linalg.norm(rotation_vector(frame @ now.T))))
            found.append((grasp.score, Pose(upright.T @ grasp.position, rotation)))
        return found

    def _again(self, world: World) -> None:
        """Remember that the grasp failed, and start over."""
        if self._grasp is not None:
            self._failed.append((self._seen.inverse_point(self._grasp.position), 0.0))
        self._grasp = None
        self._start("reach")
