"""Where a session or a replay plays: a simulation or a robot, behind the same environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from vla.command.config import build
from vla.command.errors import CommandError, RefusedError
from vla.evaluation.plan import env_settings
from vla.runtime.clock import Clock
from vla.runtime.inbox import Inbox
from vla.runtime.paced_env import PacedEnv
from vla.runtime.robot_env import RobotEnv
from vla.types import ActionSpec

UNLIMITED = 10**9  # steps, trials; a robot's episode ends when somebody says so


@dataclass(frozen=True, eq=False)
class Stage:
    """An environment and what is known about it.

    Attributes:
        env: a robot or a simulation.
        inbox: what people say goes here.
        simulated: whether it is a simulation.
        max_steps: of the task.
        trials: of the task.
        cameras: names; None if unknown.
        state_names: one name an entry; empty if unknown.
        metadata: what a recording says about it.
        robot_type: as a dataset names the robot.
    """

    env: RobotEnv | PacedEnv
    inbox: Inbox
    simulated: bool
    max_steps: int
    trials: int
    cameras: tuple[str, ...] | None
    state_names: tuple[str, ...]
    metadata: dict[str, Any]
    robot_type: str

    @property
    def spec(self) -> ActionSpec:
        """What an action means."""
        spec: ActionSpec = self.env.unwrapped.action_spec  # type: ignore[attr-defined]
        return spec

    @property
    def state_size(self) -> int | None:
        """S; None if unknown."""
        if self.state_names:
            return len(self.state_names)
        spaces = self.env.observation_space
        state = spaces.get("state") if isinstance(spaces, gymnasium.spaces.Dict) else None
        return int(state.shape[0]) if state is not None and state.shape else None

    def connect(self) -> None:
        """Connect the robot, if it is one.

        Raises:
            CommandError: it cannot be connected; nothing is left open.
        """
        if not isinstance(self.env, RobotEnv):
            return
        try:
            self.env.connect()
        except (RuntimeError, OSError) as error:  # says itself what was expected and what to do
            raise CommandError(f"robot: cannot be connected: {type(error).__name__}: {error}") from error


def robot_stage(node: dict[str, Any], instruction: str | None, home: Sequence[float] | None, clock: Clock) -> Stage:
    """A robot that is not connected yet.

    Raises:
        RefusedError: it cannot be built, there are no words, or it cannot go home.
    """
    if not instruction:
        raise RefusedError("instruction: a robot knows no task; expected words, for example instruction='wave'.")
    robot = build(node, "robot")
    if home is not None:
        _check_home(robot.action_spec, home)
    inbox = Inbox(instruction)
    env = RobotEnv(robot, inbox, home, max_steps=UNLIMITED, clock=clock)
    metadata = {"robot": node["_target_"], "hz": robot.action_spec.hz}
    robot_type = type(robot).__name__.removesuffix("Robot").lower()
    return Stage(
        env, inbox, False, UNLIMITED, UNLIMITED, tuple(robot.cameras), tuple(robot.state_names), metadata, robot_type
    )


def simulation_stage(node: dict[str, Any], task_id: int, instruction: str | None, pace: Any, clock: Clock) -> Stage:
    """One task of a simulation.

    Raises:
        RefusedError: an impossible setting, or there is no such task.
    """
    if node.get("tasks", "all") != "all":
        raise RefusedError(f"env.tasks: is the evaluator's, got {node['tasks']}; one session has one task, say task=3.")
    benchmark = build(node["benchmark"], "env.benchmark")
    tasks = {task.id: task for task in benchmark.tasks}
    if task_id not in tasks:
        raise RefusedError(f"task: {benchmark.name} has the tasks {min(tasks)} to {max(tasks)}, got {task_id}.")
    settings = env_settings(node)
    task = tasks[task_id]
    inbox = Inbox(instruction or task.instruction)
    try:
        paced = PacedEnv(build(settings, "env", task_id=task_id), inbox, pace, clock, own_words=not instruction)
    except ValueError as error:
        raise RefusedError(str(error)) from error
    spec: ActionSpec = paced.unwrapped.action_spec  # type: ignore[attr-defined]
    names = spec.names if spec.kind == "joint_position" else ()
    metadata = {
        "suite": benchmark.name,
        "task_id": task_id,
        "task": task.name,
        "hz": spec.hz,
        "env": settings,
    }
    unnamed = settings["_target_"].rpartition(".")[2].removesuffix("Env").lower()
    robot_type = str(getattr(paced.unwrapped, "robot_type", unnamed))
    cameras = getattr(paced.unwrapped, "cameras", None)
    return Stage(paced, inbox, True, task.max_steps, task.trials, cameras, names, metadata, robot_type)


def _check_home(spec: ActionSpec, home: Sequence[float]) -> None:
    size = len(spec.names)
    if len(home) != size:
        raise RefusedError(f"home: expected {size} numbers {spec.names}, got {len(home)}.")
    outside = (home < spec.low) | (home > spec.high)
    if outside.any():
        entry = int(np.argmax(outside))
        raise RefusedError(
            f"home: {spec.names[entry]}: expected {spec.low[entry]:.4f} to {spec.high[entry]:.4f}, got {home[entry]}."
        )
