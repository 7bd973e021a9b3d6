"""What goes wrong on the wire: driver tests 5, 6, 7, 12 and 13."""

from __future__ import annotations

import random

import numpy as np
import pytest

from robot_drivers.aloha.layout import VX300S
from robot_drivers.dynamixel.registers import EEPROM_END
from robot_drivers.emulator.faults import FaultKind
from robot_drivers.emulator.log import Kind
from tests.robot_drivers.aloha.bench import HOME, LEFT, RIGHT, TICK, Bench, running, wave
from vla.protocols import SafetyStop


def drive_with_drops(seconds: float) -> None:
    with running(gravity=False, seed=5) as bench:
        for bus in (LEFT, RIGHT):
            bench.fault(FaultKind.DROP_REPLY, bus, probability=0.05)
        began, before = bench.clock.now(), bench.robot.workers[0].ticks.total
        goals = [bench.read(1, "goal_position")]
        states = [bench.robot.get_reading().state]
        path = wave(bench)
        for k in range(1, round(seconds / TICK) + 1):
            bench.robot.send_action(path(k))
            bench.wait(TICK)
            states.append(bench.robot.get_reading().state)
            goals.append(bench.read(1, "goal_position"))
        elapsed = bench.clock.now() - began
        assert (bench.robot.workers[0].ticks.total - before) / elapsed >= 49.0
        assert not any(worker.fault for worker in bench.robot.workers)
        assert [worker.ticks.late for worker in bench.robot.workers] == [0, 0]
        assert sum(bench.robot.workers[0].arm.bus.lost.values()) > 0
        # No false zero (tick 0 is -3.14 rad), and no jump.
        assert np.abs(np.diff(states, axis=0)).max() < 0.063
        assert np.abs(np.array(states) - HOME)[:, :6].max() < 0.3
        assert np.abs(np.diff(goals)).max() <= 41


def test_05_dropped_replies_are_neither_zeros_nor_jumps():
    drive_with_drops(12.0)


@pytest.mark.slow
def test_05_dropped_replies_for_ten_minutes():
    drive_with_drops(600.0)


def test_05_a_servo_that_falls_silent_is_marked_then_the_arm_holds():
    with running(gravity=False) as bench:
        worker = bench.robot.workers[0]
        worker.arm.fast = False
        bench.fault(FaultKind.DROP_REPLY, ids=(6,), start=bench.emulation.now())
        bench.wait(2.5 * TICK)
        assert 1 <= worker.state.stale[6] <= 3
        assert worker.state.position[3] == pytest.approx(HOME[3], abs=0.01)
        assert not worker.fault
        bench.wait(4 * TICK)
        assert "forearm_roll (ID 6): no answer for" in worker.fault
        with pytest.raises(SafetyStop, match="no answer"):
            bench.robot.send_action(HOME)
        with pytest.raises(SafetyStop, match="no answer"):
            bench.robot.go_to(HOME)
        bench.emulation.buses[LEFT].plan.clear()
        bench.wait(0.5)
        bench.robot.go_to(HOME)


def test_06_a_reply_that_comes_a_tick_late_is_not_taken_for_the_next_one():
    with running(gravity=False) as bench:
        path = wave(bench, amplitude=1.0, hz=0.5)
        for kind in (0.018, 0.0195, 0.02, 0.0205, 0.021):
            bench.fault(FaultKind.LATE, value=kind, probability=0.01)
        for k in range(1, 150):
            bench.robot.send_action(path(k))
            bench.wait(TICK)
            waist = bench.robot.workers[0].state
            truth = bench.backend.motion().position[0]
            fresh = 1 not in waist.stale
            assert not fresh or abs(waist.position[0] - truth) < 0.08


def test_06_replies_that_are_late_or_lost_make_no_tick_late():
    with running(gravity=False) as bench:
        for delay in (0.004, 0.007, 0.01, 0.013, 0.016):
            bench.fault(FaultKind.LATE, value=delay, probability=0.02)
        bench.fault(FaultKind.DROP_REPLY, probability=0.04)
        bench.follow(wave(bench), ticks=300)
        ticks = bench.robot.workers[0].ticks
        assert ticks.late == 0
        assert max(ticks.cycles) > 0.015  # some had to be given up


def test_a_tick_that_begins_late_still_sees_the_arm():
    with running(gravity=False) as bench:
        bench.wait(TICK)
        worker = bench.robot.workers[0]
        before = worker.state.time
        worker.tick(bench.clock.now() + 0.001)
        assert worker.state.time > before
        assert not worker.state.stale


