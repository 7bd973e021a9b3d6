"""A simulation in a session: paced like a robot, and told by people what to do, when it is done and when to stop."""

from __future__ import annotations

from typing import Any, Literal

import gymnasium

from vla.protocols import SafetyStop
from vla.runtime.clock import Clock, Pacer, SystemClock
from vla.runtime.inbox import Inbox
from vla.types import FloatArray

Env = gymnasium.Env[dict[str, Any], FloatArray]


class PacedEnv(gymnasium.Wrapper[dict[str, Any], FloatArray, dict[str, Any], FloatArray]):
    """What `RobotEnv` does for a robot, around a simulation.

    Args:
        env: the simulation.
        inbox: gives the words; takes success and stop.
        pace: `realtime` ends every tick at its deadline, `free` runs as fast as the computer can.
        clock: paces the ticks.
        own_words: whether an episode begins with the simulation's words, which may be others in each scene, instead of
            the inbox's.

    Attributes:
        pacer: of this episode; None with `free`.

    Raises:
        ValueError: there is no such pace.
    """

    def __init__(
        self,
        env: Env,
        inbox: Inbox,
        pace: Literal["realtime", "free"] = "realtime",
        clock: Clock | None = None,
        own_words: bool = False,
    ) -> None:
        if pace not in ("realtime", "free"):
            raise ValueError(f"runtime.pace: expected realtime or free, got {pace!r}")
        super().__init__(env)
        self._inbox, self._realtime = inbox, pace == "realtime"
        self._clock, self._own_words = clock or SystemClock(), own_words
        self.pacer: Pacer | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode with the words of the start."""
        self._inbox.clear()
        raw, info = self.env.reset(seed=seed, options=options)
        if self._own_words:
            self._inbox.begin_with(info["instruction"])
        if self._realtime:
            self.pacer = Pacer(self.env.unwrapped.action_spec.hz, self._clock)  # type: ignore[attr-defined]
        return raw, self._told(info)

    def step(self, action: FloatArray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """One tick. It truncates nothing: a session may go on for longer than the benchmark would.

        Raises:
            SafetyStop: somebody said stop; the simulation is left as it is.
        """
        if reason := self._inbox.stop_reason:
            raise SafetyStop(reason)
        raw, reward, terminated, _, info = self.env.step(action)
        if self.pacer is not None:
            self.pacer.wait()
        return raw, float(reward), terminated or self._inbox.succeeded, False, self._told(info)

    def hold(self) -> None:
        """A simulation that is not stepped stands still."""

    def _told(self, info: dict[str, Any]) -> dict[str, Any]:
        return {
            **info,
            "instruction": self._inbox.instruction,
            "is_success": info["is_success"] or self._inbox.succeeded,
        }
