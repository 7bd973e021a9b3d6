"""Episodes on a robot that end early, begin again, or hold: what is sent, and who is told."""

from __future__ import annotations

import numpy as np
import pytest

from tests.loop_robots import SPEC, FakeClock, FakeLeaders, FakeRobot, Going, play
from vla.protocols import SafetyStop
from vla.runtime.inbox import Inbox
from vla.runtime.inference import OpenLoop, Splice
from vla.runtime.loop import run_episode
from vla.runtime.robot_env import RobotEnv
from vla.runtime.safety import LimitFilter
from vla.runtime.shared_control import SharedControl
from vla.types import ActionChunk, Outcome


def test_a_stop_for_good_outlives_the_episode_and_another_does_not():
    inbox = Inbox("move")
    inbox.stop("/stop was typed")
    inbox.clear()
    assert inbox.stop_reason == ""
    inbox.stop("/stop was typed")
    inbox.stop("Ctrl-C", for_good=True)
    assert inbox.stop_reason == "/stop was typed"
    inbox.clear()
    assert inbox.stop_reason == "Ctrl-C"


def test_a_stop_said_between_two_episodes_ends_the_next_one_as_it_begins():
    inbox = Inbox("move")
    inbox.stop("/stop was typed")
    inbox.end()
    inbox.clear()
    assert inbox.stop_reason == ""
    inbox.end()
    inbox.stop("once more")
    inbox.clear()
    assert inbox.stop_reason == "once more"
    inbox.end()
    inbox.clear()
    assert inbox.stop_reason == ""


def test_a_robot_that_is_not_connected_has_no_episode():
    robot = FakeRobot(FakeClock())
    env = RobotEnv(robot, Inbox("move"), clock=robot.clock)
    with pytest.raises(RuntimeError, match=r"expected connect\(\) before the first episode"):
        env.reset()
    env.hold()
    env.close()
    assert robot.log == []


class Sagging(FakeRobot):
    """Its elbow hangs 0.02 rad below where it was told to be, its gripper's state is on another scale."""

    told = np.zeros(3)

    def go_to(self, state):
        super().go_to(state)
        self._sag(state)

    def get_goal(self):
        return self.told.copy()

    def send_action(self, action):
        self._sag(super().send_action(action))
        return self.told.copy()

    def stop(self):
        super().stop()
        self.told = np.append(self.state[:2], self.told[2])

    def _sag(self, told):
        self.told, self.state = np.array(told), told - np.array([0.0, 0.02, -0.05])


def test_holding_repeats_what_the_robot_was_told_episode_after_episode():
    robot = Sagging(FakeClock())
    env, told = RobotEnv(robot, Inbox("hold"), clock=robot.clock), np.array([0.1, 0.3, 0.5])
    env.connect()
    for number in range(3):
        env.home = told if number == 0 else None
        control = SharedControl(None, FakeLeaders(set()))
        run_episode(env, control, LimitFilter(SPEC), trial=0, max_steps=3)
        env.hold()
    np.testing.assert_allclose(robot.sent, np.tile(told, (9, 1)))


def test_after_a_stop_the_next_episode_begins_where_the_robot_came_to():
    robot = Sagging(FakeClock(), refuse_at=4)
    env = RobotEnv(robot, Inbox("move"), (0.1, 0.0, 0.5), clock=robot.clock)
    env.connect()
    assert run_episode(env, OpenLoop(Going()), LimitFilter(SPEC), trial=0, max_steps=9).outcome == Outcome.STOPPED
    env.hold()
    env.home, held = None, np.append(robot.state[:2], robot.told[2])
    env.reset()
    np.testing.assert_allclose(robot.told, held)


class Typed(FakeRobot):
    """Somebody types /stop while it goes home; where it was going, it gets."""

    def go_to(self, state):
        super().go_to(state)
        self.inbox.stop("/stop was typed")


class TypedAndNoticed(Typed):
    """The driver notices it itself, as ALOHA's does."""

    def go_to(self, state):
        super().go_to(state)
        raise SafetyStop("slow move: the robot was stopped")


@pytest.mark.parametrize("kind", [Typed, TypedAndNoticed])
def test_a_stop_that_is_typed_on_the_way_home_is_heard_at_once_and_no_policy_is_asked(kind):
    robot, inbox, policy = kind(FakeClock()), Inbox("move"), Going()
    robot.inbox = inbox
    episode, *_ = play(OpenLoop(policy), robot, inbox)
    assert (episode.outcome, episode.steps, episode.info["detail"]) == (Outcome.STOPPED, 0, "/stop was typed")
    assert robot.log[:3] == ["connect", "go_to", "stop"]
    assert policy.words == []
    assert robot.sent == []


class Resumed(FakeRobot):
    """Somebody types /stop just as the stop before is lifted."""

    def resume(self):
        super().resume()
        self.inbox.stop("/stop was typed")


def test_a_stop_that_is_typed_as_the_one_before_is_lifted_is_heard_before_anything_moves():
    robot, inbox = Resumed(FakeClock()), Inbox("move")
    robot.inbox = inbox
    episode, *_ = play(OpenLoop(Going()), robot, inbox)
    assert (episode.outcome, episode.steps, episode.info["detail"]) == (Outcome.STOPPED, 0, "/stop was typed")
    assert "go_to" not in robot.log


class Ahead(Going):
    """Wants to be far away at once."""

    def infer(self, observation):
        self.words.append(observation.instruction)
        return ActionChunk(np.full((4, 3), 0.9), observation.instruction, observation.time)


@pytest.mark.parametrize("executor", [OpenLoop, Splice])
def test_other_words_hold_where_the_robot_was_sent_not_where_it_was_wanted(executor):
    robot, inbox = FakeRobot(FakeClock()), Inbox("move")
    inference = executor(Ahead(), latency_s=0.06)
    say = lambda step: step.index == 9 and inbox.say("other way")  # noqa: E731
    play(inference, robot, inbox, ticks=14, act=say)
    waist = np.array(robot.sent)[:, 0]
    assert 0.0 < waist[10] < 0.6  # the words of tick 10 were read before they changed
    np.testing.assert_allclose(waist[11:13], waist[10], atol=1e-9)


class Failing:
    """A subscriber that fails in the end."""

    def on_episode_start(self, observation): ...

    def on_step(self, step): ...

    def on_episode_end(self, episode, observation):
        raise OSError("no space left")


def test_each_subscriber_is_told_the_end_whatever_another_one_raises():
    robot, told = FakeRobot(FakeClock()), []

    class Recorder(Failing):
        def on_episode_end(self, episode, observation):
            told.append(episode.outcome)

    env = RobotEnv(robot, Inbox("move"), clock=robot.clock)
    env.connect()
    with pytest.raises(OSError, match="no space left"):
        run_episode(env, OpenLoop(Going()), LimitFilter(SPEC), [Failing(), Recorder()], trial=0, max_steps=2)
    assert told == [Outcome.FAILURE]


def test_an_episode_that_did_not_begin_has_no_queries_of_the_one_before():
    robot, inbox = FakeRobot(FakeClock()), Inbox("move")
    env, inference = RobotEnv(robot, inbox, clock=robot.clock), OpenLoop(Going())
    env.connect()
    assert run_episode(env, inference, LimitFilter(SPEC), trial=0, max_steps=9).policy_calls == 3
    inbox.stop("enough", for_good=True)
    stopped = run_episode(env, inference, LimitFilter(SPEC), trial=1, max_steps=9)
    assert (stopped.outcome, stopped.policy_calls, stopped.timing["policy"]) == (Outcome.STOPPED, 0, 0.0)
