"""What people tell a running session: other words, success, stop.

Any thread may speak; the loop listens once a tick.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Inbox:
    """Holds the words that count now, and how the episode is to end.

    Args:
        instruction: the words at the start.

    Attributes:
        on_begin: is called when an episode begins: what is said from then on counts.
        on_stop: is called at once, by whoever says stop; the loop would listen only in its next tick.
    """

    def __init__(self, instruction: str) -> None:
        self._lock = threading.RLock()  # a signal handler may speak while this very thread listens
        self._begin, self._for_good = instruction, ""
        self._ended, self._late = False, ""
        self.on_begin: Callable[[], object] = _nothing
        self.on_stop: Callable[[], object] = _nothing
        self.clear()

    def clear(self) -> None:
        """A new episode begins, with the words of the start; a stop stays that is for good, or said since `end`."""
        with self._lock:
            self._instruction, self._succeeded, self._stop = self._begin, False, self._for_good or self._late
            self._ended, self._late = False, ""
        self.on_begin()

    def end(self) -> None:
        """The episode is over: a stop that is said from now on is meant for the next one, which ends as it begins."""
        with self._lock:
            self._ended = True

    def begin_with(self, instruction: str) -> None:
        """The words of this start, of a scene that chose its own; what was said since the episode began counts more."""
        with self._lock:
            if self._instruction == self._begin:
                self._instruction = instruction
            self._begin = instruction

    def say(self, instruction: str) -> None:
        """Other words, from the next reading on.

        Raises:
            ValueError: there are no words; the old ones stay.
        """
        if not instruction.strip():
            raise ValueError("instruction: expected words, got an empty one; the old words stay")
        with self._lock:
            self._instruction = instruction.strip()

    def succeed(self) -> None:
        """The task is done: a person judges so where no simulator can."""
        with self._lock:
            self._succeeded = True

    def stop(self, reason: str, *, for_good: bool = False) -> None:
        """End the episode at the next tick; the first reason counts.

        Args:
            reason: in words.
            for_good: no other episode is to begin either.
        """
        with self._lock:
            self._stop = self._stop or reason
            if self._ended:
                self._late = self._late or reason
            if for_good:
                self._for_good = self._for_good or reason
        self.on_stop()

    @property
    def instruction(self) -> str:
        """The words that count now."""
        with self._lock:
            return self._instruction

    @property
    def succeeded(self) -> bool:
        """Whether somebody said that the task is done."""
        with self._lock:
            return self._succeeded

    @property
    def stop_reason(self) -> str:
        """Why the episode is to end; empty while it is not."""
        with self._lock:
            return self._stop


def _nothing() -> None:
    """Nobody wants to know."""
