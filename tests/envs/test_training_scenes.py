"""Training scenes: reproducible, far from the evaluation's, and their words are true."""

from __future__ import annotations

import numpy as np
import pytest

from envs.experts.policy import LiberoExpert
from envs.libero.env import LiberoEnv


@pytest.fixture(scope="module")
def env():
    env = LiberoEnv("libero_object", 0, scene="training")
    yield env
    env.close()


def test_a_seed_is_the_same_scene_and_words_in_any_order(env):
    first = {}
    for seed in (0, 1, 2):
        _, info = env.reset(options={"trial": seed})
        first[seed] = env.flat_state(), info["instruction"]
    for seed in (2, 0):
        _, info = env.reset(options={"trial": seed})
        np.testing.assert_array_equal(env.flat_state(), first[seed][0])
        assert info["instruction"] == first[seed][1]
    assert not np.array_equal(first[0][0], first[1][0])


def test_words_and_goal_name_the_same_object_and_vary(env):
    seen = set()
    for seed in range(8):
        _, info = env.reset(options={"trial": seed})
        (goal,) = env.scene.upstream.parsed_problem["goal_state"]
        assert goal[1].rpartition("_")[0].replace("_", " ") in info["instruction"]
        assert goal[1] != "basket_1"
        assert not info["is_success"]
        seen.add(goal[1])
    assert len(seen) >= 3


def test_no_scene_is_an_evaluation_scene(env):
    for seed in range(5):
        env.reset(options={"trial": seed})
        assert env.nearest_official_m > 1e-3


def test_official_scenes_are_at_distance_zero():
    env = LiberoEnv("libero_goal", 8)
    env.reset(options={"trial": 3})
    assert env.nearest_official_m < 5e-3  # settling moves things by a few millimetres
    env.close()


def test_a_camera_projects_what_it_sees(env):
    env.reset(options={"trial": 0})
    pose = env.camera_poses()["agentview"]
    ahead = pose.position - pose.rotation[:, 2]
    np.testing.assert_allclose(pose.project(ahead[None]), [[0.0, 0.0]], atol=1e-9)
    right = ahead + 0.1 * pose.rotation[:, 0]
    assert pose.project(right[None])[0, 0] > 0
    behind = pose.position + pose.rotation[:, 2]
    assert np.isinf(pose.project(behind[None])).all()


def test_every_object_may_be_named_and_its_aim_lies_on_it(env):
    env.reset(options={"trial": 4})
    expert = LiberoExpert()
    expert.bind(env)
    upstream = env.scene.upstream
    aims = dict(expert.aims())
    assert len(aims) == len(upstream.objects_dict) - 1  # all but the basket
    for name, body in upstream.obj_body_id.items():
        if name == "basket_1":
            continue
        words = f"pick up the {name.rpartition('_')[0].replace('_', ' ')} and place it in the basket"
        assert np.linalg.norm(aims[words][:2] - env.scene.data.xpos[body][:2]) < 0.04


def test_where_words_cannot_be_exchanged_the_plan_is_the_aim():
    env = LiberoEnv("libero_spatial", 0, scene="training")
    env.reset(options={"trial": 0})
    expert = LiberoExpert()
    expert.bind(env)
    assert env.alternatives() == []
    ((words, aim),) = expert.aims()
    assert words == env.task.instruction
    bowl = env.scene.data.xpos[env.scene.upstream.obj_body_id["akita_black_bowl_1"]]
    assert np.linalg.norm(aim[:2] - bowl[:2]) < 0.07  # its rim
    env.close()
