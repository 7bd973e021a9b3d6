"""What will be run: the list of episodes, checked completely before any work starts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from vla.command.config import build
from vla.command.errors import RefusedError, nearest
from vla.types import TaskSpec

EVALUATOR_KEYS = ("tasks", "benchmark", "preflight")  # in the env config, but not for the env's constructor


def env_settings(node: Mapping[str, Any]) -> dict[str, Any]:
    """What of an env config goes to the environment's constructor."""
    return {key: value for key, value in node.items() if key not in EVALUATOR_KEYS}


@dataclass(frozen=True, order=True)
class EpisodeKey:
    """Names one episode of a plan."""

    suite: str
    task_id: int
    trial: int


@dataclass(frozen=True)
class EvalSettings:
    """The `eval` group; conf/eval/default.yaml says what each key means."""

    episodes: int
    first_episode: int
    workers: int
    resume: bool
    allow_drift: bool
    inference: str
    videos: str
    video_stride: int
    seed: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> EvalSettings:
        """Check types, ranges and names.

        Raises:
            RefusedError: says which key, what was expected and what was given.
        """
        names = [field.name for field in fields(cls)]
        for name in config:
            if name not in names:
                raise RefusedError(f"eval.{name}: there is no such key.{nearest(name, names)}")
        for name in names:
            if name not in config:
                raise RefusedError(f"eval.{name}: expected a value, got none.")
        lowest = {"episodes": 1, "first_episode": 0, "workers": 1, "video_stride": 1, "seed": 0}
        for name, low in lowest.items():
            _check_integer(f"eval.{name}", config[name], low)
        for name in ("resume", "allow_drift"):
            if not isinstance(config[name], bool):
                raise RefusedError(f"eval.{name}: expected true or false, got {config[name]!r}.")
        for name, choices in {"inference": ("worker", "shared"), "videos": ("all", "none")}.items():
            if config[name] not in choices:
                hint = nearest(str(config[name]), choices)
                raise RefusedError(f"eval.{name}: there is no choice {config[name]!r}.{hint}")
        return cls(**config)


@dataclass(frozen=True)
class Plan:
    """Everything a run needs to know. Holds plain data only, so that it can be sent to a worker.

    Attributes:
        keys: the episodes, in the order of the finished journal.
        tasks: the tasks that occur, by id.
        config: the resolved config as plain dicts.
        settings: the checked `eval` group.
    """

    keys: tuple[EpisodeKey, ...]
    tasks: Mapping[int, TaskSpec]
    config: Mapping[str, Any]
    settings: EvalSettings

    @property
    def suite(self) -> str:
        """Name of the suite."""
        return self.keys[0].suite

    def identity(self) -> dict[str, Any]:
        """What determines the rows: the same identity gives the same rows but for time fields."""
        settings = self.settings
        return {
            "env": env_settings(self.config["env"]),
            "policy": self.config["policy"],
            "runtime": self.config["runtime"],
            "suite": self.suite,
            "tasks": list(self.tasks),
            "episodes": settings.episodes,
            "first_episode": settings.first_episode,
            "seed": settings.seed,
            "inference": settings.inference,
            "videos": settings.videos,
        }

    def hash(self) -> str:
        """SHA-256 of the identity, as hex."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()

    def episode_seed(self, key: EpisodeKey) -> int:
        """A 32-bit seed that depends on the episode and `eval.seed` only, not on what ran before it."""
        text = f"{self.settings.seed}/{key.suite}/{key.task_id}/{key.trial}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def make_plan(config: Mapping[str, Any]) -> Plan:
    """Check the config and list the episodes, without building an environment.

    Args:
        config: the resolved config as plain dicts: `env`, `policy`, `runtime`, `eval`, `run_dir`.

    Raises:
        RefusedError: bad settings, unknown suite or task, trial out of range.
    """
    settings = EvalSettings.from_config(config["eval"])
    if config["runtime"].get("latency_s") == "background":
        raise RefusedError(
            "runtime.latency_s: background needs a loop in real time, as scripts/rollout.py has; an evaluation runs as "
            "fast as it goes. Expected seconds, or measured."
        )
    env = config["env"]
    for name in ("benchmark", "tasks"):
        if name not in env:
            raise RefusedError(f"env.{name}: this environment has none, so it cannot be evaluated.")
    benchmark = build(env["benchmark"], "env.benchmark")
    tasks = _select_tasks(env["tasks"], benchmark.name, benchmark.tasks)
    trials = range(settings.first_episode, settings.first_episode + settings.episodes)
    for task in tasks:
        if trials.stop > task.trials:
            raise RefusedError(
                f"eval.first_episode + eval.episodes: {benchmark.name} task {task.id} has "
                f"{task.trials} initial states (trials 0 to {task.trials - 1}), "
                f"got trials {trials.start} to {trials.stop - 1}."
            )
    keys = tuple(EpisodeKey(benchmark.name, task.id, trial) for task in tasks for trial in trials)
    return Plan(keys, {task.id: task for task in tasks}, config, settings)


def _select_tasks(wanted: Any, suite: str, tasks: Sequence[TaskSpec]) -> list[TaskSpec]:
    """`all`, or a list of ids or names -> tasks in the order of the suite."""
    if wanted == "all":
        return list(tasks)
    entries = wanted if isinstance(wanted, list) else [wanted]
    by_id = {task.id: task for task in tasks}
    by_name = {task.name: task for task in tasks}
    chosen: dict[int, TaskSpec] = {}
    for entry in entries:
        task = by_id.get(entry) if type(entry) is int else by_name.get(str(entry))
        if task is None:
            hint = nearest(str(entry), by_name) if isinstance(entry, str) else ""
            raise RefusedError(
                f"env.tasks: {suite} has no task {entry!r}; expected 'all', or a list of names or of ids "
                f"from {min(by_id)} to {max(by_id)}.{hint}"
            )
        chosen[task.id] = task
    if not chosen:
        raise RefusedError("env.tasks: expected 'all' or at least one task, got an empty list.")
    return [chosen[task_id] for task_id in sorted(chosen)]


def _check_integer(name: str, value: Any, low: int) -> None:
    if type(value) is not int or value < low:
        raise RefusedError(f"{name}: expected a whole number of at least {low}, got {value!r}.")
