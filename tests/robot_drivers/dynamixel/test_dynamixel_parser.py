from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_drivers.dynamixel import packet
from robot_drivers.dynamixel.packet import HEADER, Status
from robot_drivers.dynamixel.parser import Damage, Fault, Frame, Parser, fast_statuses

IDS = st.integers(0, 252)
TRICKY = st.lists(st.sampled_from([0xFF, 0xFF, 0xFD, 0x00, 0x55]), max_size=30).map(bytes)
STATUSES = st.builds(Status, IDS, st.integers(0, 255), st.one_of(TRICKY, st.binary(max_size=30)))
NOISE = st.binary(max_size=12).filter(lambda noise: HEADER not in noise)


def wire_of(status: Status) -> bytes:
    return packet.status(status.id, status.error, status.params)


def parse(data: bytes, size: int | None = None) -> list[Frame | Damage]:
    """Feed in pieces of `size` bytes, then end the waiting."""
    parser, found = Parser(), []
    for start in range(0, len(data), size or max(1, len(data))):
        found += parser.feed(data[start : start + (size or len(data))])
    return found + parser.flush()


def statuses(found: list[Frame | Damage]) -> list[Status | None]:
    return [item.status() for item in found if isinstance(item, Frame)]


def faults(found: list[Frame | Damage]) -> list[Fault]:
    return [item.fault for item in found if isinstance(item, Damage)]


def test_wrong_checksum_is_named():
    wire = bytearray(packet.status(3, 0, b"abcd"))
    wire[10] ^= 1
    [damage] = parse(bytes(wire))
    assert isinstance(damage, Damage)
    assert str(damage).startswith("wrong checksum, 15 bytes: ff ff fd 00 03")


def test_long_damage_is_shown_up_to_32_bytes():
    assert str(Damage(Fault.NOISE, bytes(range(32)))).endswith("32 bytes: " + bytes(range(32)).hex(" "))
    assert str(Damage(Fault.NOISE, bytes(range(33)))).endswith("33 bytes: " + bytes(range(32)).hex(" ") + " ...")


def test_impossible_length_is_named():
    for length in (1, 2):
        assert faults(parse(HEADER + bytes((1, length)) + b"\x00\x55\x00\x00")) == [Fault.LENGTH]
    assert faults(parse(packet.frame(1, bytes(1023))))[:1] == [Fault.LENGTH]


@pytest.mark.parametrize("size", [1, 1022])
def test_the_shortest_and_the_longest_packet(size):
    wire = packet.frame(1, bytes(size))
    assert parse(wire) == [Frame(wire)]


SECOND = packet.status(2, 0, b"ok")


@pytest.mark.parametrize("noise", [b"\x01", b"\xff\xff\xfd", bytes(20)])
def test_noise_is_reported_in_one_piece_when_a_packet_ends_it(noise):
    parser = Parser()
    assert parser.feed(noise) == []
    assert parser.feed(SECOND) == [Damage(Fault.NOISE, noise), Frame(SECOND)]


@pytest.mark.parametrize("swallowed", [0, 1, 2, 3])
def test_damage_ends_where_the_next_header_may_begin(swallowed):
    first = bytearray(packet.status(1, 0, b"abcd"))
    first[5] += swallowed
    first[10] ^= 1
    parser = Parser()
    assert parser.feed(first + SECOND) == [Damage(Fault.CHECKSUM, bytes(first)), Frame(SECOND)]


@pytest.mark.parametrize("length", [b"\x01\x00", b"\x05"])
def test_an_impossible_length_costs_no_byte_of_the_next_packet(length):
    first = HEADER + b"\x01" + length
    assert Parser().feed(first + SECOND) == [Damage(Fault.LENGTH, first), Frame(SECOND)]


def test_the_end_of_waiting_names_what_is_left():
    assert parse(b"\x01\x02") == [Damage(Fault.NOISE, b"\x01\x02")]
    assert parse(HEADER + b"\x01") == [Damage(Fault.TRUNCATED, HEADER + b"\x01")]
    assert parse(HEADER + b"\x01\xff") == [Damage(Fault.TRUNCATED, HEADER + b"\x01"), Damage(Fault.NOISE, b"\xff")]


