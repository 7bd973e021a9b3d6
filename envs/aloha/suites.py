"""gym-aloha's tasks as suites of one task each: words, step limit, and the scene's file.

Of the package `gym-aloha` only the MJCF files and meshes are used; nothing of it is imported, and so nothing of
dm_control either.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from envs.aloha.placements import OFFICIAL_TRIALS
from envs.choices import check_choice
from vla.types import TaskSpec

MAX_STEPS = 400  # episode length of both tasks in ACT (tonyzhaozh/act, constants.py)
INSTRUCTIONS = {
    "transfer_cube": "pick up the red cube with the right arm and hand it over to the left arm",
    "insertion": "pick up the peg with the right arm and the socket with the left arm, then insert the peg",
}
SUITES = tuple(f"aloha_{task}" for task in INSTRUCTIONS)


@dataclass(frozen=True)
class AlohaTask(TaskSpec):
    """A task with the scene that defines it.

    Attributes:
        suite: name of its suite.
        mjcf: the scene's main file.
    """

    suite: str
    mjcf: Path


@dataclass(frozen=True)
class Suite:
    """A named list of tasks. Satisfies `vla.protocols.Benchmark`."""

    name: str
    tasks: tuple[AlohaTask, ...]


def load_suite(name: str) -> Suite:
    """The one task of a suite.

    Raises:
        ValueError: unknown suite; the message names the nearest.
        FileNotFoundError: the package with the scenes is not installed.
    """
    check_choice("env.suite", name, SUITES)
    task = name.removeprefix("aloha_")
    mjcf = assets() / f"bimanual_viperx_{task}.xml"
    return Suite(name, (AlohaTask(0, task, INSTRUCTIONS[task], MAX_STEPS, OFFICIAL_TRIALS, name, mjcf),))


def assets() -> Path:
    """The folder of gym-aloha's MJCF files and meshes.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    spec = importlib.util.find_spec("gym_aloha")  # does not import it
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "gym-aloha, the package with the scenes, is missing; type: pip install gym-aloha==0.1.5"
        )
    return Path(spec.submodule_search_locations[0]) / "assets"
