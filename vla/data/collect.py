"""The whole of `scripts/collect.py`: visits -> workers -> dataset. Killed at any moment, it can go on."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TextIO

from vla.command.config import build, check_lists, compose_config, to_dict, usage
from vla.command.errors import CommandError, InterruptedRunError, RefusedError
from vla.command.lock import lock
from vla.command.processes import Child, Failed, StopRequest, start_child
from vla.command.provenance import code_hashes, git_revision
from vla.data.attempts import Attempt, Key, Visit
from vla.data.collectors import Collector, DemonstrationCollector, RolloutCollector
from vla.data.glances import GlanceCollector
from vla.data.lerobot.errors import DatasetError
from vla.data.lerobot.reader import read_metadata
from vla.data.lerobot.writer import DatasetWriter
from vla.evaluation.policy_files import policy_files


def main(conf: Path, overrides: Sequence[str]) -> int:
    """Compose, collect, print what there is. Returns the exit code."""
    if {"-h", "--help"} & set(overrides):
        sys.stdout.write(usage(conf, "collect", "python scripts/collect.py"))
        return 0
    try:
        config = to_dict(compose_config(conf, "collect", overrides))
        if config["suites"] is not None and any(each.startswith("env.suite=") for each in overrides):
            raise RefusedError("env.suite: `suites` says what is collected; add suites=null to take env.suite.")
        collect(config, sys.stdout, shlex.join(["python", "scripts/collect.py", *overrides]))
    except CommandError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except (DatasetError, OSError) as error:
        sys.stderr.write(f"{error}\nFinished episodes are in the dataset.\n")
        return CommandError.exit_code
    return 0


def collect(config: dict[str, Any], stream: TextIO, command: str = "") -> None:
    """Run every scene that the dataset does not have yet.

    Args:
        config: see conf/collect.yaml.
        stream: for what is told meanwhile.
        command: what was typed; kept in the dataset.

    Raises:
        RefusedError: bad input, another process collects into this dataset, or something else recorded it; nothing
            was run.
        InterruptedRunError: Ctrl-C or SIGTERM; finished episodes are in the dataset.
    """
    root = Path(config["root"])
    root.mkdir(parents=True, exist_ok=True)
    writer = DatasetWriter(root)  # mends what a killed run left
    with (root / "attempts.jsonl").open("a") as journal:
        lock(
            journal.fileno(),
            f"root: another process is collecting into {root}; both would run the same scenes. Wait for it, or choose "
            "another root.",
        )
        writer.close()
        _collect(config, root, journal, stream, command)


def _collect(config: dict[str, Any], root: Path, journal: TextIO, stream: TextIO, command: str) -> None:
    recorded, planned = list(read_metadata(root)), plan_visits(config)
    done = {key for metadata in recorded for key in _keys(root, metadata)} | _unwritten(Path(journal.name))
    _check_tasks(root, recorded, planned)
    visits = [left for visit in planned if (left := _without(visit, done)).seeds]
    total = sum(len(visit.seeds) for visit in visits)
    stream.write(f"{len(done)} scenes are done, {total} to do -> {root}\n")
    if total:
        _remember(root / "commands.jsonl", command, config)
    started, finished, kept, frames = time.monotonic(), 0, 0, 0
    queue = iter(visits)
    children: list[Child] = []
    try:
        for index in range(config["workers"]):
            children.append(start_child(worker_main, root / f"worker-{index}.log", config))
        busy = {child for child in children if _send_next(child, queue)}
        with StopRequest() as stop:
            while busy:
                ready = wait([child.connection for child in busy], 0.5)
                for child in [each for each in busy if each.connection in ready]:
                    answer = _receive(child)
                    if answer is None:
                        if not _send_next(child, queue):
                            busy.discard(child)
                        continue
                    journal.write(json.dumps(answer.__dict__) + "\n")
                    journal.flush()
                    finished, frames = finished + 1, frames + answer.frames
                    kept += answer.frames > 0
                    if finished % 10 == 0 or finished == total:
                        stream.write(_progress(finished, total, kept, frames, time.monotonic() - started) + "\n")
                        stream.flush()
                if stop.signal_name:
                    raise InterruptedRunError(f"{stop.signal_name}: repeat the command to go on.")
    finally:
        for child in children:
            child.stop()
        DatasetWriter(root).close()  # exact statistics over all episodes


def plan_visits(config: dict[str, Any]) -> list[Visit]:
    """Every task in turn, `visit` scenes each time, so that the dataset is balanced whenever one stops."""
    check_lists(config, "suites", *(["keep"] if "keep" in config else []))
    node = config["env"]["benchmark"]
    nodes = [node] if config["suites"] is None else [{**node, "suite": suite} for suite in config["suites"]]
    wanted = config["tasks"]
    if config["env"].get("tasks", "all") != "all":
        raise RefusedError("env.tasks: is the evaluator's; here say tasks=[0,3].")
    if wanted != "all" and not (isinstance(wanted, list) and wanted and all(isinstance(each, int) for each in wanted)):
        raise RefusedError(f"tasks={wanted}: expected all, or task ids such as [0,3].")
    tasks = [
        (benchmark.name, task)
        for benchmark in (build(each, "env.benchmark") for each in nodes)
        for task in benchmark.tasks
        if wanted == "all" or task.id in wanted
    ]
    if wanted != "all" and (unknown := sorted(set(wanted) - {task.id for _, task in tasks})):
        raise RefusedError(f"tasks: expected ids of tasks in {', '.join(_suites(nodes))}, got {unknown}.")
    first, last = config["first_seed"], config["first_seed"] + config["episodes"]
    if config["visit"] < 1 or config["episodes"] < 1 or config["workers"] < 1 or config["stride"] < 1:
        raise RefusedError("visit, episodes, workers, stride: expected numbers of at least 1.")
    if config["collector"] not in COLLECTORS:
        raise RefusedError(f"collector={config['collector']}: expected one of {', '.join(COLLECTORS)}.")
    return [
        Visit(suite, task.id, tuple(range(start, min(start + config["visit"], last))), task.name)
        for start in range(first, last, config["visit"])
        for suite, task in tasks
    ]


def _suites(nodes: Sequence[dict[str, Any]]) -> list[str]:
    return [str(node.get("suite", node["_target_"])) for node in nodes]


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


def _remember(path: Path, command: str, config: dict[str, Any]) -> None:
    """How the scenes that follow were made: the command, this code, and the files of the policies that acted."""
    acted = {key: config[key] for key in ("policy", "demonstrator") if config.get(key)}
    row = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "git": git_revision(),
        "code": code_hashes(config),
        "policy_files": policy_files(acted),
    }
    with path.open("a") as lines:
        lines.write(json.dumps(row) + "\n")


COLLECTORS: dict[str, type[Collector]] = {
    "demonstrations": DemonstrationCollector,
    "glances": GlanceCollector,
    "rollouts": RolloutCollector,
}


def _send_next(child: Child, queue: Iterator[Visit]) -> bool:
    visit = next(queue, None)
    try:
        child.connection.send(visit)
    except OSError as error:
        raise _dead(child) from error
    return visit is not None


def _receive(child: Child) -> Attempt | None:
    try:
        answer = child.connection.recv()
    except (EOFError, OSError) as error:
        raise _dead(child) from error
    if isinstance(answer, Failed):
        raise CommandError(f"{answer.message}\nFinished episodes are in the dataset; repeat the command to go on.")
    attempt: Attempt | None = answer
    return attempt


def _dead(child: Child) -> CommandError:
    return CommandError(
        f"A worker died ({child.how_it_died()}); finished episodes are in the dataset. "
        f"Its log: {child.log}. Repeat the command to go on."
    )


def _keys(root: Path, metadata: dict[str, Any]) -> list[Key]:
    """The scenes that an episode holds: one, or all of a visit's glances."""
    seeds = metadata.get("seeds") or [metadata.get("seed")]
    # A session has a seed too, of its random generators; its scene is `trial`.
    if "teleop" in metadata or None in (metadata.get("suite"), metadata.get("task_id"), *seeds):
        raise RefusedError(
            f"root: expected a dataset of scripts/collect.py, got {root}, which holds an episode of something else, "
            "such as a session of scripts/rollout.py: which scenes it has is not known. Choose another root; "
            "scripts/train.py takes several datasets."
        )
    return [(metadata["suite"], metadata["task_id"], seed) for seed in seeds]


