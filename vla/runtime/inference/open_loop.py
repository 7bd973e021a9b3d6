"""Open loop: execute a chunk, then ask again."""

from __future__ import annotations

from collections import deque

from vla.runtime.inference.executor import QueueExecutor
from vla.types import FloatArray


class OpenLoop(QueueExecutor):
    """Executes the first `execute` actions of a chunk, then asks again and holds still until the answer is there.

    With `execute` less than the chunk this is what others call a receding horizon (`runtime=receding_horizon`).

    Args:
        policy: whom to ask.
        execute: actions taken from each chunk; None for all of them. The first ones are taken
            (openvla-oft at e4287e9 keeps the last ones when `execute` is less than the chunk length).
        latency_s: [s] see `Latency`.
        jitter_s: [s] see `Latency`.
    """

    def _must_ask(self) -> bool:
        return not self._queue

    def _arrive(self, actions: FloatArray, asked: int) -> None:
        self._check_execute(len(actions))
        self._queue, self._source = deque(actions[: self._execute]), asked
