"""What the servos of one bus do with a request, and which replies they put on the line."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from robot_drivers.dynamixel import packet
from robot_drivers.dynamixel.packet import BROADCAST, Instruction
from robot_drivers.dynamixel.parser import Frame
from robot_drivers.dynamixel.units import RETURN_DELAY
from robot_drivers.emulator.log import Kind
from robot_drivers.emulator.memory import INSTRUCTION, LENGTH, Refused
from robot_drivers.emulator.servo import Servo
from robot_drivers.emulator.world import World

BAUD_RATES = (9600, 57_600, 115_200, 1_000_000, 2_000_000, 3_000_000, 4_000_000)  # by `baud_rate`
REBOOT = 0.3, 0.5  # [s] shortest and longest time without an answer
LONGEST = 0xFFFF  # what the length of a packet can say
NO_SECONDARY = 253  # secondary IDs from here on are none


@dataclass(frozen=True)
class Reply:
    """Bytes that servos put on the line, or the silence in the place of a servo that is missing.

    Attributes:
        id: of the servo; BROADCAST for the joint reply to a fast read.
        wire: the bytes.
        delay: [s] before they begin.
        silence: so many bytes long the line is quiet instead.
    """

    id: int
    wire: bytes
    delay: float = 0.0
    silence: int = 0


class Dispatcher:
    """The servos of a bus as seen from the line.

    Args:
        servos: all of them.
        world: where they live.
        rng: for the duration of reboots.
    """

    def __init__(self, servos: Sequence[Servo], world: World, rng: random.Random) -> None:
        self._servos, self._world, self._rng = servos, world, rng

    def answer(self, frame: Frame, baud: int, moment: float) -> list[Reply]:
        """Carry out a request that arrived at `moment` [s], sent at `baud`; the replies in order."""
        awake = [s for s in self._servos if not s.asleep and BAUD_RATES[s.table["baud_rate"]] == baud]
        self._world.heard(awake, moment)
        call = _Call(frame.id, frame.params, awake, moment)
        match frame.instruction:
            case Instruction.PING:
                return self._ping(call)
            case Instruction.READ:
                return [] if call.id == BROADCAST else self._read(call, [(call.id, call.params)])
            case Instruction.SYNC_READ | Instruction.FAST_SYNC_READ:
                return self._read(
                    call,
                    [(id, call.params[:4]) for id in call.params[4:]],
                    fast=frame.instruction == Instruction.FAST_SYNC_READ,
                )
            case Instruction.BULK_READ | Instruction.FAST_BULK_READ:
                blocks = [call.params[k : k + 5] for k in range(0, len(call.params), 5)]
                return self._read(
                    call,
                    [(block[0], block[1:]) for block in blocks],
                    fast=frame.instruction == Instruction.FAST_BULK_READ,
                )
            case Instruction.SYNC_WRITE:
                return self._group_write(call, _sync_blocks(call.params))
            case Instruction.BULK_WRITE:
                return self._group_write(call, _bulk_blocks(call.params))
            case _:
                return self._command(call, frame.instruction)

    def _ping(self, call: _Call) -> list[Reply]:
        called = sorted(call.awake, key=lambda servo: servo.id) if call.id == BROADCAST else call.owners(call.id)
        by_id: dict[int, list[Reply]] = {}
        for servo in called:
            table = servo.table
            identity = table["model_number"].to_bytes(2, "little") + bytes((table["firmware_version"],))
            by_id.setdefault(servo.id, []).append(_status(servo, 0, identity))
        return [_collided(replies) for replies in by_id.values()]

    def _read(self, call: _Call, blocks: Sequence[tuple[int, bytes]], *, fast: bool = False) -> list[Reply]:
        """Read (address, length) of each ID; a servo that cannot leaves a gap, or cuts a fast reply short."""
        self._world.sense(call.awake, call.moment)
        replies: list[Reply] = []
        parts: list[tuple[int, int, bytes]] = []
        present = 0
        for id, block in blocks:
            length = int.from_bytes(block[2:4], "little")
            owners = [servo for servo in call.owners(id) if servo.table["status_return_level"] > 0]
            read = [(servo, *_read_block(servo, block)) for servo in owners]
            if fast:
                servo, error, data = read[0] if len(read) == 1 else (None, 0, b"")
                present += servo is not None and not error and present == len(parts)
                parts.append((id, servo.alert if servo else 0, data if data else bytes(length)))
            elif read:
                replies.append(_collided([_status(servo, error, data) for servo, error, data in read]))
            elif len(blocks) > 1:
                replies.append(Reply(id, b"", silence=packet.OVERHEAD + 1 + length))
        if fast and present and sum(len(data) + 4 for _, _, data in parts) < LONGEST:
            end = 8 + sum(len(data) + 4 for _, _, data in parts[:present])
            replies.append(Reply(BROADCAST, packet.fast_status(parts)[:end]))
        return replies

    def _group_write(self, call: _Call, blocks: Iterator[tuple[int, int, bytes]]) -> list[Reply]:
        for id, address, data in blocks:
            for servo in call.owners(id):
                _attempt(servo, partial(servo.write, address, data))
            for shadow in call.shadows(id):
                _attempt(shadow, partial(shadow.write, address, data, ram_only=True))
        return []

    def _command(self, call: _Call, instruction: int) -> list[Reply]:
        """Everything that one servo carries out and confirms."""

        def carry_out(servo: Servo, *, shadow: bool) -> None:
            address, data = int.from_bytes(call.params[:2], "little"), call.params[2:]
            if instruction in (Instruction.WRITE, Instruction.REG_WRITE) and not data:
                raise Refused(LENGTH, "a write without data")
            if instruction == Instruction.WRITE:
                servo.write(address, data, ram_only=shadow)
            elif instruction == Instruction.REG_WRITE:
                servo.reg_write(address, data)
            elif instruction == Instruction.ACTION:
                servo.action()
            elif instruction == Instruction.REBOOT:
                servo.reboot(call.moment + self._rng.uniform(*REBOOT), "asked to")
            else:
                raise Refused(INSTRUCTION, f"instruction 0x{instruction:02x}")

        replies = []
        for servo in call.awake if call.id == BROADCAST else call.owners(call.id):
            level = servo.table["status_return_level"]
            error = _attempt(servo, partial(carry_out, servo, shadow=False))
            if call.id != BROADCAST and level == 2:
                replies.append(_status(servo, error))
        if instruction in (Instruction.WRITE, Instruction.REG_WRITE, Instruction.ACTION):
            for shadow in call.shadows(call.id):
                _attempt(shadow, partial(carry_out, shadow, shadow=True))
        return [_collided(replies)] if replies else []


class _Call:
    """One request and who can hear it."""

    def __init__(self, id: int, params: bytes, awake: Sequence[Servo], moment: float) -> None:
        self.id, self.params, self.awake, self.moment = id, params, awake, moment
        self._owners: dict[int, list[Servo]] = {}
        self._shadows: dict[int, list[Servo]] = {}
        for servo in awake:
            own, secondary = servo.id, servo.table["secondary_id"]
            self._owners.setdefault(own, []).append(servo)
            if secondary < NO_SECONDARY and secondary != own:
                self._shadows.setdefault(secondary, []).append(servo)

    def owners(self, id: int) -> list[Servo]:
        """Servos with this ID: one, unless two were given the same."""
        return self._owners.get(id, [])

    def shadows(self, id: int) -> list[Servo]:
        """Servos with this secondary ID; a servo's own ID goes before."""
        return self._shadows.get(id, [])


