"""Every kind of fault does what docs/emulator.md says."""

from __future__ import annotations

import pytest
import serial

from robot_drivers.dynamixel import packet
from robot_drivers.dynamixel.packet import Instruction, Status
from robot_drivers.dynamixel.parser import Damage, Frame
from robot_drivers.dynamixel.parser import Fault as Flaw
from robot_drivers.emulator.faults import Fault, FaultKind, FaultPlan
from robot_drivers.emulator.log import Kind
from tests.robot_drivers.emulator.host import ARM, Host, one_arm

STATE = packet.sync_read(range(1, 10), 126, 21)


@pytest.fixture
def host() -> Host:
    return Host(one_arm())


def plan(host: Host, kind: FaultKind, **options) -> None:
    host.robot.buses[ARM].plan.add(Fault(kind, **options))


def ids(statuses: list[Status]) -> list[int]:
    return [status.id for status in statuses]


def test_drop_request(host):
    plan(host, FaultKind.DROP_REQUEST, instructions=(Instruction.WRITE,), times=1)
    assert host.write(1, "led", 1) is None
    assert host.read(1, "led") == 0
    assert host.write(1, "led", 1) == Status(1, 0)


def test_drop_reply(host):
    plan(host, FaultKind.DROP_REPLY, ids=(4, 5))
    assert ids(host.ask(STATE)) == [1, 2, 3, 6, 7, 8, 9]
    assert host.write(4, "led", 1) is None
    assert host.robot.read(ARM, 4, "led") == 1


def test_corrupt(host):
    plan(host, FaultKind.CORRUPT, ids=(4,))
    for _ in range(20):
        assert ids(host.ask(STATE)) == [1, 2, 3, 5, 6, 7, 8, 9]


def test_truncate(host):
    plan(host, FaultKind.TRUNCATE, ids=(4,))
    for _ in range(20):
        assert ids(host.ask(STATE)) == [1, 2, 3, 5, 6, 7, 8, 9]


def test_split(host):
    plan(host, FaultKind.SPLIT, ids=(1,), value=0.005)
    host.port.timeout = 0.0
    host.port.write(packet.read(1, 126, 21))
    host.robot.advance(0.003)
    first = host.port.read(100)
    assert 0 < len(first) < 32
    host.robot.advance(0.006)
    assert len(first + host.port.read(100)) == 32


def test_duplicate(host):
    plan(host, FaultKind.DUPLICATE, ids=(2,))
    assert ids(host.ask(STATE)) == [1, 2, 2, 3, 4, 5, 6, 7, 8, 9]


def test_a_late_reply_arrives_as_the_answer_to_the_next_request(host):
    plan(host, FaultKind.LATE, times=1)
    assert host.ask(packet.read(1, 116, 4)) == []
    host.write(1, "goal_position", 2222)
    host.robot.clock.sleep_until(0.055)  # it has arrived, and a host that does not flush reads it first
    [old] = host.ask(packet.read(1, 116, 4))[:1]
    assert int.from_bytes(old.params, "little") == 2048


def test_noise(host):
    plan(host, FaultKind.NOISE, ids=(3,), value=5)
    found = host.exchange(STATE)
    assert [item.fault for item in found if isinstance(item, Damage)] == [Flaw.NOISE]
    assert [item.id for item in found if isinstance(item, Frame)] == list(range(1, 10))


def test_echo(host):
    plan(host, FaultKind.ECHO)
    request = packet.ping(1)
    echo, reply = host.exchange(request)
    assert echo.wire == request
    assert reply.id == 1


def test_wrong_id(host):
    plan(host, FaultKind.WRONG_ID, ids=(3,))
    assert ids(host.ask(packet.read(3, 132, 4))) == [4]


def test_short_payload(host):
    plan(host, FaultKind.SHORT_PAYLOAD, ids=(3,))
    assert [len(status.params) for status in host.ask(STATE)] == [21, 21, 1, 21, 21, 21, 21, 21, 21]


def test_duplicate_id(host):
    plan(host, FaultKind.DUPLICATE_ID, ids=(3,))
    assert ids(host.ask(STATE)) == [1, 2, 4, 5, 6, 7, 8, 9]


def test_slow_bus(host):
    plan(host, FaultKind.SLOW_BUS, value=0.004)
    host.port.timeout = 1.0
    start = host.robot.now()
    host.port.write(STATE)
    host.port.read(288)
    assert host.robot.now() - start == pytest.approx(9 * 0.004 + 0.003, abs=0.0012)


def test_stuck_encoder(host):
    plan(host, FaultKind.STUCK_ENCODER, ids=(1,), start=1.0, end=3.0)
    host.write(1, "torque_enable", 1)
    host.robot.advance(1.1)
    host.write(1, "goal_position", 2300)
    host.robot.advance(1.0)
    assert host.read(1, "present_position") == 2048
    host.robot.advance(1.0)
    assert host.read(1, "present_position") == pytest.approx(2300, abs=2)


def test_encoder_jump(host):
    before = host.positions(6, 7)
    plan(host, FaultKind.ENCODER_JUMP, ids=(7,))
    host.robot.advance(0.1)
    assert host.positions(6, 7) == [before[0], before[1] + 4096]


