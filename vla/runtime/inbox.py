"""What people tell a running session: other words, success, stop.

Any thread may speak; the loop listens once a tick.
"""

from __future__ import annotations

import threading


class Inbox:
    """Holds the words that count now, and how the episode is to end.

    Args:
        instruction: the words at the start.
    """

    def __init__(self, instruction: str) -> None:
        self._lock = threading.RLock()  # a signal handler may speak while this very thread listens
        self._begin, self._for_good = instruction, ""
        self.clear()

    def clear(self) -> None:
        """A new episode begins, with the words of the start; a stop for good stays."""
        with self._lock:
            self._instruction, self._succeeded, self._stop = self._begin, False, self._for_good

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
            if for_good:
                self._for_good = self._for_good or reason

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