def _attempt(servo: Servo, deed: Callable[[], None]) -> int:
    """Do it, and give the number for the error byte."""
    try:
        deed()
    except Refused as refusal:
        servo.report(Kind.REJECTED, str(refusal))
        return refusal.code
    return 0


def _read_block(servo: Servo, block: bytes) -> tuple[int, bytes]:
    if len(block) < 4:
        return LENGTH, b""
    try:
        return 0, servo.table.read(int.from_bytes(block[:2], "little"), int.from_bytes(block[2:4], "little"))
    except Refused as refusal:
        return refusal.code, b""


def _status(servo: Servo, error: int, params: bytes = b"") -> Reply:
    delay = servo.table["return_delay_time"] * RETURN_DELAY.factor
    return Reply(servo.id, packet.status(servo.id, error | servo.alert, params), delay)


def _collided(replies: Sequence[Reply]) -> Reply:
    """What servos with the same ID make of each other's replies: a low level on the line wins."""
    first, *others = replies
    wire = bytearray(first.wire)
    for other in others:
        for place, byte in enumerate(other.wire[: len(wire) - 1], start=1):  # never quite at the same time
            wire[place] &= byte
    return Reply(first.id, bytes(wire), first.delay)


def _sync_blocks(params: bytes) -> Iterator[tuple[int, int, bytes]]:
    address, length = int.from_bytes(params[:2], "little"), int.from_bytes(params[2:4], "little")
    for start in range(4, len(params) - length, length + 1):
        yield params[start], address, params[start + 1 : start + 1 + length]


def _bulk_blocks(params: bytes) -> Iterator[tuple[int, int, bytes]]:
    while len(params) >= 5:
        length = int.from_bytes(params[3:5], "little")
        yield params[0], int.from_bytes(params[1:3], "little"), params[5 : 5 + length]
        params = params[5 + length :]
