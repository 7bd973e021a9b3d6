"""Time of a chunk, and of everything around a control step that is neither simulator nor policy."""

from __future__ import annotations

import statistics
import time
from typing import Any

import gymnasium
import numpy as np

from vla.protocols import Policy
from vla.runtime.inference import OpenLoop
from vla.runtime.loop import run_episode
from vla.runtime.safety import LimitFilter
from vla.types import ActionChunk, ActionSpec, Observation, TaskSpec

QUERIES, WARM_UP = 100, 10
STEPS = 1000
SPEC = ActionSpec("eef_delta", (*"xyzabc", "gripper"), -np.ones(7), np.ones(7), np.full(7, np.inf), 20.0)


def chunk_ms(policy: Policy, size: int = 256) -> float:
    """[ms] median of a query with LIBERO's cameras, images and state given."""
    random = np.random.default_rng(0)
    images = {name: random.integers(0, 256, (size, size, 3), np.uint8) for name in ("agentview", "wrist")}
    seen = Observation(images, np.zeros(8), "put the bowl on the plate", 0.0)
    times = []
    for _ in range(WARM_UP + QUERIES):
        started = time.perf_counter()
        policy.infer(seen)
        times.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times[WARM_UP:])


def loop_ms() -> float:
    """[ms] a step, median of episodes whose environment and policy take no time."""
    env, times = _Nothing(), []
    for _ in range(QUERIES // 10):
        started = time.perf_counter()
        run_episode(env, OpenLoop(_Still()), LimitFilter(SPEC), trial=0, max_steps=STEPS)
        times.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times) / STEPS


class _Nothing(gymnasium.Env[Any, Any]):
    """An environment in which nothing happens."""

    action_spec = SPEC
    task = TaskSpec(0, "nothing", "wait", STEPS, 1)
    timing: dict[str, float]

    def __init__(self) -> None:
        self.timing = {"sim": 0.0, "render": 0.0}
        self._seen = {"images": {}, "state": np.zeros(8)}
        self._info = {"is_success": False, "instruction": "wait", "time": 0.0}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        return self._seen, self._info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, Any]:
        return self._seen, 0.0, False, False, self._info


class _Still:
    """A policy that waits, in chunks of 8."""

    def reset(self) -> None:
        """Nothing to forget."""

    def infer(self, observation: Observation) -> ActionChunk:
        """Zeros."""
        return ActionChunk(np.zeros((8, 7)), observation.instruction, observation.time)
