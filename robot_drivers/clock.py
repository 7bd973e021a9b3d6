"""Time as the drivers see it, so that a test can replace it."""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock that can be waited on."""

    def now(self) -> float:
        """[s] monotonic; only differences mean something."""

    def sleep_until(self, moment: float) -> None:
        """Return when `now()` has reached `moment` [s]; at once if it has passed."""

    def attending(self, known: threading.Event | None = None) -> AbstractContextManager[None]:
        """`with` this around the loop of a thread whose work takes no time on a virtual clock until it sleeps.

        Virtual time stands still while an attending thread works, so the costs of threads that work side by side
        overlap as they do in reality, instead of adding up.

        Args:
            known: is set once time will not go on without this thread; whoever started it waits for that.
        """


class SystemClock:
    """The computer's monotonic clock. Not `time.time()`: that one jumps when the date is set."""

    def now(self) -> float:
        """[s]."""
        return time.monotonic()

    def sleep_until(self, moment: float) -> None:
        """Sleep; an overrun returns at once and is the caller's to count."""
        remaining = moment - time.monotonic()
        if remaining > 0:
            time.sleep(remaining)

    def attending(self, known: threading.Event | None = None) -> AbstractContextManager[None]:
        """Real time needs no bookkeeping."""
        if known is not None:
            known.set()
        return nullcontext()
