"""The whole of `scripts/collect.py`: visits -> workers -> dataset. Killed at any moment, it can go on."""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TextIO

from vla.data.attempts import Attempt, Key, Visit
from vla.data.demonstration import DemonstrationRecorder
from vla.data.glances import GlanceCollector
from vla.data.lerobot.reader import read_metadata
from vla.data.lerobot.writer import DatasetWriter
from vla.evaluation.config import build, compose_config, to_dict, usage
from vla.evaluation.episode import seed_generators
from vla.evaluation.errors import EvaluationError, InterruptedRunError, RefusedError
from vla.evaluation.plan import EVALUATOR_KEYS
from vla.evaluation.processes import Child, Failed, StopRequest, start_child
from vla.runtime.loop import run_episode
from vla.runtime.safety import LimitFilter
from vla.types import Outcome

SAME_SCENE_M = 1e-3  # [m] a scene with every object this close to an evaluation scene is refused


def main(conf: Path, overrides: Sequence[str]) -> int:
    """Compose, collect, print what there is. Returns the exit code."""
    if {"-h", "--help"} & set(overrides):
        sys.stdout.write(usage(conf, "collect", "python scripts/collect.py"))
        return 0
    try:
        collect(to_dict(compose_config(conf, "collect", overrides)), sys.stdout)
    except EvaluationError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def collect(config: dict[str, Any], stream: TextIO) -> None:
    """Run every scene that the dataset does not have yet.

    Raises:
        RefusedError: bad input; nothing was run.
        InterruptedRunError: Ctrl-C or SIGTERM; finished episodes are in the dataset.
    """
    root = Path(config["root"])
    root.mkdir(parents=True, exist_ok=True)
    journal = root / "attempts.jsonl"
    with DatasetWriter(root, robot_type="libero"):  # mends what a killed run left
        done = {key for metadata in read_metadata(root) for key in _keys(metadata)} | _failed(journal)
    visits = [left for visit in plan_visits(config) if (left := _without(visit, done)).seeds]
    total = sum(len(visit.seeds) for visit in visits)
    stream.write(f"{len(done)} scenes are done, {total} to do -> {root}\n")
    started, finished, kept, frames = time.monotonic(), 0, 0, 0
    children = [start_child(worker_main, root / f"worker-{index}.log", config) for index in range(config["workers"])]
    queue = iter(visits)
    busy = {child for child in children if _send_next(child, queue)}
    try:
        with StopRequest() as stop:
            while busy:
                for child in [c for c in busy if c.connection in wait([c.connection for c in busy], 0.5)]:
                    answer = _receive(child)
                    if answer is None:
                        if not _send_next(child, queue):
                            busy.discard(child)
                        continue
                    with journal.open("a") as file:
                        file.write(json.dumps(answer.__dict__) + "\n")
                    finished, frames = finished + 1, frames + answer.frames
                    kept += answer.outcome == Outcome.SUCCESS
                    if finished % 10 == 0 or finished == total:
                        stream.write(_progress(finished, total, kept, frames, time.monotonic() - started) + "\n")
                        stream.flush()
                if stop.signal_name:
                    raise InterruptedRunError(f"{stop.signal_name}: repeat the command to go on.")
    finally:
        for child in children:
            child.stop()
    DatasetWriter(root, robot_type="libero").close()  # exact statistics over all episodes


def plan_visits(config: dict[str, Any]) -> list[Visit]:
    """Every task in turn, `visit` scenes each time, so that the dataset is balanced whenever one stops."""
    tasks = [
        (suite, task.id)
        for suite in config["suites"]
        for task in build({**config["env"]["benchmark"], "suite": suite}, "env.benchmark").tasks
        if config["tasks"] == "all" or task.id in config["tasks"]
    ]
    first, last = config["first_seed"], config["first_seed"] + config["episodes"]
    if config["visit"] < 1 or config["episodes"] < 1 or config["workers"] < 1 or config["stride"] < 1:
        raise RefusedError("visit, episodes, workers, stride: expected numbers of at least 1.")
    if config["collector"] not in COLLECTORS:
        raise RefusedError(f"collector={config['collector']}: expected one of {', '.join(COLLECTORS)}.")
    return [
        Visit(suite, task_id, tuple(range(start, min(start + config["visit"], last))))
        for start in range(first, last, config["visit"])
        for suite, task_id in tasks
    ]


def worker_main(connection: Connection[Any, Any], config: dict[str, Any]) -> None:
    """Body of a worker. Receives `Visit` or None; sends an `Attempt` a scene, and None after the visit."""
    try:
        collector = COLLECTORS[config["collector"]](config)
        while (visit := connection.recv()) is not None:
            for attempt in collector.run(visit):
                connection.send(attempt)
            connection.send(None)
    except (RefusedError, ValueError, OSError) as error:
        connection.send(Failed(f"{type(error).__name__}: {error}"))