def test_packets_behind_a_fast_reply_without_end_come_at_the_end_of_waiting():
    parser = Parser()
    first = packet.fast_status([(1, 0, bytes(60))])[:15]
    assert parser.feed(first + SECOND + SECOND) == []
    assert parser.flush() == [Damage(Fault.TRUNCATED, first), Frame(SECOND), Frame(SECOND)]


def test_a_packet_cut_short_costs_none_of_those_that_its_length_reaches():
    first = packet.status(1, 0, bytes(60))[:12]
    assert Parser().feed(first + SECOND + SECOND) == [Damage(Fault.TRUNCATED, first), Frame(SECOND), Frame(SECOND)]


@pytest.mark.parametrize(("kept", "fault"), [(9, Fault.TRUNCATED), (10, Fault.CHECKSUM)])
def test_a_header_at_the_end_of_a_body_is_a_cut_but_not_one_that_reaches_into_the_checksum(kept, fault):
    first = packet.status(1, 0, b"abcd")[:kept]
    assert Parser().feed(first + SECOND) == [Damage(fault, first), Frame(SECOND)]


def test_endless_noise_keeps_what_may_begin_a_header():
    parser = Parser()
    assert parser.feed(bytes(1024)) == []
    assert parser.feed(SECOND[:3]) == [Damage(Fault.NOISE, bytes(1024))]
    assert parser.feed(SECOND[3:]) == [Frame(SECOND)]


def test_endless_noise_does_not_pile_up():
    parser = Parser()
    found = [item for _ in range(100) for item in parser.feed(bytes(100))]
    assert 8000 < sum(len(item.wire) for item in found) <= 10_000


def test_a_fast_reply_gives_every_servo_up_to_the_first_that_is_damaged():
    sent = [(1, 0, b"abc"), (2, 0x80, b"def"), (3, 0, b"ghi")]
    answers = [Status(*reply) for reply in sent]
    wire = packet.fast_status(sent)
    assert fast_statuses(wire, 3) == answers
    for place in (15, 17, 21):  # error byte, data and checksum of the second
        damaged = bytearray(wire)
        damaged[place] ^= 1
        assert fast_statuses(bytes(damaged), 3) == answers[:1]


def test_a_request_to_all_is_no_fast_reply():
    wire = packet.sync_write(116, [(1, bytes(4)), (2, bytes(4))])
    assert not Frame(wire).is_fast
    assert Parser().feed(wire[:12] + SECOND) == [Damage(Fault.TRUNCATED, wire[:12]), Frame(SECOND)]


def test_a_status_without_an_error_byte_is_none():
    [frame] = parse(packet.frame(5, bytes((packet.Instruction.STATUS,))))
    assert isinstance(frame, Frame)
    assert frame.status() is None


@given(st.lists(STATUSES, max_size=6), st.integers(1, 40))
def test_round_trip_in_pieces_of_any_size(sent, size):
    found = parse(b"".join(map(wire_of, sent)), size)
    assert statuses(found) == sent
    assert faults(found) == []


@given(STATUSES, STATUSES)
def test_a_cut_at_every_byte(first, second):
    data = wire_of(first) + wire_of(second)
    for cut in range(len(data) + 1):
        parser = Parser()
        assert statuses(parser.feed(data[:cut]) + parser.feed(data[cut:])) == [first, second]


@given(st.lists(st.tuples(NOISE, STATUSES), max_size=5))
def test_noise_before_packets_is_reported_and_skipped(pieces):
    found = parse(b"".join(noise + wire_of(status) for noise, status in pieces))
    assert statuses(found) == [status for _, status in pieces]
    dropped = b"".join(item.wire for item in found if isinstance(item, Damage))
    assert dropped == b"".join(noise for noise, _ in pieces)


@settings(max_examples=300)
@given(st.one_of(st.binary(max_size=120), TRICKY), st.integers(1, 20))
def test_random_bytes_never_raise_and_none_get_lost(data, size):
    whole, pieces = parse(data), parse(data, size)
    assert b"".join(item.wire for item in whole) == data
    assert b"".join(item.wire for item in pieces) == data
    assert statuses(whole) == statuses(pieces)


