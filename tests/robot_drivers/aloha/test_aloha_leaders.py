"""Leaders: the squeeze, coming to the followers, commanding within their limits: driver test 18."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from robot_drivers.aloha.emulated import aloha_emulated, leaders_emulated
from robot_drivers.aloha.guided import GuidedLeaders
from robot_drivers.aloha.layout import ALOHA_WX250S
from robot_drivers.emulator.aloha import emulated_aloha
from robot_drivers.emulator.faults import FaultKind
from robot_drivers.emulator.hands import Keyframes
from tests.robot_drivers.aloha.bench import HOME, TICK, running
from vla.protocols import SafetyStop, SpecTeleoperator, Teleoperator
from vla.runtime.safety import LimitFilter
from vla.runtime.shared_control import Commander, SharedControl
from vla.types import ActionSpec, Observation


@contextmanager
def teleoperation(**options):
    """A robot at home and its connected leaders."""
    with running(gravity=False, **options) as bench:
        leaders = leaders_emulated(bench.emulation)
        leaders.connect()
        try:
            yield bench, leaders
        finally:
            leaders.disconnect()


def hand(bench, **joints: float) -> None:
    """A hand pulls joints of both leaders somewhere, at most 3 rad/s."""
    pose = {f"{side}/{joint}": angle for side in ("leader_left", "leader_right") for joint, angle in joints.items()}
    bench.backend.guide(Keyframes([(0.0, pose)]))


def take_over(bench, leaders) -> int:
    """Squeeze and wait until aligned; the number of ticks."""
    assert not leaders.wants_control()
    hand(bench, gripper=-0.6)
    bench.wait(1.0)
    assert leaders.wants_control()
    for ticks in range(1, 500):
        if leaders.align(HOME):
            return ticks
        bench.wait(TICK)
    raise TimeoutError


def test_nobody_commands_before_the_squeeze():
    with teleoperation() as (_, leaders):
        teleoperator: Teleoperator = leaders
        assert not teleoperator.wants_control()


def test_leaders_come_slowly_to_the_followers_and_then_go_limp():
    with teleoperation() as (bench, leaders):
        before = bench.backend.motion().position[14:20].copy()
        ticks = take_over(bench, leaders)
        distance = np.abs(HOME[:6] - before).max()
        assert ticks * TICK >= 0.8 * distance / 0.5
        for bus in ("leader_left", "leader_right"):
            assert not any(bench.read(id, "torque_enable", bus) for id in range(1, 10))
        first = leaders.get_action()
        assert np.abs(first - HOME)[:6].max() < 0.02
        hand(bench, gripper=-0.6, waist=0.4)
        bench.wait(1.5)
        assert leaders.get_action()[0] == pytest.approx(0.4, abs=0.02)
        assert leaders.get_action()[6] == pytest.approx((-0.6 + 0.6842) / (0.3083 + 0.6842), abs=0.01)
        leaders.hand_back()
        hand(bench, gripper=0.2)
        bench.wait(1.0)
        assert not leaders.wants_control()


def test_leaders_come_slowly_from_wherever_hands_have_carried_them():
    with teleoperation() as (bench, leaders):
        target = HOME
        for waist in (0.8, -0.5):  # from where they stood when they were connected, and from the take-over before
            hand(bench, gripper=0.2, waist=waist, shoulder=-0.5, elbow=0.3)
            bench.wait(2.0)
            assert not leaders.wants_control()
            hand(bench, gripper=-0.6, waist=waist, shoulder=-0.5, elbow=0.3)
            bench.wait(1.0)
            assert leaders.wants_control()
            path = [bench.backend.motion().position[14:28].reshape(2, 7)[:, :6]]
            while not leaders.align(target):
                bench.wait(TICK)
                path.append(bench.backend.motion().position[14:28].reshape(2, 7)[:, :6])
            assert np.abs(np.diff(path, axis=0)).max() / TICK < 0.7
            assert np.abs(path[-1] - np.split(target, 2)[0][:6]).max() < 0.08
            target = HOME + 0.3 * np.eye(14)[[0, 7]].sum(axis=0)
            leaders.hand_back()


def test_a_leader_that_is_held_back_does_not_spring_when_it_is_let_go():
    with teleoperation() as (bench, leaders):
        assert not leaders.wants_control()
        hand(bench, waist=0.8, gripper=-0.6)
        bench.wait(1.0)
        assert leaders.wants_control()
        bench.backend.obstruct("leader_left/waist", low=0.75)  # an elbow is in the way
        path = []
        for k in range(200):
            if k == 60:
                bench.backend.obstruct("leader_left/waist")
            path.append(bench.backend.motion().position[14])
            if leaders.align(HOME):
                break
            bench.wait(TICK)
        assert path[59] == pytest.approx(0.75, abs=0.01)
        assert abs(path[-1]) < 0.08
        assert np.abs(np.diff(path)).max() / TICK < 2.0


def test_18_a_leader_outside_the_followers_limits_is_clamped():
    with teleoperation() as (bench, leaders):
        take_over(bench, leaders)
        hand(bench, shoulder=1.9, elbow=-2.1, gripper=-1.5)
        bench.wait(3.0)
        action = leaders.get_action()
        spec = bench.robot.action_spec
        assert bench.backend.motion().position[15] == pytest.approx(1.9, abs=0.01)
        assert action[1] == pytest.approx(1.2366, abs=1e-6)
        assert action[2] == pytest.approx(-1.7428, abs=1e-6)
        assert action[6] == 0.0
        assert (action >= spec.low).all()
        assert (action <= spec.high).all()


class Still:
    """A policy that stays at home."""

    policy_calls, policy_s = 0, 0.0

    def reset(self, spec, last=None) -> None: ...

    def was_sent(self, action) -> None: ...

    def next_action(self, observation):
        return HOME


def test_a_person_takes_over_and_hands_back_without_a_jump():
    with teleoperation() as (bench, leaders):
        control, polite = SharedControl(Still(), leaders), LimitFilter(bench.robot.action_spec)
        control.reset(bench.robot.action_spec)
        commanders, states, times, path = [], [], [], []
        for k in range(700):
            if k == 20:
                hand(bench, gripper=-0.6)
            if k == 450:
                hand(bench, gripper=-0.2, waist=0.5, elbow=1.0)
            if k == 600:
                leaders.hand_back()
                hand(bench, gripper=0.2)
            state = bench.robot.get_reading().state
            observation = Observation({}, state, "", bench.clock.now())
            action, _ = polite(control.next_action(observation), observation)
            bench.robot.send_action(action)
            bench.wait(TICK)
            commanders.append(control.commander)
            states.append(state)
            times.append(bench.clock.now())
            path.append(bench.backend.motion().position[:6].copy())
        seen = [c for k, c in enumerate(commanders) if k == 0 or c != commanders[k - 1]]
        assert seen[:3] == [Commander.POLICY, Commander.NOBODY, Commander.PERSON]
        assert seen[-1] == Commander.POLICY
        assert states[590][0] == pytest.approx(0.5, abs=0.05)
        assert (np.abs(np.diff(path, axis=0)).max(axis=1) / np.diff(times)).max() < 3.25


def test_a_gripper_that_stays_squeezed_asks_once():
    with teleoperation() as (bench, leaders):
        control = SharedControl(Still(), leaders)

        def commanders(ticks: int) -> list[Commander]:
            observation = Observation({}, HOME, "", bench.clock.now())
            seen = []
            for _ in range(ticks):
                control.next_action(observation)
                seen.append(control.commander)
                bench.wait(TICK)
            return seen

        control.reset(bench.robot.action_spec)
        commanders(2)
        hand(bench, gripper=-0.6)
        assert commanders(100)[-1] == Commander.PERSON
        control.release()  # the person's fingers still close the gripper round what it holds
        assert set(commanders(20)) == {Commander.POLICY}
        control.reset(bench.robot.action_spec)  # nor does the next episode begin with a take-over
        assert set(commanders(20)) == {Commander.POLICY}
        hand(bench, gripper=-0.28)
        commanders(20)
        hand(bench, gripper=-0.31)  # tremor
        assert set(commanders(20)) == {Commander.POLICY}
        hand(bench, gripper=0.2)
        assert set(commanders(20)) == {Commander.POLICY}
        hand(bench, gripper=-0.6)
        assert commanders(20)[-1] != Commander.POLICY


def test_leaders_that_are_squeezed_when_they_are_connected_do_not_ask():
    with running(home=False, gravity=False) as bench:
        hand(bench, gripper=-0.6)
        bench.wait(1.0)
        leaders = leaders_emulated(bench.emulation)
        leaders.connect()
        assert not leaders.wants_control()
        leaders.disconnect()


def test_a_leader_that_falls_silent_stops_the_person():
    with teleoperation() as (bench, leaders):
        take_over(bench, leaders)
        bench.fault(FaultKind.DROP_REPLY, "leader_right")
        bench.wait(0.3)
        with pytest.raises(SafetyStop, match=r"leader.*no answer"):
            leaders.get_action()


def test_a_leader_whose_thread_has_ended_stops_the_person():
    with teleoperation() as (bench, leaders):
        take_over(bench, leaders)
        leaders.workers[1].end()
        bench.wait(1.5)
        with pytest.raises(SafetyStop, match=r"leader.*no tick for 1\.\d s"):
            leaders.get_action()


def test_leaders_that_hold_already_go_on_holding():
    with running(home=False, gravity=False) as bench:
        for id in (2, 3):  # the shoulder and its shadow
            bench.emulation.buses["leader_left"].servo(id).write(64, bytes((1,)))
        leaders = leaders_emulated(bench.emulation)
        leaders.connect()
        bench.wait(2.0)
        assert bench.read(2, "torque_enable", "leader_left") == 1
        assert bench.read(1, "torque_enable", "leader_left") == 0
        assert leaders.workers[0].take_events() == ()
        leaders.disconnect()


def leader_joints(bench) -> np.ndarray:
    """[rad] (2, 6)"""
    return bench.backend.motion().position[14:28].reshape(2, 7)[:, :6]


@contextmanager
def on_the_way_up():
    """Leaders with gravity, half way to followers that stand upright."""
    with running(home=False) as bench:
        leaders = leaders_emulated(bench.emulation)
        leaders.connect()
        upright = HOME.copy()
        upright[[1, 2, 8, 9]] = 0.0
        hand(bench, gripper=0.2)
        bench.wait(0.5)
        leaders.wants_control()
        hand(bench, gripper=-0.6)
        bench.wait(0.5)
        assert leaders.wants_control()
        for _ in range(150):
            assert not leaders.align(upright)
            bench.wait(TICK)
        yield bench, leaders, upright
        leaders.disconnect()


def has_torque(bench, bus: str) -> bool:
    return any(bench.read(id, "torque_enable", bus) for id in range(1, 9))


@pytest.mark.parametrize("end", ["enter", "episode"])
def test_leaders_handed_back_on_their_way_go_to_rest_slowly_and_go_limp_there(end):
    with on_the_way_up() as (bench, leaders, _):
        control = SharedControl(Still(), leaders)
        path = [leader_joints(bench)]
        assert path[0][0][1] > -0.5
        if end == "episode":
            control.reset(bench.robot.action_spec)
        else:
            control.release()
        for _ in range(300):
            control.next_action(Observation({}, HOME, "", bench.clock.now()))
            assert control.commander == Commander.POLICY
            bench.wait(TICK)
            path.append(leader_joints(bench))
            if not has_torque(bench, "leader_left"):
                break
        assert np.abs(np.diff(path, axis=0)).max() / TICK < 0.7
        assert np.abs(path[-1] - ALOHA_WX250S.rest).max() < 0.15
        assert not has_torque(bench, "leader_right")


def test_leaders_stopped_on_their_way_to_rest_stay_there_until_they_are_asked_again():
    with on_the_way_up() as (bench, leaders, upright):
        bench.backend.obstruct("leader_left/shoulder", low=-0.5)  # an arm leans on it
        leaders.hand_back()
        for _ in range(400):
            assert not leaders.wants_control()
            bench.wait(TICK)
        assert leader_joints(bench)[0][1] == pytest.approx(-0.5, abs=0.05)
        assert has_torque(bench, "leader_left")
        assert has_torque(bench, "leader_right")
        bench.backend.obstruct("leader_left/shoulder")
        before = leader_joints(bench)
        leaders.align(upright)  # somebody squeezed: from where they are
        bench.wait(TICK)
        assert np.abs(leader_joints(bench) - before).max() / TICK < 0.7
        leaders.hand_back()
        for _ in range(400):
            leaders.wants_control()
            bench.wait(TICK)
        assert not has_torque(bench, "leader_left")


@pytest.mark.parametrize("make", [lambda: leaders_emulated(emulated_aloha()), lambda: GuidedLeaders([])])
def test_leaders_command_robots_of_two_arms_only(make):
    leaders: SpecTeleoperator = make()
    spec = aloha_emulated().action_spec
    leaders.prepare(spec)
    assert isinstance(leaders, SpecTeleoperator)
    names = ("x [m]", "y [m]", "z [m]", "roll", "pitch", "yaw", "gripper")
    hand = ActionSpec("eef_delta", names, -np.ones(7), np.ones(7), np.ones(7), 20.0)
    with pytest.raises(ValueError, match=r"takes 7 entries, eef_delta: x \[m\].*Choose such a robot"):
        leaders.prepare(hand)
    with pytest.raises(ValueError, match="takes 14 entries, eef_delta"):
        leaders.prepare(replace(spec, kind="eef_delta"))
    one_arm = ActionSpec("joint_position", spec.names[:7], spec.low[:7], spec.high[:7], spec.max_step[:7], 50.0)
    with pytest.raises(ValueError, match="takes 7 entries, joint_position"):
        leaders.prepare(one_arm)


def test_leaders_must_be_connected():
    with running(home=False) as bench, pytest.raises(RuntimeError, match="call connect"):
        leaders_emulated(bench.emulation).get_action()


def test_a_gripper_that_holds_something_stays_closed_until_the_leaders_is_closed_around_it():
    with teleoperation() as (bench, leaders):
        told = HOME.copy()
        told[[6, 13]] = 0.05  # both followers hold something
        assert not leaders.wants_control()
        bench.backend.guide(Keyframes([(0.0, {"leader_left/gripper": -0.6, "leader_right/gripper": 0.2})]))
        bench.wait(1.0)
        assert leaders.wants_control()
        while not leaders.align(told):
            bench.wait(TICK)
        for opening in (0.2, 0.2, 0.1, -0.1):  # the right leader is open, and closes slowly
            bench.backend.guide(Keyframes([(0.0, {"leader_right/gripper": opening})]))
            bench.wait(0.5)
            assert leaders.get_action()[13] == pytest.approx(0.05)
        bench.backend.guide(Keyframes([(0.0, {"leader_right/gripper": -0.63})]))
        bench.wait(0.5)
        assert leaders.get_action()[13] == pytest.approx((-0.63 + 0.6842) / (0.3083 + 0.6842), abs=0.01)
        bench.backend.guide(Keyframes([(0.0, {"leader_right/gripper": 0.2})]))  # now it is the person's
        bench.wait(1.0)
        assert leaders.get_action()[13] > 0.8


def test_a_trigger_that_ends_too_early_opens_the_gripper_all_the_same():
    with teleoperation() as (bench, leaders):
        told = HOME.copy()
        told[[6, 13]] = 0.0
        bench.backend.guide(Keyframes([(0.0, {"leader_left/gripper": -0.6, "leader_right/gripper": 0.2})]))
        assert not leaders.wants_control()
        bench.wait(1.0)
        assert leaders.wants_control()
        while not leaders.align(told):
            bench.wait(TICK)
        for angle, kept in ((-0.5, True), (-0.3, True), (0.0, False), (0.2, False)):  # 0.19, 0.39, 0.69, 0.89 open
            bench.backend.guide(Keyframes([(0.0, {"leader_right/gripper": angle})]))
            bench.wait(1.0)
            assert (leaders.get_action()[13] == 0.0) == kept
