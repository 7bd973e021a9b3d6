"""Push a hinged door shut with the finger tips, along its arc."""

from __future__ import annotations

import math

import numpy as np

from envs.experts.geometry import rotation_vector, turn, vertical_hand
from envs.experts.goals import Goal, is_met
from envs.experts.grasps import TIP
from envs.experts.servo import Command
from envs.experts.skills.base import BESIDE_LINE, OFF_TURN, Phases, off_line, travel
from envs.experts.skills.pick import REST_YAW
from envs.experts.world import World
from vla.types import FloatArray

ARM = 0.15  # [m] from the hinge to where the tips push
FINGERS = 0.022  # [m] from the middle of the closed fingers to the door's face
BELOW_EDGE = 0.03  # [m] the tips are this far below the door's upper edge; the palm stays above it
STANDOFF = 0.06  # [m] beside the door before pushing
LEAD = 0.35  # [rad] the hand's goal is this far ahead on the arc
ALIGNED = 0.02  # [m]
STALL_STEPS = 30


class CloseDoor(Phases):
    """Closes a hinged door.

    Args:
        goal: `close(fixture)`.
    """

    def __init__(self, goal: Goal) -> None:
        self._goal = goal
        self._start("begin")

    def step(self, world: World) -> Command | None:
        """The next command; None when the door is shut and the hand away."""
        self._steps += 1
        joint = world.joints_of(self._goal.subject)[0]
        anchor, axis, body = world.joint_axis(joint)
        ranges = world.articulation(self._goal.subject)
        closed, opened = ranges["default_close_ranges"], ranges["default_open_ranges"]
        sense = math.copysign(1.0, sum(closed) - sum(opened))
        if is_met(self._goal, world) and self._phase != "retreat":
            self._start("retreat")
            self._at = world.hand.position
        if self._phase == "retreat":
            goal = self._at + np.array([0.0, 0.0, 0.08])
            if world.hand.position[2] > self._at[2] + 0.05 or self._steps > 25:
                return None
            return Command(goal, vertical_hand(REST_YAW), True, 0.5)
        contact, forward = self._contact(world, anchor, sense * axis, body)
        rotation = vertical_hand(REST_YAW)
        if self._phase == "begin":
            depth, aside = off_line(world.hand.position, contact, -forward)
            turned = float(np.linalg.norm(rotation_vector(rotation @ world.hand.rotation.T)))
            near = aside < BESIDE_LINE and -ALIGNED < depth < STANDOFF + ALIGNED
            self._start("push" if near and turned < OFF_TURN else "reach")
        if self._phase == "reach":
            goal = contact - STANDOFF * forward
            if np.linalg.norm(goal - world.hand.position) < ALIGNED:
                self._start("push")
            return travel(world, goal, rotation, close=True)
        left = abs(world.joint(joint))
        self._watch(left)
        if self._since_best > STALL_STEPS:
            self._start("reach")
        ahead = turn(sense * axis, min(LEAD, left + 0.15))
        return Command(anchor + ahead @ (contact - anchor), rotation, True, 0.6)

    def _contact(self, world: World, anchor: FloatArray, axis: FloatArray, body: int) -> tuple[FloatArray, FloatArray]:
        """(3,) [m] hand position with the tips against the door, and (3,) direction in which to push there."""
        boxes = world.body_boxes(body)
        panel = int(np.argmax(np.prod(boxes.half, axis=1)))
        thin = int(np.argmin(boxes.half[panel]))
        outward = boxes.center[panel] - anchor
        outward[2] = 0.0
        normal = boxes.rotation[panel][:, thin]
        outward = outward - (outward @ normal) * normal
        outward = outward / np.linalg.norm(outward)
        forward = np.cross(axis, outward)
        face = boxes.center[panel] + ((anchor - boxes.center[panel]) @ outward + ARM) * outward
        point = face - (boxes.half[panel][thin] + FINGERS) * forward
        point[2] = boxes.center[panel][2] + boxes.reach[panel][2] - BELOW_EDGE + TIP
        return point, forward
