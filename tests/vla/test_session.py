"""A robot in the control loop: pacing, words, success, stop, take-over without a jump, truth about what was sent."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from vla.protocols import SafetyStop
from vla.runtime.clock import Pacer
from vla.runtime.inbox import Inbox
from vla.runtime.inference import OpenLoop, Splice
from vla.runtime.loop import run_episode
from vla.runtime.robot_env import RobotEnv
from vla.runtime.safety import LimitFilter
from vla.runtime.shared_control import SharedControl
from vla.types import ActionChunk, ActionSpec, Commander, Observation, Outcome, Reading

HZ = 50.0
SPEC = ActionSpec(
    "joint_position",
    ("waist [rad]", "elbow [rad]", "gripper [open]"),
    np.array([-1.0, -1.0, 0.0]),
    np.array([1.0, 1.0, 1.0]),
    np.array([0.06, 0.06, np.inf]),
    HZ,
)


class FakeClock:
    """Time passes only when somebody sleeps or works."""

    def __init__(self):
        self.time = 100.0

    def now(self):
        return self.time

    def sleep_until(self, moment):
        self.time = max(self.time, moment)


class FakeRobot:
    """Is at once where it is told to be; writes down what happened."""

    action_spec = SPEC
    state_names = SPEC.names
    cameras = ()

    def __init__(self, clock, work_s=0.004, refuse_at=None):
        self.clock, self.work_s, self.refuse_at = clock, work_s, refuse_at
        self.state, self.log, self.sent, self.times = np.zeros(3), [], [], []

    def connect(self):
        self.log.append("connect")

    def go_to(self, state):
        self.log.append("go_to")
        self.state = np.array(state)

    def get_goal(self):
        return self.state.copy()

    def get_reading(self):
        return Reading({}, {}, self.state.copy(), self.clock.now(), {"effort": np.zeros(3)})

    def send_action(self, action):
        if len(self.sent) == self.refuse_at:
            raise SafetyStop("waist: too fast")
        self.clock.time += self.work_s
        self.state = np.round(action, 3)
        self.sent.append(self.state.copy())
        self.times.append(self.clock.now())
        return self.state.copy()

    def stop(self):
        self.log.append("stop")

    def disconnect(self):
        self.log.append("disconnect")


class Going:
    """Moves 0.05 rad a tick from where the robot is; remembers the words it was asked with."""

    def __init__(self):
        self.words = []

    def reset(self):
        pass

    def infer(self, observation):
        self.words.append(observation.instruction)
        steps = np.arange(1, 5)[:, None] * np.array([0.05, 0.0, 0.0])
        return ActionChunk(observation.state + steps, observation.instruction, observation.time)


class FakeLeaders:
    """Leader arms that stand elsewhere and come nearer by 0.05 rad a tick."""

    def __init__(self, wants, at=0.3):
        self.wants, self.position, self.tick = wants, np.array([at, 0.2, 0.5]), -1

    def connect(self):
        pass

    def wants_control(self):
        self.tick += 1
        return self.tick in self.wants

    def align(self, action):
        way = action - self.position
        self.position = self.position + np.clip(way, -0.05, 0.05)
        return bool(np.abs(way).max() <= 0.05)

    def get_action(self):
        self.position = self.position + np.array([0.0, 0.03, 0.0])
        return self.position.copy()

    def disconnect(self):
        pass


class Watcher:
    def __init__(self, act=None):
        self.steps, self.act = [], act

    def on_episode_start(self, observation):
        self.first = observation

    def on_step(self, step):
        self.steps.append(step)
        if self.act:
            self.act(step)

    def on_episode_end(self, episode, observation):
        self.episode = episode


def play(inference, robot, inbox, ticks=12, act=None, home=(0.1, 0.0, 0.5)):
    env, watcher = RobotEnv(robot, inbox, home, clock=robot.clock), Watcher(act)
    episode = run_episode(env, inference, LimitFilter(SPEC), [watcher], trial=0, max_steps=ticks)
    env.close()
    return episode, watcher, env


def test_ticks_are_paced_and_the_robot_is_let_go_in_the_end():
    robot = FakeRobot(FakeClock())
    episode, watcher, env = play(OpenLoop(Going()), robot, Inbox("move"))
    assert episode.outcome == Outcome.FAILURE
    assert robot.log == ["connect", "go_to", "disconnect"]
    np.testing.assert_allclose(np.diff(robot.times), 1 / HZ, atol=1e-9)
    assert env.pacer.overruns == 0
    assert watcher.first.state[0] == 0.1


def test_an_overrun_is_counted_and_not_made_up_for():
    clock = FakeClock()
    pacer = Pacer(HZ, clock)
    ends = []
    for work in (0.005, 0.050, 0.005):
        clock.time += work
        pacer.wait()
        ends.append(clock.time - 100.0)
    np.testing.assert_allclose(ends, [0.02, 0.07, 0.09], atol=1e-9)
    assert (pacer.ticks, pacer.overruns) == (3, 1)
    assert pacer.worst_s == pytest.approx(0.03)


def test_what_was_really_sent_is_what_subscribers_see():
    _, watcher, _ = play(OpenLoop(Going()), robot := FakeRobot(FakeClock()), Inbox("move"))
    np.testing.assert_array_equal([step.sent for step in watcher.steps], robot.sent)


def test_other_words_are_used_from_the_next_reading_on():
    inbox, policy = Inbox("left"), Going()
    act = lambda step: inbox.say("right") if step.index == 4 else None  # noqa: E731
    _, watcher, _ = play(OpenLoop(policy), FakeRobot(FakeClock()), inbox, act=act)
    # They are said when the reading of tick 5 is already there: the worst moment.
    assert [step.observation.instruction for step in watcher.steps] == ["left"] * 6 + ["right"] * 6
    assert policy.words == ["left", "left", "right", "right"]
    with pytest.raises(ValueError, match="old words stay"):
        inbox.say("  ")


def test_a_person_judges_success():
    inbox = Inbox("move")
    episode, *_ = play(
        OpenLoop(Going()), FakeRobot(FakeClock()), inbox, act=lambda step: step.index == 5 and inbox.succeed()
    )
    assert (episode.outcome, episode.steps) == (Outcome.SUCCESS, 7)


def test_stop_holds_the_robot_and_says_why():
    inbox, robot = Inbox("move"), FakeRobot(FakeClock())
    episode, *_ = play(OpenLoop(Going()), robot, inbox, act=lambda step: step.index == 3 and inbox.stop("key q"))
    assert (episode.outcome, episode.steps, episode.info["detail"]) == (Outcome.STOPPED, 4, "key q")
    assert robot.log == ["connect", "go_to", "stop", "stop", "disconnect"]  # at once, and by the loop


def test_a_refusal_of_the_gate_stops_the_episode():
    robot = FakeRobot(FakeClock(), refuse_at=3)
    episode, *_ = play(OpenLoop(Going()), robot, Inbox("move"))
    assert (episode.outcome, episode.steps) == (Outcome.STOPPED, 3)
    assert "too fast" in episode.info["detail"]


def test_a_take_over_and_a_hand_back_do_not_jump():
    robot, seen = FakeRobot(FakeClock()), []
    control = SharedControl(OpenLoop(Going()), FakeLeaders(wants=set(range(5, 25))))
    _, watcher, _ = play(control, robot, Inbox("move"), ticks=40, act=lambda step: seen.append(control.commander))
    assert (
        seen
        == [Commander.POLICY] * 5
        + [Commander.NOBODY] * seen.count(Commander.NOBODY)
        + [Commander.PERSON] * seen.count(Commander.PERSON)
        + [Commander.POLICY] * 15
    )
    assert min(seen.count(Commander.NOBODY), seen.count(Commander.PERSON)) > 2
    assert control.handovers == 3
    moves = np.diff([watcher.first.state, *robot.sent], axis=0)
    assert np.abs(moves[:, :2]).max() <= 0.0605
    held = [move for move, who in zip(moves, seen, strict=True) if who == Commander.NOBODY]
    assert np.abs(held).max() < 1e-3
    assert control.policy_calls > 3


class Squeezed(FakeLeaders):
    """Wants control from a tick on, and keeps it until it is released."""

    def __init__(self, start):
        super().__init__(set())
        self.start, self.released = start, 0

    def wants_control(self):
        self.tick += 1
        return self.tick >= self.start

    def hand_back(self):
        self.released += 1
        self.start = 10_000 if self.tick >= 0 else self.start


def test_leaders_that_cannot_let_go_by_themselves_are_released_by_a_key_and_by_a_new_episode():
    robot, seen, leaders = FakeRobot(FakeClock()), [], Squeezed(3)
    control = SharedControl(None, leaders)

    def act(step):
        seen.append(step.commander)
        if step.index == 20:
            control.release()

    play(control, robot, Inbox("move"), ticks=30, act=act)
    assert seen[-9:] == [Commander.NOBODY] * 9
    assert seen[20] == Commander.PERSON
    assert leaders.released == 2  # by the reset, and in the tick after
    control.reset(SPEC)
    assert leaders.released == 3


def test_the_polite_layer_keeps_the_largest_step():
    limits = LimitFilter(SPEC)
    limits.reset()
    here = Observation({}, np.array([0.5, 0.0, 0.2]), "go", 0.0)
    first, clipped = limits(np.array([0.9, 0.0, 1.0]), here)
    np.testing.assert_allclose(first, [0.56, 0.0, 1.0])
    assert clipped
    second, clipped = limits(np.array([0.6, 0.0, 0.0]), here)
    np.testing.assert_allclose(second, [0.6, 0.0, 0.0])
    assert not clipped
    limits.reset()
    np.testing.assert_allclose(limits(np.array([0.6, 0.0, 0.0]), here)[0], [0.56, 0.0, 0.0])


def test_the_polite_layer_goes_on_from_what_was_really_sent():
    limits = LimitFilter(SPEC)
    sagging = Observation({}, np.array([0.45, 0.0, 0.3]), "go", 0.0)
    limits.reset(np.array([0.5, 0.0, 0.2]))
    np.testing.assert_allclose(limits(np.array([0.0, 0.0, 0.2]), sagging)[0], [0.44, 0.0, 0.2])
    limits.was_sent(np.array([0.49, 0.0, 0.2]))  # the robot was slower
    np.testing.assert_allclose(limits(np.array([0.0, 0.0, 0.2]), sagging)[0], [0.43, 0.0, 0.2])


@pytest.mark.parametrize("change", [0.08, 0.01])
def test_the_polite_layer_turns_back_no_faster_than_allowed(change):
    spec = dataclasses.replace(SPEC, max_step_change=np.array([change, change, np.inf]))
    limits, moves = LimitFilter(spec), np.random.default_rng(0)
    last, step = np.zeros(3), np.zeros(3)
    limits.reset(last)
    for _ in range(300):
        allowed, _ = limits(moves.uniform(-1.5, 1.5, 3), Observation({}, np.zeros(3), "go", 0.0))
        assert (np.abs(allowed - last - step) <= spec.max_step_change + 1e-12).all()
        assert (np.abs(allowed - last) <= spec.max_step + 1e-12).all()
        assert (allowed == np.clip(allowed, spec.low, spec.high)).all()
        sent = last + moves.uniform(0, 1) * (allowed - last)  # a robot that is slowed down
        limits.was_sent(sent)
        last, step = sent, sent - last
    with pytest.raises(ValueError, match=r"ActionSpec\.max_step_change: expected shape \(3,\), got \(2,\)"):
        dataclasses.replace(SPEC, max_step_change=np.ones(2))


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
    for number in range(3):
        env.home = told if number == 0 else None
        control = SharedControl(None, FakeLeaders(set()))
        run_episode(env, control, LimitFilter(SPEC), trial=0, max_steps=3)
        env.hold()
    np.testing.assert_allclose(robot.sent, np.tile(told, (9, 1)))


def test_after_a_stop_the_next_episode_begins_where_the_robot_came_to():
    robot = Sagging(FakeClock(), refuse_at=4)
    env = RobotEnv(robot, Inbox("move"), (0.1, 0.0, 0.5), clock=robot.clock)
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


def test_a_stop_that_is_typed_on_the_way_home_is_heard_at_once_and_no_policy_is_asked():
    robot, inbox, policy = Typed(FakeClock()), Inbox("move"), Going()
    robot.inbox = inbox
    episode, *_ = play(OpenLoop(policy), robot, inbox)
    assert (episode.outcome, episode.steps, episode.info["detail"]) == (Outcome.STOPPED, 0, "/stop was typed")
    assert robot.log[:3] == ["connect", "go_to", "stop"]
    assert policy.words == []
    assert robot.sent == []


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
    with pytest.raises(OSError, match="no space left"):
        run_episode(env, OpenLoop(Going()), LimitFilter(SPEC), [Failing(), Recorder()], trial=0, max_steps=2)
    assert told == [Outcome.FAILURE]


def test_an_episode_that_did_not_begin_has_no_queries_of_the_one_before():
    robot, inbox = FakeRobot(FakeClock()), Inbox("move")
    env, inference = RobotEnv(robot, inbox, clock=robot.clock), OpenLoop(Going())
    assert run_episode(env, inference, LimitFilter(SPEC), trial=0, max_steps=9).policy_calls == 3
    inbox.stop("enough", for_good=True)
    stopped = run_episode(env, inference, LimitFilter(SPEC), trial=1, max_steps=9)
    assert (stopped.outcome, stopped.policy_calls, stopped.timing["policy"]) == (Outcome.STOPPED, 0, 0.0)
