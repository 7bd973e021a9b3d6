"""Control ticks at absolute deadlines: lateness does not add up, and is counted instead of made up for."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock that can be waited on; a test replaces it."""

    def now(self) -> float:
        """[s] monotonic; only differences mean something."""

    def sleep_until(self, moment: float) -> None:
        """Return when `now()` has reached `moment` [s]; at once if it has passed."""


class SystemClock:
    """The computer's monotonic clock."""

    def now(self) -> float:
        """[s]."""
        return time.monotonic()

    def sleep_until(self, moment: float) -> None:
        """Sleep what is left."""
        if (left := moment - time.monotonic()) > 0:
            time.sleep(left)


class Pacer:
    """Ends every tick at its deadline.

    Args:
        hz: [1/s] ticks.
        clock: to wait on.

    Attributes:
        overruns: ticks that were over before they could be waited for.
        worst_s: [s] largest lateness.
    """

    def __init__(self, hz: float, clock: Clock) -> None:
        self._period, self._clock = 1.0 / hz, clock
        self.start()

    def start(self) -> None:
        """The first tick begins now."""
        self._deadline = self._clock.now() + self._period
        self.overruns = 0
        self.worst_s = 0.0

    def wait(self) -> None:
        """Return at the end of this tick. One that is late ends at once, and the next has a whole period."""
        late = self._clock.now() - self._deadline
        if late > 0:
            self.overruns += 1
            self.worst_s = max(self.worst_s, late)
            self._deadline += late
        else:
            self._clock.sleep_until(self._deadline)
        self._deadline += self._period
