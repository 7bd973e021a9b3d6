"""Evaluation trials are gym-aloha's seeds; training scenes are wider, reproducible, and never one of them."""

from __future__ import annotations

import numpy as np
import pytest

from envs.aloha import placements
from envs.aloha.env import AlohaEnv, load_benchmark
from envs.aloha.placements import OFFICIAL_TRIALS, nearest_official_m, official_poses, training_poses
from tests.fakes import CONF
from vla.command.config import compose_config, to_dict
from vla.command.errors import RefusedError
from vla.evaluation.plan import make_plan

TASKS = ("transfer_cube", "insertion")


@pytest.mark.parametrize("task", TASKS)
def test_trial_k_has_the_poses_of_upstreams_seed_k(task):
    from gym_aloha.utils import sample_box_pose, sample_insertion_pose

    for trial in (0, 1, 49):
        upstream = sample_box_pose(trial) if task == "transfer_cube" else np.concatenate(sample_insertion_pose(trial))
        np.testing.assert_array_equal(official_poses(task, trial).ravel(), upstream)


@pytest.mark.parametrize("task", TASKS)
def test_training_is_wider_and_reproducible(task):
    official = np.stack([official_poses(task, trial) for trial in range(OFFICIAL_TRIALS)])[:, :, :2]
    training = np.stack([training_poses(task, seed) for seed in range(300)])
    assert (training[:, :, :2].min(axis=0) < official.min(axis=0) - 0.01).all()
    assert (training[:, :, :2].max(axis=0) > official.max(axis=0) + 0.01).all()
    assert np.abs(training[:, :, 6]).max() > 0.2  # turned about the vertical
    np.testing.assert_allclose(np.linalg.norm(training[:, :, 3:], axis=2), 1.0)
    np.testing.assert_array_equal(training_poses(task, 12), training[12])


@pytest.mark.parametrize("task", TASKS)
def test_training_can_be_less_wide(task):
    narrow, half, wide = (np.stack([training_poses(task, seed, w) for seed in range(100)]) for w in (0.0, 0.5, 1.0))
    for placement, poses in zip(placements.PLACEMENTS[task], narrow.swapaxes(0, 1), strict=True):
        low, high = np.transpose([placement.official.x, placement.official.y])
        assert ((poses[:, :2] >= low) & (poses[:, :2] <= high)).all()
        np.testing.assert_array_equal(poses[:, 3:], [[1.0, 0.0, 0.0, 0.0]] * len(poses))
    between = np.isclose(half[:, :, :2], (narrow + wide)[:, :, :2] / 2).all(axis=(1, 2))
    assert between.mean() > 0.8  # all but those that one of the three had to draw again
    assert not np.array_equal(narrow[0], official_poses(task, 0))


@pytest.mark.parametrize("task", TASKS)
def test_no_training_scene_is_an_evaluation_scene(task):
    assert min(nearest_official_m(task, training_poses(task, seed)) for seed in range(2000)) > placements.APART_M


def test_a_draw_that_equals_an_evaluation_scene_is_refused(monkeypatch):
    equal, other = official_poses("transfer_cube", 31)[0], np.array([0.22, 0.5, 0.05, 1.0, 0, 0, 0])
    draws = iter([equal, equal + np.array([0.001, 0, 0, 0, 0, 0, 0]), other])
    monkeypatch.setattr(placements, "_wide_draw", lambda area, generator: next(draws))
    np.testing.assert_array_equal(training_poses("transfer_cube", 0)[0], other)


def test_the_distance_is_that_of_the_object_farthest_from_its_official_place():
    poses = official_poses("insertion", 8)
    assert nearest_official_m("insertion", poses) == 0.0
    poses[0, :2] += (0.003, 0.004)
    assert nearest_official_m("insertion", poses) == pytest.approx(0.005)


def test_the_environment_starts_training_scenes():
    assert load_benchmark("aloha_insertion", (48, 64), (), "full", "training").tasks[0].trials == 2**31
    with pytest.raises(ValueError, match=r"env\.widen: expected 0 to 1, got 1\.5"):
        AlohaEnv("aloha_insertion", cameras=(), scene="training", widen=1.5)
    config = to_dict(compose_config(CONF, "eval", ["env=aloha_insertion_bus", "policy=aloha_expert", "env.widen=2"]))
    with pytest.raises(RefusedError, match=r"env\.widen: expected 0 to 1, got 2"):
        make_plan(config)
    narrow = AlohaEnv("aloha_insertion", cameras=(), scene="training", widen=0.3)
    narrow.reset(options={"trial": 5})
    np.testing.assert_array_equal(narrow.scene.object_poses(), training_poses("insertion", 5, 0.3))
    env = AlohaEnv("aloha_insertion", cameras=(), scene="training")
    env.reset(options={"trial": 1_000_003})
    np.testing.assert_array_equal(env.scene.object_poses(), training_poses("insertion", 1_000_003))
    assert env.nearest_official_m > placements.APART_M
    official = AlohaEnv("aloha_insertion", cameras=())
    official.reset(options={"trial": 3})
    assert official.nearest_official_m == 0.0
