from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_drivers.dynamixel import packet
from robot_drivers.dynamixel.packet import BROADCAST, Instruction, Status
from robot_drivers.dynamixel.parser import Frame, fast_statuses
from robot_drivers.emulator.aloha import aloha_buses
from robot_drivers.emulator.log import Kind
from robot_drivers.emulator.robot import EmulatedRobot
from robot_drivers.emulator.uart import Timing
from tests.robot_drivers.emulator.host import ARM, REGISTERS, Host, one_arm


@pytest.fixture
def host() -> Host:
    return Host(one_arm())


@pytest.fixture(scope="module")
def shared() -> EmulatedRobot:
    return one_arm()


def test_ping_tells_model_and_firmware(host):
    assert host.ask(packet.ping(8)) == [Status(8, 0, bytes((1020 & 0xFF, 1020 >> 8, 45)))]


def test_broadcast_ping_is_answered_by_all_in_order_of_id(host):
    assert [status.id for status in host.ask(packet.ping())] == list(range(1, 10))


def test_nobody_answers_for_a_missing_id(host):
    assert host.ask(packet.ping(10)) == []
    assert host.ask(packet.read(10, 132, 4)) == []


def test_sync_read_answers_in_the_order_of_the_request(host):
    statuses = host.ask(packet.sync_read([5, 2, 9], 0, 2))
    assert [(s.id, int.from_bytes(s.params, "little")) for s in statuses] == [(5, 1120), (2, 1120), (9, 1020)]


def test_a_missing_servo_in_a_sync_read_costs_its_time_and_no_more(host):
    full = host.port
    start = host.robot.now()
    full.write(packet.sync_read([1, 2, 3], 132, 4))
    full.read(45)
    with_all = host.robot.now() - start
    start = host.robot.now()
    full.write(packet.sync_read([1, 77, 3], 132, 4))
    data = full.read(30)
    assert len(data) == 30
    assert host.robot.now() - start == pytest.approx(with_all, abs=0.0011)  # the latency timer's phase differs


def test_bulk_read_reads_different_blocks(host):
    statuses = host.ask(packet.bulk_read([(1, 144, 2), (9, 146, 1)]))
    assert statuses == [Status(1, 0, bytes((120, 0))), Status(9, 0, bytes((25,)))]


def test_group_writes_are_obeyed_without_an_answer(host):
    goal = REGISTERS["goal_position"]
    assert host.ask(packet.sync_write(goal.address, [(1, goal.encode(2100)), (6, goal.encode(1900))])) == []
    assert host.ask(packet.bulk_write([(7, 116, goal.encode(2300)), (9, 102, (50).to_bytes(2, "little"))])) == []
    assert [host.read(id, "goal_position") for id in (1, 6, 7)] == [2100, 1900, 2300]
    assert host.read(9, "goal_current") == 50


def test_fast_sync_read_is_one_packet(host):
    [frame] = host.exchange(packet.sync_read([1, 2, 3], 132, 4, fast=True))
    assert isinstance(frame, Frame)
    assert [(s.id, s.params) for s in fast_statuses(frame.wire, 4)] == [
        (s.id, s.params) for s in host.ask(packet.sync_read([1, 2, 3], 132, 4))
    ]


def test_fast_bulk_read_takes_different_lengths(host):
    [frame] = host.exchange(packet.bulk_read([(1, 144, 2), (9, 146, 1)], fast=True))
    assert isinstance(frame, Frame)
    assert frame.wire[8:12] == bytes((0, 1, 120, 0))
    assert frame.wire[14:17] == bytes((0, 9, 25))


def test_a_missing_servo_cuts_a_fast_reply_short(host):
    [damage] = host.exchange(packet.sync_read([1, 2, 77, 3], 132, 4, fast=True))
    assert [s.id for s in fast_statuses(damage.wire, 4)] == [1, 2]
    assert host.exchange(packet.sync_read([77, 1], 132, 4, fast=True)) == []


