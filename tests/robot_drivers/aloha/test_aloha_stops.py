"""Everything that ends motion: driver test 14, the host's watchdog, the ladder from holding to torque off."""

from __future__ import annotations

import signal
import threading

import numpy as np
import pytest

from robot_drivers.aloha.config import ArmConfig, Watch
from robot_drivers.aloha.emulated import aloha_emulated
from robot_drivers.aloha.layout import VX300S
from robot_drivers.aloha.robot import AlohaRobot
from robot_drivers.aloha.setpoint import Mode
from robot_drivers.emulator.faults import FaultKind
from robot_drivers.emulator.log import Kind
from tests.robot_drivers.aloha.bench import HOME, LEFT, RIGHT, TICK, Bench, running, wave
from vla.protocols import Robot, SafetyStop

SYNC_WRITE = "fffffd00fe"


def goals_after(bench: Bench, moment: float) -> dict[str, list[tuple[float, str]]]:
    """Sync writes by bus that arrived after `moment`."""
    found: dict[str, list[tuple[float, str]]] = {LEFT: [], RIGHT: []}
    for event in bench.emulation.log.events(Kind.REQUEST):
        if event.time > moment and event.detail.startswith(SYNC_WRITE) and event.detail[14:16] == "83":
            found[event.bus].append((event.time, event.detail))
    return found


@pytest.mark.parametrize("phase", [0.0, 0.004, 0.019])
def test_14_a_stop_from_another_thread_is_obeyed_within_a_tick(phase):
    with running(gravity=False) as bench:
        bench.follow(wave(bench, amplitude=1.0, hz=0.5), ticks=25)
        bench.wait(phase)
        called: list[float] = []

        def stop() -> None:
            with bench.clock.attending():  # virtual time does not pass while the computer runs something else
                called.append(bench.emulation.now())
                bench.robot.stop()

        thread = threading.Thread(target=stop)
        thread.start()
        while thread.is_alive():  # it may have to wait for the line, and so for the clock
            bench.wait(0.0005)
        moment = called[0]
        bench.robot.stop()
        bench.wait(0.3)
        for writes in goals_after(bench, moment).values():
            late = {detail for time, detail in writes if time > moment + 0.020}
            assert len(late) == 1  # one goal, repeated
        still = [bench.backend.motion().position.copy()]
        bench.wait(0.5)
        still.append(bench.backend.motion().position.copy())
        assert np.abs(still[1] - still[0]).max() < 2e-3
        for refused in (bench.robot.send_action, bench.robot.go_to):
            with pytest.raises(SafetyStop, match="call resume, then go_to"):
                refused(HOME)
        assert all(bench.read(id, "torque_enable") for id in range(1, 10))
        bench.robot.resume()
        bench.robot.go_to(HOME)
        bench.robot.send_action(HOME)


def test_14_a_stop_from_a_signal_handler():
    with running(gravity=False) as bench:
        before = signal.signal(signal.SIGUSR1, lambda *_: bench.robot.stop())
        try:
            bench.follow(wave(bench), ticks=5)
            signal.raise_signal(signal.SIGUSR1)
            with pytest.raises(SafetyStop, match="stopped"):
                bench.robot.send_action(HOME)
        finally:
            signal.signal(signal.SIGUSR1, before)


def test_a_stop_that_comes_as_a_slow_move_begins_is_obeyed(monkeypatch):
    with running(gravity=False) as bench:
        worker = bench.robot.workers[0]
        clear = worker.clear_fault
        monkeypatch.setattr(worker, "clear_fault", lambda: bench.robot.stop() or clear())
        with pytest.raises(SafetyStop, match="slow move: the robot was stopped"):
            bench.robot.go_to(HOME + 0.8 * np.eye(14)[0])
        bench.wait(0.3)
        assert bench.robot.get_reading().state[0] < 0.01


def test_a_stop_tells_both_arms_before_it_waits_for_the_line_of_one(monkeypatch):
    with running(gravity=False) as bench:
        bench.follow(wave(bench), ticks=5)
        left, right = bench.robot.workers
        assert right.mode == Mode.FOLLOW
        seen = []
        monkeypatch.setattr(left, "send_goal", lambda: seen.append(right.mode))
        bench.robot.stop()
        assert seen == [Mode.HOLD]