@pytest.mark.parametrize("bus", [LEFT, RIGHT])
def test_07_unplugged_in_motion_it_holds_opens_again_and_does_not_jump(bus):
    with running(gravity=False) as bench:
        path = wave(bench, amplitude=1.0, hz=0.5)
        bench.follow(path, ticks=25)
        bench.emulation.buses[bus].plug(False)
        with pytest.raises(SafetyStop, match="unplugged"):
            bench.follow(lambda k: path(25 + k), ticks=10)
        bench.wait(1.0)  # the servos' own watchdog fires meanwhile
        joint = 0 if bus == LEFT else 7
        assert bench.read(1, "bus_watchdog", bus) == -1
        stopped = bench.backend.motion().position[joint]
        bench.emulation.buses[bus].plug(True)
        bench.wait(0.5)
        assert bench.backend.motion().position[joint] == pytest.approx(stopped, abs=0.01)
        assert bench.read(1, "bus_watchdog", bus) == 10
        events = bench.robot.get_reading().events
        assert any("plugged in again" in event for event in events)
        with pytest.raises(SafetyStop, match="go_to"):
            bench.robot.send_action(path(25))
        bench.robot.go_to(HOME)
        bench.follow(path, ticks=10)
        assert not any("torque off" in event.detail for event in bench.emulation.log.events(Kind.TORQUE))


def test_moved_while_it_was_unplugged_it_is_not_told_to_go_back_whatever_comes_in_between(monkeypatch):
    """A power cycle while unplugged, hands that move the arm, a stop and a go_to while its servos are brought back."""
    with running(gravity=False) as bench:
        worker = bench.robot.workers[0]
        bench.fault(FaultKind.BROWN_OUT, start=bench.emulation.now())
        bench.emulation.buses[LEFT].plug(False)
        bench.wait(0.3)
        bench.backend.place({f"{LEFT}/waist": HOME[0] + 0.5})
        recover, reasons = worker.arm.recover, []

        def meddled(servo):
            restored = recover(servo)
            bench.robot.stop()
            reasons.append(worker.clear_fault())
            return restored

        monkeypatch.setattr(worker.arm, "recover", meddled)
        bench.emulation.buses[LEFT].plug(True)
        positions = []
        for _ in range(100):
            bench.wait(0.01)
            positions.append(bench.backend.motion().position[0])
        np.testing.assert_allclose(positions, HOME[0] + 0.5, atol=0.01)
        assert bench.read(1, "torque_enable") == 1
        assert len(reasons) >= 9
        assert all("being brought back; try again" in reason for reason in reasons)
        bench.robot.resume()
        bench.robot.go_to(HOME)


def test_12_stuffing_fuzz():
    """Random bytes with headers among them, written to RAM and read back, alone and in blocks of all servos."""
    bench = Bench(gravity=False)
    arm = bench.robot._arms[0]
    arm.bus.open()
    rng = random.Random(12)
    table = VX300S.servos[0].model
    names = [f"indirect_address_{k}" for k in range(1, 29)]
    assert all(table[name].address >= EEPROM_END for name in names)
    first = table["profile_acceleration"]
    for _ in range(150):
        values = {
            id: rng.choice([0xFDFF, 0x00FD, 0x7FFF, 0xFFFF, rng.randrange(32_768)]) & 0x7FFF for id in range(1, 10)
        }
        arm.bus.sync_write(first, values)
        replies = arm.bus.sync_read(range(1, 10), first.address, 8, fast=rng.random() < 0.5)
        assert not replies.missing
        assert {id: first.decode(status.params[:4]) for id, status in replies.statuses.items()} == values
        goal = rng.choice([-1, -3, -513, -131_073, 0x00FDFFFF & 0xFFFFF, rng.randrange(-1_048_575, 1_048_575)])
        arm.bus.write(9, table["goal_position"], goal)
        assert arm.bus.read(9, table["goal_position"]) == goal


def test_13_an_alert_is_seen_within_a_tick():
    with running(gravity=False) as bench:
        bench.emulation.buses[RIGHT].servo(4).shut_down(0x20)
        bench.wait(1.5 * TICK)
        worker = bench.robot.workers[1]
        assert worker.state.alerts == {4}
        assert "elbow (ID 4): hardware error" in worker.fault
        with pytest.raises(SafetyStop, match="elbow"):
            bench.robot.send_action(HOME)
        bench.wait(3.0)
        assert bench.read(4, "hardware_error_status", RIGHT) == 0x20  # an arm's joint is never rebooted by itself
        assert all(bench.read(id, "torque_enable", RIGHT) for id in (1, 2, 6, 7, 8, 9))
