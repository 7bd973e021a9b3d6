"""Inference executors compared: how hard chunks change, how soon something new is answered, how often it succeeds.

The world is disturbed on purpose: without that, a policy that plans in a copy of the simulator foresees everything,
its plans agree to the last bit, and every executor does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from vla.command.config import build, compose_config, to_dict
from vla.evaluation.plan import env_settings
from vla.evaluation.statistics import wilson
from vla.runtime.fit import attach
from vla.runtime.inference.executor import Executor
from vla.runtime.loop import run_episode
from vla.runtime.safety import LimitFilter
from vla.runtime.seeds import seed_generators
from vla.types import ActionChunk, ActionSpec, Episode, FloatArray, Observation, Outcome, Step

CHUNK, EXECUTE = 16, 8  # actions of a plan; a query starts at this one
LATENCIES = (0.0, 0.1, 0.3)  # [s]
WINDOW = 6  # ticks from a seam on, in which its jerk is looked for; the splice fades within them
AT_SEAM = 2  # ticks from a seam on whose second difference reaches over it
DISTURBANCE = 0.05  # standard deviation of what is added to translations, in action units; rotations: 0.3 of it
MEMORY = 0.8  # part of the disturbance that is left after a tick
SUBSTEPS = 10  # of physics in a planned step, instead of 25: faster
REFERENCE = "expert, every tick"
EXECUTORS: Mapping[str, tuple[str, ...]] = {
    "open_loop": ("runtime=open_loop",),
    "temporal_ensembling": ("runtime=temporal_ensembling",),
    "asynchronous": ("runtime=asynchronous", f"runtime.execute={EXECUTE}"),
    "asynchronous, drop_elapsed": ("runtime=asynchronous", f"runtime.execute={EXECUTE}", "runtime.drop_elapsed=true"),
    "splice, repay=0": ("runtime=splice", f"runtime.execute={EXECUTE}", "runtime.repay=0"),
    "splice": ("runtime=splice", f"runtime.execute={EXECUTE}"),
    "real_time_chunking": ("runtime=real_time_chunking", f"runtime.execute={EXECUTE}"),
}


@dataclass
class Measured:
    """What was seen of one executor at one latency, over all episodes."""

    seams: list[float] = field(default_factory=list)  # jerk of each, within `WINDOW`
    jumps: list[float] = field(default_factory=list)  # jerk of each, within `AT_SEAM`
    ages: list[int] = field(default_factory=list)  # [ticks] from an observation to the first action planned from it
    reactions: list[int] = field(default_factory=list)  # [ticks] from each moment to the first action that knows of it
    steps: list[int] = field(default_factory=list)  # of the successful episodes
    held: int = 0  # ticks without a planned action
    ticks: int = 0
    episodes: int = 0

    def add(self, episode: Episode, commands: FloatArray, planned: Sequence[int | None], every: int | None) -> None:
        """Take in an episode.

        Args:
            episode: how it ended.
            commands: (T, A) what was asked for, without gripper.
            planned: (T,) tick of the observation behind each action; None for a hold.
            every: count a seam each so many ticks, where there are no chunks; None: count the real ones.
        """
        self.episodes += 1
        self.ticks += len(planned)
        self.held += sum(source is None for source in planned)
        if episode.outcome == Outcome.SUCCESS:
            self.steps.append(episode.steps)
        at = seams(planned) if every is None else range(every, len(planned), every)
        jerk = command_jerk(commands)
        self.seams += [float(jerk[tick : tick + WINDOW].max()) for tick in at]
        self.jumps += [float(jerk[tick : tick + AT_SEAM].max()) for tick in at]
        self.ages += [tick - source for tick in at if (source := planned[tick]) is not None]
        self.reactions += reaction_ticks(planned)


def command_jerk(commands: FloatArray) -> FloatArray:
    """(T,) length of the second difference of (T, A) deltas, per tick squared; 0 in the first two ticks.

    A delta is a velocity, so this is a jerk.
    """
    return np.concatenate([np.zeros(2), np.linalg.norm(np.diff(commands, n=2, axis=0), axis=1)])[: len(commands)]


def seams(planned: Sequence[int | None]) -> list[int]:
    """Ticks whose action comes from another plan than the one before, or begins or ends a hold.

    The first motion of an episode is none.
    """
    moving = [tick for tick, source in enumerate(planned) if source is not None]
    first = moving[0] if moving else len(planned)
    return [tick for tick in range(first + 1, len(planned)) if planned[tick] != planned[tick - 1]]


def reaction_ticks(planned: Sequence[int | None]) -> list[int]:
    """For each tick, how many ticks later the first action is executed that was planned from it or after it."""
    delays: list[int] = []
    for tick in range(len(planned)):
        known = (at for at in range(tick, len(planned)) if (source := planned[at]) is not None and source >= tick)
        if (first := next(known, None)) is None:
            break  # the episode ended before anything could answer
        delays.append(first - tick)
    return delays


class Disturbed(gymnasium.ActionWrapper[Any, Any, Any]):
    """Executes something near the action: a slowly wandering error, the same for every executor."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        spec: ActionSpec = env.unwrapped.action_spec  # type: ignore[attr-defined]
        turns = np.array(["rot" in name for name in spec.names])
        self._spec, self._scale = spec, DISTURBANCE * np.where(spec.gripper, 0.0, np.where(turns, 0.3, 1.0))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start a trial with the disturbance that belongs to it."""
        self._random = np.random.default_rng((options or {})["trial"])
        self._error = np.zeros_like(self._scale)
        return super().reset(seed=seed, options=options)

    def action(self, action: FloatArray) -> FloatArray:
        """(A,) asked for -> (A,) executed, in range."""
        fresh = self._random.normal(size=len(action)) * self._scale * np.sqrt(1 - MEMORY**2)
        self._error = MEMORY * self._error + fresh
        return np.clip(action + self._error, self._spec.low, self._spec.high)


class _Recorder:
    """Keeps what was asked for, and from which observation it was planned."""

    def __init__(self, inference: Executor, spec: ActionSpec) -> None:
        self._inference, self._moves = inference, ~spec.gripper
        self.commands: list[FloatArray] = []
        self.planned: list[int | None] = []

    def on_episode_start(self, observation: Observation) -> None:
        """Nothing to note."""

    def on_step(self, step: Step) -> None:
        """Note the action as it was asked for: the disturbance is not the executor's."""
        self.commands.append(step.requested[self._moves])
        self.planned.append(self._inference.planned_at)

    def on_episode_end(self, episode: Episode, observation: Observation | None) -> None:
        """Nothing to note."""


