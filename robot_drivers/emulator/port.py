"""The host's end of a bus without a pseudo-terminal: the part of pyserial's `Serial` that a driver uses."""

from __future__ import annotations

import math
from collections import deque

import serial

from robot_drivers.emulator.bus import EmulatedBus
from robot_drivers.emulator.clock import Timeline
from robot_drivers.emulator.uart import Delivery


class EmulatedPort:
    """Bytes in, bytes out, on any clock; on a virtual one waiting costs no time.

    Args:
        bus: what it is plugged into.
        timeline: of the emulation; reads wait on its clock.
        baudrate: as set by the host.

    Attributes:
        name: of the bus.
        baudrate: may be changed.
        timeout: [s] that a read waits for all its bytes; None waits for ever.

    Raises:
        serial.SerialException: the cable is not plugged in.
    """

    def __init__(
        self, bus: EmulatedBus, timeline: Timeline, *, baudrate: int = 1_000_000, timeout: float | None = 0.0
    ) -> None:
        self.name, self.baudrate, self.timeout = bus.name, baudrate, timeout
        self.is_open = True
        self._bus, self._timeline = bus, timeline
        self._coming: deque[Delivery] = deque()
        self._here = bytearray()
        self._check()

    @property
    def in_waiting(self) -> int:
        """How many bytes have arrived."""
        self._check()
        self._arrive()
        return len(self._here)

    def write(self, data: bytes) -> int:
        """Send a request; the replies are under way."""
        self._check()
        under_way = [*self._coming, *self._bus.receive(bytes(data), self._timeline.now(), self.baudrate)]
        self._coming = deque(sorted(under_way, key=lambda delivery: delivery.due))  # a late reply keeps no other back
        return len(data)

    def read(self, size: int = 1) -> bytes:
        """Up to `size` bytes, after waiting at most `timeout` for them.

        Raises:
            serial.SerialException: unplugged, or it would wait for ever.
        """
        deadline = math.inf if self.timeout is None else self._timeline.now() + self.timeout
        while True:
            self._check()
            self._arrive()
            due = self._coming[0].due if self._coming else math.inf
            if len(self._here) >= size or deadline <= self._timeline.now():
                break
            if math.isinf(min(due, deadline)):
                raise serial.SerialException(f"{self.name}: {size} bytes will never come; set a timeout")
            self._timeline.sleep_until(min(due, deadline))
        data, self._here = bytes(self._here[:size]), self._here[size:]
        return data

    def reset_input_buffer(self) -> None:
        """Forget what has arrived; what is under way still comes."""
        self._check()
        self._arrive()
        self._here.clear()

    def close(self) -> None:
        """No more reading and writing."""
        self.is_open = False

    def _arrive(self) -> None:
        now = self._timeline.now()
        while self._coming and self._coming[0].due <= now + 1e-9:
            self._here += self._coming.popleft().wire

    def _check(self) -> None:
        if not self.is_open:
            raise serial.PortNotOpenError()
        self._bus.catch_up(self._timeline.now())
        if not self._bus.plugged:
            raise serial.SerialException(f"{self.name}: the device is gone (unplugged)")
