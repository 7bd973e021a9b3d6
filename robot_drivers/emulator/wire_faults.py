"""Faults of packets: from the replies that servos give to the bytes that the line carries."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from robot_drivers.dynamixel import packet
from robot_drivers.dynamixel.packet import HEADER, Instruction
from robot_drivers.emulator.faults import Fault, FaultKind
from robot_drivers.emulator.protocol import Reply

Effect = Callable[[Reply, Fault, random.Random], list[Reply]]


def _drop(reply: Reply, fault: Fault, rng: random.Random) -> list[Reply]:
    return [replace(reply, wire=b"", silence=len(reply.wire))]


def _corrupt(reply: Reply, fault: Fault, rng: random.Random) -> list[Reply]:
    wire = bytearray(reply.wire)
    wire[rng.randrange(len(wire))] ^= 1 << rng.randrange(8)
    return [replace(reply, wire=bytes(wire))]


def _truncate(reply: Reply, fault: Fault, rng: random.Random) -> list[Reply]:
    return [replace(reply, wire=reply.wire[: rng.randrange(1, len(reply.wire))])]


def _split(reply: Reply, fault: Fault, rng: random.Random) -> list[Reply]:
    cut = rng.randrange(1, len(reply.wire))
    return [replace(reply, wire=reply.wire[:cut]), Reply(reply.id, reply.wire[cut:], delay=fault.amount)]


def _duplicate(reply: Reply, fault: Fault, rng: random.Random) -> list[Reply]:
    return [reply, reply]


def _later(reply: Reply, fault: Fault, rng: random.Random) -> list[Reply]:
    return [replace(reply, delay=reply.delay + fault.amount)]


def _noise(reply: Reply, fault: Fault, rng: random.Random) -> list[Reply]:
    noise = rng.randbytes(round(fault.amount)).replace(HEADER[:2], b"\xff\x7f")
    return [replace(reply, wire=noise + reply.wire)]


def _wrong_id(reply: Reply, fault: Fault, rng: random.Random) -> list[Reply]:
    wrong = (reply.id + round(fault.amount)) % 253
    return [replace(reply, wire=packet.frame(wrong, reply.wire[7:-2]))]


def _short_payload(reply: Reply, fault: Fault, rng: random.Random) -> list[Reply]:
    return [replace(reply, wire=packet.frame(reply.id, bytes((Instruction.STATUS, 0, 0))))]


def _duplicate_id(reply: Reply, fault: Fault, rng: random.Random) -> list[Reply]:
    shifted = reply.wire[:1] + reply.wire[:-1]  # a second servo answers the same, a byte later
    return [replace(reply, wire=bytes(ours & theirs for ours, theirs in zip(reply.wire, shifted, strict=True)))]


EFFECTS: Mapping[FaultKind, Effect] = MappingProxyType(
    {
        FaultKind.DROP_REPLY: _drop,
        FaultKind.CORRUPT: _corrupt,
        FaultKind.TRUNCATE: _truncate,
        FaultKind.SPLIT: _split,
        FaultKind.DUPLICATE: _duplicate,
        FaultKind.LATE: _later,
        FaultKind.SLOW_BUS: _later,
        FaultKind.NOISE: _noise,
        FaultKind.WRONG_ID: _wrong_id,
        FaultKind.SHORT_PAYLOAD: _short_payload,
        FaultKind.DUPLICATE_ID: _duplicate_id,
    }
)
