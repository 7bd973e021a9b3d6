"""The scripted experts solve ALOHA's tasks, smoothly, and go on from wherever things are."""

from __future__ import annotations

import numpy as np
import pytest

from envs.aloha.env import AlohaEnv
from envs.aloha.robot import START, to_state
from envs.experts.aloha.policy import AlohaExpert
from vla.protocols import PrivilegedPolicy
from vla.runtime.inference import OpenLoop
from vla.runtime.loop import run_episode
from vla.runtime.safety import LimitFilter
from vla.types import Observation, Outcome

SUITES = ("aloha_transfer_cube", "aloha_insertion")
PUSH_TICKS = 10


class Watch:
    """Keeps what was asked for."""

    def __init__(self):
        self.actions = []

    def on_episode_start(self, observation):
        pass

    def on_step(self, step):
        assert not step.clipped
        self.actions.append(step.requested)

    def on_episode_end(self, episode, observation):
        pass


@pytest.fixture(scope="module", params=SUITES)
def bound(request):
    env, expert = AlohaEnv(request.param, cameras=()), AlohaExpert()
    expert.bind(env)
    return env, expert


def solve(env, expert, trial):
    watch = Watch()
    limit = LimitFilter(env.action_spec)
    episode = run_episode(env, OpenLoop(expert), limit, [watch], trial=trial, max_steps=env.task.max_steps)
    return episode, np.array(watch.actions)


@pytest.mark.parametrize("trial", [0, 38])
def test_solves_smoothly_and_within_the_limits(bound, trial):
    env, expert = bound
    episode, actions = solve(env, expert, trial)
    assert episode.outcome == Outcome.SUCCESS
    assert episode.steps < 200
    steps = np.diff(actions, axis=0, prepend=to_state(START)[None])
    assert (np.abs(steps) <= env.action_spec.max_step).all()
    jumps = np.diff(steps, axis=0)[:, ~env.action_spec.gripper]
    assert np.abs(jumps).max() * env.action_spec.hz**2 < 21.0  # [rad/s^2]


def test_gives_the_same_actions_again(bound):
    env, expert = bound
    np.testing.assert_array_equal(solve(env, expert, 5)[1], solve(env, expert, 5)[1])


def test_reads_the_simulation_without_touching_it(bound):
    env, expert = bound
    observation, info = env.reset(options={"trial": 2})
    before = env.flat_state(), env.scene.data.ctrl.copy(), env.scene.data.qacc_warmstart.copy()
    chunk = expert.infer(Observation({}, observation["state"], info["instruction"], info["time"]))
    assert chunk.actions.shape == (1, 14)
    assert chunk.instruction == info["instruction"]
    after = env.flat_state(), env.scene.data.ctrl, env.scene.data.qacc_warmstart
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_goes_on_after_pushes_and_an_opened_gripper(bound):
    env, expert = bound
    observation, info = env.reset(options={"trial": 11})
    generator = np.random.default_rng(0)
    expert.reset()
    push = np.zeros(14)
    for tick in range(450):
        action = expert.infer(Observation({}, observation["state"], info["instruction"], info["time"])).actions[0]
        if tick % 80 == 40:
            push = np.where(env.action_spec.gripper, 0.0, generator.normal(0.0, 0.012, 14))
        if tick < 260 and tick % 80 in range(40, 40 + PUSH_TICKS):
            action = action + push
        if tick in range(90, 90 + PUSH_TICKS):
            action[env.action_spec.gripper] = 1.0  # drops what it holds
        observation, _, success, _, info = env.step(action)
        if success:
            break
    assert success
    assert tick > 150  # the drop cost it time


def test_takes_over_from_any_posture(bound):
    env, expert = bound
    observation, info = env.reset(options={"trial": 23})
    elsewhere = to_state(START) + np.array([0.5, 0.4, -0.5, 1.0, 0.9, -1.0, 0.6, -0.6, 0.3, -0.2, -1.2, 1.1, 1.4, 0.8])
    for _ in range(60):
        env.step(env.scene.commanded() + np.clip(elsewhere - env.scene.commanded(), -0.05, 0.05))
    expert.reset()
    for _ in range(300):
        action = expert.infer(Observation({}, observation["state"], info["instruction"], info["time"])).actions[0]
        assert (np.abs(action - env.scene.commanded()) <= env.action_spec.max_step + 1e-9).all()
        observation, _, success, _, info = env.step(action)
        if success:
            break
    assert success


@pytest.mark.parametrize("suite", SUITES)
def test_solves_training_scenes(suite):
    env, expert = AlohaEnv(suite, cameras=(), scene="training"), AlohaExpert()
    expert.bind(env)
    outcomes = [solve(env, expert, seed)[0].outcome for seed in (3, 4)]
    assert outcomes == [Outcome.SUCCESS] * 2


@pytest.mark.slow
@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("scene", ["official", "training"])
def test_solves_every_trial(suite, scene):
    env, expert = AlohaEnv(suite, cameras=(), scene=scene), AlohaExpert()
    expert.bind(env)
    failed = [trial for trial in range(50) if solve(env, expert, trial)[0].outcome != Outcome.SUCCESS]
    assert failed == []


def test_is_a_privileged_policy_that_must_be_bound():
    expert = AlohaExpert()
    assert isinstance(expert, PrivilegedPolicy)
    expert.reset()
    with pytest.raises(RuntimeError, match=r"call bind\(env\) first"):
        expert.infer(Observation({}, np.zeros(14), "", 0.0))
