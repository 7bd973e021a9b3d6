"""Joints that press, encoders that jump, servos that never come back: the arm stays where it really is, with torque."""

from __future__ import annotations

import numpy as np
import pytest

from robot_drivers.aloha.config import ArmConfig, Limits, Watch
from robot_drivers.emulator.faults import FaultKind
from robot_drivers.emulator.log import Kind
from tests.robot_drivers.aloha.bench import HOME, LEFT, TICK, running, wave
from vla.protocols import SafetyStop

SHOULDER = 1  # of the state
GRIPPER = 9


def against(bench, ticks: int) -> None:
    """Push the left shoulder 0.34 rad beyond something that is in its way."""
    bench.backend.obstruct(f"{LEFT}/shoulder", high=float(HOME[SHOULDER]) + 0.02)
    for k in range(1, ticks + 1):
        action = HOME.copy()
        action[SHOULDER] += min(0.36, 0.02 * k)
        bench.robot.send_action(action)
        bench.wait(TICK)


def pushed(bench) -> float:
    """[rad] by which the shoulder is told to be elsewhere."""
    worker = bench.robot.workers[0]
    return float(abs(worker.goal[SHOULDER] - worker.state.position[SHOULDER]))


def has_torque(bench) -> bool:
    return all(bench.read(id, "torque_enable") for id in (2, 3))


@pytest.mark.parametrize("silent", [0.0, 0.12])  # [s] before the stop; after 0.1 it holds by itself
def test_a_stop_ends_the_pushing(silent):
    with running(gravity=False) as bench:
        against(bench, 30)
        assert pushed(bench) > 0.3
        bench.wait(silent)
        bench.robot.stop()
        bench.wait(TICK if silent == 0.0 else 1.2)  # one that holds already gives way after a second
        assert pushed(bench) < 0.03
        bench.wait(3.0)
        assert has_torque(bench)


def test_an_arm_that_holds_does_not_sink_with_every_stop():
    with running() as bench:
        goal = bench.robot.workers[0].goal[:6]
        for _ in range(20):
            bench.robot.stop()
            bench.wait(TICK)
        np.testing.assert_allclose(bench.robot.workers[0].goal[:6], goal, atol=0.05)
        lowest = bench.robot.workers[0].state.position[:6]
        for _ in range(20):
            bench.robot.stop()
            bench.wait(TICK)
        np.testing.assert_allclose(bench.robot.workers[0].state.position[:6], lowest, atol=0.002)


def test_an_arm_that_presses_gives_way_before_its_servo_switches_itself_off():
    with running(gravity=False) as bench:
        with pytest.raises(
            SafetyStop, match=r"gave way: shoulder meets resistance: expected at most .* A, got .* for 1"
        ):
            against(bench, 200)
        assert pushed(bench) < 0.03
        bench.wait(3.0)
        assert has_torque(bench)
        assert not bench.emulation.log.events(Kind.ALARM)
        bench.backend.obstruct(f"{LEFT}/shoulder")
        bench.robot.go_to(HOME)
        bench.follow(wave(bench), ticks=20)


def test_an_arm_that_holds_and_is_pushed_gives_way_too():
    with running(gravity=False) as bench:
        bench.robot.stop()
        high = float(HOME[SHOULDER])
        for _ in range(100):
            high -= 0.004
            bench.backend.obstruct(f"{LEFT}/shoulder", high=high)  # somebody leans on it
            bench.wait(TICK)
        bench.wait(3.0)
        assert pushed(bench) < 0.2
        assert has_torque(bench)


def test_the_last_word_of_a_servo_that_fell_silent_makes_nobody_give_way():
    with running() as bench:
        against(bench, 30)
        bench.robot.workers[0].arm.fast = False
        bench.fault(FaultKind.DROP_REPLY, ids=(2,))
        bench.wait(0.5)
        goal = bench.robot.workers[0].goal
        bench.wait(5.0)
        np.testing.assert_array_equal(bench.robot.workers[0].goal, goal)


