"""Finds packets in a stream of bytes that may be noisy, cut anywhere, or damaged."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from robot_drivers.dynamixel.packet import BROADCAST, HEADER, OVERHEAD, Instruction, Status, crc16, unstuff

MAX_LENGTH = 1024  # of the LEN field; the largest packet of nine servos is 300 bytes
_BODY = 7  # index of the first byte that LEN counts


@dataclass(frozen=True)
class Frame:
    """An intact packet.

    Attributes:
        wire: all of its bytes.
    """

    wire: bytes

    @property
    def id(self) -> int:
        """Whom it is for, or who sent it."""
        return self.wire[4]

    @property
    def instruction(self) -> int:
        """See `Instruction`."""
        return self.wire[_BODY]

    @property
    def params(self) -> bytes:
        """What follows the instruction, without stuffing; in a status it begins with the error."""
        return unstuff(self.wire[_BODY:-2])[1:]

    @property
    def is_fast(self) -> bool:
        """Whether several servos answer in it; see `fast_statuses`."""
        return _is_fast(self.wire)

    def status(self) -> Status | None:
        """What the servo answered; None if it is not the status of one servo."""
        params = self.params
        if self.instruction != Instruction.STATUS or self.is_fast or not params:
            return None
        return Status(self.id, params[0], params[1:])


class Fault(StrEnum):
    """What was wrong with bytes that are no packet."""

    NOISE = "bytes between packets"
    LENGTH = "impossible length"
    CHECKSUM = "wrong checksum"
    TRUNCATED = "packet cut short"


@dataclass(frozen=True)
class Damage:
    """Bytes that had to be dropped.

    Attributes:
        fault: why.
        wire: the bytes.
    """

    fault: Fault
    wire: bytes

    def __str__(self) -> str:
        shown = self.wire[:32].hex(" ") + (" ..." if len(self.wire) > 32 else "")
        return f"{self.fault}, {len(self.wire)} bytes: {shown}"


class Parser:
    """Give it bytes as they come; it gives back packets, and what it had to drop.

    The frames do not depend on where the stream was cut into pieces.
    """

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[Frame | Damage]:
        """Take bytes and return what is complete now, in the order of the wire."""
        self._buffer += data
        found: list[Frame | Damage] = []
        while item := self._next():
            found.append(item)
        return found

    def flush(self) -> list[Frame | Damage]:
        """End of waiting: what is incomplete will stay so. Packets behind a false header still come out."""
        found: list[Frame | Damage] = []
        while self._buffer.startswith(HEADER):
            found.append(self._drop(Fault.TRUNCATED, self._next_header(len(self._buffer))))
            found += self.feed(b"")
        if self._buffer:
            found.append(self._drop(Fault.NOISE, len(self._buffer)))
        return found

    def _next(self) -> Frame | Damage | None:
        buffer = self._buffer
        start = buffer.find(HEADER)
        if start < 0:
            return self._bounded_noise()  # kept until a header ends it, so that it is reported in one piece
        if start > 0:
            return self._drop(Fault.NOISE, start)
        if len(buffer) < OVERHEAD:
            return None
        length = int.from_bytes(buffer[5:7], "little")
        if not 3 <= length <= MAX_LENGTH:
            return self._drop(Fault.LENGTH, self._next_header(OVERHEAD))
        end = _BODY + length
        if not _is_fast(buffer):
            # Stuffing keeps headers out of a body: one there belongs to the next packet, and this one lacks its end.
            # The checksum is not stuffed, hence -2.
            cut = buffer.find(HEADER, 1, end - 2)
            if cut > 0:
                return self._drop(Fault.TRUNCATED, cut)
        if len(buffer) < end:
            return None
        wire = buffer[:end]
        if crc16(wire[:-2]) != int.from_bytes(wire[-2:], "little"):
            return self._drop(Fault.CHECKSUM, self._next_header(end))
        self._buffer = buffer[end:]
        return Frame(wire)

    def _next_header(self, end: int) -> int:
        """Where dropping has to stop: at a header before `end`, or at what may be the first bytes of one."""
        following = self._buffer.find(HEADER, 1, end)
        if following > 0:
            return following
        begun = next((count for count in (3, 2, 1) if self._buffer[:end].endswith(HEADER[:count])), 0)
        return end - begun

    def _bounded_noise(self) -> Damage | None:
        if len(self._buffer) <= MAX_LENGTH:
            return None
        return self._drop(Fault.NOISE, len(self._buffer) - len(HEADER) + 1)  # the last bytes may begin a header

    def _drop(self, fault: Fault, count: int) -> Damage:
        dropped, self._buffer = self._buffer[:count], self._buffer[count:]
        return Damage(fault, dropped)


def fast_statuses(wire: bytes, length: int) -> list[Status]:
    """The answers in a fast reply, of which the end may be missing.

    Args:
        wire: the packet from its header on: `Frame.wire`, or `Damage.wire` of one cut short.
        length: bytes that were read from each servo.

    Returns:
        One status for each servo whose own checksum is right, up to the first that is damaged or missing.
    """
    statuses: list[Status] = []
    size, start = length + 4, _BODY + 1
    crc = crc16(wire[:start])
    while len(part := wire[start : start + size]) == size:
        crc = crc16(part[:-2], crc)
        if crc != int.from_bytes(part[-2:], "little"):
            break
        statuses.append(Status(part[1], part[0], part[2:-2]))
        crc = crc16(part[-2:], crc)
        start += size
    return statuses


def _is_fast(wire: bytes) -> bool:
    return wire[4] == BROADCAST and wire[_BODY] == Instruction.STATUS
