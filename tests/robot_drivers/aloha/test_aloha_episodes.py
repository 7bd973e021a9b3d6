"""Episodes of the loop on the emulated robot: how they begin, what they may do, how one follows another."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from robot_drivers.aloha.health import Pace, Verdict
from tests.robot_drivers.aloha.bench import HOME, TICK, Bench
from vla.runtime.inbox import Inbox
from vla.runtime.loop import run_episode
from vla.runtime.robot_env import RobotEnv
from vla.runtime.safety import LimitFilter
from vla.runtime.shared_control import SharedControl
from vla.session.ending import Ending
from vla.teleop.absent import Absent
from vla.types import Commander, Outcome

WAIST, WRIST = 0, 5


class Path:
    """Gives path(k) for k = 1, 2, ...; an `Inference`."""

    commander, policy_calls, policy_s = Commander.PERSON, 0, 0.0

    def __init__(self, path):
        self.path, self.ticks = path, 0

    def reset(self, spec, last=None):
        self.ticks = 0

    def was_sent(self, action) -> None: ...

    def next_action(self, observation):
        self.ticks += 1
        return self.path(self.ticks)


class Sent:
    """What was sent, and something to do after a step."""

    def __init__(self, act=lambda index: None):
        self.actions, self.act = [], act

    def on_episode_start(self, observation): ...

    def on_step(self, step):
        self.actions.append(step.sent)
        self.act(step.index)

    def on_episode_end(self, episode, observation): ...


@pytest.fixture
def bench(request):
    """At home, but not connected; with gravity if the test asks for it."""
    bench = Bench(gravity=getattr(request, "param", False))
    bench.put_at_home()
    with bench.clock.attending():
        yield bench
        if bench.robot.workers:
            bench.robot.disconnect()


with_gravity = pytest.mark.parametrize("bench", [True], indirect=True)


def env_of(bench, home=None) -> RobotEnv:
    env = RobotEnv(bench.robot, Inbox("wave"), home, clock=bench.clock)
    env.connect()
    return env


def play(bench, env, inference, *subscribers, ticks):
    return run_episode(
        env, inference, LimitFilter(bench.robot.action_spec), list(subscribers), trial=0, max_steps=ticks
    )


def moved(amount, *joints):
    action = HOME.copy()
    action[list(joints)] += amount
    return action


def test_ctrl_c_while_the_arms_are_armed_moves_nothing(bench, monkeypatch):
    connect, begin = bench.robot.connect, bench.backend.motion().position.copy()

    def interrupted():
        os.kill(os.getpid(), signal.SIGINT)
        connect()

    monkeypatch.setattr(bench.robot, "connect", interrupted)
    inbox = Inbox("wave")
    env = RobotEnv(bench.robot, inbox, moved(0.5, WAIST), clock=bench.clock)
    with Ending(inbox):
        env.connect()
        episode = play(bench, env, SharedControl(None, Absent()), ticks=5)
        assert (episode.outcome, episode.steps, episode.info["detail"]) == (Outcome.STOPPED, 0, "Ctrl-C")
        assert play(bench, env, SharedControl(None, Absent()), ticks=5).outcome == Outcome.STOPPED  # no other begins
    np.testing.assert_allclose(bench.backend.motion().position, begin, atol=0.01)


def test_after_a_collision_the_next_episode_does_not_push_on(bench):
    env = env_of(bench)
    bench.backend.obstruct("follower_left/waist", high=0.05)
    push = Path(lambda k: moved(0.03 * k, WAIST))
    episode = play(bench, env, push, ticks=60)
    assert episode.outcome == Outcome.STOPPED
    assert "left_waist [rad]: robot does not follow" in episode.info["detail"]
    env.hold()
    bench.wait(0.5)
    bench.backend.obstruct("follower_left/waist")  # it is taken away
    _, info = env.reset()
    assert info["sent"][WAIST] == pytest.approx(0.05, abs=0.01)
    assert env.flat_state()[WAIST] == pytest.approx(0.05, abs=0.01)
    assert info["sent"][6] == pytest.approx(HOME[6])  # what it holds does not fall


@with_gravity
def test_a_robot_that_holds_does_not_sink_and_its_gripper_does_not_open(bench):
    env, sent = env_of(bench), Sent()
    for number in range(3):
        env.home = HOME if number == 0 else None
        control = SharedControl(None, Absent())
        play(bench, env, control, sent, ticks=10)
        env.hold()
    np.testing.assert_allclose(sent.actions, np.tile(HOME, (30, 1)), atol=1e-9)


@with_gravity
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_first_action_far_away_is_clipped_from_where_the_robot_was_told_to_be(bench, sign):
    """Its arms sag, so that a step from where they are is longer than one from there."""
    end = moved(sign * 0.2, 1, 2, 4)
    episode = play(bench, env_of(bench, HOME), Path(lambda k: end), sent := Sent(), ticks=8)
    assert (episode.outcome, episode.steps) == (Outcome.FAILURE, 8)
    np.testing.assert_allclose(sent.actions[-1], end, atol=1e-9)


def test_an_arm_that_was_slowed_down_catches_up(bench, monkeypatch):
    env, slow = env_of(bench), [False]
    env.reset()
    health = bench.robot.workers[0]._health
    judge = health.judge
    monkeypatch.setattr(health, "judge", lambda *seen: Verdict(Pace.SLOW) if slow[0] else judge(*seen))

    def warm(index):
        slow[0] = 5 < index < 20

    episode = play(bench, env, Path(lambda k: moved(0.02 * min(k, 30), WAIST)), sent := Sent(warm), ticks=40)
    assert (episode.outcome, episode.steps) == (Outcome.FAILURE, 40)
    waist = np.array(sent.actions)[:, WAIST]
    assert np.diff(waist[7:20]).max() < 0.013  # a quarter of the speed
    assert waist[-1] == pytest.approx(HOME[WAIST] + 0.6)


def test_a_hand_that_shakes_does_not_end_the_take(bench):
    shake = Path(lambda k: moved(0.4 * np.sin(2 * np.pi * 1.5 * k * TICK), WRIST))
    episode = play(bench, env_of(bench), shake, sent := Sent(), ticks=75)
    assert (episode.outcome, episode.steps) == (Outcome.FAILURE, 75)
    assert np.ptp(np.array(sent.actions)[:, WRIST]) > 0.5
