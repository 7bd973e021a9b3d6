"""Pick an object up: plan a grasp, go there, close, lift; after a failure, another grasp."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from envs.experts.geometry import rotation_vector, vertical_hand, wrap, yaw_of
from envs.experts.grasps import Grasp, Preferences, plan_grasps
from envs.experts.servo import Command
from envs.experts.skills.base import OFF_TURN, OPEN, Phases, is_closing, travel
from envs.experts.world import STRETCH_COMFORT, STRETCH_LIMIT, Pose, World
from vla.types import FloatArray

REST_YAW = math.pi / 2  # [rad] the closing axis at rest; both wrist limits are then equally far
WRIST_CENTER = math.radians(48)  # middle of the wrist's range, seen from rest
WRIST_MIDDLE = math.radians(15)  # turns near this one are preferred: rest, a little towards the middle
HOVER = 0.03  # [m] above the object before going down
ALIGNED, ALIGNED_YAW = 0.010, 0.12  # [m], [rad] aligned well enough to go down
CONE = 0.25  # [m] farther from the line for each metre above the grasp, a hand on its way down goes on
AT_GRASP = 0.005  # [m] near enough to close
STALLED_AT_GRASP = 0.015  # [m] near enough to close when something stops the hand
STALL_STEPS = 10  # steps of the descent without progress
MOVED, TURNED = 0.010, 0.15  # [m], [rad] the object has moved: plan again
RESTING_SPEED = 0.05  # [m/s] slower than this counts as at rest
LOOK_AGAIN = 15  # steps between two plans when there was no grasp
SINK = 0.03  # [m] ahead of the hand when it lowers what hangs on it
PATIENCE = 30  # steps to wait for an object to come to rest
UPRIGHT = -0.8  # the hand's axis points down at least this much: its yaw means something
LIFT = 0.05  # [m] how high to lift before trusting the grasp
HELD_STEPS = 3  # steps that both fingers need to grip what they touch
CLOSED_STEPS = 8  # steps that open fingers need to turn round and get going
CLOSED_RATE = 0.0006  # [m] the fingers move less than this in a step: they are closed
CLOSE_LIMIT = 18  # steps after which the gripper has closed on whatever there is
REACH_STALL = 25  # steps without progress above the grasp: an arm joint is at its limit
TURN_LENGTH = 0.1  # [m] a radian of turning counts as this much distance
REACH_LIMIT = 160  # steps to get above a grasp before another one is tried
STRETCH_COST = 0.6  # [m] of grasp score a metre of stretch beyond comfort
AROUND, AROUND_TURN = 0.08, 0.7  # [m], [rad] grasps this near to the hand are preferred
NEAREST = 0.015  # [m] of grasp score for the one where the hand is
UNREACHABLE = 0.05  # [m] of grasp score for a pose beyond the limit

# Given hand positions (M, 3) and a yaw, what placing from that grasp costs (M,).
PlaceCost = Callable[[FloatArray, float], FloatArray]


class Pick(Phases):
    """Brings one object into the hand.

    Args:
        name: of the object.
        place_cost: gives, at planning time, what grasps cost at the place where the object goes.
        goes_to: gives that place (3,) [m].
    """

    def __init__(
        self,
        name: str,
        place_cost: Callable[[], PlaceCost] | None = None,
        goes_to: Callable[[], FloatArray] | None = None,
    ) -> None:
        self.name = name
        self._goes_to = goes_to
        self._place_cost = place_cost
        self._failed: list[tuple[FloatArray, float]] = []  # grasps in the object's frame
        self._start("begin")
        self._yaw = REST_YAW
        self._grasp: Grasp | None = None
        self._planned_at: Pose | None = None
        self.hopeless = False  # no grasp was found at all

    @property
    def aim(self) -> FloatArray | None:
        """(3,) [m] where the hand will close; None before there is a plan."""
        return None if self._grasp is None else self._grasp.position

    def _start(self, phase: str) -> None:
        super()._start(phase)
        self._opening = math.inf

    def step(self, world: World) -> Command | None:
        """The next command; None when the object is in the hand and lifted."""
        self._steps += 1
        if self._phase == "begin":
            self._begin(world)
        if self._phase == "reach" and world.held(self.name) and world.opening < 0.075:
            self._start("lift")
            self._lift_from = world.hand
        if self._phase == "reach" and world.touched_by_hand(self.name) and not world.supported(self.name):
            return self._unhook(world)
        if self._phase in ("reach", "descend") and not self._have_plan(world):
            return hold(world, close=False) if not self.hopeless else self._make_room(world)
        phases = {"reach": self._reach, "descend": self._descend, "close": self._close, "lift": self._lift}
        return phases[self._phase](world)

    def _begin(self, world: World) -> None:
        """A hand on its way down goes on, and so do fingers that are closing: a rim is not felt until they are shut."""
        self._start("reach")
        if world.held(self.name) or not self._have_plan(world):
            return
        grasp, hand = self._needed(), world.hand
        gap = hand.position - grasp.position
        turned = float(np.linalg.norm(rotation_vector(self._rotation(world) @ hand.rotation.T)))
        if turned > OFF_TURN:
            return
        if is_closing(world, float(np.linalg.norm(gap))):
            self._start("close")
            return
        beside = ALIGNED + CONE * max(0.0, float(gap[2]))
        if world.opening > OPEN and gap[2] < grasp.engagement + HOVER and np.linalg.norm(gap[:2]) < beside:
            self._start("descend")

    def _unhook(self, world: World) -> Command:
        """The object hangs on the open hand: lower it until something carries it."""
        self._grasp = None
        hand = world.hand
        return Command(hand.position - np.array([0.0, 0.0, SINK]), hand.rotation, False, 0.3)

    def _make_room(self, world: World) -> Command:
        """No grasp was found: rise a little, so that the next look comes from another state."""
        hand = world.hand
        up = hand.position + np.array([0.0, 0.0, 0.03 if world.stretch(hand.position) < STRETCH_COMFORT else 0.0])
        return Command(up, vertical_hand(upright_yaw(world)), False, 0.3)

    # Phases.

    def _reach(self, world: World) -> Command | None:
        grasp, hand = self._needed(), world.hand
        rotation = self._rotation(world)
        over = grasp.position + np.array([0.0, 0.0, grasp.engagement + HOVER])
        turned = float(np.linalg.norm(rotation_vector(rotation @ hand.rotation.T)))
        if np.linalg.norm(over[:2] - hand.position[:2]) < ALIGNED and turned < ALIGNED_YAW and world.opening > OPEN:
            self._start("descend")
            return self._descend(world)
        self._watch(float(np.linalg.norm(over - hand.position)) + TURN_LENGTH * turned)
        if self._since_best > REACH_STALL or self._steps > REACH_LIMIT:
            self._fail(world)
        return travel(world, over, rotation, close=False)

    def _descend(self, world: World) -> Command | None:
        grasp = self._needed()
        error = grasp.position - world.hand.position
        distance = float(np.linalg.norm(error))
        self._watch(distance)
        stalled = self._since_best >= STALL_STEPS
        if distance < AT_GRASP or (stalled and distance < STALLED_AT_GRASP):
            self._start("close")
            return self._close(world)
        if stalled:
            self._fail(world)
        speed = 0.6 if distance > 0.03 else 0.4
        return Command(grasp.position, self._rotation(world), False, speed, precise=True)

    def _close(self, world: World) -> Command | None:
        rate, self._opening = self._opening - world.opening, world.opening
        held = world.held(self.name)
        steps = HELD_STEPS if held else CLOSED_STEPS
        if (self._steps > steps and rate < CLOSED_RATE) or self._steps > CLOSE_LIMIT:
            if held:
                self._start("lift")
                self._lift_from = world.hand
                return self._lift(world)
            self._fail(world)
            return hold(world, close=False)
        grasp = self._grasp
        position = world.hand.position if grasp is None else grasp.position
        return Command(position, self._rotation(world), True, 0.4, precise=True)

    def _lift(self, world: World) -> Command | None:
        start, hand = self._lift_from.position, world.hand
        if not world.held(self.name):
            self._since_best += 1
            if self._since_best > 3:
                self._fail(world)
                return hold(world, close=False)
        else:
            self._since_best = 0
        if hand.position[2] - start[2] > 0.7 * LIFT or not world.supported(self.name):
            return None
        if self._steps > 40:
            self._fail(world)
        rotation = vertical_hand(yaw_of(hand.rotation))
        return Command(start + np.array([0.0, 0.0, LIFT + 0.02]), rotation, True, 0.6)

    # Planning.

    def _have_plan(self, world: World) -> bool:
        """Whether there is a grasp that still fits; makes one when the object is at rest."""
        pose = world.pose(self.name)
        if self._grasp is not None and self._planned_at is not None:
            moved = float(np.linalg.norm(pose.position - self._planned_at.position))
            turned = float(np.linalg.norm(rotation_vector(pose.rotation @ self._planned_at.rotation.T)))
            if moved < MOVED and turned < TURNED:
                return True
            self._grasp = None
            self._start("reach")
        if world.speed(self.name) > RESTING_SPEED and self._steps < PATIENCE:
            return False
        if self.hopeless and self._steps < LOOK_AGAIN:
            return False
        if self.hopeless:
            self._failed.clear()
        self._grasp = self._plan(world, pose)
        self._planned_at = pose
        if self._grasp is not None:
            then = self._grasp.position if self._goes_to is None else self._goes_to()
            self._yaw = nearest_yaw(world, self._grasp.yaw, self._grasp.position, then)
        self._start("reach")
        self.hopeless = self._grasp is None
        return not self.hopeless

    def _plan(self, world: World, pose: Pose) -> Grasp | None:
        turn = math.atan2(pose.rotation[1, 0], pose.rotation[0, 0])
        failed = [(pose.point(local), yaw + turn) for local, yaw in self._failed]

        at_place = self._place_cost() if self._place_cost is not None else None

        def cost(positions: FloatArray, yaw: float) -> FloatArray:
            total = stretch_cost(world, positions) - _nearness(world.hand, positions, yaw)
            return total if at_place is None else total + at_place(positions, yaw)

        preferences = Preferences(REST_YAW, failed, cost)
        grasps = plan_grasps(world.boxes(self.name), world.others(self.name), world.mass_center(self.name), preferences)
        return grasps[0] if grasps else None

    def _fail(self, world: World) -> None:
        """Remember that the grasp failed, and start over."""
        if self._grasp is not None and self._planned_at is not None:
            turn = math.atan2(self._planned_at.rotation[1, 0], self._planned_at.rotation[0, 0])
            local = self._planned_at.inverse_point(self._grasp.position)
            self._failed.append((local, self._grasp.yaw - turn))
        self._grasp = None
        self._start("reach")

    def _needed(self) -> Grasp:
        if self._grasp is None:
            raise RuntimeError(f"pick {self.name}: phase '{self._phase}' without a grasp")
        return self._grasp

    def _rotation(self, world: World) -> FloatArray:
        """The hand's orientation at the grasp, or an upright one when there is none."""
        return vertical_hand(upright_yaw(world) if self._grasp is None else on_the_way(world, self._yaw))


