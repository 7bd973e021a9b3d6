"""The goal of a task as a list of things to bring about, in an order that works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from envs.experts.world import World
from vla.protocols import SceneRefused

# What must be done before what: drawers open first, the stove is lit while nothing stands beside its knob,
# doors close last.
ORDER = {"open": 0, "turnon": 1, "turnoff": 1, "on": 2, "in": 2, "close": 3}
ARGUMENTS = {"open": 1, "turnon": 1, "turnoff": 1, "on": 2, "in": 2, "close": 1}


class UnknownGoal(SceneRefused):
    """The expert has no skill for a goal; the message names the predicate and the task."""


@dataclass(frozen=True)
class Goal:
    """One predicate that shall hold.

    Attributes:
        predicate: `on`, `in`, `open`, `close`, `turnon` or `turnoff`.
        subject: the object or the fixture's part that changes.
        place: where it goes; empty for predicates of one argument.
    """

    predicate: str
    subject: str
    place: str = ""

    def __str__(self) -> str:
        return f"{self.predicate}({', '.join(filter(None, (self.subject, self.place)))})"


def read_goals(world: World) -> list[Goal]:
    """The task's goals, in the order in which they are to be reached.

    Raises:
        UnknownGoal: a predicate or an argument is of a kind the expert cannot bring about.
    """
    goals = [_read(list(state), world) for state in world.upstream.parsed_problem["goal_state"]]
    return sorted(goals, key=lambda goal: ORDER[goal.predicate])


def _read(state: list[str], world: World) -> Goal:
    predicate, *arguments = state
    if predicate.lower() not in ORDER:
        raise UnknownGoal(
            f"{world.task_name}: no skill for predicate '{predicate}' in {state}; known: {', '.join(ORDER)}"
        )
    goal = Goal(predicate.lower(), *arguments)
    if len(arguments) != ARGUMENTS[goal.predicate]:
        raise UnknownGoal(
            f"{world.task_name}: {goal} has {len(arguments)} arguments, expected {ARGUMENTS[goal.predicate]}"
        )
    if goal.place:
        if goal.subject not in world.movable:
            raise UnknownGoal(f"{world.task_name}: {goal}: '{goal.subject}' is not a movable object")
        if goal.place not in world.regions and goal.place not in world.names:
            raise UnknownGoal(f"{world.task_name}: {goal}: no object or region '{goal.place}'")
    elif not world.joints_of(goal.subject):
        raise UnknownGoal(f"{world.task_name}: {goal}: '{goal.subject}' has no joint")
    elif goal.predicate == "open" and world.is_hinge(world.joints_of(goal.subject)[0]):
        raise UnknownGoal(f"{world.task_name}: no skill for {goal}: '{goal.subject}' is a hinged door")
    return goal


def is_met(goal: Goal, world: World) -> bool:
    """Whether the predicate holds now, as the benchmark tests it.

    The knob's tests are repeated here because the benchmark's own ones also switch the drawn flame.
    """
    if goal.predicate in ("turnon", "turnoff"):
        ranges: dict[str, Any] = world.articulation(goal.subject)
        positions = [world.joint(joint) for joint in world.joints_of(goal.subject)]
        if goal.predicate == "turnon":
            return any(position >= min(ranges["default_turnon_ranges"]) for position in positions)
        return all(position < max(ranges["default_turnoff_ranges"]) for position in positions)
    state = [goal.predicate, goal.subject, *filter(None, [goal.place])]
    return bool(world.upstream._eval_predicate(state))
