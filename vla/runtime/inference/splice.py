"""Splice: latency-compensated change of chunks without a jump, for any policy."""

from __future__ import annotations

from typing import Literal

import numpy as np

from vla.protocols import Policy
from vla.runtime.inference.asynchronous import Asynchronous
from vla.types import FloatArray


class Splice(Asynchronous):
    """Asynchronous, but the elapsed part of the new chunk is dropped and the motion fades from old to new.

    The old chunk runs until the new one arrives; then, for `fade` ticks, each action is a mean of both plans for
    that tick, with the new one's weight growing evenly. Deltas are velocities and are faded like positions. The
    gripper is never blended: half closed means nothing, so it follows the new chunk at once. Where the old chunk has
    ended the fade starts from the hold action.

    Unlike temporal ensembling, which is a mean of all plans all the time, it reacts fully after `fade` ticks. Unlike
    real-time chunking it needs nothing from the policy.

    Args:
        policy: whom to ask.
        execute: see `Asynchronous`.
        fade: ticks of the cross-fade; 0 switches hard.
        latency_s: [s] see `Latency`.
        jitter_s: [s] see `Latency`.
    """

    def __init__(
        self,
        policy: Policy,
        execute: int | None = None,
        fade: int = 4,
        latency_s: float | Literal["measured"] = 0.0,
        jitter_s: float = 0.0,
    ) -> None:
        if type(fade) is not int or fade < 0:
            raise ValueError(f"runtime.fade: expected a whole number of ticks, 0 or more, got {fade!r}")
        super().__init__(policy, execute, True, latency_s, jitter_s)
        self._fade = fade

    def _joined(self, old: FloatArray, new: FloatArray) -> FloatArray:
        if self._last is None:  # the first motion of an episode: there is nothing to fade from
            return new
        if len(old) == 0:
            old = np.tile(self._spec.hold(self._last), (self._fade, 1))
        ticks = min(self._fade, len(old), len(new))
        weight = (np.arange(1, ticks + 1) / (ticks + 1))[:, None]  # (ticks, 1)
        faded = (1 - weight) * old[:ticks] + weight * new[:ticks]  # (ticks, A)
        gripper = self._spec.gripper
        faded[:, gripper] = new[:ticks, gripper]
        return np.concatenate([faded, new[ticks:]])
