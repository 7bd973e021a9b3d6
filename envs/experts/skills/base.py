"""What skills share: the interface, and moving above everything that is in the way."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from envs.experts.geometry import Boxes
from envs.experts.grasps import PALM, PALM_HALF, TIP
from envs.experts.servo import Command
from envs.experts.world import STRETCH_LIMIT, World
from vla.types import FloatArray

BESIDE_LINE, OFF_TURN = 0.035, 0.25  # [m], [rad] off the line of an approach: a new skill goes on with it
CLOSING = 0.02  # [m] half-closed fingers this near to the grasp are closing on it
OPEN = 0.072  # [m] wider than this the fingers are not closing
EMPTY = 0.003  # [m] narrower than this they hold nothing
PROGRESS = 0.001  # [m] or [rad] that count as progress in one step; slower is a stall
FINGER_RADIUS = 0.06  # [m] the open fingers stay within this distance of the hand's axis
HAND_RADIUS = 0.11  # [m] so does the hand
CLEARANCE = 0.022  # [m] travel this far above things
NEAR = 0.08  # [m] of the path that must be clear before moving sideways: four steps of braking and a margin
BLEND = 0.03  # [m] sideways motion starts this far below the clear height, and grows
OVERHANG_MARGIN = 0.012  # [m] sideways clearance from things above the object
BESIDE = 0.006  # [m] things must reach this far above the object's foot to stop it
WAYS_OUT = (0.03, 0.05, 0.07, 0.09, 0.12, 0.15, 0.18)  # [m] sideways steps that are tried
ARRIVED = 0.03  # [m] this close to the goal the clear height no longer matters


class Skill(Protocol):
    """Brings something about, deciding anew at every step.

    Attributes:
        around: objects and fixtures that the fingers may be around when it begins; from others they withdraw first.
    """

    around: tuple[str, ...]

    def step(self, world: World) -> Command | None:
        """The next command; None when there is nothing more to do."""


class Phases:
    """A skill that goes through named phases and notices when one makes no progress.

    A new skill is in the phase "begin": its first step reads off the state how much is done already. Whoever asks the
    expert in the middle of a motion, as dataset aggregation does, then hears what a demonstration would show there.
    """

    around: tuple[str, ...] = ()

    def _start(self, phase: str) -> None:
        """Enter a phase."""
        self._phase, self._steps = phase, 0
        self._best, self._since_best = math.inf, 0

    def _watch(self, distance: float) -> None:
        """Count the steps since `distance`, [m] or [rad], last shrank noticeably."""
        if distance < self._best - PROGRESS:
            self._best, self._since_best = distance, 0
        else:
            self._since_best += 1


def is_closing(world: World, distance: float) -> bool:
    """Whether the fingers are closing on a grasp that is `distance` [m] away."""
    return EMPTY < world.opening < OPEN and distance < CLOSING


def off_line(point: FloatArray, end: FloatArray, axis: FloatArray) -> tuple[float, float]:
    """How far a point (3,) is from the end (3,) of a line along a unit vector (3,), and how far beside it. [m] both."""
    depth = float((point - end) @ axis)
    return depth, float(np.linalg.norm(point - end - depth * axis))


def travel(
    world: World,
    goal: FloatArray,
    rotation: FloatArray,
    *,
    close: bool,
    carried: str | None = None,
    speed: float = 0.8,
) -> Command:
    """Go to a pose above everything in between: up, across, down, in one smooth curve.

    Args:
        world: the present state.
        goal: (3,) [m] where to go.
        rotation: (3, 3) orientation wanted there.
        close: gripper.
        carried: the object in the hand, which must clear things too.
        speed: cap of the translation part.
    """
    hand = world.hand.position
    gap = goal[:2] - hand[:2]
    distance = float(np.linalg.norm(gap))
    far = float(np.clip((distance - ARRIVED) / ARRIVED, 0.0, 1.0))  # near the goal, only its own height counts
    if far == 0.0:
        return Command(goal, rotation, close, speed)
    low = float(goal[2])
    palm = lowest_of_palm(rotation)
    soon = hand[:2] + gap * min(1.0, NEAR / distance)
    low = float(goal[2])
    needed = _faded(clear_height(world, hand[:2], goal[:2], carried, palm), low, far)
    needed_soon = _faded(clear_height(world, hand[:2], soon, carried, palm), low, far)
    height = max(min(max(needed, low), _highest(world, goal)), needed_soon)
    free = float(np.clip((hand[2] - needed_soon + BLEND) / BLEND, 0.0, 1.0))
    return Command(np.append(hand[:2] + free * gap, height), rotation, close, speed)


def _faded(needed: float, low: float, far: float) -> float:
    """[m] the clear height; near the goal (`far` < 1) it comes down to the goal's own height."""
    return needed if needed <= low else low + far * (needed - low)


