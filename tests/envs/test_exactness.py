"""Ours against the stock sequential protocol: the largest difference is exactly 0."""

from __future__ import annotations

import numpy as np
import pytest

from envs.libero.env import LiberoEnv
from envs.libero.scene import axis_angle
from tests.envs import stock

TASKS = (("libero_spatial", 4), ("libero_object", 0), ("libero_goal", 7), ("libero_10", 9))
TRIALS, STEPS = 2, 60


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    return stock.protocols(tmp_path_factory.mktemp("stock"), TASKS, TRIALS, STEPS, images=False)


@pytest.mark.parametrize(("suite", "task_id"), TASKS)
def test_trajectories_equal_the_stock_protocol_in_any_order(recorded, suite, task_id):
    expected = recorded[suite, task_id]
    env = LiberoEnv(suite, task_id)
    for trial in (1, 0, 1):
        observation, _ = env.reset(options={"trial": trial})
        for step, action in enumerate([*stock.random_actions(STEPS), None]):
            model = env.scene.model
            fixtures = np.concatenate([model.body_pos.ravel(), model.body_quat.ravel()])
            assert np.abs(env.flat_state() - expected["state"][trial, step]).max() == 0
            assert np.abs(fixtures - expected["fixtures"][trial, step]).max() == 0
            eef_pos, eef_quat, fingers = np.split(expected["proprio"][trial, step], [3, 7])
            state = np.concatenate([eef_pos, axis_angle(eef_quat), fingers])
            assert np.abs(observation["state"] - state).max() == 0
            if action is not None:
                observation, *_ = env.step(action)
    env.close()


def test_images_equal_the_stock_protocol(tmp_path):
    steps = 4
    task = ("libero_goal", 7)
    expected = stock.protocols(tmp_path, [task], 2, steps, images=True)[task]
    env = LiberoEnv(*task)
    for trial in (1, 0):
        observation, _ = env.reset(options={"trial": trial})
        for step, action in enumerate([*stock.random_actions(steps), None]):
            for camera in ("agentview", "wrist"):
                np.testing.assert_array_equal(observation["images"][camera], expected[camera][trial, step])
            if action is not None:
                observation, *_ = env.step(action)
    env.close()
