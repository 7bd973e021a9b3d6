"""The line between adapter and servos: when bytes arrive, and what happens when both sides talk at once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from robot_drivers.emulator.protocol import Reply

BITS = 10  # on the line for one byte: start, 8 data, stop


@dataclass(frozen=True)
class Timing:
    """How much time the line takes.

    Attributes:
        paced: bytes take as long as their bits; False for no time at all.
        usb_latency: [s] the adapter's latency timer, 1 ms on a well configured host, 16 ms by default in Linux. Bytes
            that came in are handed on when it fires, at a random moment of the period.
    """

    paced: bool = True
    usb_latency: float = 0.001


@dataclass
class Delivery:
    """Bytes that reach the host.

    Attributes:
        due: [s] when.
        wire: the bytes; garbled later if the host talks into them.
    """

    due: float
    wire: bytes


class Line:
    """Half-duplex wire of one bus.

    Args:
        timing: how much time it takes.
        rng: for the phase of the latency timer.
    """

    def __init__(self, timing: Timing, rng: random.Random) -> None:
        self._timing, self._rng = timing, rng
        self._host_free = 0.0
        self._in_flight: list[tuple[float, float, Delivery]] = []  # start, end, what it becomes

    def duration(self, size: int, baud: int) -> float:
        """[s] for `size` bytes."""
        return size * BITS / baud if self._timing.paced else 0.0

    def request(self, size: int, baud: int, now: float) -> tuple[float, bool]:
        """The host sends `size` bytes at `now` [s]: when they have arrived, and whether they met a reply.

        A reply that they met is garbled, too.
        """
        start = max(now, self._host_free)
        end = self._host_free = start + self.duration(size, baud)
        self._in_flight = [flight for flight in self._in_flight if flight[1] > now]
        met = [flight for flight in self._in_flight if flight[0] < end and flight[1] > start]
        for _, _, delivery in met:
            delivery.wire = bytes(byte & 0x5A for byte in delivery.wire)
        return end, bool(met)

    def replies(self, replies: Sequence[Reply], baud: int, arrived: float) -> list[Delivery]:
        """When the replies to a request that arrived at `arrived` [s] reach the host."""
        deliveries: list[Delivery] = []
        clock = arrived
        for reply in replies:
            start = clock + reply.delay
            clock = start + self.duration(len(reply.wire) + reply.silence, baud)
            if not reply.wire:
                continue
            if not deliveries or clock > deliveries[-1].due:
                deliveries.append(Delivery(clock + self._rng.uniform(0.0, self._timing.usb_latency), b""))
            deliveries[-1].wire += reply.wire
            self._in_flight.append((start, clock, deliveries[-1]))
        return deliveries
