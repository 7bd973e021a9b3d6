"""The gate, at each of its limits, just inside and just outside: driver test 4."""

from __future__ import annotations

import numpy as np
import pytest

from robot_drivers.aloha.config import Limits
from robot_drivers.aloha.gate import Gate
from robot_drivers.emulator.faults import FaultKind
from tests.robot_drivers.aloha.bench import HOME, TICK, running, wave
from vla.protocols import SafetyStop
from vla.runtime.safety import LimitFilter
from vla.types import Observation

LOW, HIGH = np.array([-1.0, -1.0, 0.0]), np.array([1.0, 1.0, 1.0])
LIMITS = Limits(speed=3.0, acceleration=100.0, tracking=0.3, age=0.1)
STEP, TURN = 3.0 / 50, 100.0 / 2500
AT = np.zeros(3)


def gate() -> Gate:
    return Gate(("one [rad]", "two [rad]", "gripper"), LOW, HIGH, np.array([True, True, False]), LIMITS, 50.0)


def at(*values: float) -> np.ndarray:
    return np.array(values)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(2), r"expected shape \(3,\), got \(2,\)"),
        (np.zeros((1, 3)), r"expected shape \(3,\), got \(1, 3\)"),
        (at(0, np.nan, 0), r"two \[rad\]: expected a finite number, got nan"),
        (at(0, 0, np.inf), r"gripper: expected a finite number, got inf"),
    ],
)
def test_04_no_command_at_all(action, message):
    with pytest.raises(SafetyStop, match=message):
        gate().check_form(action, 0.0)


@pytest.mark.parametrize(("age", "allowed"), [(0.0, True), (0.1, True), (0.1001, False), (np.nan, False)])
def test_04_a_stale_command(age, allowed):
    if allowed:
        gate().check_form(AT, age)
    else:
        with pytest.raises(SafetyStop, match=r"not older than 0\.100 s"):
            gate().check_form(AT, age)


@pytest.mark.parametrize("entry", [0, 1, 2])
@pytest.mark.parametrize("side", [-1, 1])
def test_04_limits(entry, side):
    bound = (LOW if side < 0 else HIGH)[entry]
    for excess, allowed in ((-1e-3, True), (0.0, True), (1e-3, False)):
        action = AT.copy()
        action[entry] = bound + side * excess
        near = action.copy() if allowed else np.clip(action, LOW, HIGH)
        if allowed:
            gate().check(action, near, near)
        else:
            with pytest.raises(SafetyStop, match=r"outside its limits; expected -?\d\.\d{4} to 1\.0000"):
                gate().check(action, near, near)


@pytest.mark.parametrize("sign", [-1, 1])
def test_04_speed(sign):
    limits = Limits(speed=3.0, acceleration=1e9)
    free = Gate(("one", "two", "gripper"), LOW, HIGH, np.array([True, True, False]), limits, 50.0)
    free.check(at(0, sign * STEP, 0), AT, AT)
    with pytest.raises(SafetyStop, match="two: step from the last command is too long: move there with go_to"):
        free.check(at(0, sign * STEP * 1.01, 0), AT, AT)


@pytest.mark.parametrize("sign", [-1, 1])
def test_04_acceleration(sign):
    checked = gate()
    checked.check(at(sign * TURN, 0, 0), AT, AT)
    checked.check(at(sign * (TURN + STEP), 0, 0), at(sign * TURN, 0, 0), AT)
    with pytest.raises(SafetyStop, match=r"one.*acceleration"):
        checked.check(at(sign * TURN, 0, 0), at(sign * (TURN + STEP), 0, 0), AT)
    with pytest.raises(SafetyStop, match="acceleration"):
        gate().check(at(sign * TURN * 1.01, 0, 0), AT, AT)


def test_04_a_refusal_and_a_reset_start_from_rest():
    checked = gate()
    checked.check(at(TURN, 0, 0), AT, AT)
    with pytest.raises(SafetyStop):
        checked.check(at(2, 0, 0), AT, AT)
    with pytest.raises(SafetyStop, match="acceleration"):
        checked.check(at(STEP, 0, 0), AT, AT)  # would be allowed if the earlier speed still counted
    checked.check(at(TURN, 0, 0), AT, AT)
    checked.reset()
    with pytest.raises(SafetyStop, match="acceleration"):
        checked.check(at(STEP, 0, 0), AT, AT)


@pytest.mark.parametrize("sign", [-1, 1])
def test_04_tracking(sign):
    here = at(sign * 0.5, 0, 0)
    gate().check(here, here, at(sign * 0.2, 0, 0))
    with pytest.raises(SafetyStop, match=r"one \[rad\]: robot does not follow"):
        gate().check(here, here, at(sign * 0.199, 0, 0))


def test_04_the_grippers_goal_may_jump_and_need_not_be_reached():
    gate().check(at(0, 0, 1), at(0, 0, 0), at(0, 0, 0.5))


def test_04_nothing_is_sent_after_a_refusal_and_the_robot_holds():
    with running(gravity=False) as bench:
        bench.follow(wave(bench), ticks=25)
        for bad in (np.full(14, np.nan), HOME[:7], HOME + 1.0, HOME + 0.2):
            before = bench.robot.get_reading().state
            with pytest.raises(SafetyStop, match="command refused"):
                bench.robot.send_action(bad)
            bench.wait(0.3)
            assert np.abs(bench.robot.get_reading().state - before)[:6].max() < 0.03
        with pytest.raises(SafetyStop, match="not older"):
            bench.robot.send_action(HOME, decided_at=bench.clock.now() - 0.2)
        bench.robot.go_to(HOME)
        bench.follow(wave(bench), ticks=5)


def test_04_an_arm_that_does_not_follow_stops_the_robot():
    with running(gravity=False) as bench:
        bench.backend.obstruct("follower_left/waist", high=0.02)

        def push(k: int) -> np.ndarray:
            action = HOME.copy()
            action[0] = 0.0005 * k**2 if k < 20 else 0.2 + 0.02 * (k - 19)
            return action

        with pytest.raises(SafetyStop, match=r"left_waist \[rad\]: robot does not follow"):
            bench.follow(push, ticks=60)


def test_the_polite_layer_and_the_gate_agree():
    """Whatever the polite layer lets through at a limit, the gate lets through: also a reversal at full speed."""
    with running(gravity=False) as bench:
        polite = LimitFilter(bench.robot.action_spec)
        polite.reset(bench.robot.get_goal())
        states = []
        for k in range(30):
            wish = HOME + (1.0 if k < 20 else 0.0) * np.eye(14)[0]
            action, _ = polite(wish, Observation({}, HOME, "", 0.0))
            np.testing.assert_array_equal(bench.robot.send_action(action), action)
            bench.wait(TICK)
            states.append(bench.robot.get_reading().state[0])
        assert max(states) > 0.7
        assert states[-1] < max(states) - 0.05


def test_a_servo_never_gets_a_goal_further_than_the_speed_allows():
    with running(gravity=False) as bench:
        bench.fault(FaultKind.DROP_REPLY, probability=0.05)
        goals = []
        path = wave(bench, amplitude=1.0)
        for k in range(1, 100):
            bench.robot.send_action(path(k))
            bench.wait(TICK)
            goals.append(bench.read(1, "goal_position"))
        assert np.abs(np.diff(goals)).max() <= np.ceil(0.8 * np.pi / 50 / 0.001533981)
