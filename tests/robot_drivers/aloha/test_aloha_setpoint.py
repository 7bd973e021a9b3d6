"""The goal of a tick, without an arm around it: how fast it moves, where it stays, and what silence makes of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from robot_drivers.aloha.config import ArmConfig, Homing, Limits, Watch
from robot_drivers.aloha.layout import VX300S, WX250S
from robot_drivers.aloha.setpoint import Mode, Setpoint
from robot_drivers.aloha.state import ArmState

TICK = 0.02  # [s]
CONFIG = ArmConfig(
    limits=Limits(speed=2.0),
    gripper_speed=5.0,
    homing=Homing(speed=0.5, patience=0.3),
    watch=Watch(hold_after=0.1, rest_after=1.0),
)
STEPS = np.append(np.full(6, 2.0), 5.0) * TICK  # (7,) that each joint may turn in a tick
BEGIN = np.linspace(0.1, 0.7, 7)  # [rad] (7,)


def measured(position=BEGIN, effort: float = 0.0) -> ArmState:
    position = np.array(position, dtype=float)
    return ArmState(0.0, position, np.zeros(7), np.full(7, effort), {}, {}, frozenset())


@pytest.fixture
def setpoint() -> Setpoint:
    """One that holds at BEGIN."""
    setpoint = Setpoint(VX300S, CONFIG)
    setpoint.goal = BEGIN.copy()
    return setpoint


def advance(setpoint: Setpoint, now: float, position=None, share=1.0, effort=0.0, limp=()) -> str:
    without_torque = np.isin(np.arange(7), limp)  # (7,)
    state = measured(setpoint.goal if position is None else position, effort)
    return setpoint.advance(state, without_torque, share, now)


def test_a_new_one_holds(setpoint):
    assert setpoint.mode == Mode.HOLD
    assert Setpoint(VX300S, CONFIG).goal.tolist() == [0.0] * 7
    assert advance(setpoint, 5.0, position=BEGIN + 0.1) == ""
    np.testing.assert_array_equal(setpoint.goal, BEGIN)
    assert setpoint.react(1e6, may_rest=True) == ""


def test_hands_carry_the_goal_of_limp_joints_while_holding_and_of_no_others(setpoint):
    carried = setpoint.goal + 0.3
    advance(setpoint, 5.0, position=carried, limp=(1, 4))
    np.testing.assert_array_equal(setpoint.goal, np.where(np.isin(np.arange(7), (1, 4)), carried, BEGIN))
    setpoint.goal = BEGIN.copy()
    setpoint.follow(BEGIN, 5.0)
    advance(setpoint, 5.02, position=carried, limp=(1, 4))
    np.testing.assert_array_equal(setpoint.goal, BEGIN)


def test_a_joint_that_did_not_answer_keeps_its_goal_when_the_arm_is_to_stay(setpoint):
    setpoint.follow(BEGIN + 1.0, 5.0)
    seen = dataclasses.replace(measured(BEGIN - 0.3), stale={VX300S.primaries[1].id: 2})
    setpoint.hold(seen)
    np.testing.assert_allclose(setpoint.goal, [*np.where(np.arange(6) == 1, BEGIN[:6], BEGIN[:6] - 0.3), BEGIN[6]])


def test_servos_that_were_away_are_to_stay_where_they_are_the_gripper_too_and_no_others(setpoint):
    away = {VX300S.primaries[1].id, VX300S.primaries[6].id}
    setpoint.adopt(measured(BEGIN + 0.2), away)
    np.testing.assert_allclose(setpoint.goal, np.where(np.isin(np.arange(7), (1, 6)), BEGIN + 0.2, BEGIN))


@pytest.mark.parametrize("share", [1.0, 0.25])
@pytest.mark.parametrize("sign", [-1, 1])
def test_following_is_no_faster_than_allowed(setpoint, sign, share):
    setpoint.follow(BEGIN + 10.0 * sign, 5.0)
    for k in (1, 2, 3):
        assert advance(setpoint, 5.0, share=share) == ""
        np.testing.assert_allclose(setpoint.goal, BEGIN + k * sign * share * STEPS, rtol=1e-12)
    assert setpoint.mode == Mode.FOLLOW


def test_following_arrives_exactly_and_keeps_no_foreign_array(setpoint):
    target = BEGIN + 0.5 * STEPS
    wish = target.copy()
    setpoint.follow(wish, 5.0)
    wish += 1.0
    for _ in range(3):
        advance(setpoint, 5.0)
        np.testing.assert_allclose(setpoint.goal, target, rtol=1e-12)


def test_a_move_begins_and_ends_at_rest_and_then_holds(setpoint):
    end, wish = BEGIN + 0.4, BEGIN + 0.4
    needed = setpoint.move_time(end)
    assert needed == pytest.approx(1.875 * 0.4 / 0.5)
    setpoint.move(wish, 0.0, 5.0)
    wish += 1.0
    goals = []
    for k in range(round(needed / TICK) + 1):
        assert setpoint.mode == Mode.MOVE
        assert advance(setpoint, 5.0 + k * TICK) == ""
        goals.append(setpoint.goal)
    np.testing.assert_array_equal(goals[0], BEGIN)
    np.testing.assert_allclose(goals[-1], end, rtol=1e-12)
    steps = np.diff(goals, axis=0)
    assert steps.min() > 0
    assert steps[:, :6].max() == pytest.approx(0.5 * TICK, rel=0.01)
    assert steps[0].max() < 1e-4
    assert advance(setpoint, 5.0 + needed + TICK) == ""
    assert setpoint.mode == Mode.HOLD
    np.testing.assert_allclose(setpoint.goal, end, rtol=1e-12)


@pytest.mark.parametrize(("seconds", "takes"), [(0.1, 1.5), (4.0, 4.0)])
def test_a_move_takes_as_long_as_told_or_longer_if_it_must(setpoint, seconds, takes):
    setpoint.move(BEGIN + 0.4, seconds, 5.0)
    advance(setpoint, 5.0 + takes / 2)
    np.testing.assert_allclose(setpoint.goal, BEGIN + 0.2, rtol=1e-12)
    advance(setpoint, 5.0 + takes - 1e-6)
    assert setpoint.mode == Mode.MOVE
    advance(setpoint, 5.0 + takes + 1e-6)
    assert setpoint.mode == Mode.HOLD


def test_a_move_awaits_no_commands(setpoint):
    setpoint.follow(BEGIN, 5.0)
    setpoint.move(BEGIN + 0.4, 4.0, 5.0)
    for later in (0.2, 3.0):
        assert setpoint.react(5.0 + later, may_rest=True) == ""
        assert setpoint.mode == Mode.MOVE


def test_a_move_that_was_broken_off_has_no_say_any_more(setpoint):
    setpoint.move(BEGIN + 0.4, 0.0, 5.0)
    advance(setpoint, 5.5)
    reached = setpoint.goal.copy()
    setpoint.follow(reached, 5.5)
    advance(setpoint, 5.9)
    np.testing.assert_array_equal(setpoint.goal, reached)
    setpoint.hold(measured(reached))
    advance(setpoint, 6.0)
    np.testing.assert_array_equal(setpoint.goal, reached)


def test_a_move_that_meets_resistance_goes_no_further(setpoint):
    setpoint.move(BEGIN + 0.4, 0.0, 5.0)
    advance(setpoint, 5.5)
    before = setpoint.goal.copy()
    assert "waist does not follow" in advance(setpoint, 6.0, position=before - np.eye(7)[0])
    np.testing.assert_array_equal(setpoint.goal, before)


def test_resistance_to_an_earlier_move_does_not_count(setpoint):
    setpoint.move(BEGIN + 0.4, 0.0, 5.0)
    assert advance(setpoint, 5.1, effort=9.0) == ""
    setpoint.move(BEGIN, 0.0, 5.3)
    assert advance(setpoint, 5.45, effort=9.0) == ""
    assert "meets resistance" in advance(setpoint, 5.8, effort=9.0)


def test_holding_stays_where_the_arm_is_but_for_the_gripper(setpoint):
    here = BEGIN - 0.05
    expected = np.append(here[:6], BEGIN[6])
    setpoint.follow(BEGIN + 1.0, 5.0)
    setpoint.hold(measured(here))
    assert setpoint.mode == Mode.HOLD
    np.testing.assert_array_equal(setpoint.goal, expected)
    setpoint.hold(measured(here - 0.05))  # one that holds does not sag
    np.testing.assert_array_equal(setpoint.goal, expected)
    assert setpoint.react(99.0, may_rest=True) == ""  # nobody has to command now


def test_holding_without_a_state_keeps_the_goal(setpoint):
    setpoint.follow(BEGIN + 1.0, 5.0)
    setpoint.hold(None)
    advance(setpoint, 5.0)
    assert setpoint.mode == Mode.HOLD
    np.testing.assert_array_equal(setpoint.goal, BEGIN)


def test_silence_is_first_held_then_goes_to_rest_once(setpoint):
    setpoint.follow(BEGIN, 5.0)
    assert setpoint.react(5.09, may_rest=True) == ""
    assert setpoint.mode == Mode.FOLLOW
    assert setpoint.react(5.11, may_rest=True) == "no fresh command; holding"
    assert setpoint.mode == Mode.HOLD
    assert setpoint.react(5.13, may_rest=True) == ""
    assert setpoint.react(6.01, may_rest=True) == "nobody commands; going to rest slowly"
    assert setpoint.mode == Mode.MOVE
    duration = setpoint.move_time(np.append(VX300S.rest, BEGIN[6]))
    advance(setpoint, 6.01 + duration - 1e-6)
    assert (setpoint.mode, setpoint.react(6.03, may_rest=True)) == (Mode.MOVE, "")
    advance(setpoint, 6.01 + duration + 1e-6)
    assert setpoint.mode == Mode.HOLD
    np.testing.assert_allclose(setpoint.goal, np.append(VX300S.rest, BEGIN[6]), rtol=1e-12)
    assert setpoint.react(60.0, may_rest=True) == ""


def test_going_to_a_rest_nearby_takes_no_longer_than_it_must(setpoint):
    setpoint.goal = np.append(VX300S.rest + 0.1, 0.5)
    setpoint.follow(setpoint.goal, 5.0)
    setpoint.react(6.01, may_rest=True)
    advance(setpoint, 6.01 + 1.875 * 0.1 / 0.5 + 1e-6)
    assert setpoint.mode == Mode.HOLD


def test_a_command_after_the_rest_is_followed_and_its_silence_counts_again(setpoint):
    setpoint.follow(BEGIN, 5.0)
    setpoint.react(6.01, may_rest=True)
    setpoint.follow(BEGIN, 20.0)
    assert (setpoint.mode, setpoint.react(20.05, may_rest=True)) == (Mode.FOLLOW, "")
    assert "rest slowly" in setpoint.react(21.01, may_rest=True)


def test_an_arm_at_fault_does_not_go_to_rest(setpoint):
    setpoint.follow(BEGIN, 5.0)
    setpoint.react(5.11, may_rest=False)
    assert setpoint.react(6.01, may_rest=False) == ""
    assert setpoint.mode == Mode.HOLD


MOST = np.array([0.7 * servo.model.stall_effort for servo in VX300S.primaries])  # (7,)


@pytest.mark.parametrize("mode", [Mode.FOLLOW, Mode.HOLD])
@pytest.mark.parametrize("joint", [0, 5])
def test_a_joint_that_presses_for_too_long_gives_way(setpoint, mode, joint):
    if mode == Mode.FOLLOW:
        setpoint.follow(BEGIN, 5.0)
    here = BEGIN - 0.05
    pressing = 1.01 * MOST[joint] * np.where(np.arange(7) == joint, -1, 0)
    answers = [press(setpoint, now, here, pressing) for now in (5.0, 5.5, 5.99)]
    assert answers == ["", "", ""]
    np.testing.assert_array_equal(setpoint.goal, BEGIN)
    name = VX300S.primaries[joint].joint
    told = press(setpoint, 6.0, here, pressing)
    assert told.startswith(f"gave way: {name} meets resistance: expected at most {MOST[joint]:.2f} A, got -")
    assert told.endswith("for 1.0 s")
    gives = np.arange(7) < 6 if mode == Mode.FOLLOW else np.arange(7) == joint  # one that holds sinks no further
    np.testing.assert_array_equal(setpoint.goal, np.where(gives, here, BEGIN))
    assert setpoint.mode == Mode.HOLD
    assert press(setpoint, 6.03, here - 0.01, pressing) == ""  # it has a second to relax
    np.testing.assert_array_equal(setpoint.goal, np.where(gives, here, BEGIN))


def test_a_slow_move_begins_the_second_anew_and_a_silent_servo_does_not_press(setpoint):
    pressing = 1.01 * MOST * (np.arange(7) == 1)
    press(setpoint, 5.0, BEGIN, pressing)
    setpoint.move(setpoint.goal, 0.0, 5.1)
    advance(setpoint, 5.2)
    advance(setpoint, 5.4)  # it is over
    assert setpoint.mode == Mode.HOLD
    assert press(setpoint, 6.3, BEGIN, pressing) == ""
    for now in (8.0, 9.5):
        silent = dataclasses.replace(measured(), effort=pressing, stale={VX300S.primaries[1].id: 9})
        assert setpoint.advance(silent, np.zeros(7, dtype=bool), 1.0, now) == ""


def test_a_joint_that_presses_now_and_then_and_a_gripper_do_not_give_way(setpoint):
    for k in range(6):
        assert press(setpoint, 5.0 + 0.9 * k, BEGIN, 1.01 * MOST * (np.arange(7) == 1)) == ""
        assert press(setpoint, 5.0 + 0.9 * k + 0.45, BEGIN, 0.99 * MOST) == ""
    for k in range(6):
        assert press(setpoint, 20.0 + k, BEGIN, 1.01 * MOST * (np.arange(7) == 6)) == ""
        assert press(setpoint, 30.0 + k, BEGIN, MOST) == ""  # just as hard as it may
    assert press(setpoint, 37.0, BEGIN, 1.01 * MOST) == ""


def test_what_a_servo_without_a_sensor_for_current_presses_with_is_a_share_of_its_torque():
    setpoint, pressing = Setpoint(WX250S, CONFIG), np.eye(7)[5] * 0.75
    assert not WX250S.primaries[5].model.has_current
    press(setpoint, 5.0, BEGIN, pressing)
    assert "expected at most 0.70 of its largest torque, got 0.75" in press(setpoint, 6.0, BEGIN, pressing)


def press(setpoint, now, position, effort) -> str:
    state = dataclasses.replace(measured(position), effort=np.asarray(effort))
    return setpoint.advance(state, np.zeros(7, dtype=bool), 1.0, now)