def way_out(world: World, name: str) -> FloatArray | None:
    """The shortest sideways step that brings a carried object out from under something.

    Returns:
        (2,) [m] from where it is; None when nothing is above it, or no step helps.
    """
    boxes = world.boxes(name)
    low, high = boxes.bounds()
    others = world.others(name)
    above = float(high[2]) - 0.005  # [m] what begins below the object's top stands beside it
    half = 0.5 * (high - low)[:2] + OVERHANG_MARGIN
    middle = 0.5 * (low + high)[:2]
    reach = half + WAYS_OUT[-1]
    nearby = others.near(middle - reach, middle + reach).beginning_above(above)
    if len(nearby.center) == 0 or not _covered(nearby, middle, half):
        return None
    walls = others.near(middle - reach, middle + reach).above(float(low[2]) + BESIDE).reaching_below(above)
    for distance in WAYS_OUT:
        for angle in np.arange(8) * np.pi / 4:
            step = distance * np.array([np.cos(angle), np.sin(angle)])
            clear = not _covered(nearby, middle + step, half)
            if clear and not _covered(walls, middle + 0.5 * step, half - OVERHANG_MARGIN + 0.5 * np.abs(step)):
                return np.asarray(step)
    return None


def _covered(boxes: Boxes, middle: FloatArray, half: FloatArray) -> bool:
    """Whether the bounds of any box overlap a rectangle seen from above."""
    gap = np.abs(boxes.center[:, :2] - middle) - boxes.reach[:, :2] - half
    return bool(np.any(np.all(gap < 0.0, axis=1)))


def lowest_of_palm(rotation: FloatArray) -> float:
    """[m] height of the palm's lowest edge above the finger tips' middle, for a hand orientation (3, 3)."""
    down = float(np.clip(-rotation[2, 2], 0.0, 1.0))
    return PALM * down - PALM_HALF[1] * float(np.sqrt(1.0 - down**2))


def clear_height(world: World, start: FloatArray, goal: FloatArray, carried: str | None, palm: float = PALM) -> float:
    """[m] height of the hand above which the path from (2,) to (2,) is free; `palm` as in `lowest_of_palm`."""
    excluded = [carried] if carried else []
    tips = world.top_along(start, goal, FINGER_RADIUS, *excluded) + TIP + CLEARANCE
    hand_top = world.top_along(start, goal, HAND_RADIUS, *excluded) - palm + CLEARANCE
    height = max(tips, hand_top)
    if carried is not None:
        hand = world.hand.position
        low, high = world.boxes(carried).bounds()
        radius = float(np.max(np.abs([low[:2] - hand[:2], high[:2] - hand[:2]]))) + 0.01
        height = max(height, world.top_along(start, goal, radius, carried) + CLEARANCE + float(hand[2] - low[2]))
    return height


def _highest(world: World, goal: FloatArray) -> float:
    """[m] the height above `goal` at which the elbow would become straight."""
    low, high = float(goal[2]), float(goal[2]) + 0.5
    for _ in range(8):  # 2 mm
        middle = 0.5 * (low + high)
        if world.stretch(np.array([goal[0], goal[1], middle])) < STRETCH_LIMIT:
            low = middle
        else:
            high = middle
    return low
