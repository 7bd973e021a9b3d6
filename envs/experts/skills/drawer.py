"""Open a drawer by its handle; close it by pushing the handle."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from envs.experts.geometry import hand_frame, rotation_vector
from envs.experts.goals import Goal
from envs.experts.servo import Command
from envs.experts.skills.base import BESIDE_LINE, OFF_TURN, Phases, is_closing, off_line, travel
from envs.experts.skills.withdraw import VERTICAL
from envs.experts.world import World
from vla.types import FloatArray

# Tilts of the hand from straight down: nearly level, because a vertical one would hit the handles above.
PULL_TILTS = tuple(math.radians(angle) for angle in (85, 75, 95))
DOWN = np.array([0.0, 0.0, -1.0])
STANDOFF = 0.09  # [m] in front of the handle before reaching for it
DEPTH = 0.004  # [m] the fingers reach this far behind the middle of the bar; the panel is 16 mm behind it
AT_STANDOFF, AT_HANDLE = 0.015, 0.008  # [m]
TURNED = 0.12  # [rad] well enough aligned
# The farther the hand is off the handle's line, or turned, the farther in front of the handle it is to be: [m] and
# [rad] that do not matter yet, [m] and [rad] more for each metre.
FUNNEL, FUNNEL_TURN = (0.008, 0.25), (TURNED, 3.0)
SOON = 0.02  # [m] nearer than it should be by this, the hand does not move sideways at all
OVERTRAVEL = 0.012  # [m] asked for beyond the wanted position, so that the last millimetres are reached too
MARGIN = 0.006  # [m] past the threshold of the predicate before letting go
TIP = 0.009  # [m] finger tips beyond the point between the pads
STALL_STEPS = 12
AMONG_HANDLES = (0.06, 0.10)  # [m] in front of the bar, beside it: a tilted hand that is nearer backs out first
FADE = 0.02  # [m] over which it does not matter any more
LIMIT = 120  # steps for one attempt
ABOUT_LEVEL = 0.4  # [rad] a hand that grips the bar is turned no farther than this from the wanted orientation


@dataclass(frozen=True, eq=False)
class Handle:
    """A drawer's handle in the present state.

    Attributes:
        center: (3,) [m] middle of the bar.
        along: (3,) unit vector along the bar.
        outward: (3,) unit vector in which the drawer opens.
        half_depth: [m] half thickness of the bar along `outward`.
        body: the drawer.
    """

    center: FloatArray
    along: FloatArray
    outward: FloatArray
    half_depth: float
    body: int


def find_handle(world: World, joint: str, opens: float) -> Handle:
    """The box of the drawer that sticks out farthest.

    Args:
        world: the present state.
        joint: slide of the drawer.
        opens: sign of the joint's motion that opens it.
    """
    _, axis, body = world.joint_axis(joint)
    outward = opens * axis
    boxes = world.body_boxes(body)
    depth = np.einsum("gij,i,gj->gj", np.abs(boxes.rotation), np.abs(outward), boxes.half).sum(axis=1)
    bar = int(np.argmax(boxes.center @ outward + depth))
    along = boxes.rotation[bar][:, int(np.argmax(boxes.half[bar]))]
    return Handle(boxes.center[bar], along, outward, float(depth[bar]), body)


def travel_range(world: World, goal: Goal) -> tuple[str, float, float]:
    """The joint, the sign that opens it, and where it is to be [m], a little past the predicate's threshold."""
    joint = world.joints_of(goal.subject)[0]
    ranges = world.articulation(goal.subject)
    opened, closed = ranges["default_open_ranges"], ranges["default_close_ranges"]
    opens = math.copysign(1.0, sum(opened) - sum(closed))
    threshold = (
        max(opened, key=lambda value: -opens * value)
        if goal.predicate == "open"
        else min(closed, key=lambda value: -opens * value)
    )
    toward = opens if goal.predicate == "open" else -opens
    return joint, opens, threshold + toward * MARGIN


def opened(world: World, goal: Goal) -> float:
    """How far a drawer is open: 0 at the joint's zero, 1 where `open(region)`, the goal, begins to hold."""
    joint, opens, wanted = travel_range(world, goal)
    return world.joint(joint) / (wanted - opens * MARGIN)


