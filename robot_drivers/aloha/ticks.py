"""How long ticks took, and which were late."""

from __future__ import annotations

from collections import deque

KEPT = 60_000  # ticks; 20 minutes at 50 Hz


class TickCounts:
    """Counts ticks at absolute deadlines. A late one is not made up for by rushing.

    Args:
        period: [s]

    Attributes:
        total: ticks.
        late: ticks that were not over when the next one was due.
        cycles: [s] how long the newest ones took.
        overruns: [s] of the newest late ones, when they should have begun and when they were over.
    """

    def __init__(self, period: float) -> None:
        self._period = period
        self.total = self.late = 0
        self.cycles: deque[float] = deque(maxlen=KEPT)
        self.overruns: deque[tuple[float, float]] = deque(maxlen=KEPT)

    def count(self, deadline: float, begun: float, ended: float) -> float:
        """One tick is over; when the next one begins.

        Args:
            deadline: [s] when it should have begun.
            begun, ended: [s] when it did, and when it was over.
        """
        self.total += 1
        self.cycles.append(ended - begun)
        following = deadline + self._period
        if ended > following:
            self.late += 1
            self.overruns.append((deadline, ended))
            # What was missed is missed; a small lateness is caught up, a large one begins anew.
            return following if ended - following < self._period else ended
        return following