def compare(
    conf: Path,
    tasks: Mapping[str, Sequence[int]],
    trials: Iterable[int],
    names: Sequence[str],
    tell: Callable[[str], None],
) -> dict[tuple[str, float], Measured]:
    """Run executors at every latency on every task and trial, in this process.

    Args:
        conf: the `conf` folder.
        tasks: suite -> ids.
        trials: the benchmark's initial states.
        names: of `EXECUTORS`.
        tell: gets a line a task.
    """
    found: dict[tuple[str, float], Measured] = {}
    trials = list(trials)
    for suite, task in [(suite, task) for suite, ids in tasks.items() for task in ids]:
        common = (f"env.suite={suite}", "env.cameras=[]", "policy=expert_chunked", f"policy.chunk={CHUNK}")
        config = to_dict(compose_config(conf, "eval", [*common, f"policy.substeps={SUBSTEPS}"]))
        env = Disturbed(build(env_settings(config["env"]), "env", task_id=task))
        for name, latency, overrides in _settings(names):
            policy_options = ("policy=expert",) if name == REFERENCE else (*common[2:], f"policy.substeps={SUBSTEPS}")
            options = to_dict(compose_config(conf, "eval", [*policy_options, *overrides]))
            policy = build(options["policy"], "policy")
            attach(policy, env)
            inference = build(options["runtime"], "runtime")(policy)
            for trial in trials:
                _run(env, inference, trial, found.setdefault((name, latency), Measured()), name == REFERENCE)
        tell(f"{suite} task {task}: done")
        env.close()
    return found


