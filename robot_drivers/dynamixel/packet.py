"""Protocol 2.0 packets: checksum, byte stuffing, and how requests and replies are built.

    FF FF FD 00 | ID | LEN lo hi | INST | params | CRC lo hi        LEN = params + 3; CRC over all bytes before it

A status has INST 0x55, and its first param is the error. Source: emanual.robotis.com/docs/en/dxl/protocol2/.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from robot_drivers.dynamixel.errors import ALERT

HEADER = b"\xff\xff\xfd\x00"
BROADCAST = 0xFE
OVERHEAD = 10  # bytes of a packet without params
POLYNOMIAL = 0x8005  # CRC-16, most significant bit first, start 0, no final xor

_PATTERN, _STUFFED = b"\xff\xff\xfd", b"\xff\xff\xfd\xfd"


class Instruction(IntEnum):
    """What a packet asks for; STATUS answers."""

    PING = 0x01
    READ = 0x02
    WRITE = 0x03
    REG_WRITE = 0x04
    ACTION = 0x05
    FACTORY_RESET = 0x06
    REBOOT = 0x08
    CLEAR = 0x10
    STATUS = 0x55
    SYNC_READ = 0x82
    SYNC_WRITE = 0x83
    FAST_SYNC_READ = 0x8A
    BULK_READ = 0x92
    BULK_WRITE = 0x93
    FAST_BULK_READ = 0x9A


def _crc_of_byte(byte: int) -> int:
    crc = byte << 8
    for _ in range(8):
        crc = (crc << 1) ^ (POLYNOMIAL if crc & 0x8000 else 0)
    return crc & 0xFFFF


_TABLE = tuple(_crc_of_byte(byte) for byte in range(256))


def crc16(data: bytes, start: int = 0) -> int:
    """Checksum of `data`, continued from `start`."""
    crc = start
    for byte in data:
        crc = (crc << 8 & 0xFF00) ^ _TABLE[crc >> 8 ^ byte]
    return crc


def stuff(body: bytes) -> bytes:
    """Instruction and params as they go on the wire: FF FF FD would look like a header, so FD is added."""
    return body.replace(_PATTERN, _STUFFED)


def unstuff(body: bytes) -> bytes:
    """The inverse of `stuff`."""
    return body.replace(_STUFFED, _PATTERN)


def frame(id: int, body: bytes) -> bytes:
    """Header, ID, length and checksum around a body that is stuffed already."""
    packet = HEADER + bytes((id,)) + (len(body) + 2).to_bytes(2, "little") + body
    return packet + crc16(packet).to_bytes(2, "little")


def request(id: int, instruction: Instruction, params: bytes = b"") -> bytes:
    """An instruction packet."""
    return frame(id, stuff(bytes((instruction,)) + params))


def status(id: int, error: int = 0, params: bytes = b"") -> bytes:
    """A status packet, as a servo sends it."""
    return frame(id, stuff(bytes((Instruction.STATUS, error)) + params))


def fast_status(replies: Sequence[tuple[int, int, bytes]]) -> bytes:
    """The one packet in which servos together answer a fast read: (ID, error, data) of each, in order.

    It is not stuffed. After each servo's data comes the checksum of all bytes so far; the last one ends the packet.
    """
    length = 1 + sum(len(data) + 4 for _, _, data in replies)
    packet = HEADER + bytes((BROADCAST,)) + length.to_bytes(2, "little") + bytes((Instruction.STATUS,))
    crc = crc16(packet)
    for id, error, data in replies:
        part = bytes((error, id)) + data
        crc = crc16(part, crc)
        tail = crc.to_bytes(2, "little")
        packet += part + tail
        crc = crc16(tail, crc)
    return packet


def ping(id: int = BROADCAST) -> bytes:
    """Ask for model number and firmware version."""
    return request(id, Instruction.PING)


def read(id: int, address: int, length: int) -> bytes:
    """Read one block of one servo."""
    return request(id, Instruction.READ, _words(address, length))


def write(id: int, address: int, data: bytes) -> bytes:
    """Write one block of one servo; it answers, unless `id` is BROADCAST."""
    return request(id, Instruction.WRITE, _words(address) + data)


def reg_write(id: int, address: int, data: bytes) -> bytes:
    """Like `write`, but carried out by the next `action`."""
    return request(id, Instruction.REG_WRITE, _words(address) + data)


def action(id: int = BROADCAST) -> bytes:
    """Carry out what `reg_write` left."""
    return request(id, Instruction.ACTION)


def reboot(id: int) -> bytes:
    """Restart a servo: clears its hardware error, switches torque off, loses RAM."""
    return request(id, Instruction.REBOOT)


def sync_read(ids: Iterable[int], address: int, length: int, *, fast: bool = False) -> bytes:
    """Read the same block of several servos; `fast` asks for one packet instead of one from each."""
    kind = Instruction.FAST_SYNC_READ if fast else Instruction.SYNC_READ
    return request(BROADCAST, kind, _words(address, length) + bytes(ids))


def sync_write(address: int, data: Sequence[tuple[int, bytes]]) -> bytes:
    """Write the same registers of several servos: (ID, bytes) of each. Nobody answers.

    Raises:
        ValueError: blocks of different lengths, which would shift all that follow.
    """
    lengths = {len(block) for _, block in data}
    if len(lengths) != 1:
        raise ValueError(f"sync write: expected blocks of one length, got {sorted(lengths)} bytes")
    blocks = b"".join(bytes((id,)) + block for id, block in data)
    return request(BROADCAST, Instruction.SYNC_WRITE, _words(address, lengths.pop()) + blocks)


def bulk_read(blocks: Iterable[tuple[int, int, int]], *, fast: bool = False) -> bytes:
    """Read a different block of each servo: (ID, address, length)."""
    kind = Instruction.FAST_BULK_READ if fast else Instruction.BULK_READ
    return request(BROADCAST, kind, b"".join(bytes((id,)) + _words(address, length) for id, address, length in blocks))


def bulk_write(blocks: Iterable[tuple[int, int, bytes]]) -> bytes:
    """Write a different block of each servo: (ID, address, bytes). Nobody answers."""
    return request(
        BROADCAST,
        Instruction.BULK_WRITE,
        b"".join(bytes((id,)) + _words(address, len(data)) + data for id, address, data in blocks),
    )


@dataclass(frozen=True)
class Status:
    """What one servo answered.

    Attributes:
        id: who.
        error: the error byte as sent.
        params: data, without stuffing.
    """

    id: int
    error: int
    params: bytes = b""

    @property
    def code(self) -> int:
        """Error number, see `errors.SERVO_ERRORS`; 0 is success."""
        return self.error & ~ALERT

    @property
    def alert(self) -> bool:
        """Whether the servo reports a hardware error."""
        return bool(self.error & ALERT)


def _words(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(2, "little") for number in numbers)
