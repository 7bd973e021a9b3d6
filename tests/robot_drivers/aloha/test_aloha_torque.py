"""Torque of several motors at once: within a tick, without motion, and not believed before it was read back."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from robot_drivers.aloha.emulated import leaders_emulated
from robot_drivers.dynamixel.errors import NoReply
from robot_drivers.emulator.faults import FaultKind
from robot_drivers.emulator.hands import Keyframes
from tests.robot_drivers.aloha.bench import HOME, LEFT, TICK, running

BUS = "leader_left"
POSITION = 132  # address
JOINTS = range(1, 9)  # IDs, shadows included


@pytest.fixture
def limp():
    """A robot with leaders, whose left arm is limp."""
    with running(home=False, gravity=False) as bench:
        leaders = leaders_emulated(bench.emulation)
        leaders.connect()
        try:
            yield bench, leaders, leaders.workers[0].arm
        finally:
            leaders.disconnect()


def lose(monkeypatch, bus, number: int | None) -> None:
    """Let one of the next requests that nobody answers never arrive, counted from 0."""
    write, sent = bus.sync_write, itertools.count()

    def sync_write(register, values):
        if next(sent) != number:
            write(register, values)

    monkeypatch.setattr(bus, "sync_write", sync_write)


def torques(bench) -> set[int]:
    return {bench.read(id, "torque_enable", BUS) for id in JOINTS}


def test_leaders_take_hold_and_let_go_within_a_tick(limp):
    bench, leaders, _ = limp
    times = []
    for _ in range(500):
        begun = bench.clock.now()
        there = leaders.align(HOME)
        times.append(bench.clock.now() - begun)
        if there:
            break
        bench.wait(TICK)
    assert there
    assert max(times) < TICK
    assert torques(bench) == {0}


def test_handed_back_after_the_first_arm_took_hold_it_alone_goes_to_rest(limp):
    bench, leaders, arm = limp
    bench.backend.guide(Keyframes([(0.0, {f"{BUS}/waist": 0.6, "leader_right/waist": 0.6})]))
    bench.wait(1.0)
    bench.backend.guide(None)
    leaders.align(HOME)
    assert torques(bench) == {1}
    leaders.hand_back()
    for _ in range(300):
        leaders.wants_control()
        bench.wait(TICK)
    assert torques(bench) == {0}
    waists = bench.backend.motion().position[[14, 21]]
    np.testing.assert_allclose(waists, [arm.layout.rest[0], 0.6], atol=0.16)


@pytest.mark.parametrize("lost", [None, 0, 1, 2])
def test_nothing_is_lost_with_a_request_and_no_old_goal_is_gone_to(limp, lost, monkeypatch):
    bench, leaders, arm = limp
    bench.backend.guide(Keyframes([(0.0, {f"{BUS}/shoulder": -0.5, f"{BUS}/waist": 0.6})]))
    bench.wait(1.0)
    bench.backend.guide(None)
    before = bench.backend.motion().position.copy()
    for on in (True, False):
        with monkeypatch.context() as patch:
            lose(patch, arm.bus, lost)
            arm.set_torque(arm.layout.primaries[:6], on)
        assert torques(bench) == {int(on)}
        assert {bench.read(id, "bus_watchdog", BUS) for id in JOINTS} == {10 if on else 0}
        bench.wait(2.5)  # and what the driver thinks of it is what it is
        assert torques(bench) == {int(on)}
        assert leaders.workers[0].take_events() == ()
    np.testing.assert_allclose(bench.backend.motion().position, before, atol=0.01)


def test_a_joint_that_holds_already_keeps_its_goal():
    with running(gravity=False) as bench:
        arm = bench.robot.workers[0].arm
        goal = bench.read(1, "goal_position")
        bench.backend.obstruct(f"{LEFT}/waist", low=0.05)
        bench.wait(0.1)
        arm.set_torque(arm.layout.primaries[:6], True)
        assert bench.read(1, "present_position") != goal
        assert bench.read(1, "goal_position") == goal


def test_a_servo_that_says_nothing_is_an_error(limp):
    bench, _, arm = limp
    bench.fault(FaultKind.DROP_REPLY, BUS, ids=[5])
    for on in (True, False):
        with pytest.raises(NoReply, match=r"leader_left, ID 5"):
            arm.set_torque(arm.layout.primaries[:6], on)


def test_an_answer_with_an_error_is_no_position(limp, monkeypatch):
    bench, _, arm = limp
    read, before = arm.bus.sync_read, bench.backend.motion().position.copy()

    def sync_read(ids, address, length, **options):
        replies = read(ids, address, length, **options)
        wrong = {id: replace(status, error=1) for id, status in replies.statuses.items()}
        return replace(replies, statuses=wrong if address == POSITION else replies.statuses)

    monkeypatch.setattr(arm.bus, "sync_read", sync_read)
    written = []
    monkeypatch.setattr(arm.bus, "sync_write", lambda register, values: written.append(register.name))
    arm.set_torque(arm.layout.primaries[:6], True)
    assert written == []
    monkeypatch.undo()
    assert torques(bench) == {1}  # one by one
    bench.wait(0.5)
    np.testing.assert_allclose(bench.backend.motion().position, before, atol=0.01)


def test_one_motor_alone(limp):
    bench, _, arm = limp
    for on in (True, False):
        arm.set_torque(arm.layout.primaries[:1], on)
        assert [bench.read(id, "torque_enable", BUS) for id in (1, 2)] == [int(on), 0]