def _settings(names: Sequence[str]) -> Iterator[tuple[str, float, tuple[str, ...]]]:
    yield REFERENCE, 0.0, ("runtime=open_loop",)
    for name in names:
        for latency in LATENCIES:
            yield name, latency, (*EXECUTORS[name], f"runtime.latency_s={latency}")


def _run(env: Disturbed, inference: Executor, trial: int, into: Measured, reference: bool) -> None:
    unwrapped: Any = env.unwrapped
    spec: ActionSpec = unwrapped.action_spec
    recorder = _Recorder(inference, spec)
    seed_generators(trial)
    steps = unwrapped.task.max_steps
    episode = run_episode(env, inference, LimitFilter(spec), [recorder], trial=trial, max_steps=steps)
    into.add(episode, np.array(recorder.commands), recorder.planned, EXECUTE if reference else None)


class _Attentive:
    """Plans without a world, for any words."""

    accepts_prefix = True

    def reset(self) -> None:
        """Nothing to forget."""

    def infer(self, observation: Observation) -> ActionChunk:
        """A chunk of zeros."""
        return ActionChunk(np.zeros((CHUNK, 7)), observation.instruction, observation.time)

    def infer_after(self, observation: Observation, prefix: FloatArray, frozen: int) -> ActionChunk:
        """A chunk of zeros."""
        return self.infer(observation)


def words_ticks(conf: Path, overrides: Sequence[str], spec: ActionSpec) -> float:
    """[ticks] from changed words to the first action planned for them, on average over the moment of the change."""
    inference = build(to_dict(compose_config(conf, "eval", list(overrides)))["runtime"], "runtime")(_Attentive())
    waits = []
    for change in range(3 * CHUNK, 5 * CHUNK):
        inference.reset(spec)
        tick = 0
        while tick < change or inference.planned_at is None or inference.planned_at < change:
            words = "new" if tick >= change else "old"
            inference.next_action(Observation({}, np.zeros(1), words, tick / spec.hz))
            tick += 1
        waits.append(tick - 1 - change)
    return float(np.mean(waits))


def table(conf: Path, found: Mapping[tuple[str, float], Measured], spec: ActionSpec) -> str:
    """Markdown, a row for each executor and latency."""
    floor = float(np.mean(found[REFERENCE, 0.0].seams))
    lines = [
        "| executor | latency [s] | at the seam | seam jerk, mean | 90 % | over the reference "
        "| first action after [ticks] | reaction [ticks] | to words [ticks] | held | steps | success |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (name, latency), seen in found.items():
        low, high = wilson(len(seen.steps), seen.episodes)
        mean, tail = np.mean(seen.seams), np.quantile(seen.seams, 0.9)
        overrides = (*EXECUTORS.get(name, ("runtime=open_loop",)), f"runtime.latency_s={latency}")
        words = "0.0" if name == REFERENCE else f"{words_ticks(conf, overrides, spec):.1f}"
        lines.append(
            f"| {name} | {latency:g} | {np.mean(seen.jumps):.3f} | {mean:.3f} | {tail:.3f} "
            f"| {mean - floor:+.3f} | {np.mean(seen.ages):.1f} | {np.mean(seen.reactions):.1f} | {words} "
            f"| {seen.held / seen.ticks:.0%} | {np.mean(seen.steps) if seen.steps else np.nan:.0f} "
            f"| {len(seen.steps)}/{seen.episodes} ({low:.0%} to {high:.0%}) |"
        )
    return "\n".join(lines)