def test_a_servo_that_lost_its_memory_is_restored_wherever_it_was_carried():
    with running(gravity=False) as bench:
        bench.fault(FaultKind.BROWN_OUT, ids=(1,), start=bench.emulation.now())
        bench.wait(0.1)
        bench.backend.place({f"{LEFT}/waist": 0.6})  # by hand, as it has no torque, and faster than any motor
        bench.wait(3.0)
        assert bench.read(1, "torque_enable") == 1
        assert not bench.robot.workers[0].state.stale
        bench.robot.go_to(HOME)


@pytest.mark.parametrize("jump", [4096, 900, -900])
@pytest.mark.parametrize("ticks", [2, 500])
def test_where_an_encoder_jumped_to_nobody_goes(jump, ticks):
    with running(gravity=False) as bench:
        path = wave(bench)
        bench.follow(path, ticks=10)
        began = bench.emulation.now() + 0.005
        bench.fault(FaultKind.ENCODER_JUMP, ids=(1,), value=jump, start=began, end=began + ticks * TICK)
        truth = []
        held = False
        for k in range(11, 111):
            try:
                bench.robot.send_action(path(min(k, 60) if held else k))
            except SafetyStop:
                held = True
            bench.wait(TICK)
            truth.append(bench.backend.motion().position[0])
        assert np.abs(np.diff(truth)).max() < 0.06
        assert np.abs(np.array(truth) - HOME[0]).max() < 0.3
        assert held == (ticks > 3)
        if held:
            assert np.ptp(truth[-50:]) < 0.01


def test_a_gripper_that_stays_too_hot_is_left_alone():
    with running(gravity=False) as bench:
        now = bench.emulation.now()
        bench.fault(FaultKind.OVERHEAT, ids=(GRIPPER,), value=58.0, start=now, end=now + 1.0)
        bench.wait(5.0)
        events = bench.robot.get_reading().events
        assert len(events) < 40
        with pytest.raises(SafetyStop, match=r"gripper .ID 9.: \d\d degC, at most 70; let it cool"):
            bench.robot.send_action(HOME)
        assert [event.id for event in bench.emulation.log.events(Kind.REBOOT)] == [GRIPPER]
        bench.emulation.world.motors.temperature[:] = 30.0
        bench.wait(0.1)
        assert bench.robot.workers[0].state.servos[GRIPPER].temperature < 40
        bench.wait(10.0)
        bench.robot.go_to(HOME)
        bench.wait(3.0)
        bench.robot.send_action(HOME)
        assert bench.read(GRIPPER, "torque_enable") == 1


def test_a_lost_answer_to_the_grippers_reboot_stops_no_arm():
    with running(gravity=False) as bench:
        path = wave(bench)
        bench.follow(path, ticks=10)
        bench.fault(FaultKind.DROP_REPLY, instructions=(8,), times=1)
        bench.emulation.buses[LEFT].servo(GRIPPER).shut_down(0x20)
        bench.follow(lambda k: path(10 + k), ticks=80)
        assert bench.read(GRIPPER, "torque_enable") == 1


def test_a_dead_gripper_and_a_hiccup_do_not_keep_the_arm_from_ticking():
    with running(gravity=False) as bench:
        bench.fault(FaultKind.DROP_REPLY, ids=(GRIPPER,))
        bench.robot.workers[0].arm.fast = False
        with bench.robot.workers[0].arm.bus.line():
            bench.wait(0.17)  # longer than servos may be without a request
        bench.wait(0.5)
        assert any("the host was away" in event for event in bench.robot.get_reading().events)
        before = bench.robot.workers[0].ticks.total
        bench.wait(2.0)
        assert bench.robot.workers[0].ticks.total - before > 95


def test_too_few_ticks_a_second_are_refused():
    with pytest.raises(ValueError, match=r"config\.hz: expected at least 15, .* got 10"):
        ArmConfig(hz=10.0)
    with pytest.raises(ValueError, match="expected at least 30"):
        ArmConfig(hz=25.0, watch=Watch(hold_after=0.05))
    assert ArmConfig(hz=15.0).limits == Limits()
