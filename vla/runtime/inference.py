"""Inference executors: how chunks from a policy become one action a tick."""

from __future__ import annotations

import time
from collections import deque

from vla.protocols import Policy
from vla.types import FloatArray, Observation


class OpenLoop:
    """Executes the first `execute` actions of a chunk, then asks again.

    A chunk that was planned for other words than the observation's is dropped at once.

    Args:
        policy: whom to ask.
        execute: actions taken from each chunk; None for all of them. The first ones are taken
            (openvla-oft at e4287e9 keeps the last ones when `execute` is less than the chunk length).
    """

    def __init__(self, policy: Policy, execute: int | None = None) -> None:
        if execute is not None and execute < 1:
            raise ValueError(f"runtime.execute: expected at least 1 action a chunk, got {execute}")
        self._policy = policy
        self._execute = execute
        self._queue: deque[FloatArray] = deque()
        self._instruction = ""
        self.policy_calls = 0
        self.policy_s = 0.0

    def reset(self) -> None:
        """Start a new episode: empty queue, counters at zero, policy reset."""
        self._policy.reset()
        self._queue.clear()
        self.policy_calls = 0
        self.policy_s = 0.0

    def next_action(self, observation: Observation) -> FloatArray:
        """The (A,) action for this tick."""
        if not self._queue or self._instruction != observation.instruction:
            started = time.perf_counter()
            chunk = self._policy.infer(observation)
            self.policy_s += time.perf_counter() - started
            self.policy_calls += 1
            self._instruction = chunk.instruction
            self._queue = deque(chunk.actions[: self._execute])
        return self._queue.popleft()