class Collector:
    """Runs scenes and writes the successes. Lives in a worker; owns one environment at a time."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._writer = DatasetWriter(Path(config["root"]), robot_type="libero")
        self._expert = build(config["policy"], "policy")
        self._demonstrator = build(config["demonstrator"], "demonstrator")

    def run(self, visit: Visit) -> Iterator[Attempt]:
        """Attempt each scene of a visit."""
        nodes = {k: v for k, v in self._config["env"].items() if k not in EVALUATOR_KEYS}
        env = build({**nodes, "suite": visit.suite}, "env", task_id=visit.task_id)
        try:
            self._expert.bind(env.unwrapped)
            for seed in visit.seeds:
                yield self._attempt(env, (visit.suite, visit.task_id, seed))
        finally:
            env.close()
            del env
            gc.collect()  # a simulation is a web of cycles and takes a gigabyte; the next one must not come on top

    def _attempt(self, env: Any, key: Key) -> Attempt:
        number = zlib.crc32(repr(key).encode())
        seed_generators(number)
        unwrapped, stride = env.unwrapped, self._config["stride"]
        inference = build(self._config["runtime"], "runtime")(self._expert)
        demonstrator = self._demonstrator(inference, seed=number)
        recorder = DemonstrationRecorder(unwrapped, demonstrator, stride, number % stride)
        try:
            episode = run_episode(
                env,
                demonstrator,
                LimitFilter(unwrapped.action_spec),
                [recorder],
                trial=key[2],
                max_steps=unwrapped.task.max_steps,
            )
        except RuntimeError as error:  # no free arrangement, or nothing that the expert can do
            return Attempt(key, str(Outcome.ERROR), 0, 0, 0.0, str(error))
        nearest = unwrapped.nearest_official_m
        if nearest < SAME_SCENE_M:
            return Attempt(key, str(Outcome.ERROR), 0, episode.steps, nearest, "equals an evaluation scene")
        if episode.outcome != Outcome.SUCCESS:
            return Attempt(key, str(episode.outcome), 0, episode.steps, nearest)
        if recorder.frames == 0:
            return Attempt(key, str(Outcome.ERROR), 0, episode.steps, nearest, "no undisturbed frame")
        metadata = {
            "suite": key[0],
            "task_id": key[1],
            "task": unwrapped.task.name,
            "seed": key[2],
            "success": True,
            "policy": self._config["policy"]["_target_"],
            "demonstrator": self._config["demonstrator"]["_target_"],
            "nearest_evaluation_scene_m": nearest,
        }
        hz = unwrapped.action_spec.hz
        self._writer.add(recorder.episode(unwrapped.task.instruction, round(hz / stride), metadata))
        return Attempt(key, str(episode.outcome), recorder.frames, episode.steps, nearest)


COLLECTORS: dict[str, Any] = {"demonstrations": Collector, "glances": GlanceCollector}


def _send_next(child: Child, queue: Iterator[Visit]) -> bool:
    visit = next(queue, None)
    child.connection.send(visit)
    return visit is not None


def _receive(child: Child) -> Attempt | None:
    try:
        answer = child.connection.recv()
    except EOFError as error:
        raise EvaluationError(
            f"A worker died ({child.how_it_died()}); finished episodes are in the dataset. "
            f"Its log: {child.log}. Repeat the command to go on."
        ) from error
    if isinstance(answer, Failed):
        raise EvaluationError(f"{answer.message}\nFinished episodes are in the dataset; repeat the command to go on.")
    attempt: Attempt | None = answer
    return attempt


def _keys(metadata: dict[str, Any]) -> list[Key]:
    """The scenes that an episode holds: one, or all of a visit's glances."""
    seeds = metadata.get("seeds") or [metadata["seed"]]
    return [(metadata["suite"], metadata["task_id"], seed) for seed in seeds]


def _failed(journal: Path) -> set[Key]:
    """Scenes that were tried without success; a torn last line is tried again."""
    if not journal.exists():
        return set()
    failed = set()
    lines = journal.read_text().splitlines()
    for index, line in enumerate(lines):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            if index == len(lines) - 1:
                os.truncate(journal, len("".join(each + "\n" for each in lines[:-1]).encode()))
                break
            raise EvaluationError(f"{journal}, line {index + 1}: expected JSON, got {line[:80]!r}.") from None
        if row["outcome"] != Outcome.SUCCESS:
            failed.add(tuple(row["key"]))
    return failed


def _without(visit: Visit, done: set[Key]) -> Visit:
    seeds = tuple(seed for seed in visit.seeds if (visit.suite, visit.task_id, seed) not in done)
    return Visit(visit.suite, visit.task_id, seeds)


def _progress(finished: int, total: int, kept: int, frames: int, seconds: float) -> str:
    left_min = (total - finished) * seconds / finished / 60
    return (
        f"{finished}/{total} scenes, kept {kept} ({kept / finished:.0%}), {frames} frames, "
        f"{frames / seconds:.1f} frames/s, {60 * finished / seconds:.1f} scenes/min, {left_min:.0f} min left"
    )
