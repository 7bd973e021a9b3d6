"""Turn a knob: grip its ridge from above and turn the hand with it."""

from __future__ import annotations

import math

import numpy as np

from envs.experts.geometry import rotation_vector, turn, vertical_hand, yaw_of
from envs.experts.goals import Goal, is_met
from envs.experts.grasps import Grasp, Preferences, plan_grasps
from envs.experts.servo import Command
from envs.experts.skills.base import CLOSING, EMPTY, Phases, is_closing, travel
from envs.experts.skills.pick import REST_YAW, hold, nearest_yaw, stretch_cost
from envs.experts.world import World

MARGIN = 0.08  # [rad] past the threshold of the predicate before letting go
LEAD = 0.35  # [rad] the hand's goal is this far ahead of the knob
ALIGNED, ALIGNED_YAW = 0.010, 0.12  # [m], [rad]
AT_GRASP = 0.006  # [m]
AROUND = 0.055  # [m] of opening: half-closed fingers at the grasp are around the knob
STALL_STEPS = 12
RISE = 0.08  # [m]


class TurnKnob(Phases):
    """Turns a hinge whose axis is vertical.

    Args:
        goal: `turnon(fixture)` or `turnoff(fixture)`.
    """

    def __init__(self, goal: Goal) -> None:
        self._goal, self.around = goal, (goal.subject,)
        self._grasp: Grasp | None = None
        self._start("begin")
        self._tries = self._missing = 0

    def step(self, world: World) -> Command | None:
        """The next command; None when the knob is turned and the hand away."""
        self._steps += 1
        joint = world.joints_of(self._goal.subject)[0]
        anchor, axis, body = world.joint_axis(joint)
        wanted = self._wanted(world)
        left = wanted - world.joint(joint)
        done = is_met(self._goal, world) and abs(left) < MARGIN
        if self._phase == "begin":
            self._grasp = self._plan(world, anchor, body)
            at_it = self._grasp is None or np.linalg.norm(self._grasp.position - world.hand.position) < CLOSING
            around = world.gripped(body) or EMPTY < world.opening < AROUND
            self._start("turn" if at_it and around else "reach")
            self._closing = is_closing(world, 0.0)
        if done and self._phase == "reach":
            return None
        if done and self._phase in ("close", "turn"):
            self._start("release")
            self._at, self._with = world.hand.position, world.hand.rotation
        if self._phase in ("release", "retreat"):
            return self._leave(world, body)
        if self._phase == "turn":
            return self._turn(world, anchor, axis, body, left)
        if self._grasp is None:
            self._grasp = self._plan(world, anchor, body)
            if self._grasp is None:
                return hold(world, close=False)
        return self._approach(world, self._grasp, body)

    def _plan(self, world: World, anchor: np.ndarray, body: int) -> Grasp | None:
        preferences = Preferences(REST_YAW, (), lambda positions, _: stretch_cost(world, positions))
        grasps = plan_grasps(world.body_boxes(body), world.others(body=body), anchor, preferences)
        return grasps[self._tries % len(grasps)] if grasps else None

    def _approach(self, world: World, grasp: Grasp, body: int) -> Command | None:
        hand = world.hand
        rotation = vertical_hand(nearest_yaw(world, grasp.yaw, grasp.position))
        turned = float(np.linalg.norm(rotation_vector(rotation @ hand.rotation.T)))
        over = grasp.position + np.array([0.0, 0.0, grasp.engagement + 0.03])
        distance = float(np.linalg.norm(grasp.position - hand.position))
        if self._phase == "reach":
            closing, self._closing = self._closing and distance < CLOSING, False
            aligned = np.linalg.norm((over - hand.position)[:2]) < ALIGNED and turned < ALIGNED_YAW
            if not aligned and not closing:
                return travel(world, over, rotation, close=False)
            self._start("close" if closing else "descend")
        self._watch(distance)
        if self._phase == "descend":
            if distance < AT_GRASP or self._since_best > STALL_STEPS:
                self._start("close")
            return Command(grasp.position, rotation, False, 0.5, precise=True)
        if self._steps > 1 and world.gripped(body):  # at once: a pause that only a counter ends cannot be learned
            self._start("turn")
        elif self._steps > 16:
            self._retry()
        return Command(grasp.position, rotation, True, 0.3, precise=True)

    def _turn(self, world: World, anchor: np.ndarray, axis: np.ndarray, body: int, left: float) -> Command | None:
        self._watch(abs(left))
        if not world.gripped(body):
            self._missing += 1
        else:
            self._missing = 0
        if self._missing > 4 or self._since_best > 2 * STALL_STEPS:
            self._retry()
            return hold(world, close=False)
        ahead = math.copysign(min(abs(left) + 0.15, LEAD), left)
        rotation = turn(axis, ahead)
        hand = world.hand
        position = anchor + rotation @ (hand.position - anchor)
        upright = vertical_hand(yaw_of(rotation @ hand.rotation))
        return Command(position, upright, True, 0.4)

    def _leave(self, world: World, body: int) -> Command | None:
        if self._phase == "release":
            if self._steps > 5 and not world.gripped(body):
                self._start("retreat")
            return Command(self._at, self._with, False, 0.3)
        if world.hand.position[2] > self._at[2] + RISE - 0.02 or self._steps > 25:
            return None
        return Command(self._at + np.array([0.0, 0.0, RISE]), self._with, False, 0.6)

    def _wanted(self, world: World) -> float:
        """[rad] where the knob is to be, a little past the predicate's threshold."""
        ranges = world.articulation(self._goal.subject)
        if self._goal.predicate == "turnon":
            return min(ranges["default_turnon_ranges"]) + MARGIN
        return max(ranges["default_turnoff_ranges"]) - 0.002

    def _retry(self) -> None:
        self._tries += 1
        self._grasp = None
        self._start("reach")