def _check_tasks(root: Path, recorded: Sequence[Mapping[str, Any]], planned: Sequence[Visit]) -> None:
    """A folder of somebody's tasks numbers them by the order of its files, which a new file changes."""
    names = {(visit.suite, visit.task_id): visit.task for visit in planned}
    for metadata in recorded:
        suite, task_id, task = metadata["suite"], metadata["task_id"], metadata.get("task")
        now = names.get((suite, task_id), task)
        if task not in (None, now):
            raise RefusedError(
                f"root: in {root} task {task_id} of {suite} is '{task}', and now it is '{now}': files were "
                "added or renamed, and which scenes are done is not known. Choose another root."
            )


def _unwritten(journal: Path) -> set[Key]:
    """Scenes of which nothing was to be written; a torn last line is tried again."""
    unwritten = set()
    lines = journal.read_text().splitlines()
    for index, line in enumerate(lines):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            if index == len(lines) - 1:
                os.truncate(journal, len("".join(each + "\n" for each in lines[:-1]).encode()))
                break
            raise CommandError(f"{journal}, line {index + 1}: expected JSON, got {line[:80]!r}.") from None
        if row["frames"] == 0:
            unwritten.add(tuple(row["key"]))
    return unwritten


def _without(visit: Visit, done: set[Key]) -> Visit:
    seeds = tuple(seed for seed in visit.seeds if (visit.suite, visit.task_id, seed) not in done)
    return replace(visit, seeds=seeds)


def _progress(finished: int, total: int, kept: int, frames: int, seconds: float) -> str:
    left_min = (total - finished) * seconds / finished / 60
    return (
        f"{finished}/{total} scenes, kept {kept} ({kept / finished:.0%}), {frames} frames, "
        f"{frames / seconds:.1f} frames/s, {60 * finished / seconds:.1f} scenes/min, {left_min:.0f} min left"
    )
