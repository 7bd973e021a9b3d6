"""What all executors share: one query at a time, the tick its answer arrives, words, and holding still."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import Literal

from vla.protocols import Policy
from vla.runtime.inference.latency import Latency
from vla.types import ActionChunk, ActionSpec, Commander, FloatArray, Observation


@dataclass(frozen=True, eq=False)
class Query:
    """A question on its way: the policy sees the world of tick `asked`, its answer is there at tick `due`."""

    chunk: ActionChunk
    asked: int
    due: int


class Executor(ABC):
    """A clock of ticks, and at most one query on its way. Implements `vla.protocols.Inference`.

    In simulation the policy answers at once and its answer is held back until it is due: the world runs on
    meanwhile. While there is no action, the hold action of the spec is sent: zero motion with the gripper kept for
    deltas, the last position again for positions. Position control has nothing to repeat before its first action,
    so there the first plan is waited for without a tick passing: the robot is not under way yet.

    Args:
        policy: whom to ask.
        latency_s: [s] see `Latency`.
        jitter_s: [s] see `Latency`.

    Attributes:
        commander: always the policy.
        policy_calls: queries since the reset.
        policy_s: [s] what they really took.
        planned_at: tick of the observation that the last action was planned from; None if it was a hold.
    """

    def __init__(
        self,
        policy: Policy,
        latency_s: float | Literal["measured"] = 0.0,
        jitter_s: float = 0.0,
    ) -> None:
        self._policy = policy
        self._latency = Latency(latency_s, jitter_s)
        self._episode_spec: ActionSpec | None = None
        self.commander = Commander.POLICY
        self.policy_calls = 0
        self.policy_s = 0.0
        self.planned_at: int | None = None

    def reset(self, spec: ActionSpec) -> None:
        """Start a new episode at tick 0: nothing planned, counters at zero, policy reset."""
        self._policy.reset()
        self._episode_spec = spec
        self._tick = -1
        self._instruction: str | None = None
        self._query: Query | None = None
        self._meanwhile: list[FloatArray] = []  # planned actions executed since the query began; holds do not count
        self._last: FloatArray | None = None
        self.policy_calls = 0
        self.policy_s = 0.0
        self.planned_at = None
        self._forget()

    def next_action(self, observation: Observation) -> FloatArray:
        """The (A,) action for this tick.

        Raises:
            RuntimeError: `reset` was not called.
            ValueError: the policy answered for other words, or its chunk cannot be used with these settings.
        """
        spec = self._spec
        self._tick += 1
        if observation.instruction != self._instruction:
            self._instruction = observation.instruction
            self._forget()
        self._receive()
        if self._query is None and self._must_ask():
            self._ask(observation)
            self._receive()
        action, self.planned_at = self._take()
        if action is None:
            action = spec.hold(self._last)
        else:
            self._meanwhile.append(action)
        self._last = action
        return action

    @property
    def _spec(self) -> ActionSpec:
        if self._episode_spec is None:
            raise RuntimeError(f"{type(self).__name__}: call reset(spec) before the first next_action")
        return self._episode_spec

    def _ask(self, observation: Observation) -> None:
        started = time.perf_counter()
        chunk = self._infer(observation)
        measured = time.perf_counter() - started
        self.policy_s += measured
        self.policy_calls += 1
        if chunk.instruction != observation.instruction:
            raise ValueError(
                f"policy: asked about {observation.instruction!r}, answered for {chunk.instruction!r}; "
                "ActionChunk.instruction must be the observation's"
            )
        self._meanwhile = []
        self._query = Query(chunk, self._tick, self._tick + self._delay(measured))

    def _delay(self, measured_s: float) -> int:
        """Ticks until the answer is there."""
        if self._latency.none or (self._last is None and self._spec.kind == "joint_position"):
            return 0
        return self._latency.ticks(measured_s, self._spec.hz)

    def _receive(self) -> None:
        """Take an answer that is due. One that was planned for other words is dropped."""
        query = self._query
        if query is None or self._tick < query.due:
            return
        self._query = None
        if query.chunk.instruction == self._instruction:
            self._arrive(query.chunk.actions, query.asked)

    def _check_outlasts_latency(self, size: int) -> None:
        """Refuse a latency after which nothing of a chunk of `size` actions would be left."""
        longest = 0 if self._latency.none else self._latency.longest_ticks(self._spec.hz)
        if longest >= size:
            raise ValueError(
                f"runtime.latency_s: a query can take {longest} ticks at {self._spec.hz:g} Hz, but a chunk has only "
                f"{size} actions, so all of them may have elapsed when it arrives; expected a longer chunk or a "
                "shorter latency (runtime=open_loop works with any, because it waits)"
            )

    def _infer(self, observation: Observation) -> ActionChunk:
        return self._policy.infer(observation)

    @abstractmethod
    def _must_ask(self) -> bool:
        """Whether a query should start now; none is on its way."""

    @abstractmethod
    def _arrive(self, actions: FloatArray, asked: int) -> None:
        """Take over a chunk (K, A) that was asked for at tick `asked`."""

    @abstractmethod
    def _take(self) -> tuple[FloatArray | None, int | None]:
        """This tick's action (A,) and the tick of the observation it was planned from; None, None without one."""

    @abstractmethod
    def _forget(self) -> None:
        """Drop everything planned."""


class QueueExecutor(Executor):
    """An executor that works through one chunk, until another takes its place.

    Args:
        policy: whom to ask.
        execute: see the subclasses.
        latency_s: [s] see `Latency`.
        jitter_s: [s] see `Latency`.
    """

    def __init__(
        self,
        policy: Policy,
        execute: int | None = None,
        latency_s: float | Literal["measured"] = 0.0,
        jitter_s: float = 0.0,
    ) -> None:
        if execute is not None and (type(execute) is not int or execute < 1):
            raise ValueError(f"runtime.execute: expected at least 1 action a chunk, got {execute!r}")
        self._execute = execute
        super().__init__(policy, latency_s, jitter_s)

    def _check_execute(self, size: int) -> None:
        if self._execute is not None and self._execute > size:
            raise ValueError(
                f"runtime.execute: the policy plans chunks of {size} actions; expected at most that many "
                f"or null, got {self._execute}"
            )

    def _forget(self) -> None:
        self._queue: deque[FloatArray] = deque()
        self._source: int | None = None

    def _take(self) -> tuple[FloatArray | None, int | None]:
        return (self._queue.popleft(), self._source) if self._queue else (None, None)