def _nearness(hand: Pose, positions: FloatArray, yaw: float) -> FloatArray:
    """(M,) [m] of grasp score for hand positions (M, 3) that are near the hand: what it is about to grip, it grips."""
    if hand.rotation[2, 2] > UPRIGHT:
        return np.zeros(len(positions))
    turn = abs((yaw - yaw_of(hand.rotation) + math.pi / 2) % math.pi - math.pi / 2)
    near = np.maximum(0.0, 1.0 - np.linalg.norm(positions - hand.position, axis=1) / AROUND)
    return np.asarray(NEAREST * near * max(0.0, 1.0 - turn / AROUND_TURN))


def upright_yaw(world: World) -> float:
    """[rad] the closing direction of the hand; that of rest when the hand is far from vertical."""
    rotation = world.hand.rotation
    return yaw_of(rotation) if rotation[2, 2] < UPRIGHT else REST_YAW


def nearest_yaw(world: World, yaw: float, *positions: FloatArray) -> float:
    """`yaw` [rad] or its opposite: the hand is symmetric, the wrist's range is not.

    Args:
        world: the present state.
        yaw: closing direction.
        positions: (3,) [m] each; where the hand will have this direction. The worst of them decides.
    """

    def worst(candidate: float) -> float:
        return max(abs(wrist_turn(world, candidate, position) - WRIST_MIDDLE) for position in positions)

    return min((wrap(yaw), wrap(yaw + math.pi)), key=worst)


