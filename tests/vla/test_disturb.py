"""Demonstrations with disturbances: labels are the expert's, and chunks end where they no longer answer a frame."""

from __future__ import annotations

import numpy as np
import pytest

from vla.data.demonstration import DemonstrationRecorder, keyframe_ticks, next_keyframes
from vla.data.disturb import NoisyDemonstrator, TakenOver
from vla.types import ActionSpec, Episode, Observation, Outcome, Step

SPEC = ActionSpec("eef_delta", (*"abcdef", "gripper"), -np.ones(7), np.ones(7), np.full(7, np.inf), 20.0)

LOOKAHEAD = 16


class Counting:
    """Answers 0.01, 0.02, ... in every entry; closes the gripper from the 30th tick on."""

    policy_s = 0.0

    def __init__(self, sign=1.0):
        self.sign = sign

    def reset(self, spec, last=None):
        self.policy_calls = 0

    def was_sent(self, action) -> None: ...

    def next_action(self, observation):
        self.policy_calls += 1
        action = np.full(7, self.sign * 0.01 * self.policy_calls)
        action[6] = 1.0 if self.policy_calls > 30 else -1.0
        return action


class Scene:
    """One hand that moves 1 cm a tick, seen from above."""

    action_spec = SPEC
    tick = 0

    def hands(self):
        return np.full((1, 3), 0.01 * self.tick)

    def camera_poses(self):
        return {"agentview": self}

    def project(self, points):
        return points[:, :2]


def observation(tick):
    image = np.full((4, 4, 3), tick, np.uint8)
    return Observation({"agentview": image}, np.full(8, 0.01 * tick), "go", tick / 20)


def record(demonstrator, ticks=60, stride=4):
    scene = Scene()
    recorder = DemonstrationRecorder(scene, demonstrator, stride, 0, LOOKAHEAD)
    demonstrator.reset(SPEC)
    recorder.on_episode_start(observation(0))
    executed = []
    for tick in range(ticks):
        action = demonstrator.next_action(observation(tick))
        executed.append(action)
        scene.tick = tick + 1
        recorder.on_step(Step(tick, observation(tick), action, action, False, False, observation(tick + 1)))
    recorder.on_episode_end(Episode("t", "go", 0, Outcome.SUCCESS, ticks, 0), observation(ticks))
    return recorder.episode("go", 5, {}), np.stack(executed)


