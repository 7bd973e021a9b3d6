"""A clock that moves only when somebody waits on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from robot_drivers.clock import Clock


@dataclass(frozen=True, eq=False)
class _Sleeper:
    """Who waits until when.

    Attributes:
        moment: [s]
        number: of an attending thread, in the order in which they came; None for others.
    """

    moment: float
    number: int | None


class VirtualClock:
    """Emulated seconds cost no real ones, and a run can be repeated exactly.

    A thread that sleeps moves the time to its moment, unless an attending thread still works: then it waits until all
    attending threads sleep, and the earliest moment comes first. Attending threads work one at a time, at one moment in
    the order in which they came: who writes first is not left to the operating system.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._numbers: dict[int, int] = {}  # of attending threads, by ident
        self._came = 0  # attending threads so far
        self._turn: int | None = None  # number of the one that works
        self._sleeping: list[_Sleeper] = []
        self._changed = threading.Condition()

    def now(self) -> float:
        """[s] since the clock was made."""
        return self._now

    def sleep_until(self, moment: float) -> None:
        """Return when the time is `moment` [s] or later."""
        with self._changed:
            if moment > self._now:
                self._sleep(_Sleeper(moment, self._numbers.get(threading.get_ident())))

    def advance_to(self, moment: float) -> None:
        """Move the time from outside, whoever works; never backwards."""
        with self._changed:
            self._now = max(self._now, moment)
            self._move()
            self._changed.notify_all()

    @contextmanager
    def attending(self, known: threading.Event | None = None) -> Iterator[None]:
        """While inside, the calling thread works in no time; see `robot_drivers.clock.Clock`."""
        ident = threading.get_ident()
        if ident in self._numbers:
            if known is not None:
                known.set()
            yield
            return
        with self._changed:
            self._came += 1
            number = self._numbers[ident] = self._came
            if known is not None:
                known.set()
        try:
            with self._changed:
                if self._turn is None:
                    self._turn = number
                else:
                    self._sleep(_Sleeper(self._now, number))
            yield
        finally:
            with self._changed:
                del self._numbers[ident]
                if self._turn == number:
                    self._turn = None
                self._move()

    def _sleep(self, sleeper: _Sleeper) -> None:
        self._sleeping.append(sleeper)
        if sleeper.number is not None and self._turn == sleeper.number:
            self._turn = None
        self._move()
        try:
            self._changed.wait_for(
                lambda: self._now >= sleeper.moment and (sleeper.number is None or self._turn == sleeper.number)
            )
        finally:  # Ctrl-C, too, ends a sleep
            self._sleeping.remove(sleeper)
            if self._numbers and sleeper.number is None:
                self._move()  # nobody waits for this thread, and it may never sleep again

    def _move(self) -> None:
        """When no attending thread works: give the turn to the next one, moving the time if it must."""
        if self._turn is not None:
            return
        if not any(sleeper.number is not None and sleeper.moment <= self._now for sleeper in self._sleeping):
            ahead = [sleeper.moment for sleeper in self._sleeping if sleeper.moment > self._now]
            if ahead:
                self._now = min(ahead)
        ready = [(s.moment, s.number) for s in self._sleeping if s.number is not None and s.moment <= self._now]
        if ready:
            self._turn = min(ready)[1]
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
