"""Close a drawer by pushing its handle with closed fingers."""

from __future__ import annotations

import math

import numpy as np

from envs.experts.geometry import hand_frame, rotation_vector
from envs.experts.goals import Goal, is_met
from envs.experts.servo import Command
from envs.experts.skills.base import BESIDE_LINE, OFF_TURN, Phases, off_line, travel
from envs.experts.skills.drawer import (
    AT_STANDOFF,
    DOWN,
    OVERTRAVEL,
    STALL_STEPS,
    TIP,
    TURNED,
    Handle,
    find_handle,
    travel_range,
)
from envs.experts.world import World
from vla.types import FloatArray

PUSH_TILTS = tuple(math.radians(angle) for angle in (75, 65, 55))  # of the hand, from straight down
PUSH_STANDOFFS = (0.04, 0.02)  # [m] in front of the handle before pushing


class CloseDrawer(Phases):
    """Pushes the handle with closed fingers.

    Args:
        goal: `close(region)`.
    """

    def __init__(self, goal: Goal) -> None:
        self._goal = goal
        self._tries = 0
        self._start("begin")

    def _start(self, phase: str) -> None:
        super()._start(phase)
        if phase in ("begin", "reach"):
            self._way: tuple[FloatArray, float] | None = None

    def step(self, world: World) -> Command | None:
        """The next command; None when the drawer is shut and the hand away."""
        self._steps += 1
        joint, opens, wanted = travel_range(world, self._goal)
        handle = find_handle(world, joint, opens)
        if self._way is None:
            self._way = pushing_pose(world, handle, opens * (wanted - world.joint(joint)), self._tries)
        rotation, standoff = self._way
        front = handle.center + (handle.half_depth + TIP) * handle.outward
        if self._phase == "begin":
            depth, aside = off_line(world.hand.position, front, handle.outward)
            turned = float(np.linalg.norm(rotation_vector(rotation @ world.hand.rotation.T)))
            near = -AT_STANDOFF < depth < standoff + AT_STANDOFF and aside < BESIDE_LINE
            self._start("push" if near and turned < OFF_TURN else "reach")
            self._way = (rotation, standoff)
        if is_met(self._goal, world) and self._phase != "retreat":
            self._start("retreat")
            self._at = world.hand.position
        if self._phase == "reach":
            goal, hand = front + standoff * handle.outward, world.hand
            turned = float(np.linalg.norm(rotation_vector(rotation @ hand.rotation.T)))
            distance = float(np.linalg.norm(goal - hand.position))
            self._watch(distance + 0.1 * turned)
            if distance < AT_STANDOFF and turned < TURNED:
                self._start("push")
            elif self._since_best > 2 * STALL_STEPS:
                self._again()
            return travel(world, goal, rotation, close=True)
        if self._phase == "push":
            left = max(0.0, opens * (world.joint(joint) - wanted)) + OVERTRAVEL
            self._watch(left)
            if self._since_best > 3 * STALL_STEPS:
                self._again()
            return Command(front - left * handle.outward, rotation, True, 0.6)
        if (world.hand.position - self._at) @ handle.outward > 0.05 or self._steps > 25:
            return None
        return Command(self._at + 0.08 * handle.outward, rotation, True, 0.6)

    def _again(self) -> None:
        self._tries += 1
        self._start("reach")


def pushing_pose(world: World, handle: Handle, left: float, tries: int) -> tuple[FloatArray, float]:
    """A hand orientation (3, 3) and a standoff [m] for pushing a handle that touch nothing else.

    Args:
        world: the present state.
        handle: what to push.
        left: [m] how far outward the drawer still has to go (negative: inward).
        tries: this many of the best choices have failed already.
    """
    front = handle.center + (handle.half_depth + TIP) * handle.outward
    choices = []
    for standoff in PUSH_STANDOFFS:
        for tilt in PUSH_TILTS:
            approach = math.sin(tilt) * -handle.outward + math.cos(tilt) * DOWN
            for sign in (1.0, -1.0):
                rotation = hand_frame(approach, sign * handle.along)
                start = front + standoff * handle.outward
                poses = (start, start + np.array([0.0, 0.0, 0.10]), front + left * handle.outward)
                cost = sum(world.trouble(pose, rotation, body=handle.body) for pose in poses)
                turned = float(np.linalg.norm(rotation_vector(rotation @ world.hand.rotation.T)))
                choices.append((cost + 0.01 * turned, standoff, tilt, rotation))
    choices.sort(key=lambda choice: choice[0])
    _, standoff, _, rotation = choices[min(tries, len(choices) - 1)]
    return rotation, standoff
