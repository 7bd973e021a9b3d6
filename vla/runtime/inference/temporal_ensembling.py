"""Temporal ensembling as in ACT: each action is a mean of what all overlapping chunks planned for this tick."""

from __future__ import annotations

import logging
import math

import numpy as np

from vla.protocols import Policy
from vla.runtime.inference.executor import Executor
from vla.runtime.inference.latency import LatencySetting
from vla.types import FloatArray

LOG = logging.getLogger(__name__)


class TemporalEnsembling(Executor):
    """Asks in every tick, or as often as the latency allows, and averages with weights exp(-m i), i = 0 the oldest.

    Source: ACT (arXiv 2304.13705, section IV-B, algorithm 2); tonyzhaozh/act imitate_episodes.py with k = 0.01. There
    everything is averaged, the gripper too, which is right where it is a position. Where actions are deltas the gripper
    is a command to open or to close, whose mean would be neither; it is taken from the newest chunk.

    Args:
        policy: whom to ask.
        m: how fast weights fall from the oldest chunk to the newest; 0 weighs all alike.
        latency_s: [s] see `Latency`. A chunk takes part from when it arrives, for the ticks it was planned for. One
            that arrives after all of them is an error, but in the background, where it is dropped.
        jitter_s: [s] see `Latency`.
    """

    def __init__(
        self,
        policy: Policy,
        m: float = 0.01,
        latency_s: LatencySetting = 0.0,
        jitter_s: float = 0.0,
    ) -> None:
        if isinstance(m, bool) or not isinstance(m, int | float) or not 0 <= m < math.inf:
            raise ValueError(f"runtime.m: expected a number, 0 or more, got {m!r}")
        super().__init__(policy, latency_s, jitter_s)
        self._m = m

    def _forget(self) -> None:
        self._plans: list[tuple[int, FloatArray]] = []  # (tick of its first action, (K, A)), oldest first

    def _must_ask(self) -> bool:
        return True

    def _arrive(self, actions: FloatArray, asked: int) -> None:
        elapsed = self._tick - asked
        if self._latency.background and elapsed >= len(actions):  # a slow moment, such as the first query
            LOG.warning("policy: it took %d ticks to plan %d actions; they are dropped", elapsed, len(actions))
            return
        self._check_outlasts_latency(len(actions), elapsed)
        self._plans.append((asked, actions))

    def _take(self) -> tuple[FloatArray | None, int | None]:
        self._plans = [(first, actions) for first, actions in self._plans if self._tick < first + len(actions)]
        if not self._plans:
            return None, None
        said = np.array([actions[self._tick - first] for first, actions in self._plans])  # (P, A) oldest first
        weights = np.exp(-self._m * np.arange(len(said)))  # (P,)
        action = weights @ said / weights.sum()  # (A,)
        if self._spec.kind == "eef_delta":
            action[self._spec.gripper] = said[-1, self._spec.gripper]
        return action, self._plans[-1][0]
