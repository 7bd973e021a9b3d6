"""What all executors share: one query at a time, the tick its answer arrives, words, and holding still."""

from __future__ import annotations

import dataclasses
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from vla.protocols import Policy
from vla.runtime.inference.latency import Latency, LatencySetting
from vla.types import ActionChunk, ActionSpec, Commander, FloatArray, Observation

Question = Callable[[], ActionChunk]


@dataclass(frozen=True, eq=False)
class Query:
    """A question on its way.

    Attributes:
        answer: of the policy.
        asked: tick of the world that it sees.
        due: tick from which the answer may be used; None: as soon as it is there.
    """

    answer: Future[tuple[ActionChunk, float]]
    asked: int
    due: int | None

    def is_here(self, tick: int) -> bool:
        """Whether the answer may be used at `tick`."""
        return self.answer.done() if self.due is None else tick >= self.due


class Executor(ABC):
    """A clock of ticks, and at most one query on its way. Implements `vla.protocols.Inference`.

    In simulation the policy answers at once and its answer is held back until it is due: the world runs on
    meanwhile. While there is no action, the hold action of the spec is sent: zero motion with the gripper kept for
    deltas, the last position again for positions. Position control has nothing to repeat before its first action,
    so there the first plan is waited for without a tick passing, unless the environment says what the robot was told.

    On a robot (`latency_s=background`) the policy thinks in a thread of its own while the loop keeps its rate; it gets
    an observation whose images are all there. An error that it raises comes out of the tick that takes the answer. The
    first plan of an episode of position control is waited for if there is nothing to repeat.

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
        latency_s: LatencySetting = 0.0,
        jitter_s: float = 0.0,
    ) -> None:
        self._policy = policy
        self._latency = Latency(latency_s, jitter_s)
        self._thread = ThreadPoolExecutor(1, "policy") if self._latency.background else None
        self._query: Query | None = None
        self._forgotten: Future[None] | None = None  # the policy's last reset, in its thread
        self._last: FloatArray | None = None
        self._episode_spec: ActionSpec | None = None
        self.commander = Commander.POLICY
        self.policy_calls = 0
        self.policy_s = 0.0
        self.planned_at: int | None = None

    def reset(self, spec: ActionSpec, last: FloatArray | None = None) -> None:
        """Start anew at tick 0: nothing planned, counters at zero, policy reset.

        Args:
            spec: what an action means.
            last: (A,) what the robot was told last, if that is known; it is held until there is a plan.
        """
        if self._thread is None:
            self._policy.reset()
        else:  # after the query that may still be on its way, whose answer nobody wants any more
            self._forgotten = self._thread.submit(self._policy.reset)
        self._episode_spec = spec
        self._tick = -1
        self._instruction: str | None = None
        self._query = None
        self._meanwhile: list[FloatArray] = []  # planned actions executed since the query began; holds do not count
        self._last = last
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

    def was_sent(self, action: FloatArray) -> None:
        """Go on from (A,): a hold that repeated what limits had cut short would move on."""
        self._last = action

    @property
    def _spec(self) -> ActionSpec:
        if self._episode_spec is None:
            raise RuntimeError(f"{type(self).__name__}: call reset(spec) before the first next_action")
        return self._episode_spec

    def _ask(self, observation: Observation) -> None:
        self.policy_calls += 1
        self._meanwhile = []
        if self._thread is None:
            answer: Future[tuple[ActionChunk, float]] = Future()
            answer.set_result(_answered(self._question(observation), None))
            self._query = Query(answer, self._tick, self._tick + self._delay(answer.result()[1]))
            return
        seen = dataclasses.replace(observation, images=dict(observation.images))
        answer = self._thread.submit(_answered, self._question(seen), self._forgotten)
        if self._is_first:
            wait([answer])
        self._query = Query(answer, self._tick, None)

    @property
    def _is_first(self) -> bool:
        """Whether the robot has nothing to repeat yet, so that the answer is waited for."""
        return self._last is None and self._spec.kind == "joint_position"

    def _delay(self, measured_s: float) -> int:
        """Ticks until the answer is there."""
        return 0 if self._latency.none or self._is_first else self._latency.ticks(measured_s, self._spec.hz)

    def _receive(self) -> None:
        """Take an answer that is there. One that was planned for other words is dropped."""
        query = self._query
        if query is None or not query.is_here(self._tick):
            return
        self._query = None
        chunk, seconds = query.answer.result()
        self.policy_s += seconds
        if chunk.instruction == self._instruction:
            self._arrive(chunk.actions, query.asked)

    def _check_outlasts_latency(self, size: int, elapsed: int = 0) -> None:
        """Refuse a latency that outlasts a chunk of `size` actions, or did: `elapsed` ticks have passed."""
        longest = max(elapsed, 0 if self._latency.none else self._latency.longest_ticks(self._spec.hz))
        if longest >= size:
            raise ValueError(
                f"runtime.latency_s: a query can take {longest} ticks at {self._spec.hz:g} Hz, but a chunk has only "
                f"{size} actions, so all of them may have elapsed when it arrives; expected a longer chunk or a "
                "shorter latency (runtime=open_loop works with any, because it waits)"
            )

    def _question(self, observation: Observation) -> Question:
        """What to ask the policy; called later, maybe in another thread, it must not look at the executor."""
        return lambda: checked(self._policy.infer(observation), observation)

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
        latency_s: LatencySetting = 0.0,
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


def checked(chunk: ActionChunk, observation: Observation) -> ActionChunk:
    """The chunk.

    Raises:
        ValueError: it is for other words.
    """
    if chunk.instruction != observation.instruction:
        raise ValueError(
            f"policy: asked about {observation.instruction!r}, answered for {chunk.instruction!r}; "
            "ActionChunk.instruction must be the observation's"
        )
    return chunk


def _answered(question: Question, forgotten: Future[None] | None) -> tuple[ActionChunk, float]:
    """The answer, and how long it took [s]; an error of the policy's reset is one of the answer."""
    if forgotten is not None:
        forgotten.result()
    started = time.perf_counter()
    chunk = question()
    return chunk, time.perf_counter() - started
