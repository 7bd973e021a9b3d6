"""Watchdog, shutdown, alert and reboot."""

from __future__ import annotations

import pytest

from robot_drivers.dynamixel import packet
from robot_drivers.dynamixel.packet import Status
from robot_drivers.dynamixel.parser import fast_statuses
from robot_drivers.emulator.faults import Fault, FaultKind
from robot_drivers.emulator.log import Kind
from tests.robot_drivers.emulator.host import ARM, Host, one_arm


@pytest.fixture
def host() -> Host:
    return Host(one_arm())


def armed(host: Host, watchdog: int = 10) -> None:
    host.write(1, "bus_watchdog", watchdog)
    host.write(1, "torque_enable", 1)


def test_the_watchdog_trips_after_its_time_without_requests(host):
    armed(host)
    host.robot.advance(0.19 - host.patience)
    assert host.robot.log.events(Kind.WATCHDOG) == []
    host.robot.advance(0.02)
    [event] = host.robot.log.events(Kind.WATCHDOG)
    last = host.robot.log.events(Kind.REQUEST)[-1].time
    assert event.time - last == pytest.approx(0.2, abs=0.006)
    assert host.read(1, "bus_watchdog") == -1


def test_any_intact_request_keeps_the_watchdog_quiet(host):
    armed(host)
    for _ in range(20):
        host.robot.advance(0.1)
        host.port.write(packet.read(8, 132, 4))
    assert host.robot.log.events(Kind.WATCHDOG) == []


def test_the_watchdog_watches_only_while_torque_is_on(host):
    host.write(1, "bus_watchdog", 10)
    host.robot.advance(1.0)
    assert host.read(1, "bus_watchdog") == 10


def test_a_tripped_servo_stops_keeps_torque_and_refuses_goals(host):
    armed(host)
    host.write(1, "profile_velocity", 20)
    host.write(1, "goal_position", 3000)
    host.robot.advance(2.0)
    stopped = host.read(1, "present_position")
    assert 2048 < stopped < 2300
    assert host.read(1, "torque_enable") == 1
    assert host.write(1, "goal_position", 2500).code == 4
    assert host.write(1, "profile_velocity", 10).code == 0
    host.sync_write("goal_position", {1: 2500})  # refused in silence
    host.robot.advance(1.0)
    assert host.read(1, "present_position") == pytest.approx(stopped, abs=1)
    assert host.read(1, "goal_position") == 3000


def test_zero_clears_a_trip_and_the_next_goal_moves_again(host):
    armed(host)
    host.robot.advance(1.0)
    assert host.write(1, "bus_watchdog", 10).code == 4
    assert host.write(1, "bus_watchdog", 0).code == 0
    host.robot.advance(0.5)
    assert host.read(1, "present_position") == 2048
    assert host.write(1, "goal_position", 2200).code == 0
    host.robot.advance(1.0)
    assert host.read(1, "present_position") == pytest.approx(2200, abs=2)


def stalled(host: Host) -> None:
    """The waist pushes against an obstacle with all it has."""
    host.robot.world.backends[0].obstruct(f"{ARM}/waist", high=0.1)
    host.write(1, "torque_enable", 1)
    host.write(1, "goal_position", 3000)


def test_overload_switches_the_motor_off_and_alerts_until_a_reboot(host):
    host.write(1, "position_p_gain", 700)
    stalled(host)
    host.robot.advance(1.5)
    assert host.read(1, "torque_enable") == 1
    assert host.ask(packet.ping(1))[0].alert is False
    host.robot.advance(1.0)
    assert [(e.id, e.detail) for e in host.robot.log.events(Kind.ALARM)] == [(1, "overload")]
    assert host.read(1, "hardware_error_status") == 0x20
    assert [host.read(1, name) for name in ("torque_enable", "present_current")] == [0, 0]
    assert all(s.alert == (s.id == 1) for s in host.ask(packet.sync_read(range(1, 10), 126, 21)))
    [fast] = host.exchange(packet.sync_read([1, 2], 126, 21, fast=True))
    assert [status.alert for status in fast_statuses(fast.wire, 21)] == [True, False]
    assert host.write(1, "led", 1) == Status(1, 0x80)
    assert host.write(1, "torque_enable", 1) == Status(1, 0x81)
    assert host.read(1, "torque_enable") == 0

    host.ask(packet.reboot(1))
    host.robot.advance(0.6)
    assert host.ask(packet.ping(1))[0].alert is False
    assert [host.read(1, n) for n in ("hardware_error_status", "position_p_gain")] == [0, 800]
    assert host.write(1, "torque_enable", 1) == Status(1, 0)


def test_a_pause_of_the_load_starts_the_count_anew(host):
    stalled(host)
    for _ in range(4):
        host.robot.advance(1.0)
        host.write(1, "goal_position", 2048)
        host.robot.advance(0.5)
        host.write(1, "goal_position", 3000)
    assert host.robot.log.events(Kind.ALARM) == []


def test_the_shutdown_mask_decides(host):
    host.write(1, "shutdown", 0x14)  # without overload
    stalled(host)
    host.robot.advance(5.0)
    assert host.robot.log.events(Kind.ALARM) == []


def test_overheating_comes_back_after_a_reboot_while_it_is_hot(host):
    host.robot.buses[ARM].plan.add(Fault(FaultKind.OVERHEAT, ids=(2,), value=20.0, end=3.0))
    host.write(2, "torque_enable", 1)
    host.robot.advance(3.5)
    assert host.read(2, "present_temperature") > 80
    assert host.read(2, "hardware_error_status") == 0x04
    assert host.read(3, "torque_enable") == 1  # its shadow goes on alone
    host.ask(packet.reboot(2))
    host.robot.advance(1.0)
    assert host.read(2, "hardware_error_status") == 0x04
    host.robot.world.motors.temperature[:] = 40.0  # a long pause
    host.ask(packet.reboot(2))
    host.robot.advance(1.0)
    assert host.read(2, "hardware_error_status") == 0


def test_voltage_alarms_only_if_the_mask_asks_for_it(host):
    host.robot.buses[ARM].plan.add(Fault(FaultKind.VOLTAGE_DIP))
    assert host.write(1, "shutdown", 0x35).code == 0
    host.robot.advance(0.1)
    assert host.read(1, "present_input_voltage") == 90
    assert host.read(1, "hardware_error_status") == 0x01
    assert host.read(6, "hardware_error_status") == 0
