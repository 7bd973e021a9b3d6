"""A bus on a pseudo-terminal: any program that opens serial ports can talk to it."""

from __future__ import annotations

import heapq
import os
import pty
import select
import termios
import threading
import tty
from itertools import count
from pathlib import Path

from robot_drivers.emulator.bus import EmulatedBus
from robot_drivers.emulator.clock import Timeline
from robot_drivers.emulator.uart import Delivery

IDLE = 0.02  # [s] at least so often does the world move on
_BAUD = {
    getattr(termios, f"B{rate}"): rate for rate in (9600, 57_600, 115_200, 1_000_000, 2_000_000, 3_000_000, 4_000_000)
}


class TerminalPort:
    """Serves one bus on a pseudo-terminal, in a thread, until `close`.

    On a virtual clock replies come at once, and the time moves to where they would have arrived.

    Args:
        bus: what answers.
        timeline: of the emulation.
        link: a symbolic link with a stable name to the terminal; it disappears while the cable is pulled.
    """

    def __init__(self, bus: EmulatedBus, timeline: Timeline, link: Path) -> None:
        self._bus, self._timeline, self._link = bus, timeline, link
        self._master, self._slave = -1, -1
        self._waiting: list[tuple[float, int, Delivery]] = []  # a heap; the number keeps the order of equal moments
        self._numbers = count()
        self._ended = threading.Event()
        self._plug_in()
        self._thread = threading.Thread(target=self._serve, name=f"emulated {bus.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and remove the terminal."""
        self._ended.set()
        self._thread.join()
        self._pull_out()

    def _serve(self) -> None:
        while not self._ended.is_set():
            self._bus.catch_up(self._timeline.now())
            if self._bus.plugged != (self._master >= 0):
                self._plug_in() if self._bus.plugged else self._pull_out()
            if self._master < 0:
                self._ended.wait(IDLE)
                continue
            patience = min(IDLE, max(0.0, self._waiting[0][0] - self._timeline.now())) if self._waiting else IDLE
            readable, _, _ = select.select([self._master], [], [], patience)
            if readable:
                self._take(os.read(self._master, 4096))
            self._hand_over()

    def _take(self, data: bytes) -> None:
        # The slave's end is where the host sets the baud rate.
        baud = _BAUD.get(termios.tcgetattr(self._slave)[5], 0)
        for delivery in self._bus.receive(data, self._timeline.now(), baud):
            heapq.heappush(self._waiting, (delivery.due, next(self._numbers), delivery))
        if self._waiting:
            self._timeline.pass_to(max(due for due, _, _ in self._waiting))

    def _hand_over(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._timeline.now():
            os.write(self._master, heapq.heappop(self._waiting)[2].wire)

    def _plug_in(self) -> None:
        self._master, self._slave = pty.openpty()
        # Our copy of the slave stays open, or the terminal would end when the host closes its own.
        tty.setraw(self._master)
        tty.setraw(self._slave)
        fresh = self._link.with_name(self._link.name + ".new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(os.ttyname(self._slave))
        fresh.replace(self._link)

    def _pull_out(self) -> None:
        self._link.unlink(missing_ok=True)
        self._waiting.clear()
        for end in (self._master, self._slave):
            if end >= 0:
                os.close(end)
        self._master = self._slave = -1
