"""Scenes to learn from: random, reproducible from a seed, and never a scene of the benchmark.

The official scenes of a task hardly vary; a policy that learns from such scenes learns positions by heart. So here

- LIBERO's own samplers place everything anew, from a seed of their own;
- most scenes are then shuffled more widely than `env.scene=shuffled` does for evaluation, from other draws;
- where the goal is to put things into a container that stands there like them, the words name other things than the
  task's own: any object may be the target, and any may be a distractor.
"""

from __future__ import annotations

import dataclasses
import zlib

import numpy as np

from envs.libero.scene import Scene
from envs.libero.shuffle import Shuffler, Spread
from envs.libero.suites import LiberoTask

TRAINING_SEEDS = 2**31  # seeds of a task
PLAIN_SHARE = 0.3  # part of the scenes that stay as LIBERO's samplers drew them
OWN_WORDS_SHARE = 0.4  # part of the scenes that keep the task's own words where others are possible
PATIENCE = 1.4  # times the published step limit: pushes and wide shuffles cost the expert time
SPREAD = Spread(trade_m=0.06, group_m=0.04, salt=(1,))


class TrainingScenes:
    """Starts training scenes of one task.

    Args:
        scene: of the task; its goal is changed where other words are chosen.
        task: with its own words.
    """

    def __init__(self, scene: Scene, task: LiberoTask) -> None:
        self._scene = scene
        self._task = dataclasses.replace(task, max_steps=round(PATIENCE * task.max_steps))
        self._goals = [list(goal) for goal in scene.upstream.parsed_problem["goal_state"]]
        self._key = zlib.crc32(f"{task.suite}/{task.name}".encode())

    def start(self, seed: int) -> LiberoTask:
        """Place everything as the seed says; return the task with the words that hold there."""
        generator = np.random.default_rng([self._key, *SPREAD.salt, seed, 1])
        self._scene.randomize(int(generator.integers(2**32)))
        return self._choose_words(generator)

    def shuffler(self, seed: int) -> Shuffler | None:
        """What shuffles the scene that was just started; None if it stays as it is."""
        if np.random.default_rng([self._key, *SPREAD.salt, seed, 2]).random() < PLAIN_SHARE:
            return None
        return Shuffler(self._scene.upstream, self._task, SPREAD)

    def alternatives(self) -> list[tuple[str, str]]:
        """Other words that are possible in this scene, and the object each begins with; often none."""
        subjects, others = self._exchangeable()
        return [
            (self._instruction([name, *[other for other in others if other != name][: len(subjects) - 1]]), name)
            for name in others
        ]

    def _choose_words(self, generator: np.random.Generator) -> LiberoTask:
        goals = [list(goal) for goal in self._goals]
        self._scene.upstream.parsed_problem["goal_state"] = goals
        subjects, others = self._exchangeable()
        if not others or generator.random() < OWN_WORDS_SHARE:
            return self._task
        chosen = [str(name) for name in generator.choice(others, len(subjects), replace=False)]
        for goal, name in zip(goals, chosen, strict=True):
            goal[1] = name
        return dataclasses.replace(self._task, instruction=self._instruction(chosen))

    def _exchangeable(self) -> tuple[list[str], list[str]]:
        """The goals' objects, and the objects that may take their place; none where words cannot be exchanged."""
        upstream, goals = self._scene.upstream, self._goals
        containers = {upstream.object_sites_dict[goal[2]].parent_name for goal in goals if self._is_container(goal)}
        subjects = [goal[1] for goal in goals]
        named = all(_named(self._task.instruction, _words(subject)) for subject in subjects)
        if len(containers) != 1 or not all(map(self._is_container, goals)) or not named:
            return subjects, []
        return subjects, [name for name in upstream.objects_dict if name not in containers]

    def _instruction(self, chosen: list[str]) -> str:
        """The task's words with other objects in their places."""
        words = self._task.instruction
        for index, goal in enumerate(self._goals):
            words = words.replace(_named(self._task.instruction, _words(goal[1])), f"<{index}>")
        for index, name in enumerate(chosen):
            words = words.replace(f"<{index}>", f"the {_words(name)}")
        return words

    def _is_container(self, goal: list[str]) -> bool:
        """Whether a goal is to put an object into another object."""
        upstream = self._scene.upstream
        if goal[0].lower() != "in" or goal[2] not in upstream.object_sites_dict:
            return False
        return upstream.object_sites_dict[goal[2]].parent_name in upstream.objects_dict


def _words(name: str) -> str:
    """`alphabet_soup_1` -> `alphabet soup`."""
    return name.rpartition("_")[0].replace("_", " ")


def _named(instruction: str, words: str) -> str:
    """How an instruction names an object: `the cream cheese box` or `the cream cheese`; empty if it does not."""
    for form in (f"the {words} box", f"the {words}"):
        if form in instruction:
            return form
    return ""
