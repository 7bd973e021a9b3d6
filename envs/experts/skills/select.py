"""Which skill brings a goal about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.experts.geometry import Boxes
from envs.experts.goals import Goal, UnknownGoal
from envs.experts.grasps import Preferences, plan_grasps
from envs.experts.skills.base import Skill
from envs.experts.skills.door import CloseDoor
from envs.experts.skills.drawer import OpenDrawer, opened
from envs.experts.skills.drawer_close import CloseDrawer
from envs.experts.skills.insert import Insert, find_opening
from envs.experts.skills.knob import TurnKnob
from envs.experts.skills.pick import REST_YAW
from envs.experts.skills.pick_place import PickPlace
from envs.experts.skills.place import Spot, best_spot
from envs.experts.skills.push import Push
from envs.experts.skills.uncover import DragOut, place_beside_drawer
from envs.experts.world import World

# Of the way to where the predicate says "open": so far a drawer is opened for something to be put inside, and so far it
# must be open still. Opened farther, it covers what stands before it.
ENOUGH, STILL_OPEN = 0.93, 0.85
# Part of a region's half size between its middle and an object that shares it. Walls leave less room.
SHARED_INSIDE, SHARED_ON = 0.5, 0.62


def skill_for(goal: Goal, goals: Sequence[Goal], world: World) -> Skill:
    """The skill for a goal in the present state.

    Raises:
        UnknownGoal: there is none.
    """
    if goal.predicate in ("open", "close"):
        return _moving_part(goal, world)
    if goal.predicate in ("turnon", "turnoff"):
        return TurnKnob(goal)
    if goal.predicate in ("on", "in"):
        if goal.predicate == "in" and (skill := _make_room(goal, world)):
            return skill
        opening = find_opening(world, goal.place) if goal.predicate == "in" and goal.place in world.regions else None
        if opening is not None:
            return Insert(goal.subject, goal.place, opening)
        if goal.predicate == "on" and world.owner(goal.place) is None and not can_be_gripped(world, goal.subject):
            return Push(goal, world)
        return PickPlace(goal.subject, _spot(goal, goals, world), world)
    raise UnknownGoal(f"{world.task_name}: no skill for {goal}")


def _make_room(goal: Goal, world: World) -> Skill | None:
    """What is to be done before something can be put into a drawer; None when it is not one, or open enough."""
    joints = world.joints_of(goal.place)
    if not joints or world.is_hinge(joints[0]):
        return None
    opening = Goal("open", goal.place)
    beside = place_beside_drawer(world, goal.subject, opening, ENOUGH)
    if beside is not None:
        return DragOut(goal.subject, beside)
    return None if opened(world, opening) > STILL_OPEN else OpenDrawer(opening, ENOUGH)


def _moving_part(goal: Goal, world: World) -> Skill:
    """The skill that opens or closes a drawer or a door."""
    if not world.is_hinge(world.joints_of(goal.subject)[0]):
        return OpenDrawer(goal) if goal.predicate == "open" else CloseDrawer(goal)
    if goal.predicate == "close":
        return CloseDoor(goal)
    raise UnknownGoal(f"{world.task_name}: no skill for {goal} of a hinged door")


def can_be_gripped(world: World, name: str) -> bool:
    """Whether any grasp of the object exists when nothing else is around, and it stands upright.

    A plate that a finger tips up could be gripped by its rim, but is no other thing for that.
    """
    upright = world.pose(name).rotation.T
    boxes = world.boxes(name).turned(upright)
    floor = Boxes(np.array([[0.0, 0.0, boxes.bounds()[0][2] - 1.0]]), np.eye(3)[None], np.array([[5.0, 5.0, 1.0]]))
    return bool(plan_grasps(boxes, floor, upright @ world.mass_center(name), Preferences(REST_YAW)))


def _spot(goal: Goal, goals: Sequence[Goal], world: World) -> Spot:
    """The middle of the place; objects that share a region stand beside each other along its first axis."""
    inside = goal.predicate == "in"
    sharing = [other for other in goals if other.place == goal.place]
    if len(sharing) > 1 and goal.place in world.regions:
        rank = 2 * sharing.index(goal) / (len(sharing) - 1) - 1  # -1 to 1
        share = SHARED_INSIDE if inside else SHARED_ON
        offset = np.array([rank * share * world.region_half(goal.place)[0], 0.0, 0.0])
        return Spot(goal.place, offset, centered=inside)
    if inside and goal.place in world.regions:
        return best_spot(world, goal.subject, goal.place)
    return Spot(goal.place, np.zeros(3), centered=inside)
