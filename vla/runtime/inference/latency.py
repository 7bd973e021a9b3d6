"""How long a query takes, counted in control ticks, so that a simulated run does not depend on the computer's speed.

Or, with `background`, not counted at all: then it takes as long as it takes, beside a loop that keeps its rate.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

LatencySetting = float | Literal["measured", "background"]
_ROUNDING = 1e-9  # [ticks] 0.1 s at 20 Hz are two ticks, not three


class Latency:
    """Turns seconds of thinking into ticks that pass meanwhile.

    Args:
        latency_s: [s] what a query takes in simulated time; `measured`: as long as it really took, after which the
            simulation goes on (then a run is not repeatable); `background`: the query runs in a thread beside the loop,
            and its answer counts from the tick in which it is there. For robots, and simulations in real time.
        jitter_s: [s] each query takes up to this much more or less, evenly spread. Drawn from numpy's global
            generator, which the evaluator seeds for each episode.

    Raises:
        ValueError: a negative or infinite time, more jitter than latency, or jitter on one that is not simulated.
    """

    def __init__(self, latency_s: LatencySetting, jitter_s: float) -> None:
        if isinstance(latency_s, str):
            if latency_s not in ("measured", "background"):
                raise ValueError(f"runtime.latency_s: expected seconds, 'measured' or 'background', got {latency_s!r}")
            if jitter_s != 0:
                raise ValueError(f"runtime.jitter_s: expected 0 with runtime.latency_s={latency_s}, got {jitter_s}")
        else:
            _check("runtime.latency_s", latency_s)
            _check("runtime.jitter_s", jitter_s)
            if jitter_s > latency_s:
                raise ValueError(
                    f"runtime.jitter_s: expected at most runtime.latency_s = {latency_s} s, "
                    f"for no answer comes before its question, got {jitter_s} s"
                )
        self._latency_s, self._jitter_s = latency_s, jitter_s

    @property
    def none(self) -> bool:
        """Whether answers come within the tick in which they are asked for."""
        return self._latency_s == 0

    @property
    def background(self) -> bool:
        """Whether queries run beside the loop."""
        return self._latency_s == "background"

    def ticks(self, measured_s: float, hz: float) -> int:
        """Whole ticks until the answer can be used; it waits for the next tick.

        Args:
            measured_s: [s] what this query really took.
            hz: [1/s] control rate.
        """
        return _whole_ticks(self._draw(measured_s), hz)

    def longest_ticks(self, hz: float) -> int:
        """The most ticks a simulated query can take at `hz`; 0 if it is not simulated, where there is no bound."""
        return 0 if isinstance(self._latency_s, str) else _whole_ticks(self._latency_s + self._jitter_s, hz)

    def _draw(self, measured_s: float) -> float:
        if isinstance(self._latency_s, str):
            return measured_s
        if self._jitter_s == 0:  # draws nothing, so that a random policy's numbers stay the same
            return self._latency_s
        return self._latency_s + self._jitter_s * np.random.uniform(-1.0, 1.0)


def _whole_ticks(seconds: float, hz: float) -> int:
    return max(0, math.ceil(seconds * hz - _ROUNDING))


def _check(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{name}: expected seconds, 0 or more, got {value!r}")
