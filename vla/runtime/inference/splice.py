"""Splice: latency-compensated change of chunks without a jump, for any policy."""

from __future__ import annotations

import numpy as np

from vla.protocols import Policy
from vla.runtime.inference.asynchronous import Asynchronous
from vla.runtime.inference.latency import LatencySetting
from vla.types import FloatArray


class Splice(Asynchronous):
    """Asynchronous, but the elapsed part of the new chunk is dropped and the motion fades from old to new.

    The old chunk runs until the new one arrives. What the plans differ by then fades out over `fade` ticks with the
    least possible jerk: ever faster, then ever slower. Beyond the end of the old plan the last known difference fades
    on, so plans that agree are not distorted. The gripper is never blended: half closed means nothing, so it follows
    the new chunk at once.

    Deltas need one thing more. An absolute position says where to be, whatever was done before; a delta does not, so
    dropping the elapsed part of a chunk drops the motion in it, and a correction that is always planned for the next
    ticks is never made. The difference between what the new chunk planned for the elapsed ticks and what was
    executed in them is therefore made up for, spread smoothly over `repay` ticks.

    Unlike temporal ensembling, which is a mean of all plans all the time, it reacts fully after `fade` ticks. Unlike
    real-time chunking it needs nothing from the policy.

    Args:
        policy: whom to ask.
        execute: see `Asynchronous`.
        fade: ticks until the new plan is followed; 0 switches hard.
        repay: ticks in which the motion of dropped deltas is made up for, at least twice the latency; 0 drops it. Not
            used for positions.
        latency_s: [s] see `Latency`.
        jitter_s: [s] see `Latency`.
    """

    def __init__(
        self,
        policy: Policy,
        execute: int | None = None,
        fade: int = 5,
        repay: int = 8,
        latency_s: LatencySetting = 0.0,
        jitter_s: float = 0.0,
    ) -> None:
        for name, ticks in (("fade", fade), ("repay", repay)):
            if type(ticks) is not int or ticks < 0:
                raise ValueError(f"runtime.{name}: expected a whole number of ticks, 0 or more, got {ticks!r}")
        super().__init__(policy, execute, True, latency_s, jitter_s)
        self._fade, self._repay = fade, repay

    def _joined(self, chunk: FloatArray, rest: FloatArray) -> FloatArray:
        if self._last is None:  # the first motion of an episode: there is nothing to fade from
            return rest
        joined = self._faded(chunk, rest)
        if self._spec.kind == "eef_delta":
            joined = self._repaid(joined, chunk)
        gripper = self._spec.gripper
        joined[:, gripper] = rest[:, gripper]
        return joined

    def _faded(self, chunk: FloatArray, rest: FloatArray) -> FloatArray:
        """(N, A) that begins near the old plan and ends as `rest` (N, A), the part of `chunk` (K, A) still to come."""
        ticks = min(self._fade, len(rest))
        if ticks == 0:
            return rest.copy()
        differences = [old - new for old, new in zip(self._queue, rest[:ticks], strict=False)]
        if not differences:  # the old plan has ended: what was sent last goes on from the tick it was sent in
            elapsed = len(chunk) - len(rest)
            differences = [self._last - (chunk[elapsed - 1] if elapsed else rest[0])]
        differences += [differences[-1]] * (ticks - len(differences))
        faded = rest.copy()
        faded[:ticks] += (1 - fade_weights(ticks))[:, None] * np.array(differences)  # (ticks, A)
        # Past the old plan's end a difference is a guess: no more than the robot can do.
        faded[:ticks] = np.clip(faded[:ticks], self._spec.low, self._spec.high)
        return faded

    def _repaid(self, joined: FloatArray, chunk: FloatArray) -> FloatArray:
        """`joined` (N, A) and the motion that `chunk` (K, A) planned for the elapsed ticks but that was not made."""
        elapsed = len(self._meanwhile)
        if self._repay == 0 or elapsed == 0:
            return joined
        # Twice the delay or more: what is repaid now looks owed to a plan on its way, and would be taken back at once.
        ticks = max(self._repay, 2 * elapsed)
        owed = chunk[:elapsed].sum(axis=0) - np.sum(self._meanwhile, axis=0)  # (A,)
        bump = np.sin(np.pi * np.arange(1, ticks + 1) / (ticks + 1)) ** 2  # begins and ends flat
        repaid = joined[:ticks] + np.outer(bump / bump.sum(), owed)[: len(joined)]
        joined[:ticks] = np.clip(repaid, self._spec.low, self._spec.high)  # no more than the robot can do
        return joined


def fade_weights(ticks: int) -> FloatArray:
    """(ticks,) that lead from 0 before to 1 after them with the smallest largest second difference.

    A straight line bends only at its two ends, by 1 / (ticks + 1) at once. Spread over all ticks, first one way and
    then the other, the largest bend is about half of that (4 ticks: 0.11 for 0.20). The mean delay is that of the line.
    """
    steps = np.arange(1, ticks + 2)
    growth = np.minimum(steps, steps[::-1])  # 1 2 3 2 1
    weights: FloatArray = np.cumsum(growth)[:-1] / growth.sum()
    return weights