def test_the_same_seed_gives_the_same_pushes_and_another_seed_others():
    runs = [record(NoisyDemonstrator(Counting(), seed, push_share=1.0, push_rate=0.2))[1] for seed in (3, 3, 4)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_two_arms_are_pushed_within_their_limits_and_steps():
    class Still:
        def reset(self, spec, last=None):
            pass

        def was_sent(self, action) -> None: ...

        def next_action(self, observation):
            return np.array([0.0, 0.05, 1.0] * 2)

    names = tuple(f"{arm}_{entry}" for arm in ("left", "right") for entry in ("waist", "elbow", "gripper"))
    low, high, step = (np.tile(each, 2) for each in ([-0.1, -0.1, 0.0], [0.1, 0.1, 1.0], [0.06, 0.06, 0.03]))
    noisy = NoisyDemonstrator(Still(), 0, start_share=0.0, push_share=1.0, push_rate=0.3, slip_share=0.5)
    noisy.reset(ActionSpec("joint_position", names, low, high, step, 50.0))
    actions = np.stack([noisy.next_action(observation(tick)) for tick in range(200)])
    assert np.all((actions >= low) & (actions <= high))
    assert np.all(actions[:, [0, 1, 3, 4]].std(axis=0) > 0.005)  # both arms are pushed
    assert set(actions[:, [2, 5]].ravel()) == {0.0, 1.0}  # a slip opens what was closed, nothing between


@pytest.mark.parametrize("seed", range(5))
def test_labels_are_what_the_expert_asked_for_whatever_was_executed(seed):
    demonstrator = NoisyDemonstrator(Counting(), seed, start_share=1.0, push_share=1.0, push_rate=0.1)
    episode, executed = record(demonstrator)
    ticks = episode.columns["tick"]
    np.testing.assert_allclose(episode.columns["action"][:, 0], 0.01 * (ticks + 1), rtol=1e-6)
    asked = 0.01 * np.arange(1, 61)
    pushed = ~np.isclose(executed[:, 0], asked)
    assert pushed.any()
    for row, tick in enumerate(ticks):
        valid = episode.columns["action_chunk_valid"][row]
        expected = [tick + k < 60 and not pushed[tick : tick + k].any() for k in range(LOOKAHEAD)]
        np.testing.assert_array_equal(valid, expected)
        assert not pushed[tick]  # a frame is one that the expert answered


def test_images_belong_to_the_state_they_stand_beside():
    episode, _ = record(NoisyDemonstrator(Counting(), 0))
    np.testing.assert_array_equal(episode.images["agentview"][:, 0, 0, 0], episode.columns["tick"])
    np.testing.assert_allclose(episode.columns["observation.state"][:, 0], 0.01 * episode.columns["tick"], rtol=1e-5)


def test_keyframes_are_where_the_gripper_turns_round_and_the_end():
    assert keyframe_ticks([-1, -1, 1, 1, -1]).tolist() == [2, 4, 5]
    episode, _ = record(NoisyDemonstrator(Counting(), 0, start_share=0.0, push_share=0.0))
    first = episode.columns["keyframe_ticks"][0]
    assert first.tolist() == [30, 60]
    np.testing.assert_allclose(episode.columns["keyframes"][0, :, 0], [0.30, 0.60], rtol=1e-6)
    np.testing.assert_allclose(episode.columns["keyframe_pixels.agentview"][0, 0], [0.30, 0.30], rtol=1e-6)
    now = 0.01 * episode.columns["tick"]
    np.testing.assert_allclose(
        episode.columns["keyframe_offsets"][:, :, 0],
        episode.columns["keyframes"][:, :, 0] - now[:, None],
        atol=1e-6,
    )


def test_two_grippers_have_a_keyframe_each():
    commands = np.ones((10, 2))
    commands[4:, 0] = 0.2  # the left one closes at tick 4
    commands[7:, 1] = 0.0
    coming, whose = next_keyframes(commands, [0, 4, 8])
    assert coming.tolist() == [[4, 7], [10, 7], [10, 10]]
    assert whose.tolist() == [[0, 1]] * 3
    with pytest.raises(ValueError, match="1 or 2 grippers, got 3"):
        next_keyframes(np.ones((10, 3)), [0])


def test_the_learner_acts_in_its_stretches_and_the_expert_finishes():
    demonstrator = TakenOver(Counting(), Counting(sign=-1.0), 1, budget=40)
    episode, executed = record(demonstrator)
    by_learner = executed[:, 0] < 0
    assert by_learner[:40].any()
    assert not by_learner[:40].all()
    assert not by_learner[40:].any()
    assert (episode.columns["action"][:, 0] > 0).all()


@pytest.mark.parametrize("seed", range(8))
def test_the_expert_begins_anew_whenever_the_learner_ends_also_where_its_budget_does(seed):
    demonstrator = TakenOver(
        Counting(), Counting(sign=-1.0), seed, learner_ticks=(3, 5), expert_ticks=(2, 2), budget=21
    )
    demonstrator.reset(SPEC)
    actions = np.array([demonstrator.next_action(observation(tick))[0] for tick in range(30)])
    starts = np.flatnonzero((actions > 0) & (np.append(-1.0, actions[:-1]) < 0))
    np.testing.assert_allclose(actions[starts], 0.01)  # its first action after a reset
    stretches = np.diff(np.flatnonzero(np.diff(np.sign(actions), prepend=0.0)))
    assert set(stretches[:-1]) <= {2, 3, 4, 5}
    assert (actions[21:] > 0).all()
