"""Real-time chunking: the policy itself continues the chunk that is running (arXiv 2506.07339)."""

from __future__ import annotations

from collections import deque

import numpy as np

from vla.protocols import Policy, PrefixPolicy
from vla.runtime.inference.asynchronous import Asynchronous
from vla.runtime.inference.executor import Question, checked
from vla.runtime.inference.latency import LatencySetting
from vla.types import ActionSpec, FloatArray, Observation

REMEMBERED = 10  # latencies; the paper takes the longest of a buffer. An older one, of a warm-up, is forgotten


class RealTimeChunking(Asynchronous):
    """Asynchronous, with a policy that plans on from what will run while it thinks.

    The rest of the running chunk goes along with the query. Its first actions, as many as the longest of the last
    queries took, will be executed whatever the answer is, so they are frozen: the new chunk begins with them. The
    others only pull at the new chunk, less the later they are.

    Args:
        policy: whom to ask; a `PrefixPolicy` that accepts prefixes, such as one with a diffusion or flow head.
        execute: see `Asynchronous`.
        latency_s: [s] see `Latency`.
        jitter_s: [s] see `Latency`.

    Raises:
        ValueError: the policy cannot continue a chunk.
    """

    def __init__(
        self,
        policy: Policy,
        execute: int | None = None,
        latency_s: LatencySetting = 0.0,
        jitter_s: float = 0.0,
    ) -> None:
        if not isinstance(policy, PrefixPolicy) or not policy.accepts_prefix:
            raise ValueError(
                f"runtime: real-time chunking needs a policy that can continue a chunk, such as openvla_oft with a "
                f"flow or diffusion head; {type(policy).__name__} cannot. Use runtime=splice, which works for any."
            )
        super().__init__(policy, execute, True, latency_s, jitter_s)
        self._continuing = policy

    def reset(self, spec: ActionSpec, last: FloatArray | None = None) -> None:
        """Start anew; latencies of the last episode are forgotten, so that the order does not matter."""
        super().reset(spec, last)
        self._delays: deque[int] = deque(maxlen=REMEMBERED)

    def _question(self, observation: Observation) -> Question:
        if not self._queue:
            return super()._question(observation)
        rest = np.array(self._queue)  # (P, A) for this tick and the following ones
        frozen = min(max(self._delays, default=0), len(rest))
        return lambda: checked(self._continuing.infer_after(observation, rest, frozen), observation)

    def _arrive(self, actions: FloatArray, asked: int) -> None:
        self._delays.append(self._tick - asked)
        super()._arrive(actions, asked)
