"""The same policy in the stock loop and in ours: both must do the same, and one takes longer."""

from __future__ import annotations

import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.libero.env import LiberoEnv
from envs.libero.scene import axis_angle
from envs.libero.stock import StockLoop
from envs.libero.suites import LiberoTask, load_suite
from vla.protocols import Policy
from vla.types import FloatArray, Image, Observation

Camera = Mapping[str, Image]


@dataclass(frozen=True)
class Ran:
    """One episode, as one of the loops ran it.

    Attributes:
        seconds: from reset to the end.
        steps: control steps.
        success: whether the task was solved.
    """

    seconds: float
    steps: int
    success: bool


def compare(suite: str, task_id: int, trials: int, make_policy: Callable[[], Policy]) -> dict[str, list[Ran]]:
    """Trials 0, 1, ... of a task in either loop, each in a process of its own, with one thread.

    Args:
        suite, task_id: what to run.
        trials: how many.
        make_policy: called in each process; can be pickled.
    """
    found = {}
    for side in ("stock", "ours"):
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as process:
            found[side] = process.submit(_run, side, suite, task_id, trials, make_policy).result()
    return found


def _run(side: str, suite: str, task_id: int, trials: int, make_policy: Callable[[], Policy]) -> list[Ran]:
    task, policy = load_suite(suite).tasks[task_id], make_policy()
    loop: _Stock | _Ours = _Stock(task) if side == "stock" else _Ours(task)
    return [_episode(loop, policy, task, trial) for trial in range(trials)]


def _episode(loop: _Stock | _Ours, policy: Policy, task: LiberoTask, trial: int) -> Ran:
    started = time.perf_counter()
    images, state = loop.reset(trial)
    queue: deque[FloatArray] = deque()
    for step in range(task.max_steps):
        if not queue:
            queue.extend(policy.infer(Observation(images, state, task.instruction, step / 20)).actions)
        images, state, success = loop.step(queue.popleft())
        if success:
            break
    return Ran(time.perf_counter() - started, step + 1, success)


class _Stock:
    """Upstream's environment, with both images in every step."""

    def __init__(self, task: LiberoTask) -> None:
        self._loop = StockLoop(task)

    def reset(self, trial: int) -> tuple[Camera, FloatArray]:
        self._loop.reset()
        return self._seen(self._loop.settle())

    def step(self, action: FloatArray) -> tuple[Camera, FloatArray, bool]:
        observation, _, done, _ = self._loop.env.step(action)
        return *self._seen(observation), bool(done)

    @staticmethod
    def _seen(observation: Mapping[str, Any]) -> tuple[Camera, FloatArray]:
        images = {
            "agentview": observation["agentview_image"][::-1],
            "wrist": observation["robot0_eye_in_hand_image"][::-1],
        }
        hand = axis_angle(observation["robot0_eef_quat"])
        return images, np.concatenate([observation["robot0_eef_pos"], hand, observation["robot0_gripper_qpos"]])


class _Ours:
    """`LiberoEnv`, with images when the policy reads them."""

    def __init__(self, task: LiberoTask) -> None:
        self._env = LiberoEnv(task.suite, task.id)

    def reset(self, trial: int) -> tuple[Camera, FloatArray]:
        observation, _ = self._env.reset(options={"trial": trial})
        return observation["images"], observation["state"]

    def step(self, action: FloatArray) -> tuple[Camera, FloatArray, bool]:
        observation, _, success, _, _ = self._env.step(action)
        return observation["images"], observation["state"], success
