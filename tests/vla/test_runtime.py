"""The loop and what runs in it: order of a step, outcomes, chunks, limits."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest

from tests.fakes import FakeEnv, SteadyPolicy
from vla.protocols import SafetyStop
from vla.runtime.inference import OpenLoop
from vla.runtime.loop import run_episode
from vla.runtime.safety import LimitFilter
from vla.types import ActionChunk, ActionSpec, Observation, Outcome

SPEC = ActionSpec("eef_delta", ("x", "y"), np.full(2, -1.0), np.full(2, 1.0), np.full(2, np.inf), 20.0)


class Counting:
    """A chunk holds its own number and the index in it."""

    def __init__(self, size=4):
        self.size, self.calls, self.resets = size, 0, 0

    def reset(self):
        self.resets += 1

    def infer(self, observation):
        self.calls += 1
        actions = [[self.calls, index] for index in range(self.size)]
        return ActionChunk(np.array(actions), observation.instruction, observation.time)


class Watcher:
    def __init__(self):
        self.started, self.steps, self.episode = 0, [], None

    def on_episode_start(self, observation):
        self.started += 1

    def on_step(self, step):
        self.steps.append(step)

    def on_episode_end(self, episode, observation):
        self.episode = episode


def seen(words="go", time=0.0):
    return Observation({}, np.zeros(3), words, time)


def episode(policy, task=0, max_steps=40, **arguments):
    watcher = Watcher()
    env = FakeEnv("fake_suite", task, **arguments)
    inference = OpenLoop(policy)
    result = run_episode(env, inference, LimitFilter(env.action_spec), [watcher], trial=0, max_steps=max_steps)
    return result, watcher


def test_a_chunk_is_executed_from_its_start_and_to_its_end():
    policy = Counting()
    inference = OpenLoop(policy)
    inference.reset(SPEC)
    actions = [inference.next_action(seen()).tolist() for _ in range(5)]
    assert actions == [[1, 0], [1, 1], [1, 2], [1, 3], [2, 0]]
    assert (inference.policy_calls, policy.calls) == (2, 2)


def test_fewer_executed_actions_are_the_first_ones():
    inference = OpenLoop(Counting(), execute=2)
    inference.reset(SPEC)
    assert [inference.next_action(seen()).tolist() for _ in range(4)] == [[1, 0], [1, 1], [2, 0], [2, 1]]


def test_a_chunk_planned_for_other_words_is_dropped():
    inference = OpenLoop(Counting())
    inference.reset(SPEC)
    inference.next_action(seen("left"))
    assert inference.next_action(seen("right")).tolist() == [2, 0]
    assert inference.next_action(seen("right")).tolist() == [2, 1]


def test_reset_forgets_the_queue_and_the_counters():
    policy = Counting()
    inference = OpenLoop(policy)
    inference.reset(SPEC)
    inference.next_action(seen())
    inference.reset(SPEC)
    assert (inference.policy_calls, inference.policy_s, policy.resets) == (0, 0.0, 2)
    assert inference.next_action(seen()).tolist() == [2, 0]


def test_execute_must_be_at_least_one():
    with pytest.raises(ValueError, match=r"runtime\.execute: expected at least 1"):
        OpenLoop(Counting(), execute=0)


def test_limits_clip_and_flag():
    safety = LimitFilter(SPEC)
    allowed, clipped = safety(np.array([0.5, -1.5]), seen())
    assert (allowed.tolist(), clipped) == ([0.5, -1.0], True)
    allowed, clipped = safety(np.array([1.0, -1.0]), seen())
    assert (allowed.tolist(), clipped) == ([1.0, -1.0], False)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(3), r"expected shape \(2,\)"),
        (np.array([0, np.nan]), "got nan in y"),
        (np.array([np.inf, 0]), "got inf in x"),
    ],
)
def test_what_cannot_be_an_action_stops(action, message):
    with pytest.raises(SafetyStop, match=message):
        LimitFilter(SPEC)(action, seen())


JOINTS = ActionSpec("joint_position", ("x", "y"), np.full(2, -1.0), np.full(2, 1.0), np.array([0.1, 0.3]), 50.0)


def at(*state):
    return Observation({}, np.array(state), "go", 0.0)


EASED = dataclasses.replace(JOINTS, max_step_change=np.full(2, 0.02))


def test_where_steps_may_change_little_a_robot_turns_round_by_way_of_a_stop():
    safety = LimitFilter(EASED)
    safety.reset(np.zeros(2))
    wanted = (0.9, 0.9, -0.9, -0.9)
    allowed = [safety(np.full(2, each), at(0.5, 0.5))[0].tolist() for each in wanted]
    np.testing.assert_allclose(allowed, np.transpose([[0.02, 0.04, 0.04, 0.02]] * 2), atol=1e-12)


def test_the_next_action_goes_on_from_what_was_really_sent():
    safety = LimitFilter(EASED)
    safety.reset(np.zeros(2))
    safety(np.full(2, 0.9), at(0.0, 0.0))
    safety.was_sent(np.full(2, 0.01))
    np.testing.assert_allclose(safety(np.full(2, 0.9), at(0.0, 0.0))[0], [0.03, 0.03], atol=1e-12)


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_position_is_at_most_a_step_from_the_one_before(sign):
    safety = LimitFilter(JOINTS)
    for k in (1, 2):
        allowed, clipped = safety(np.full(2, 0.9 * sign), at(0.0, 0.0))
        np.testing.assert_allclose(allowed, k * sign * JOINTS.max_step)
        assert clipped
    allowed, clipped = safety(allowed - 0.05 * sign, at(0.0, 0.0))
    assert not clipped


def test_the_first_position_is_compared_with_the_state_in_range():
    allowed, clipped = LimitFilter(JOINTS)(np.array([0.5, 0.5]), at(0.45, 0.0))
    np.testing.assert_allclose(allowed, [0.5, 0.3])
    assert clipped
    allowed, _ = LimitFilter(JOINTS)(np.array([1.0, -1.0]), at(1.2, -1.5))  # the robot may lean over its limits
    np.testing.assert_allclose(allowed, [1.0, -1.0])


def test_a_state_of_other_numbers_is_no_position():
    allowed, clipped = LimitFilter(JOINTS)(np.array([0.5, -0.5]), seen())
    assert (allowed.tolist(), clipped) == ([0.5, -0.5], False)


def test_after_a_reset_the_first_position_is_compared_with_the_state_again():
    safety = LimitFilter(JOINTS)
    safety(np.zeros(2), at(0.0, 0.0))
    safety.reset()
    allowed, clipped = safety(np.array([0.8, 0.8]), at(0.8, 0.8))
    assert (allowed.tolist(), clipped) == ([0.8, 0.8], False)


def test_deltas_are_not_compared_with_the_one_before():
    safety = LimitFilter(replace(SPEC, max_step=np.full(2, 0.1)))
    safety(np.array([-1.0, -1.0]), seen())
    allowed, clipped = safety(np.array([1.0, 1.0]), seen())
    assert (allowed.tolist(), clipped) == ([1.0, 1.0], False)


def test_success_ends_the_episode_and_every_step_is_seen():
    result, watcher = episode(SteadyPolicy())
    assert result.outcome == Outcome.SUCCESS
    assert watcher.started == 1
    assert [step.index for step in watcher.steps] == list(range(result.steps))
    assert [step.success for step in watcher.steps] == [False] * (result.steps - 1) + [True]
    assert watcher.episode is result
    for step, following in zip(watcher.steps, watcher.steps[1:], strict=False):
        assert following.observation is step.after


def test_the_step_limit_is_a_failure():
    result, _ = episode(SteadyPolicy(), task=3, max_steps=7)
    assert (result.outcome, result.steps) == (Outcome.FAILURE, 7)


def test_actions_out_of_range_are_sent_clipped():
    _, watcher = episode(Counting(), task=3, max_steps=2)
    np.testing.assert_array_equal(watcher.steps[1].requested, [1, 1])
    assert not watcher.steps[1].clipped
    _, watcher = episode(Counting(), task=3, max_steps=6)
    np.testing.assert_array_equal(watcher.steps[5].requested, [2, 1])
    np.testing.assert_array_equal(watcher.steps[5].sent, [1, 1])
    assert watcher.steps[5].clipped


def test_a_wrong_action_shape_is_stopped_with_its_reason():
    class Wide(Counting):
        def infer(self, observation):
            return ActionChunk(np.zeros((1, 3)), observation.instruction, observation.time)

    result, watcher = episode(Wide())
    assert (result.outcome, result.steps) == (Outcome.STOPPED, 0)
    assert "expected shape (2,)" in result.info["detail"]
    assert watcher.episode is result


def test_an_exception_passes_through_after_the_watchers_were_told():
    watcher = Watcher()
    env = FakeEnv("fake_suite", 0, trouble={"0/0": "raise"})
    with pytest.raises(ArithmeticError):
        run_episode(env, OpenLoop(SteadyPolicy()), LimitFilter(SPEC), [watcher], trial=0, max_steps=9)
    assert (watcher.episode.outcome, watcher.episode.steps) == (Outcome.ERROR, 2)
