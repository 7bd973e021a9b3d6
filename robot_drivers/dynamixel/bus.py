"""One bus: every request and its answers, one at a time.

Built on `packet.py` and not on the SDK: SDK 4.1.0 does not stuff its requests, stops a sync read at the first missing
servo, drops error bytes, and gives 0 for a value that did not come.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from robot_drivers.clock import Clock
from robot_drivers.dynamixel import packet
from robot_drivers.dynamixel.errors import CorruptReply, NoReply, ServoError, Unplugged
from robot_drivers.dynamixel.port import Port
from robot_drivers.dynamixel.registers import Register
from robot_drivers.dynamixel.transaction import DOUBTFUL, Patience, Replies, collect, quieten

CONTENTION = 0.0005  # [s] between looks whether another thread has let go of the line


@dataclass(frozen=True)
class Identity:
    """What a ping tells.

    Attributes:
        model: number, see `models.MODELS`.
        firmware: version.
    """

    model: int
    firmware: int


class Bus:
    """The servos behind one port. Its methods may be called from several threads; each holds the line for one request.

    Args:
        name: for messages, such as `follower_left`.
        open_port: opens the port; called by `open`, again after it was unplugged.
        clock: measures waiting.
        patience: how long to wait for replies.
        tries: how often a ping, read or write is sent until an intact answer comes.

    Attributes:
        name: as given.
        patience: as given; may be changed.
        alerts: IDs whose last status had the alert bit: they report a hardware error.
        lost: by ID, how many replies did not come or came damaged.
    """

    def __init__(
        self,
        name: str,
        open_port: Callable[[], Port],
        clock: Clock,
        patience: Patience | None = None,
        *,
        tries: int = 3,
    ) -> None:
        self.name = name
        self._lock = threading.RLock()
        self.alerts: set[int] = set()
        self.lost: Counter[int] = Counter()
        self._open_port, self._clock, self.patience = open_port, clock, patience or Patience()
        self._port: Port | None = None
        self._tries = tries
        self._doubtful_until = float("-inf")
        self._sent_at, self._silence = clock.now(), 0.0

    @property
    def is_open(self) -> bool:
        """Whether there is a port; False after it was unplugged."""
        return self._port is not None

    def take_silence(self) -> float:
        """[s] the longest time without a request since this was last asked, up to now; too long, and servos stop."""
        now = self._clock.now()
        silence = max(self._silence, now - self._sent_at)
        self._sent_at, self._silence = now, 0.0
        return silence

    @contextmanager
    def line(self, patience: float = float("inf")) -> Iterator[None]:
        """Keep the line for several requests in a row.

        Args:
            patience: [s] to wait for it.

        Raises:
            TimeoutError: another thread kept it for longer.
        """
        end = self._clock.now() + patience
        # Waiting means sleeping on the clock: a virtual one stands still while a thread is merely blocked.
        while not self._lock.acquire(blocking=False):
            if self._clock.now() >= end:
                raise TimeoutError(f"{self.name}: expected the line within {patience} s; another thread keeps it")
            self._clock.sleep_until(self._clock.now() + CONTENTION)
        try:
            yield
        finally:
            self._lock.release()

    def open(self) -> None:
        """Open the port, if it is not open.

        Raises:
            PortMissing, PortBusy: see `errors`.
        """
        with self.line():
            if self._port is None:
                self._port = self._open_port()
                self._doubtful_until = float("-inf")
                self._sent_at, self._silence = self._clock.now(), 0.0

    def close(self) -> None:
        """Give the port back."""
        with self.line():
            port, self._port = self._port, None
            if port is not None:
                port.close()

    def ping(self, id: int, *, until: float | None = None) -> Identity:
        """Who answers to this ID.

        Args:
            id: whom to ask.
            until: [s] in a tick: ask once, and wait no longer than this; None: there is time.

        Raises:
            NoReply, CorruptReply, ServoError, Unplugged: see `errors`.
        """
        params = self._ask(id, packet.ping(id), 3, "ping", until=until)
        return Identity(int.from_bytes(params[:2], "little"), params[2])

    def read(self, id: int, register: Register) -> int:
        """The raw value of a register.

        Raises:
            NoReply, CorruptReply, ServoError, Unplugged: see `errors`.
        """
        return register.decode(self.read_block(id, register.address, register.length))

    def read_block(self, id: int, address: int, length: int, *, until: float | None = None) -> bytes:
        """`length` bytes of one servo's memory.

        Args:
            id: whose.
            address: of the first byte.
            length: number of bytes.
            until: [s] in a tick: ask once, and wait no longer than this; None: there is time.

        Raises:
            NoReply, CorruptReply, ServoError, Unplugged: see `errors`.
        """
        what = f"read of {length} bytes at {address}"
        return self._ask(id, packet.read(id, address, length), length, what, until=until)

    def write(self, id: int, register: Register, raw: int) -> None:
        """Write a register and wait for the servo's answer.

        Raises:
            NoReply, CorruptReply, ServoError, Unplugged: see `errors`; it may have been written nevertheless.
        """
        request = packet.write(id, register.address, register.encode(raw))
        self._ask(id, request, 0, f"write {raw} to {register.name}")

    def reboot(self, id: int) -> None:
        """Restart a servo: it clears its hardware error, loses RAM and torque, and is deaf for half a second.

        Raises:
            NoReply, CorruptReply, ServoError, Unplugged: see `errors`.
        """
        self._ask(id, packet.reboot(id), 0, "reboot", tries=1)
        self.alerts.discard(id)

    def sync_read(
        self, ids: Sequence[int], address: int, length: int, *, fast: bool = False, until: float = math.inf
    ) -> Replies:
        """Read the same block of several servos. Missing ones are named, and cost the others nothing.

        Args:
            ids: of which servos.
            address, length: of the block.
            fast: ask for one packet from all; the firmware must know it.
            until: [s] to wait no longer than this.

        Raises:
            Unplugged: the port is gone.
        """
        request = packet.sync_read(ids, address, length, fast=fast)
        return self._exchange(request, ids, length, fast=fast, until=until)

    def sync_write(self, register: Register, values: Mapping[int, int]) -> None:
        """Write a register of several servos: ID -> raw value. Nobody answers, so nobody can say no.

        Raises:
            Unplugged: the port is gone.
        """
        request = packet.sync_write(register.address, [(id, register.encode(raw)) for id, raw in values.items()])
        with self.line():
            self._send(request)

    def _ask(
        self,
        id: int,
        request: bytes,
        length: int,
        what: str,
        *,
        until: float | None = None,
        tries: int | None = None,
    ) -> bytes:
        """The data of one servo's answer."""
        end = math.inf if until is None else until
        for _ in range(1 if until is not None else tries or self._tries):
            replies = self._exchange(request, (id,), length, calm=until is None, until=end)
            if id in replies.statuses:
                break
        where = f"{self.name}, ID {id}, {what}"
        if id not in replies.statuses:
            if replies.damage:
                raise CorruptReply(where, (id,), "; ".join(map(str, replies.damage)))
            raise NoReply(where, (id,), replies.waited)
        status = replies.statuses[id]
        if status.code:
            raise ServoError(where, id, status.error)
        return status.params

    def _exchange(
        self,
        request: bytes,
        ids: Sequence[int],
        length: int,
        *,
        fast: bool = False,
        calm: bool = False,
        until: float = math.inf,
    ) -> Replies:
        patience = self.patience.calmed() if calm else self.patience
        with self.line():
            port = self._send(request)
            try:
                doubtful = self._clock.now() < self._doubtful_until
                replies = collect(
                    port,
                    self._clock,
                    ids,
                    length,
                    patience,
                    sent=len(request),
                    fast=fast,
                    doubtful=doubtful,
                    until=until,
                )
                if replies.missing or replies.damage:
                    self._doubtful_until = self._clock.now() + DOUBTFUL
                    if not replies.silent:
                        quieten(port, self._clock, until)
            except Unplugged:
                self.close()
                raise
            self.lost.update(replies.missing)
            for id, status in replies.statuses.items():
                (self.alerts.add if status.alert else self.alerts.discard)(id)
            return replies

    def _send(self, request: bytes) -> Port:
        port = self._port
        if port is None:
            raise Unplugged(self.name, "the port is closed")
        now = self._clock.now()
        self._sent_at, self._silence = now, max(self._silence, now - self._sent_at)
        try:
            port.flush_input()
            port.write(request)
        except Unplugged:
            self.close()
            raise
        return port
