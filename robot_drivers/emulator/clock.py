"""A clock that moves only when somebody waits on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from robot_drivers.clock import Clock


class VirtualClock:
    """Emulated seconds cost no real ones, and a run can be repeated exactly.

    A thread that sleeps moves the time to its moment, unless an attending thread still works: then it waits until all
    attending threads sleep, and the earliest moment comes first.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._attending: set[int] = set()  # idents of threads
        self._sleeping: list[tuple[float, bool]] = []  # moment, and whether the sleeper attends
        self._changed = threading.Condition()

    def now(self) -> float:
        """[s] since the clock was made."""
        return self._now

    def sleep_until(self, moment: float) -> None:
        """Return when the time is `moment` [s] or later."""
        with self._changed:
            if moment <= self._now:
                return
            sleeper = (moment, threading.get_ident() in self._attending)
            self._sleeping.append(sleeper)
            self._move()
            self._changed.wait_for(lambda: self._now >= moment)
            self._sleeping.remove(sleeper)
            if self._attending and not sleeper[1]:
                self._move()  # nobody waits for this thread, and it may never sleep again

    def advance_to(self, moment: float) -> None:
        """Move the time from outside, whoever works; never backwards."""
        with self._changed:
            self._now = max(self._now, moment)
            self._changed.notify_all()

    @contextmanager
    def attending(self) -> Iterator[None]:
        """While inside, the calling thread works in no time; see `robot_drivers.clock.Clock`."""
        with self._changed:
            self._attending.add(threading.get_ident())
        try:
            yield
        finally:
            with self._changed:
                self._attending.discard(threading.get_ident())
                self._move()

    def _move(self) -> None:
        ahead = [(moment, attends) for moment, attends in self._sleeping if moment > self._now]
        if ahead and sum(attends for _, attends in ahead) == len(self._attending):
            self._now = min(moment for moment, _ in ahead)
            self._changed.notify_all()


class Timeline:
    """The emulated time: the host's clock, from 0 on, and what the servos lived through while the host slept.

    Args:
        clock: the host's.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._start = clock.now()

    def now(self) -> float:
        """[s] since the start."""
        return self.clock.now() - self._start

    def sleep_until(self, moment: float) -> None:
        """Wait on the host's clock until `moment` [s] of the emulated time."""
        self.clock.sleep_until(moment + self._start)

    def pass_to(self, moment: float) -> None:
        """Move a virtual clock to `moment` [s] of the emulated time; a real one goes by itself."""
        if isinstance(self.clock, VirtualClock):
            self.clock.advance_to(moment + self._start)

    def skip(self, seconds: float) -> None:
        """So many seconds pass for the servos, and none on the host's clock, as when a computer is suspended."""
        self._start -= seconds
