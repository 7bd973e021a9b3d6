"""Asynchronous: ask while the present chunk runs, and switch when the answer arrives."""

from __future__ import annotations

from collections import deque

from vla.protocols import Policy
from vla.runtime.inference.executor import QueueExecutor
from vla.runtime.inference.latency import LatencySetting
from vla.types import FloatArray


class Asynchronous(QueueExecutor):
    """Hard switch: the new chunk replaces the old one in the tick in which it arrives.

    Args:
        policy: whom to ask.
        execute: the next query starts at this action of the present chunk; None: halfway through it. If its
            answer takes longer than what is left of the chunk, the robot holds still.
        drop_elapsed: start the new chunk where the clock is: its first actions were meant for ticks that passed while
            the policy was thinking. If False it is executed from its first action, late by the latency.
        latency_s: [s] see `Latency`.
        jitter_s: [s] see `Latency`.
    """

    def __init__(
        self,
        policy: Policy,
        execute: int | None = None,
        drop_elapsed: bool = False,
        latency_s: LatencySetting = 0.0,
        jitter_s: float = 0.0,
    ) -> None:
        if not isinstance(drop_elapsed, bool):
            raise ValueError(f"runtime.drop_elapsed: expected true or false, got {drop_elapsed!r}")
        self._drop_elapsed = drop_elapsed
        super().__init__(policy, execute, latency_s, jitter_s)

    def _forget(self) -> None:
        super()._forget()
        self._size = 0

    def _must_ask(self) -> bool:
        after = self._size // 2 if self._execute is None else self._execute
        return not self._queue or self._size - len(self._queue) >= max(1, after)

    def _arrive(self, actions: FloatArray, asked: int) -> None:
        self._check_execute(len(actions))
        rest = actions
        if self._drop_elapsed:
            self._check_outlasts_latency(len(actions))
            # What was held does not count as elapsed: a robot that stood still is where the chunk begins.
            rest = actions[len(self._meanwhile) :]
        self._size, self._source = len(actions), asked
        self._queue = deque(self._joined(actions, rest))

    def _joined(self, chunk: FloatArray, rest: FloatArray) -> FloatArray:
        """The actions from this tick on: a chunk (K, A) that arrived and what is left of it (N, A) -> (N, A)."""
        return rest
