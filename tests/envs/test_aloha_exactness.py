"""The same physics, observations and success as gym-aloha's own environment, to the last bit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from envs.aloha.env import AlohaEnv
from envs.experts.aloha.policy import AlohaExpert
from vla.types import Observation

UPSTREAM = Path(__file__).with_name("upstream_aloha.py")
EXTRA = 20  # actions after the first success, in which upstream's reward may fall again


@pytest.mark.parametrize(("task", "trial"), [("transfer_cube", 4), ("insertion", 17)])
def test_equals_gym_aloha(task, trial, tmp_path):
    env, expert = AlohaEnv(f"aloha_{task}", cameras=()), AlohaExpert()
    expert.bind(env)
    observation, info = env.reset(options={"trial": trial})
    noise = np.random.default_rng(trial)
    actions, states, positions, successes = [], [env.flat_state()], [observation["state"]], []
    while sum(successes) < EXTRA and len(actions) < env.task.max_steps:
        seen = Observation({}, observation["state"], info["instruction"], info["time"])
        action = expert.infer(seen).actions[0] + noise.normal(0.0, 0.002, 14)
        observation, _, _, _, info = env.step(action)
        actions.append(action)
        states.append(env.flat_state())
        positions.append(observation["state"])
        successes.append(info["is_success"])
    assert any(successes)

    np.save(tmp_path / "actions.npy", actions)
    program = [
        sys.executable,
        str(UPSTREAM),
        task,
        str(trial),
        str(tmp_path / "actions.npy"),
        str(tmp_path / "out.npz"),
    ]
    subprocess.run(program, check=True, capture_output=True, text=True)
    upstream = np.load(tmp_path / "out.npz")
    np.testing.assert_array_equal(upstream["states"], states)
    np.testing.assert_array_equal(upstream["positions"], positions)
    np.testing.assert_array_equal(upstream["rewards"] == 4, successes)
