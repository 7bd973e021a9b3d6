"""Drag an object out of where a drawer will open above it."""

from __future__ import annotations

import math

import numpy as np

from envs.experts.geometry import Boxes, concatenate, vertical_hand
from envs.experts.goals import Goal
from envs.experts.grasps import TIP, Preferences, plan_grasps
from envs.experts.servo import Command
from envs.experts.skills.base import Phases, travel
from envs.experts.skills.drawer import MARGIN, travel_range
from envs.experts.skills.pick import REST_YAW
from envs.experts.world import STRETCH_COMFORT, World
from vla.types import FloatArray

DISTANCES = np.arange(0.03, 0.16, 0.02)  # [m] how far the object may be dragged
OVERSHOOT = 0.008  # [m] the drawer coasts this much farther than asked
BESIDE = 0.006  # [m] sideways clearance from other things
UNDER = 0.035  # [m] an object may reach this far under the drawer and still be gripped
FROM_RIM = 0.016  # [m] the tips go down this far inside a hollow object's rim
HOLLOW = 0.015  # [m] an object is hollow when it is this much lower there than at its top
DEEP = 0.028  # [m] the tips go this far below the object's top
BEHIND = 0.020  # [m] the tips push a solid object from this far behind it
ARRIVED = 0.012  # [m]
ALIGNED = 0.010  # [m]
AT_DEPTH = 0.008  # [m]
CLOSED = 0.01  # [m] of opening
STALL_STEPS = 12
RISE = 0.05  # [m]


def place_beside_drawer(world: World, name: str, opened: Goal, enough: float) -> FloatArray | None:
    """The nearest (2,) [m] place for an object that the drawer covers, or would once it is open.

    Args:
        world: the present state.
        name: of the object.
        opened: the goal that opens the drawer.
        enough: part of the way to where this goal begins to hold, to which the drawer is opened.

    Returns:
        None when the object can be gripped all the same, is held, or has no better place.
    """
    if world.held(name):
        return None
    joint, opens, wanted = travel_range(world, opened)
    _, axis, body = world.joint_axis(joint)
    drawer = world.body_boxes(body)
    left = opens * (enough * (wanted - opens * MARGIN) - world.joint(joint))  # [m]
    shift = (left + OVERSHOOT if left > 0.0 else 0.0) * opens * axis
    drawer = Boxes(drawer.center + shift, drawer.rotation, drawer.half)
    boxes, others = world.boxes(name), world.others(name, body=body)
    preferences = Preferences(REST_YAW)
    if plan_grasps(boxes, concatenate([others, drawer]), world.mass_center(name), preferences):
        return None
    low, high = boxes.bounds()
    middle, half = 0.5 * (low + high)[:2], 0.5 * (high - low)[:2] + BESIDE
    beside = others.above(float(low[2]) + 0.004)
    solid = beside.reaching_below(float(high[2]))
    for distance in DISTANCES:
        for angle in np.arange(16) * np.pi / 8:
            step = distance * np.array([math.cos(angle), math.sin(angle)])
            gap = np.abs(solid.center[:, :2] - middle - step) - solid.reach[:, :2] - half
            under = np.abs(drawer.center[:, :2] - middle - step) - drawer.reach[:, :2] - half + UNDER
            reachable = world.stretch(np.append(middle + step, low[2])) < STRETCH_COMFORT
            free = not np.any(np.all(gap < 0.0, axis=1)) and not np.any(np.all(under < 0.0, axis=1))
            if reachable and free:
                return np.asarray(middle + step)
    return None


class DragOut(Phases):
    """Drags an object to a place near by with closed finger tips.

    Args:
        name: of the object.
        target: (2,) [m] where the middle of its bounds goes.
    """

    def __init__(self, name: str, target: FloatArray) -> None:
        self._name, self._target, self.around = name, target, (name,)
        self._start("begin")

    def step(self, world: World) -> Command | None:
        """The next command; None when the object is there, or does not move any more."""
        self._steps += 1
        boxes = world.boxes(self._name)
        low, high = boxes.bounds()
        middle = 0.5 * (low + high)
        gap = self._target - middle[:2]
        left = float(np.linalg.norm(gap))
        hand, rotation = world.hand.position, vertical_hand(REST_YAW)
        if self._phase == "rise":
            if hand[2] > self._at[2] + RISE or self._steps > 20:
                return None
            return Command(self._at + np.array([0.0, 0.0, RISE + 0.03]), rotation, True, 0.7)
        if left < ARRIVED:
            if self._phase in ("begin", "reach"):
                return None
            return self._rise(world)
        contact = self._contact(boxes, middle, gap / left, float(high[2]))
        if self._phase == "begin":
            at_it = np.linalg.norm((contact - hand)[:2]) < ALIGNED and hand[2] - contact[2] < AT_DEPTH
            self._start("drag" if at_it and world.opening < CLOSED else "reach")
        if self._phase == "reach":
            over = contact + np.array([0.0, 0.0, DEEP + 0.02])
            if np.linalg.norm(over[:2] - hand[:2]) < ALIGNED and world.opening < CLOSED:
                self._start("down")
            elif self._steps > 100:
                return None
            return travel(world, over, rotation, close=True)
        if self._phase == "down":
            if hand[2] - contact[2] < AT_DEPTH or self._steps > 30:
                self._start("drag")
            return Command(contact, rotation, True, 0.5, precise=True)
        self._watch(left)
        if self._since_best > STALL_STEPS:
            return self._rise(world)
        return Command(np.append(hand[:2] + gap * (1.0 + 0.02 / left), contact[2]), rotation, True, 0.5)

    def _rise(self, world: World) -> Command:
        self._start("rise")
        self._at = world.hand.position
        return Command(self._at, world.hand.rotation, True, 0.5)

    def _contact(self, boxes: Boxes, middle: FloatArray, way: FloatArray, top: float) -> FloatArray:
        """(3,) [m] hand position with the tips inside the leading rim, or behind a solid object."""
        samples = np.linspace(0.0, 0.15, 76)  # [m] along the way from the middle, 2 mm apart
        heights = boxes.heights(middle[:2] + samples[:, None] * way, 0.001)[1]
        edge = float(samples[heights > top - 0.006].max(initial=0.02))
        inside = edge - FROM_RIM
        floor = float(boxes.heights((middle[:2] + inside * way)[None], 0.001)[1][0])
        if inside > 0.0 and floor < top - HOLLOW:
            depth = max(top - DEEP, floor + 0.004)
            return np.append(middle[:2] + inside * way, depth + TIP)
        back = boxes.heights(middle[:2] - samples[:, None] * way, 0.001)[1]
        edge = float(samples[back > -1.0].max(initial=0.02))
        return np.append(middle[:2] - (edge + BEHIND) * way, max(top - DEEP, middle[2]) + TIP)
