"""Servos that protect themselves, get hot, or lose their memory: driver tests 9, 10 and 17."""

from __future__ import annotations

import re

import numpy as np
import pytest

from robot_drivers.aloha.config import Homing
from robot_drivers.aloha.health import Pace
from robot_drivers.aloha.homing import MinimumJerk, MoveGuard, duration
from robot_drivers.aloha.layout import VX300S, WX250S
from robot_drivers.aloha.state import ArmState
from robot_drivers.emulator.faults import FaultKind
from robot_drivers.emulator.log import Kind
from tests.robot_drivers.aloha.bench import HOME, LEFT, TICK, running, wave
from vla.protocols import SafetyStop

GRIPPER = 9


def reboots(bench) -> list[int]:
    return [event.id for event in bench.emulation.log.events(Kind.REBOOT)]


def test_09_an_overloaded_gripper_is_rebooted_once_and_restored():
    with running(gravity=False) as bench:
        bench.emulation.buses[LEFT].servo(GRIPPER).shut_down(0x20)
        bench.wait(1.5)
        assert reboots(bench) == [GRIPPER]
        assert bench.read(GRIPPER, "torque_enable") == 1
        assert bench.read(GRIPPER, "goal_current") == 200
        assert bench.read(GRIPPER, "current_limit") == 200
        assert bench.read(GRIPPER, "bus_watchdog") == 10
        events = bench.robot.get_reading().events
        assert any("gripper (ID 9): overload; rebooting it" in event for event in events)
        assert any("gripper (ID 9): back, restored" in event for event in events)
        bench.robot.send_action(HOME)  # the arms were never at fault
        bench.emulation.buses[LEFT].servo(GRIPPER).shut_down(0x20)
        bench.wait(1.5)
        assert reboots(bench) == [GRIPPER]
        with pytest.raises(SafetyStop, match="overload again within 10 s"):
            bench.robot.send_action(HOME)
        bench.wait(9.0)
        bench.robot.go_to(HOME)
        assert reboots(bench) == [GRIPPER, GRIPPER]


def test_09_the_arms_go_on_while_the_gripper_reboots():
    with running(gravity=False) as bench:
        path = wave(bench)
        bench.follow(path, ticks=10)
        bench.emulation.buses[LEFT].servo(GRIPPER).shut_down(0x20)
        states = bench.follow(lambda k: path(10 + k), ticks=60)
        assert np.abs(np.diff(states, axis=0)[:, :6]).max() < 0.063
        assert states[-1][0] == pytest.approx(path(70)[0], abs=0.05)


def test_09_a_gripper_that_does_not_come_back_is_reported():
    with running(gravity=False) as bench:
        bench.emulation.buses[LEFT].servo(GRIPPER).shut_down(0x20)
        bench.fault(FaultKind.DROP_REPLY, ids=(GRIPPER,), start=bench.emulation.now() + 0.1)
        bench.wait(3.0)
        with pytest.raises(SafetyStop, match="not back 2 s after its reboot: no answer"):
            bench.robot.send_action(HOME)


def test_10_an_overheating_shoulder_slows_then_holds_and_keeps_torque():
    with running(gravity=False) as bench:
        bench.fault(FaultKind.OVERHEAT, ids=(2,), value=10.0)
        events, steps = set(), []
        last = HOME
        while (pace := bench.robot.workers[0].verdict.pace) != Pace.HOLD:
            sent = bench.robot.send_action(last + (0.03 if pace == Pace.SLOW else 0.0) * np.eye(14)[0])
            steps += [sent[0] - last[0]] if pace == Pace.SLOW else []
            last = sent
            bench.wait(TICK)
            events.update(bench.robot.get_reading().events)
        with pytest.raises(SafetyStop, match=r"shoulder .ID 2.: 7\d degC, at most 70"):
            bench.robot.send_action(last)
        assert any("shoulder (ID 2): 61 degC" in event for event in events)
        assert any("slowed down" in event for event in events)
        assert len(steps) > 10
        assert max(steps) <= 0.25 * 0.8 * np.pi / 50 + 1e-9
        bench.emulation.buses[LEFT].plan.clear()  # at 80 degC the servo's own firmware would switch it off
        bench.wait(2.0)
        assert bench.read(2, "torque_enable") == 1
        assert bench.read(3, "torque_enable") == 1
        assert not any(event.detail == "off" for event in bench.emulation.log.events(Kind.TORQUE))


def test_17_a_lost_gain_is_noticed_and_restored():
    with running(gravity=False) as bench:
        bench.emulation.buses[LEFT].servo(6).write(84, (100).to_bytes(2, "little"))
        bench.wait(2.0)
        assert bench.read(6, "position_p_gain") == 800
        assert any("forearm_roll (ID 6): it lost its RAM" in event for event in bench.robot.get_reading().events)
        bench.robot.send_action(HOME)