class OpenDrawer(Phases):
    """Grips the handle with a level hand and pulls.

    Args:
        goal: `open(region)`.
        enough: part of the way to where the goal begins to hold that is enough; by default a little more than all.
    """

    def __init__(self, goal: Goal, enough: float | None = None) -> None:
        self._goal, self._enough = goal, enough
        self._tries = self._missing = 0
        self._start("begin")

    def _start(self, phase: str) -> None:
        super()._start(phase)
        self._opening = math.inf

    def step(self, world: World) -> Command | None:
        """The next command; None when the drawer is open and the hand away."""
        self._steps += 1
        joint, opens, wanted = self._range(world)
        handle = find_handle(world, joint, opens)
        rotation = level_hand(world, handle, PULL_TILTS[self._tries % len(PULL_TILTS)], np.array([0.0, 0.0, 1.0]))
        is_open = opens * (world.joint(joint) - wanted) > 0
        if self._phase == "begin":
            self._start(self._first_phase(world, handle, rotation))
        if is_open and self._phase == "reach":
            return None
        if is_open and self._phase in ("close", "pull"):
            self._start("release")
            self._at = world.hand.position
        phases = {"reach": self._reach, "close": self._close, "pull": self._pull}
        if self._phase in phases:
            return phases[self._phase](world, handle, rotation)
        return self._leave(world, handle, rotation)

    def _range(self, world: World) -> tuple[str, float, float]:
        """As `travel_range`, for as far as this drawer is to be opened."""
        joint, opens, wanted = travel_range(world, self._goal)
        if self._enough is not None:
            wanted = self._enough * (wanted - opens * MARGIN)
        return joint, opens, wanted

    def _first_phase(self, world: World, handle: Handle, rotation: FloatArray) -> str:
        """What is left to do from here."""
        turned = float(np.linalg.norm(rotation_vector(rotation @ world.hand.rotation.T)))
        if turned < ABOUT_LEVEL and world.gripped(handle.body):
            return "pull"
        depth, aside = off_line(world.hand.position, handle.center - DEPTH * handle.outward, handle.outward)
        if aside > BESIDE_LINE or turned > OFF_TURN:
            return "reach"
        return "close" if is_closing(world, depth) else "reach"

    def _reach(self, world: World, handle: Handle, rotation: FloatArray) -> Command | None:
        """In front of the handle, and in on its line; what is told changes little from one place to the next."""
        hand, end = world.hand, handle.center - DEPTH * handle.outward
        turned = float(np.linalg.norm(rotation_vector(rotation @ hand.rotation.T)))
        depth, aside = off_line(hand.position, end, handle.outward)
        off, off_turn = max(aside - FUNNEL[0], 0.0) / FUNNEL[1], max(turned - FUNNEL_TURN[0], 0.0) / FUNNEL_TURN[1]
        needed = min(max(off, off_turn), STANDOFF)
        goal = end + needed * handle.outward
        distance = float(np.linalg.norm(end - hand.position))
        self._watch(distance + 0.1 * turned)
        is_stuck = self._since_best > STALL_STEPS and distance < 3 * AT_HANDLE
        if turned < OFF_TURN and (distance < AT_HANDLE or is_stuck):
            self._start("close")
        elif self._since_best > 2 * STALL_STEPS or self._steps > LIMIT:
            self._tries += 1  # another tilt may let the arm pass
            self._start("reach")
        back = _among_handles(world, depth, aside) * float(np.clip((needed - depth) / SOON, 0.0, 1.0))
        if back > 0.0:
            sideways = hand.position - end - depth * handle.outward
            rotation = rotation if back < 0.5 else hand.rotation
            return Command(goal + back * sideways, rotation, False, 0.5)
        if needed < STANDOFF:
            return Command(goal, rotation, False, 0.5, precise=True)
        return travel(world, goal, rotation, close=False)

    def _close(self, world: World, handle: Handle, rotation: FloatArray) -> Command | None:
        rate, self._opening = self._opening - world.opening, world.opening
        if self._steps > 4 and world.gripped(handle.body):
            self._start("pull")
        elif self._steps > 12 and rate < 0.0006:
            self._start("reach")  # nothing between the fingers
        return Command(handle.center - DEPTH * handle.outward, rotation, True, 0.3, precise=True)

    def _pull(self, world: World, handle: Handle, rotation: FloatArray) -> Command | None:
        joint, opens, wanted = self._range(world)
        left = opens * (wanted - world.joint(joint)) + OVERTRAVEL
        self._watch(left)
        if not world.gripped(handle.body) or self._since_best > STALL_STEPS:
            self._missing += 1
            if self._missing > 3:
                self._missing = 0
                self._start("reach")
        else:
            self._missing = 0
        at = world.hand.position
        sideways = handle.center - at
        sideways = sideways - (sideways @ handle.outward) * handle.outward
        return Command(at + left * handle.outward + sideways, rotation, True, 0.6)

    def _leave(self, world: World, handle: Handle, rotation: FloatArray) -> Command | None:
        if self._phase == "release":
            if self._steps > 5 and not world.gripped(handle.body):
                self._start("retreat")
            return Command(self._at, rotation, False, 0.3)
        goal = self._at + 0.09 * handle.outward
        if (world.hand.position - self._at) @ handle.outward > 0.06 or self._steps > 25:
            return None
        return Command(goal, rotation, False, 0.6)


def _among_handles(world: World, depth: float, aside: float) -> float:
    """Whether a hand is where it would catch at handles if it moved sideways: 0 no, 1 yes, between near the border."""
    if world.hand.rotation[2, 2] < VERTICAL:
        return 0.0
    room = AMONG_HANDLES - np.array([depth, aside])  # [m]
    return float(np.clip(room / FADE, 0.0, 1.0).min())


def level_hand(world: World, handle: Handle, tilt: float, closing: FloatArray) -> FloatArray:
    """(3, 3) hand that looks at the handle, `tilt` [rad] away from straight down; the nearer of the two equal ones."""
    approach = math.sin(tilt) * -handle.outward + math.cos(tilt) * DOWN
    home = hand_frame(DOWN, np.array([0.0, 1.0, 0.0]))
    frames = [hand_frame(approach, sign * closing) for sign in (1.0, -1.0)]
    return min(frames, key=lambda frame: float(np.linalg.norm(rotation_vector(frame @ home.T))))
