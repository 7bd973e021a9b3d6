"""Where a session or a replay plays: a simulation or a robot, behind the same environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vla.evaluation.config import build
from vla.evaluation.errors import RefusedError
from vla.evaluation.plan import EVALUATOR_KEYS
from vla.runtime.clock import Clock
from vla.runtime.inbox import Inbox
from vla.runtime.paced_env import PacedEnv
from vla.runtime.robot_env import RobotEnv
from vla.types import ActionSpec

UNLIMITED = 10**9  # steps; a robot's episode ends when somebody says so


@dataclass(frozen=True, eq=False)
class Stage:
    """An environment and what is known about it.

    Attributes:
        env: a `RobotEnv` or a `PacedEnv`.
        inbox: what people say goes here.
        simulated: whether it is a simulation.
        max_steps: of the task.
        state_names: one name an entry; empty if unknown.
        metadata: what a recording says about it.
        robot_type: as a dataset names the robot.
    """

    env: RobotEnv | PacedEnv
    inbox: Inbox
    simulated: bool
    max_steps: int
    state_names: tuple[str, ...]
    metadata: dict[str, Any]
    robot_type: str

    @property
    def spec(self) -> ActionSpec:
        """What an action means."""
        spec: ActionSpec = self.env.unwrapped.action_spec  # type: ignore[attr-defined]
        return spec


def robot_stage(node: dict[str, Any], instruction: str | None, home: Sequence[float] | None, clock: Clock) -> Stage:
    """A robot; it is connected at the first reset.

    Raises:
        RefusedError: it cannot be built, or there are no words.
    """
    if not instruction:
        raise RefusedError("instruction: a robot knows no task; expected words, for example instruction='wave'.")
    robot = build(node, "robot")
    size = len(robot.action_spec.names)
    if home is not None and len(home) != size:
        raise RefusedError(f"home: expected {size} numbers {robot.action_spec.names}, got {len(home)}.")
    inbox = Inbox(instruction)
    env = RobotEnv(robot, inbox, home, max_steps=UNLIMITED, clock=clock)
    metadata = {"robot": node["_target_"], "hz": robot.action_spec.hz}
    robot_type = type(robot).__name__.removesuffix("Robot").lower()
    return Stage(env, inbox, False, UNLIMITED, tuple(robot.state_names), metadata, robot_type)


def simulation_stage(node: dict[str, Any], task_id: int, instruction: str | None, pace: Any, clock: Clock) -> Stage:
    """One task of a simulation.

    Raises:
        RefusedError: an impossible setting, or there is no such task.
    """
    benchmark = build(node["benchmark"], "env.benchmark")
    tasks = {task.id: task for task in benchmark.tasks}
    if task_id not in tasks:
        raise RefusedError(f"task: {benchmark.name} has the tasks {min(tasks)} to {max(tasks)}, got {task_id}.")
    settings = {key: value for key, value in node.items() if key not in EVALUATOR_KEYS}
    task = tasks[task_id]
    inbox = Inbox(instruction or task.instruction)
    try:
        paced = PacedEnv(build(settings, "env", task_id=task_id), inbox, pace, clock)
    except ValueError as error:
        raise RefusedError(str(error)) from error
    spec: ActionSpec = paced.unwrapped.action_spec  # type: ignore[attr-defined]
    names = spec.names if spec.kind == "joint_position" else ()
    metadata = {
        "suite": benchmark.name,
        "task_id": task_id,
        "task": task.name,
        "hz": spec.hz,
        "env": {key: value for key, value in settings.items() if key != "_target_"},
    }
    robot_type = settings["_target_"].rpartition(".")[2].removesuffix("Env").lower()
    return Stage(paced, inbox, True, task.max_steps, names, metadata, robot_type)
