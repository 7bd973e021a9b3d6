"""Ctrl-C ends the episode politely: the robot holds, the recording is finished. Twice: at once."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from vla.runtime.inbox import Inbox
from vla.types import Episode, Observation, Step


class Ending:
    """While entered, Ctrl-C and SIGTERM stop the episode and let no other begin. Also a subscriber of the loop.

    Args:
        inbox: of the session.
        hold: makes the robot hold at once, also on its way home; may be called at any moment.

    Attributes:
        reason: name of the signal; empty while there was none.
    """

    def __init__(self, inbox: Inbox, hold: Callable[[], None]) -> None:
        self.reason, self._inbox, self._hold = "", inbox, hold
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Ending:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def on_episode_start(self, observation: Observation) -> None:
        """The reset forgot what was said before it; a signal is not forgotten."""
        if self.reason:
            self._inbox.stop(self.reason)

    def on_step(self, step: Step) -> None:
        """Nothing to note."""

    def on_episode_end(self, episode: Episode, observation: Observation | None) -> None:
        """Nothing to note."""

    def _note(self, number: int, _frame: Any) -> None:
        if self.reason:
            raise KeyboardInterrupt
        self.reason = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        self._inbox.stop(self.reason)
        self._hold()