@pytest.mark.parametrize("ids", [(GRIPPER,), (2,), (3,), None])
def test_17_a_brown_out_is_noticed_held_and_restored_without_a_jump(ids):
    with running(gravity=False) as bench:
        bench.fault(FaultKind.BROWN_OUT, ids=ids, start=bench.emulation.now())
        bench.wait(0.2)
        before = bench.backend.motion().position.copy()
        bench.wait(2.5)
        for id in ids or range(1, 10):
            assert bench.read(id, "torque_enable") == 1
            assert bench.read(id, "bus_watchdog") == 10
        if ids in (None, (GRIPPER,)):
            assert bench.read(GRIPPER, "goal_current") == 200
        assert np.abs(bench.backend.motion().position - before).max() < 0.05
        with pytest.raises(SafetyStop):
            bench.robot.send_action(HOME)
        bench.robot.go_to(HOME)
        bench.robot.send_action(HOME)


def test_17_a_watchdog_that_fired_unseen_is_found():
    with running(gravity=False) as bench:
        bench.fault(FaultKind.WATCHDOG_TRIP, ids=(1,), start=bench.emulation.now())
        bench.wait(2.1)
        assert bench.read(1, "bus_watchdog") == 10
        assert "waist (ID 1): its bus watchdog fired" in bench.robot.workers[0].fault


def test_a_host_that_slept_finds_its_arms_where_they_are():
    with running(gravity=False) as bench:
        bench.follow(wave(bench), ticks=20)
        bench.clock.advance_to(bench.clock.now() + 5.0)
        bench.wait(0.5)
        assert all(bench.read(id, "bus_watchdog") == 10 for id in range(1, 10))
        with pytest.raises(SafetyStop, match="the host was away"):
            bench.robot.send_action(HOME)
        bench.robot.go_to(HOME)


def test_a_low_supply_is_an_event():
    with running(gravity=False) as bench:
        bench.fault(FaultKind.VOLTAGE_DIP, value=1.5)
        bench.wait(0.1)
        assert any("10.5 V, at least 11.0; check the supply" in event for event in bench.robot.get_reading().events)
        bench.robot.send_action(HOME)


def test_slow_moves_have_no_corners():
    start, end = np.zeros(7), np.array([0.5, -0.2, 0, 0, 0, 0, 2.0])
    seconds = duration(start, end, Homing())
    assert seconds == pytest.approx(1.875)
    move = MinimumJerk(start, end, 1.0, seconds)
    times = np.arange(0.9, 3.2, 0.001)
    path = np.array([move.at(time) for time in times])
    speed = np.diff(path, axis=0) / 0.001
    assert np.abs(speed[:, 0]).max() == pytest.approx(0.5, abs=1e-3)
    assert np.abs(np.diff(speed, axis=0)).max() < 0.01
    assert (path[-1] == end).all()
    assert not move.is_over(2.8)
    assert move.is_over(2.9)


def test_resistance_must_last():
    with running(gravity=False) as bench:
        worker = bench.robot.workers[0]
        guard = MoveGuard(VX300S, Homing())
        state = worker.state
        goal = state.position.copy()
        assert guard.objection(goal, state, 0.0) == ""
        strong = type(state)(**{**vars(state), "effort": np.array([0, 3.0, 0, 0, 0, 0, 9.0])})
        assert [guard.objection(goal, strong, now) for now in (0.0, 0.29)] == ["", ""]
        assert guard.objection(goal, strong, 0.31).startswith("shoulder meets resistance: expected at most 2.64 A")
        assert guard.objection(goal, state, 0.32) == ""
        assert guard.objection(goal, strong, 0.33) == ""


@pytest.mark.parametrize(
    ("joint", "effort", "said"),
    [
        (5, 0.7, r"wrist_rotate meets resistance: expected at most 0\.60 of its largest torque, got 0\.70"),
        (5, -0.55, ""),
        (4, 1.3, ""),
        (4, -1.5, r"wrist_angle meets resistance: expected at most 1\.38 A, got -1\.50"),
    ],
)
def test_resistance_is_measured_in_what_the_servo_measures(joint, effort, said):
    guard = MoveGuard(WX250S, Homing())  # its last two servos tell their load, the others their current
    here = np.zeros(7)
    state = ArmState(0.0, here, here, effort * np.eye(7)[joint], {}, {}, frozenset())
    assert guard.objection(here, state, 0.0) == ""
    assert re.match(said or "$", guard.objection(here, state, 0.31))