@given(st.lists(STATUSES, min_size=2, max_size=5), st.data())
def test_one_flipped_bit_costs_one_packet_and_gives_no_wrong_one(sent, data):
    victim = data.draw(st.integers(0, len(sent) - 1))
    wires = [bytearray(wire_of(status)) for status in sent]
    bit = data.draw(st.integers(0, 8 * len(wires[victim]) - 1))
    wires[victim][bit // 8] ^= 1 << bit % 8
    found = statuses(parse(b"".join(wires)))
    assert found == sent[:victim] + sent[victim + 1 :]


@given(STATUSES, STATUSES, st.data())
def test_a_packet_cut_short_does_not_swallow_the_next(first, second, data):
    kept = data.draw(st.integers(0, len(wire_of(first)) - 1))
    found = parse(wire_of(first)[:kept] + wire_of(second))
    # A checksum that ends as a header begins is completed by the next one: no reader can tell that from a whole packet.
    whole = wire_of(second).startswith(wire_of(first)[kept:])
    assert statuses(found) == [first if whole else second]
    assert (kept > 0) == bool(faults(found))


def test_a_missing_end_that_the_next_header_completes_costs_the_next_packet():
    first = Status(175, 76, bytes.fromhex("0015fd15ff0000"))
    assert wire_of(first).endswith(b"\xff")
    found = parse(wire_of(first)[:-1] + wire_of(Status(1, 0, b"")))
    assert statuses(found) == [first]
    assert faults(found)


def test_the_packet_behind_a_cut_one_comes_without_waiting():
    parser = Parser()
    first, second = packet.status(1, 0, bytes(21)), packet.status(2, 0, b"ok")
    found = parser.feed(first[:12] + second)
    assert faults(found) == [Fault.TRUNCATED]
    assert statuses(found) == [Status(2, 0, b"ok")]


def test_a_checksum_that_looks_like_the_rest_of_a_header_is_no_cut():
    wire = next(
        wire
        for number in range(1 << 20)
        if (wire := packet.status(1, 0, number.to_bytes(3, "little") + b"\xff\xff"))[-2:] == b"\xfd\x00"
    )
    assert HEADER in wire[1:]
    assert statuses(parse(wire, 1)) == [Status(1, 0, wire[9:-2])]


FAST = st.lists(st.tuples(IDS, st.integers(0, 255), st.binary(min_size=5, max_size=5)), min_size=1, max_size=9)
FAST_TRICKY = st.lists(
    st.tuples(IDS, st.just(0), st.sampled_from([b"\xff\xff\xfd\x00\x01", b"\xff\xff\xfd\xfd\x55"])), min_size=1
)


@given(st.one_of(FAST, FAST_TRICKY), st.integers(1, 40))
def test_fast_reply_round_trip(replies, size):
    [frame] = parse(packet.fast_status(replies), size)
    assert isinstance(frame, Frame)
    assert frame.is_fast
    assert frame.status() is None
    assert fast_statuses(frame.wire, 5) == [Status(*reply) for reply in replies]


@given(FAST, st.data())
def test_a_fast_reply_cut_short_still_gives_the_servos_before_the_cut(replies, data):
    wire = packet.fast_status(replies)
    kept = data.draw(st.integers(8, len(wire) - 1))
    found = fast_statuses(wire[:kept], 5)
    assert found == [Status(*reply) for reply in replies[: (kept - 8) // 9]]


@given(FAST, st.data())
def test_a_damaged_byte_in_a_fast_reply_never_gives_wrong_data(replies, data):
    wire = bytearray(packet.fast_status(replies))
    place = data.draw(st.integers(8, len(wire) - 1))
    wire[place] ^= data.draw(st.integers(1, 255))
    found = fast_statuses(bytes(wire), 5)
    assert found == [Status(*reply) for reply in replies[: (place - 8) // 9]]


@pytest.mark.parametrize("params", [b"", b"\x00"])
def test_instructions_are_no_status(params):
    [frame] = parse(packet.request(5, packet.Instruction.PING, params))
    assert isinstance(frame, Frame)
    assert (frame.id, frame.instruction, frame.params) == (5, 1, params)
    assert frame.status() is None