def test_what_interrupts_a_slow_move_leaves_the_arms_holding(monkeypatch):
    with running(gravity=False) as bench:
        sleep, left = bench.clock.sleep_until, [20]

        class Interrupted:
            def now(self) -> float:
                return bench.clock.now()

            def sleep_until(self, moment: float) -> None:
                left[0] -= 1
                if not left[0]:
                    raise KeyboardInterrupt
                sleep(moment)

        monkeypatch.setattr(bench.robot, "_clock", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            bench.robot.go_to(HOME + 0.8 * np.eye(14)[0])
        assert [worker.mode for worker in bench.robot.workers] == [Mode.HOLD, Mode.HOLD]
        bench.wait(0.1)
        still = bench.backend.motion().position.copy()
        bench.wait(0.5)
        assert np.abs(bench.backend.motion().position - still).max() < 2e-3


def test_a_fault_of_one_arm_holds_the_other_when_a_slow_move_is_refused():
    with running(gravity=False) as bench:
        bench.follow(wave(bench), ticks=5)
        bench.emulation.buses[LEFT].plug(False)
        bench.wait(2 * TICK)
        assert bench.robot.workers[1].mode == Mode.FOLLOW
        with pytest.raises(SafetyStop, match="the port is gone"):
            bench.robot.go_to(HOME)
        assert bench.robot.workers[1].mode == Mode.HOLD


def test_a_stop_that_comes_while_it_connects_is_obeyed():
    bench = Bench(gravity=False)
    bench.put_at_home()
    arm = bench.robot._arms[0]
    identify = arm.connect
    with bench.clock.attending(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(arm, "connect", lambda *given, **named: bench.robot.stop() or identify(*given, **named))
        bench.robot.connect()
        with pytest.raises(SafetyStop, match="the robot was stopped; call resume"):
            bench.robot.send_action(HOME)
        bench.robot.disconnect()


def test_the_goal_is_what_the_robot_was_told_and_after_a_stop_where_it_holds():
    with running() as bench:  # its arms sag
        np.testing.assert_allclose(bench.robot.get_goal(), HOME)
        action = bench.robot.send_action(wave(bench)(1))
        np.testing.assert_array_equal(bench.robot.get_goal(), action)
        bench.wait(TICK)
        bench.robot.stop()
        state, goal = bench.robot.get_reading().state, bench.robot.get_goal()
        np.testing.assert_allclose(goal[:6], state[:6], atol=0.005)
        assert abs(goal[1] - HOME[1]) > 0.01
        assert goal[6] == pytest.approx(HOME[6])


def test_a_stop_ends_a_slow_move():
    with running(gravity=False) as bench:
        away = HOME + 0.8 * np.eye(14)[0]
        bench.fault(FaultKind.STUCK_ENCODER, ids=(1,), start=bench.emulation.now() + 0.5)
        with pytest.raises(SafetyStop, match=r"waist does not follow: expected within 0\.3 rad"):
            bench.robot.go_to(away)
        assert bench.robot.workers[1].mode == Mode.HOLD


@pytest.mark.parametrize(
    ("pose", "message"),
    [(HOME[:13], "shape"), (np.full(14, np.nan), "finite"), (HOME + 2, r"left_elbow .*nothing moved")],
)
def test_a_slow_move_refuses_what_is_no_pose(pose, message):
    with running(gravity=False) as bench, pytest.raises(SafetyStop, match=message):
        bench.robot.go_to(pose)


def test_a_slow_move_is_slow_and_meets_resistance():
    with running(gravity=False) as bench:
        away = HOME + 0.8 * np.eye(14)[0]
        positions = []
        done = threading.Event()

        def watch() -> None:
            with bench.clock.attending():
                while not done.is_set():
                    positions.append(bench.read(1, "present_position"))
                    bench.wait(TICK)

        watcher = threading.Thread(target=watch)
        watcher.start()
        bench.robot.go_to(away)
        done.set()
        bench.wait(2 * TICK)
        watcher.join()
        assert np.abs(np.diff(positions)).max() * 0.001534 / TICK < 0.55
        bench.backend.obstruct("follower_left/elbow", high=float(HOME[2]) + 0.02)
        with pytest.raises(SafetyStop, match="elbow"):
            bench.robot.go_to(away + 0.4 * np.eye(14)[2])


def test_when_nobody_commands_the_arms_hold_then_go_to_rest():
    with running(gravity=False) as bench:
        bench.follow(wave(bench), ticks=20)
        bench.wait(0.2)
        assert [worker.mode for worker in bench.robot.workers] == [Mode.HOLD, Mode.HOLD]
        assert any("no fresh command" in event for event in bench.robot.get_reading().events)
        held = bench.robot.get_reading().state
        bench.wait(0.5)
        assert np.abs(bench.robot.get_reading().state - held).max() < 0.01
        bench.wait(6.0)
        assert any("going to rest slowly" in event for event in bench.robot.get_reading().events)
        for worker in bench.robot.workers:
            assert worker.arm.at_rest(worker.state, tolerance=0.02)


def test_short_silence_is_forgiven():
    with running(gravity=False) as bench:
        path = wave(bench)
        bench.follow(path, ticks=20)
        bench.wait(0.3)
        bench.robot.send_action(path(20))
        bench.wait(TICK)
        assert bench.robot.workers[0].mode == Mode.FOLLOW


def test_resting_can_be_forbidden():
    config = ArmConfig(watch=Watch(rest_after=float("inf")))
    with running(gravity=False, config=config) as bench:
        bench.robot.send_action(HOME)
        bench.wait(3.0)
        assert [worker.mode for worker in bench.robot.workers] == [Mode.HOLD, Mode.HOLD]


def test_ticks_that_have_ended_are_noticed():
    with running(gravity=False) as bench:
        bench.robot.workers[0].end()
        bench.wait(1.1)
        with pytest.raises(SafetyStop, match="follower_left: no tick for 1"):
            bench.robot.send_action(HOME)
        with pytest.raises(SafetyStop, match="slow move: follower_left: no tick for 1"):
            bench.robot.go_to(HOME)


def test_torque_goes_off_only_at_rest_or_when_told_twice():
    with running(gravity=False) as bench:
        with pytest.raises(SafetyStop, match="follower_left, follower_right would fall; call rest"):
            bench.robot.torque_off()
        assert all(bench.read(id, "torque_enable") for id in range(1, 10))
        bench.robot.rest()
        bench.robot.torque_off()
        assert not any(bench.read(id, "torque_enable") for id in range(1, 10))
        bench.wait(2.5)  # nobody switches it on again
        assert not any(bench.read(id, "torque_enable") for id in range(1, 10))


def test_torque_off_of_a_raised_arm_when_told_twice():
    with running(gravity=False) as bench:
        bench.robot.torque_off(even_if_raised=True)
        assert not any(bench.read(id, "torque_enable", RIGHT) for id in range(1, 10))


def test_disconnecting_leaves_a_raised_arm_up():
    bench = Bench()
    with bench.clock.attending():
        bench.robot.connect()
        with pytest.raises(RuntimeError, match="not connected"):
            bench.robot.connect()
        bench.robot.go_to(HOME)
        bench.robot.disconnect()
        bench.robot.disconnect()
        before = bench.backend.motion().position.copy()
        bench.emulation.advance(10.0)
        assert np.abs(bench.backend.motion().position - before)[:14].max() < 0.02  # leaders lie limp
        assert all(bench.read(id, "torque_enable") for id in range(1, 10))
        with pytest.raises(RuntimeError, match="call connect"):
            bench.robot.get_reading()
        bench.robot.connect()  # and it can be taken hold of again, where it is
        assert np.abs(bench.backend.motion().position - before)[:14].max() < 0.03
        bench.robot.disconnect()


def test_it_is_a_robot_and_needs_two_arms():
    robot: Robot = aloha_emulated()
    assert robot.action_spec.names[0] == "left_waist [rad]"
    assert robot.action_spec.names[13] == "right_gripper [0 closed, 1 open]"
    assert robot.action_spec.gripper.nonzero()[0].tolist() == [6, 13]
    assert robot.action_spec.low[1] == pytest.approx(VX300S.low[1] + 0.02)
    with pytest.raises(ValueError, match="expected 2 arms, got 0"):
        AlohaRobot((), None, ArmConfig(), None)  # type: ignore[arg-type]
