"""How much faster than the stock loop: both sides run the same episodes, in turns, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from envs.libero.env import LiberoEnv
from envs.libero.stock import StockLoop
from envs.libero.suites import load_suite
from vla.types import FloatArray

STEPS = 150  # [control steps] of an episode
CHUNK = 8  # [control steps] between two looks at the images
EPISODES = 3  # a side and round; the first warms up and is not counted
SIDES = ("stock", "full", "lod")


def compare(suite: str, task_id: int, rounds: int, report: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Median seconds of each side: `reset` (without settling), `step` (without images), `episode` (with both).

    Args:
        suite, task_id: what to run.
        rounds: turns each side gets, so that a busy moment does not fall on one side only.
        report: called with a line after each turn.
    """
    found: dict[str, dict[str, list[float]]] = {side: {} for side in SIDES}
    for turn in range(rounds):
        for side in SIDES:
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=context) as process:
                times = process.submit(_measure, side, suite, task_id).result()
            report(f"{suite} task {task_id}, round {turn + 1} of {rounds}, {side}: {_line(times)}")
            for name, values in times.items():
                found[side].setdefault(name, []).extend(values)
    return {side: {name: statistics.median(values) for name, values in times.items()} for side, times in found.items()}


def head() -> list[str]:
    """The first two rows of the Markdown table."""
    episode = f"episode of {STEPS} steps, chunks of {CHUNK}, both images"
    return [f"| suite | side | reset, without settling | step, without images | {episode} |", "|---|---|---|---|---|"]


def table(suite: str, medians: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Rows of a Markdown table with seconds and ratios."""
    stock = medians["stock"]
    rows = []
    for side in SIDES:
        cells = [f"{medians[side][name] * 1e3:,.1f} ms ({stock[name] / medians[side][name]:.1f}x)" for name in stock]
        rows.append(f"| {suite} | {side} | " + " | ".join(cells) + " |")
    return rows


def _measure(side: str, suite: str, task_id: int) -> dict[str, list[float]]:
    """Times of the counted episodes of one side, in a fresh process."""
    actions = np.random.default_rng(0).uniform(-0.3, 0.3, (STEPS, 7))  # (150, 7)
    if side == "stock":
        return _measure_stock(suite, task_id, actions)
    env = LiberoEnv(suite, task_id, render="lod" if side == "lod" else "full")
    times: dict[str, list[float]] = {"reset": [], "step": [], "episode": []}
    for trial in range(EPISODES):
        times["reset"].append(_timed(lambda: env.scene.reset(trial)))  # noqa: B023  (called at once)
        times["episode"].append(_timed(lambda: _run(env, trial, actions)))  # noqa: B023
        times["step"].append(_timed(lambda: [env.step(action) for action in actions]) / STEPS)
    env.close()
    return {name: values[1:] for name, values in times.items()}


def _run(env: LiberoEnv, trial: int, actions: FloatArray) -> None:
    """An episode as a policy with chunks of 8 runs it: both images are read before every 8th step."""
    observation, _ = env.reset(options={"trial": trial})
    for index, action in enumerate(actions):
        if index % CHUNK == 0:
            observation["images"].copy()
        observation, *_ = env.step(action)


def _measure_stock(suite: str, task_id: int, actions: FloatArray) -> dict[str, list[float]]:
    task = load_suite(suite).tasks[task_id]
    times: dict[str, list[float]] = {"reset": [], "step": [], "episode": []}
    loop = StockLoop(task)
    for _ in range(EPISODES):
        reset_s = _timed(loop.reset)
        loop_s = _timed(lambda: [loop.settle(), *(loop.step(action) for action in actions)])
        times["reset"].append(reset_s)
        times["episode"].append(reset_s + loop_s)
    blind = StockLoop(task, images=False)
    for _ in range(EPISODES):
        blind.reset()
        times["step"].append(_timed(lambda: [blind.step(action) for action in actions]) / STEPS)
    return {name: values[1:] for name, values in times.items()}


def _timed(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def _line(times: Mapping[str, list[float]]) -> str:
    return ", ".join(f"{name} {statistics.median(values) * 1e3:,.1f} ms" for name, values in times.items())