def test_overheat_and_frozen_temperature(host):
    plan(host, FaultKind.OVERHEAT, value=2.0, end=10.0)
    plan(host, FaultKind.FROZEN_TEMPERATURE, ids=(2,), start=5.0)
    host.robot.advance(10.0)
    assert host.read(1, "present_temperature") == pytest.approx(45, abs=1)
    assert host.read(2, "present_temperature") == pytest.approx(35, abs=1)


def test_overload(host):
    plan(host, FaultKind.OVERLOAD, ids=(9,), start=1.0)
    host.write(9, "torque_enable", 1)
    host.robot.advance(3.5)
    assert host.read(9, "hardware_error_status") == 0x20


def test_voltage_dip(host):
    plan(host, FaultKind.VOLTAGE_DIP, value=1.5, start=1.0, end=2.0)
    seen = []
    for _ in range(3):
        seen.append(host.read(1, "present_input_voltage"))
        host.robot.advance(1.0)
    assert seen == [120, 105, 120]


def test_brown_out_loses_ram_without_a_word(host):
    host.write(9, "goal_current", 80)
    host.write(9, "torque_enable", 1)
    plan(host, FaultKind.BROWN_OUT, ids=(9,), start=1.0)
    host.robot.advance(2.0)
    [status] = host.ask(packet.ping(9))
    assert not status.alert
    assert [host.read(9, name) for name in ("goal_current", "torque_enable")] == [200, 0]
    assert host.robot.log.events(Kind.REBOOT)[0].detail == "brown-out"


def test_watchdog_trip(host):
    plan(host, FaultKind.WATCHDOG_TRIP, ids=(1,), start=0.5)
    host.robot.advance(1.0)
    assert [host.read(id, "bus_watchdog") for id in (1, 6)] == [-1, 0]
    assert host.write(1, "goal_position", 2100).code == 4


def test_unplug_and_replug(host):
    host.write(1, "torque_enable", 1)
    plan(host, FaultKind.UNPLUG, start=1.0, end=2.0)
    host.robot.advance(1.1)
    for broken in (
        lambda: host.port.write(b""),
        lambda: host.port.read(1),
        lambda: host.port.in_waiting,
        host.port.reset_input_buffer,
        lambda: host.robot.port(ARM),
    ):
        with pytest.raises(serial.SerialException, match="gone"):
            broken()
    host.robot.advance(1.0)
    again = Host(host.robot)
    assert again.read(1, "torque_enable") == 1
    assert [e.kind for e in host.robot.log.events() if e.kind in (Kind.UNPLUG, Kind.REPLUG)] == ["unplug", "replug"]


def test_a_cable_pulled_while_the_host_reads(host):
    plan(host, FaultKind.UNPLUG, start=0.5)
    host.port.timeout = 1.0
    with pytest.raises(serial.SerialException, match="gone"):
        host.port.read(1)


def test_a_suspended_host_finds_tripped_servos(host):
    host.write(1, "bus_watchdog", 50)
    host.write(1, "torque_enable", 1)
    plan(host, FaultKind.HOST_SUSPENDED, start=0.2)
    before = host.robot.clock.now()
    host.robot.advance(0.3)
    assert host.robot.clock.now() - before == pytest.approx(0.3)
    assert host.robot.now() > 5.0
    assert host.read(1, "bus_watchdog") == -1


def test_windows_numbers_and_counts_choose_the_packets(host):
    plan(host, FaultKind.DROP_REPLY, first=2, last=3)
    plan(host, FaultKind.DROP_REPLY, start=1.0, end=2.0)
    answered = [bool(host.ask(packet.ping(1))) for _ in range(6)]
    assert answered == [True, True, False, False, True, True]
    host.robot.advance(1.0)
    assert host.ask(packet.ping(1)) == []
    host.robot.advance(1.0)
    assert host.ask(packet.ping(1)) != []


def test_probability_is_met_and_seeded():
    def pattern(seed: int) -> list[bool]:
        host = Host(one_arm(seed=seed), patience=0.002)
        plan(host, FaultKind.DROP_REPLY, probability=0.05)
        return [bool(host.ask(packet.ping(1))) for _ in range(1000)]

    first = pattern(1)
    assert 25 < first.count(False) < 80
    assert pattern(1) == first
    assert pattern(2) != first


def test_faults_end_when_the_plan_is_cleared(host):
    plan(host, FaultKind.DROP_REPLY)
    plan(host, FaultKind.ENCODER_JUMP)
    host.robot.advance(0.1)
    host.robot.buses[ARM].plan.clear()
    host.robot.advance(0.1)
    assert host.positions(1) == [2048]


@pytest.mark.parametrize("kind", FaultKind)
def test_json_round_trip(kind):
    for fault in (Fault(kind), Fault(kind, 1.0, 2.0, 3, 4, (5, 6), (0x82,), 0.5, 7, 8.0)):
        assert Fault.from_json(fault.json()) == fault
    assert Fault(kind).json() == {"kind": str(kind)}
    assert FaultPlan("", [Fault(kind)]).faults == (Fault(kind),)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "explode"}, "unknown kind 'explode'; known are drop_request"),
        ({}, "unknown kind None"),
        ({"kind": "late", "probabilty": 1}, "unknown field probabilty; known are end, first"),
    ],
)
def test_a_misspelt_fault_is_refused(data, message):
    with pytest.raises(ValueError, match=message):
        Fault.from_json(data)