def test_reg_write_waits_for_action(host):
    goal = REGISTERS["goal_position"]
    assert host.ask(packet.reg_write(1, goal.address, goal.encode(2200))) == [Status(1, 0)]
    assert host.read(1, "registered_instruction") == 1
    assert host.read(1, "goal_position") == 2048
    assert host.ask(packet.action()) == []
    assert host.read(1, "goal_position") == 2200
    assert host.read(1, "registered_instruction") == 0
    assert host.ask(packet.action(1)) == [Status(1, 2)]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (packet.request(1, Instruction.FACTORY_RESET, b"\x01"), 2),
        (packet.request(1, Instruction.CLEAR, b'\x01DXL"'), 2),
        (packet.write(1, 64, b"\x02"), 4),
        (packet.write(1, 600, b"\x00\x00\x00\x00"), 4),
        (packet.read(1, 660, 10), 4),
        (packet.write(1, 116, b"\x00\x00"), 5),
        (packet.write(1, 116, b""), 5),
        (packet.request(1, Instruction.READ, b"\x00"), 5),
        (packet.write(2, 116, (3000).to_bytes(4, "little")), 6),
        (packet.write(1, 132, bytes(4)), 7),
    ],
)
def test_error_codes(host, request_, code):
    [status] = host.ask(request_)
    assert (status.code, status.alert) == (code, False)


def test_refused_writes_are_logged_with_the_reason(host):
    host.sync_write("goal_position", {2: 3000})
    reason = "goal_position 3000 outside 841..2867"
    assert [(e.id, e.detail) for e in host.robot.log.events(Kind.REJECTED)] == [(2, reason), (3, reason)]


def test_broadcast_writes_are_obeyed_by_all_and_answered_by_none(host):
    assert host.ask(packet.write(BROADCAST, 65, b"\x01")) == []
    assert host.ask(packet.read(BROADCAST, 65, 1)) == []
    assert [host.robot.read(ARM, id, "led") for id in range(1, 10)] == [1] * 9


@pytest.mark.parametrize(("level", "answers"), [(0, (1, 0, 0)), (1, (1, 1, 0)), (2, (1, 1, 1))])
def test_status_return_level(host, level, answers):
    host.write(1, "status_return_level", level)
    requests = (packet.ping(1), packet.read(1, 132, 4), packet.write(1, 65, b"\x01"))
    assert tuple(len(host.ask(request)) for request in requests) == answers
    assert host.robot.read(ARM, 1, "led") == 1


def test_a_shadow_obeys_its_primary_in_ram_without_a_word(host):
    assert [status.id for status in host.ask(packet.write(2, 64, b"\x01"))] == [2]
    host.sync_write("goal_position", {2: 1500})
    assert [host.read(3, name) for name in ("torque_enable", "goal_position")] == [1, 1500]
    host.write(2, "torque_enable", 0)
    assert host.write(2, "velocity_limit", 100) == Status(2, 0)
    assert [host.read(id, "velocity_limit") for id in (2, 3)] == [100, 131]


def test_a_shadow_has_an_id_of_its_own_too(host):
    host.write(3, "led", 1)
    assert [host.read(id, "led") for id in (2, 3)] == [0, 1]


def test_a_secondary_id_without_an_owner_is_obeyed_in_silence(host):
    host.write(3, "secondary_id", 100)
    assert host.write(100, "led", 1) is None
    assert host.read(3, "led") == 1


def test_reboot_is_confirmed_then_silent_then_empty(host):
    host.write(4, "position_p_gain", 100)
    host.write(4, "torque_enable", 1)
    assert host.ask(packet.reboot(4)) == [Status(4, 0)]
    assert host.ask(packet.ping(4)) == []
    host.robot.advance(0.25)
    assert host.ask(packet.ping(4)) == []
    host.robot.advance(0.25)
    assert [host.read(4, name) for name in ("position_p_gain", "torque_enable")] == [800, 0]
    assert host.read(4, "max_position_limit") == 3094
    assert [e.detail for e in host.robot.log.events(Kind.TORQUE)] == ["on", "on", "off"]  # with its shadow


