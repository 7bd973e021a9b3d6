"""The account of a run: every packet and every event with its time, and counters."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

KEPT = 200_000  # events; an hour of one bus at 50 Hz is 720,000 packets


class Kind(StrEnum):
    """What happened."""

    REQUEST = "request"
    REPLY = "reply"
    DAMAGE = "damage"
    COLLISION = "collision"
    FAULT = "fault"
    TORQUE = "torque"
    REJECTED = "rejected"
    ALARM = "alarm"
    WATCHDOG = "watchdog"
    REBOOT = "reboot"
    UNPLUG = "unplug"
    REPLUG = "replug"


@dataclass(frozen=True)
class Event:
    """One entry.

    Attributes:
        time: [s] of the emulated world.
        bus: name of the bus.
        kind: what happened.
        id: which servo, None if not one.
        detail: bytes of a packet in hex, or words.
    """

    time: float
    bus: str
    kind: Kind
    id: int | None
    detail: str

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


class EventLog:
    """Keeps the newest events, and counts all of them. Safe to use from several threads."""

    def __init__(self) -> None:
        # Plain tuples, which the garbage collector forgets: going through as many objects would take it 0.1 s, and all
        # servos would be silent meanwhile.
        self._events: deque[tuple[float, str, str, int | None, str]] = deque(maxlen=KEPT)
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, time: float, bus: str, kind: Kind, id: int | None, detail: str) -> None:
        """Note an event, and count it as `bus/kind` and, for a servo, `bus/id/kind`."""
        with self._lock:
            self._events.append((time, bus, kind.value, id, detail))
            self._counts[f"{bus}/{kind}"] += 1
            if id is not None:
                self._counts[f"{bus}/{id}/{kind}"] += 1

    def events(self, kind: Kind | None = None, bus: str | None = None) -> list[Event]:
        """The kept events in order, of one kind or bus if given."""
        with self._lock:
            kept = list(self._events)
        return [
            Event(time, where, Kind(what), id, detail)
            for time, where, what, id, detail in kept
            if kind in (None, what) and bus in (None, where)
        ]

    def counts(self) -> Counter[str]:
        """How often what happened, since the start."""
        with self._lock:
            return Counter(self._counts)

    def clear(self) -> None:
        """Forget events and counts."""
        with self._lock:
            self._events.clear()
            self._counts.clear()
