from __future__ import annotations

import dynamixel_sdk
import pytest
from dynamixel_sdk import Protocol2PacketHandler
from hypothesis import given
from hypothesis import strategies as st

from robot_drivers.dynamixel import packet

# Bytes that often form the header pattern: it comes once in 16 million random triples.
TRICKY = st.lists(st.sampled_from([0xFF, 0xFF, 0xFD, 0x00, 0x55, 0xFE]), max_size=40).map(bytes)
PARAMS = st.one_of(TRICKY, st.binary(max_size=200))


def hexed(text: str) -> bytes:
    return bytes.fromhex(text)


# Printed in the manual, emanual.robotis.com/docs/en/dxl/protocol2/
@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (packet.ping(1), "ff ff fd 00 01 03 00 01 19 4e"),
        (packet.ping(), "ff ff fd 00 fe 03 00 01 31 42"),
        (packet.read(1, 132, 4), "ff ff fd 00 01 07 00 02 84 00 04 00 1d 15"),
        (packet.write(1, 116, hexed("00 02 00 00")), "ff ff fd 00 01 09 00 03 74 00 00 02 00 00 ca 89"),
        (packet.reg_write(1, 104, hexed("c8 00 00 00")), "ff ff fd 00 01 09 00 04 68 00 c8 00 00 00 ae 8e"),
        (packet.action(1), "ff ff fd 00 01 03 00 05 02 ce"),
        (packet.reboot(1), "ff ff fd 00 01 03 00 08 2f 4e"),
        (packet.sync_read([1, 2], 132, 4), "ff ff fd 00 fe 09 00 82 84 00 04 00 01 02 ce fa"),
        (
            packet.sync_write(116, [(1, hexed("96 00 00 00")), (2, hexed("aa 00 00 00"))]),
            "ff ff fd 00 fe 11 00 83 74 00 04 00 01 96 00 00 00 02 aa 00 00 00 82 87",
        ),
        (
            packet.bulk_read([(1, 144, 2), (2, 146, 1)]),
            "ff ff fd 00 fe 0d 00 92 01 90 00 02 00 02 92 00 01 00 1a 05",
        ),
        (
            packet.bulk_write([(1, 32, hexed("a0 00")), (2, 31, hexed("50"))]),
            "ff ff fd 00 fe 10 00 93 01 20 00 02 00 a0 00 02 1f 00 01 00 50 b7 68",
        ),
        (packet.status(1, 0, hexed("06 04 26")), "ff ff fd 00 01 07 00 55 00 06 04 26 65 5d"),
        (packet.status(2, 0, hexed("1f 08 00 00")), "ff ff fd 00 02 08 00 55 00 1f 08 00 00 ba be"),
    ],
)
def test_packets_of_the_manual(built, expected):
    assert built == hexed(expected)


def test_instructions_have_the_numbers_of_the_sdk():
    for name, instruction in packet.Instruction.__members__.items():  # with those that are two names of one number
        assert instruction == getattr(dynamixel_sdk, f"INST_{name}")


def test_fast_reads_differ_in_the_instruction_only():
    for plain, fast, instruction in (
        (packet.sync_read([1, 2], 132, 4), packet.sync_read([1, 2], 132, 4, fast=True), 0x8A),
        (packet.bulk_read([(1, 144, 2)]), packet.bulk_read([(1, 144, 2)], fast=True), 0x9A),
    ):
        assert fast[:-2] == plain[:7] + bytes((instruction,)) + plain[8:-2]


def test_the_shortest_packet_is_the_overhead_and_a_status_is_a_success():
    assert len(packet.ping(1)) == packet.OVERHEAD
    assert packet.status(3) == packet.status(3, 0, b"")
    assert packet.Status(3, 0) == packet.Status(3, 0, b"")


@pytest.mark.parametrize(
    ("error", "code", "alert"), [(0, 0, False), (0x07, 7, False), (0x80, 0, True), (0x86, 6, True), (0xFF, 0x7F, True)]
)
def test_the_error_byte_holds_a_number_and_the_alert(error, code, alert):
    status = packet.Status(1, error)
    assert (status.code, status.alert) == (code, alert)


@given(st.binary(max_size=300))
def test_checksum_equals_the_sdk(data):
    assert packet.crc16(data) == Protocol2PacketHandler().updateCRC(0, list(data), len(data))


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_checksum_can_be_continued(first, second):
    assert packet.crc16(second, packet.crc16(first)) == packet.crc16(first + second)


@given(PARAMS)
def test_stuffing_is_undone_and_hides_every_header(params):
    stuffed = packet.stuff(params)
    assert packet.unstuff(stuffed) == params
    assert packet.HEADER not in stuffed


@given(PARAMS)
def test_stuffing_equals_the_sdk(params):
    body = bytes((packet.Instruction.WRITE,)) + params
    mine = packet.request(7, packet.Instruction.WRITE, params)
    length = len(body) + 2
    theirs = list(packet.HEADER + bytes((7,)) + length.to_bytes(2, "little") + body) + [0, 0] + [0] * len(params)
    theirs = Protocol2PacketHandler().addStuffing(theirs)
    size = int.from_bytes(bytes(theirs[5:7]), "little")
    assert bytes(theirs[: 5 + size]) == mine[:-2]


def test_sync_write_refuses_blocks_of_different_lengths():
    with pytest.raises(ValueError, match=r"one length, got \[2, 4\]"):
        packet.sync_write(116, [(1, bytes(4)), (2, bytes(2))])


def test_fast_status_has_the_length_of_the_protocol():
    wire = packet.fast_status([(1, 0, bytes(10)), (2, 0x80, bytes(10))])
    assert len(wire) == 8 + 2 * (4 + 10)
    assert int.from_bytes(wire[5:7], "little") == len(wire) - 7
    assert packet.crc16(wire[:-2]) == int.from_bytes(wire[-2:], "little")
