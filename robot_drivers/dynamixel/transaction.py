"""One request and its replies: what came, from whom, and what is missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from robot_drivers.clock import Clock
from robot_drivers.dynamixel.packet import OVERHEAD, Status
from robot_drivers.dynamixel.parser import Damage, Fault, Frame, Parser, fast_statuses
from robot_drivers.dynamixel.port import Port

BITS = 10  # on the line for one byte: start, 8 data, stop
QUIET = 0.002  # [s] so long must a line be silent before it is trusted again
MOST = 4096  # bytes; a line that never falls silent is noise
DOUBTFUL = 0.25  # [s] after a reply was missing, it may still come


@dataclass(frozen=True)
class Patience:
    """How long to wait for replies, beyond the time that their bytes take on the line.

    Attributes:
        first: [s] for the first byte: the servo's return delay, USB, and the computer being busy. Long enough for a
            computer that was away for a moment, and short enough to ask a second time within a tick of 20 ms.
        gap: [s] between bytes after that.
        calm: [s] instead of both, for a request that no tick waits for.
        baud_rate: [bit/s]
    """

    first: float = 0.007
    gap: float = 0.004
    calm: float = 0.05
    baud_rate: int = 1_000_000

    def calmed(self) -> Patience:
        """The same without hurry."""
        return replace(self, first=self.calm, gap=self.calm)

    def wire(self, size: int) -> float:
        """[s] that `size` bytes take."""
        return size * BITS / self.baud_rate


@dataclass(frozen=True)
class Replies:
    """What came of a request.

    Attributes:
        statuses: by ID.
        damage: what had to be dropped.
        missing: IDs that were asked and gave no intact answer, in the order of the request.
        waited: [s]
        silent: whether nothing had come for QUIET [s] in the end.
    """

    statuses: Mapping[int, Status]
    damage: Sequence[Damage] = field(default_factory=tuple)
    missing: tuple[int, ...] = ()
    waited: float = 0.0
    silent: bool = False


def quieten(port: Port, clock: Clock, until: float = math.inf) -> None:
    """Read and drop until nothing has come for QUIET [s], at most ten times as long.

    After a missing reply this keeps the next request from being answered by the last one's reply.

    Args:
        port: to read from.
        clock: to measure waiting with.
        until: [s] to wait no longer than this.

    Raises:
        Unplugged: the port is gone.
    """
    end = min(until, clock.now() + 10 * QUIET)
    while (left := end - clock.now()) > 0 and port.read(1, min(QUIET, left)):
        port.flush_input()


def collect(
    port: Port,
    clock: Clock,
    ids: Sequence[int],
    length: int,
    patience: Patience,
    *,
    sent: int = 0,
    fast: bool = False,
    doubtful: bool = False,
    until: float = math.inf,
) -> Replies:
    """Wait for a status of each ID.

    Replies come in the order of the request, so the status of the last ID ends the wait: whoever is missing then has
    not answered. While a late reply to an earlier request may still come (`doubtful`), the line must also fall silent,
    and a servo that answered twice, differently, has given no answer: packets have no number that would tell which one
    is meant.

    Args:
        port: to read from.
        clock: to measure waiting with.
        ids: who is asked.
        length: data bytes of each status.
        patience: how long to wait.
        sent: bytes of the request that are still on their way.
        fast: whether all answer in one packet.
        doubtful: whether an earlier reply is still missing.
        until: [s] to wait no longer than this, whatever `patience` says.

    Raises:
        Unplugged: the port is gone.
    """
    expected = 8 + len(ids) * (4 + length) if fast else len(ids) * (OVERHEAD + 1 + length)
    started = clock.now()
    deadline = min(until, started + patience.wire(sent + expected) + patience.first)
    parser, statuses, damage = Parser(), dict[int, Status](), list[Damage]()
    contradicted, received, silent = set[int](), 0, False
    while received < MOST:
        all_here = all(id in statuses for id in ids)
        if not doubtful and (all_here or ids[-1] in statuses):
            break
        # The first byte may take its time. What follows it comes at once or not at all. What has come is also read
        # after the deadline: it may be this thread that was late, and not the servos.
        size = 1 if received == 0 or all_here else max(1, expected - received)
        left = max(0.0, deadline - clock.now())
        wait = min(left, QUIET) if all_here else left
        data = port.read(size, wait)
        if not data:
            silent = wait >= QUIET
            break
        received += len(data)
        contradicted |= _sort(parser.feed(data), ids, length, statuses, damage)
        deadline = min(deadline, clock.now() + patience.wire(max(0, expected - received)) + patience.gap)
    contradicted |= _sort(parser.flush(), ids, length, statuses, damage)
    for id in contradicted:
        del statuses[id]
    missing = tuple(id for id in ids if id not in statuses)
    return Replies(statuses, tuple(damage), missing, clock.now() - started, silent)


def _sort(
    items: Sequence[Frame | Damage],
    ids: Sequence[int],
    length: int,
    statuses: dict[int, Status],
    damage: list[Damage],
) -> set[int]:
    """Put statuses that were asked for into `statuses`, everything else into `damage`; who contradicted itself."""
    contradicted: set[int] = set()
    for item in items:
        if isinstance(item, Damage):
            whole = item.fault in (Fault.TRUNCATED, Fault.CHECKSUM)
            found = fast_statuses(item.wire, length) if whole and item.wire[4:5] == b"\xfe" else []
            damage.append(item)
        elif item.is_fast:
            found = fast_statuses(item.wire, length)
        else:
            status = item.status()
            found = [status] if status is not None else []
        for status in found:
            # A short payload with error 0 must not become the number 0; one with an error has no payload.
            fits = len(status.params) == length or (status.code != 0 and not status.params)
            if status.id not in ids or not fits:
                damage.append(Damage(Fault.NOISE, item.wire))
            elif statuses.setdefault(status.id, status) != status:
                contradicted.add(status.id)
    return contradicted
