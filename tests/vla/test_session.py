"""A robot in the control loop: pacing, words, success, stop, take-over without a jump, truth about what was sent."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.loop_robots import HZ, SPEC, FakeClock, FakeLeaders, FakeRobot, Going, play
from vla.runtime.clock import Pacer
from vla.runtime.inbox import Inbox
from vla.runtime.inference import OpenLoop
from vla.runtime.safety import LimitFilter
from vla.runtime.shared_control import SharedControl
from vla.types import Commander, Observation, Outcome


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
    assert pacer.overruns == 1
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