def test_two_servos_with_one_id_garble_each_other():
    spec = next(spec for spec in aloha_buses() if spec.name == ARM)
    doubled = replace(spec, servos=tuple(replace(s, id=8) if s.id == 9 else s for s in spec.servos))
    host = Host(one_arm(spec=doubled))
    assert host.ask(packet.ping(8)) == []
    assert [status.id for status in host.ask(packet.ping())] == list(range(1, 8))
    with pytest.raises(KeyError, match="one servo with ID 8, got 2"):
        host.robot.read(ARM, 8, "led")


def test_a_changed_id_is_used_from_the_next_request_on(host):
    assert host.write(9, "id", 20) == Status(20, 0)
    assert host.ask(packet.ping(9)) == []
    assert len(host.ask(packet.ping(20))) == 1


def test_a_wrong_baud_rate_meets_silence(host):
    host.port.baudrate = 57_600
    assert host.ask(packet.ping()) == []
    host.port.baudrate = 1_000_000
    assert len(host.ask(packet.ping(1))) == 1


def test_damaged_requests_meet_silence_and_are_logged(host):
    wire = bytearray(packet.ping(1))
    wire[-1] ^= 1
    assert host.ask(bytes(wire)) == []
    assert host.robot.log.events(Kind.DAMAGE)[0].detail.startswith("wrong checksum")
    host.port.write(packet.ping(1)[:6])
    host.robot.advance(0.1)
    assert len(host.ask(packet.ping(1))) == 1


def test_a_request_may_come_in_pieces(host):
    request = packet.ping(1)
    host.port.write(request[:5])
    assert len(host.ask(request[5:])) == 1


def test_bytes_take_their_time():
    host = Host(one_arm(timing=Timing(usb_latency=0.0)))
    host.port.timeout = 1.0
    host.port.write(packet.sync_read(range(1, 10), 126, 21))
    assert len(host.port.read(9 * 32)) == 9 * 32
    assert host.robot.now() == pytest.approx((23 + 288) * 1e-5, abs=1e-6)
    host.write(1, "return_delay_time", 250)
    start = host.robot.now()
    host.port.write(packet.read(1, 126, 21))
    host.port.read(32)
    assert host.robot.now() - start == pytest.approx((14 + 32) * 1e-5 + 500e-6, abs=1e-6)


def test_the_latency_timer_holds_bytes_back():
    waits = []
    host = Host(one_arm(timing=Timing(usb_latency=0.016)))
    host.port.timeout = 1.0
    for _ in range(200):
        start = host.robot.now()
        host.port.write(packet.ping(1))
        host.port.read(14)
        waits.append(host.robot.now() - start)
    assert 0 < min(waits) < 0.002
    assert 0.014 < max(waits) < 0.017


def test_talking_into_a_reply_garbles_both(host):
    host.port.write(packet.sync_read(range(1, 10), 126, 21))
    host.robot.clock.sleep_until(host.robot.clock.now() + 0.001)
    intact = host.ask(packet.ping(1))
    assert 0 < len(intact) < 9
    assert {len(status.params) for status in intact} == {21}  # none of them answers the ping
    assert len(host.robot.log.events(Kind.COLLISION)) == 1
    assert len(host.ask(packet.ping(1))) == 1


def test_the_stock_sdk_forgets_to_stuff_and_is_understood_unless_it_looks_like_a_header(host):
    """`addStuffing` of dynamixel-sdk 4.1.0 makes a new list that `txPacket` never uses."""
    plain = bytes((Instruction.WRITE, 20, 0, 0xFF, 0xFF, 0xFD, 0xFF))  # homing offset -131,073
    assert host.ask(packet.frame(1, plain)) == [Status(1, 0)]
    assert host.read(1, "homing_offset") == -131_073


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([1, 2, 9, 77, BROADCAST]),
    st.one_of(st.sampled_from(Instruction), st.integers(0, 255)),
    st.one_of(st.binary(max_size=40), st.lists(st.sampled_from([0, 1, 2, 4, 64, 116, 255]), max_size=300).map(bytes)),
)
def test_no_request_breaks_the_bus(shared, id, instruction, params):
    host = Host(shared)
    host.port.write(packet.frame(id, packet.stuff(bytes((instruction,)) + params)))
    host.robot.advance(0.1)
    assert host.port.in_waiting < 20_000