def wrist_turn(world: World, yaw: float, position: FloatArray) -> float:
    """[rad] how far the wrist is turned from rest, in the range that the joint has, about -115 to +210 degrees."""
    bearing = math.atan2(position[1] - world.base[1], position[0] - world.base[0])
    return wrap(yaw - REST_YAW - bearing - WRIST_CENTER) + WRIST_CENTER


def on_the_way(world: World, yaw: float) -> float:
    """[rad] `yaw`, or a direction a quarter turn from here, so that a large turn goes the way that the wrist allows."""
    hand = world.hand.position
    now = upright_yaw(world)
    turn = wrist_turn(world, yaw, hand) - wrist_turn(world, now, hand)
    return yaw if abs(turn) < math.pi / 2 else now + math.copysign(math.pi / 2, turn)


def stretch_cost(world: World, positions: FloatArray) -> FloatArray:
    """(M,) [m] what being far from the shoulder costs at hand positions (M, 3)."""
    stretch = world.stretch(positions)
    cost = STRETCH_COST * np.maximum(0.0, stretch - STRETCH_COMFORT)
    return np.asarray(cost + UNREACHABLE * (stretch > STRETCH_LIMIT))


def hold(world: World, *, close: bool) -> Command:
    """Stay here."""
    hand = world.hand
    return Command(hand.position, hand.rotation, close, 0.3)
