"""Suites of LIBERO and LIBERO-PRO, and folders of one's own tasks: their tasks, their words, and the step limits.

Reading a suite builds no simulation.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from vla.types import FloatArray, TaskSpec

# Longest demonstration of each suite, rounded up: openvla-oft e4287e9, experiments/robot/libero/run_libero_eval.py.
MAX_STEPS = {
    "libero_spatial": 220,
    "libero_object": 280,
    "libero_goal": 300,
    "libero_10": 520,
    "libero_90": 400,
}
# LIBERO-PRO: each 10-task suite with other words, objects, places or goals.
PERTURBATIONS = ("lan", "object", "swap", "task")
SUITES = tuple(MAX_STEPS) + tuple(
    f"{base}_{kind}" for base in MAX_STEPS if base != "libero_90" for kind in PERTURBATIONS
)
OWN_MAX_STEPS = MAX_STEPS["libero_90"]  # of a task that has no published limit
OWN_TRIALS = 50  # as many as the benchmark has


@dataclass(frozen=True)
class LiberoTask(TaskSpec):
    """A task with the files that define it.

    Attributes:
        bddl_file: scene and goal, in LIBERO's dialect of PDDL.
        init_file: (trials, 1 + nq + nv) flattened simulator states; None: trial k is what LIBERO's own samplers draw
            at the k-th reset.
    """

    suite: str
    bddl_file: Path
    init_file: Path | None

    def init_states(self) -> FloatArray | None:
        """(trials, 1 + nq + nv) float64: the benchmark's initial states, [time, qpos, qvel]; None: there are none."""
        return None if self.init_file is None else load_init_states(self.init_file)

    def scene(self) -> str:
        """What is in the scene and where, as declared: fixtures, objects, and how the episode begins."""
        declared = self.bddl_file.read_text().partition("(:goal")[0]
        return "".join(re.findall(r"\(:(?:fixtures|objects)[^()]*\)|\(:init.*", declared, flags=re.DOTALL))


@dataclass(frozen=True)
class Suite:
    """A named list of tasks. Satisfies `vla.protocols.Benchmark`."""

    name: str
    tasks: tuple[LiberoTask, ...]


def load_suite(name: str) -> Suite:
    """Read the tasks of a suite.

    Args:
        name: one of `SUITES`, or a folder with BDDL files.

    Raises:
        ValueError: unknown suite, the message names the nearest; or a file that is no task.
    """
    if name not in SUITES and Path(name).is_dir():
        return _own_suite(Path(name))
    if name not in SUITES:
        nearest = difflib.get_close_matches(name, SUITES, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"env.suite: unknown suite '{name}'; did you mean '{nearest}'? Known: {', '.join(SUITES)}, and folders "
            "with tasks of your own (*.bddl)"
        )
    with quiet_imports():
        from libero.libero import get_libero_path
        from libero.libero.benchmark.libero_suite_task_map import libero_task_map

    bddl = Path(get_libero_path("bddl_files")).resolve() / name
    init = Path(get_libero_path("init_states")).resolve() / name
    base = next(suite for suite in MAX_STEPS if name == suite or name.rpartition("_")[0] == suite)
    tasks = []
    for task_id, task in enumerate(libero_task_map[name]):
        init_file = init / f"{task}.pruned_init.npz"
        tasks.append(
            LiberoTask(
                id=task_id,
                name=task,
                instruction=_instruction(name, task, bddl / f"{task}.bddl"),
                max_steps=MAX_STEPS[base],
                trials=len(load_init_states(init_file)),
                suite=name,
                bddl_file=bddl / f"{task}.bddl",
                init_file=init_file,
            )
        )
    return Suite(name, tuple(tasks))


def _own_suite(folder: Path) -> Suite:
    """A task for each BDDL file, in the order of their names; the words are those of its `(:language ...)`."""
    files = sorted(folder.glob("*.bddl"))
    if not files:
        raise ValueError(f"env.suite: {folder} holds no *.bddl; expected a file for each task")
    tasks = []
    for task_id, file in enumerate(files):
        stored = file.with_suffix(".pruned_init.npz")  # named as the benchmark's
        init_file = stored if stored.exists() else None
        trials = OWN_TRIALS if init_file is None else len(load_init_states(init_file))
        words = _language(file)
        tasks.append(LiberoTask(task_id, file.stem, words, OWN_MAX_STEPS, trials, folder.name, file, init_file))
    return Suite(str(folder), tuple(tasks))


def cross(tasks: Sequence[LiberoTask]) -> tuple[LiberoTask, ...]:
    """Each task, beginning in the initial states of the next one.

    Raises:
        ValueError: two neighbours do not share their scene.
    """
    crossed = []
    for task, following in zip(tasks, (*tasks[1:], *tasks[:1]), strict=True):
        if task.scene() != following.scene():
            raise ValueError(
                f"env.scene=crossed: {task.suite} tasks {task.id} and {following.id} begin in different "
                "scenes; expected a suite whose tasks share one scene, such as libero_goal"
            )
        crossed.append(dataclasses.replace(task, init_file=following.init_file, trials=following.trials))
    return tuple(crossed)


def load_init_states(path: Path) -> FloatArray:
    """(trials, 1 + nq + nv) float64 from one of the benchmark's files; pickled data are refused."""
    with np.load(path, allow_pickle=False) as archive:
        return np.asarray(archive["states"], dtype=np.float64)


def _instruction(suite: str, task: str, bddl_file: Path) -> str:
    """The official words: those of the file name, except where LIBERO-PRO changes the words or the goal."""
    if suite.endswith(("_lan", "_task")):
        return _language(bddl_file)
    words = task
    scene: Literal["SCENE"] = "SCENE"
    if task[0].isupper():  # KITCHEN_SCENE3_turn_on_...: the scene is not part of the words
        words = task.partition(scene)[2].partition("_")[2]
    return " ".join(words.split("_"))


def _language(bddl_file: Path) -> str:
    found = re.search(r"\(:language\s+([^)]*)\)", bddl_file.read_text())
    if found is None or not found.group(1).strip():
        raise ValueError(f"{bddl_file}: expected a (:language ...) entry with words, found none")
    return found.group(1).strip().lower()


@contextlib.contextmanager
def quiet_imports() -> Iterator[None]:
    """Hide what robosuite says about macro files when it is imported; exceptions still show."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)
