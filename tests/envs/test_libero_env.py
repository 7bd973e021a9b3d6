"""LiberoEnv as a gymnasium environment: contract, images on demand, bad input."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs.libero.env import SETTLE_ACTION, LiberoEnv
from envs.rendering import RenderingUnavailable, configure_gl


@pytest.fixture(scope="module")
def env():
    env = LiberoEnv("libero_object", 0, image_size=128)
    yield env
    env.close()


def test_passes_the_env_checker(env):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(infinity|alternative render modes).*")
        check_env(env)


def test_images_are_rendered_only_when_read_and_only_once(env):
    observation, _ = env.reset(options={"trial": 0})
    for _ in range(8):
        env.step(SETTLE_ACTION)
    assert env.timing["render"] == 0
    image = observation["images"]["wrist"]
    spent = env.timing["render"]
    assert spent > 0
    assert observation["images"]["wrist"] is image
    assert env.timing["render"] == spent


def test_a_past_observation_can_still_be_drawn(env):
    fresh = env.reset(options={"trial": 1})[0]["images"]["agentview"]
    late, _ = env.reset(options={"trial": 1})
    for _ in range(10):
        env.step(np.array([1, 0, 0, 0, 0, 0, 1.0]))
    env.reset(options={"trial": 2})
    before = env.flat_state()
    np.testing.assert_array_equal(late["images"]["agentview"], fresh)
    np.testing.assert_array_equal(env.flat_state(), before)


def test_copies_and_pickles_hold_every_camera(env):
    images = env.reset(options={"trial": 0})[0]["images"]
    plain = pickle.loads(pickle.dumps(images))  # noqa: S301  (our own bytes)
    assert type(plain) is dict
    assert set(plain) == set(images) == {"agentview", "wrist"}
    np.testing.assert_array_equal(copy.deepcopy(images)["wrist"], plain["wrist"])


def test_two_environments_in_one_process_draw_the_right_scenes(env):
    expected = env.reset(options={"trial": 0})[0]["images"].copy()
    other = LiberoEnv("libero_goal", 0, image_size=128)
    kitchen = other.reset(options={"trial": 0})[0]["images"]["agentview"]
    other.close()
    again = env.reset(options={"trial": 0})[0]["images"]
    np.testing.assert_array_equal(again["agentview"], expected["agentview"])
    assert np.abs(kitchen.astype(int) - expected["agentview"]).mean() > 10


def test_step_limit_truncates(env):
    env.reset(options={"trial": 0})
    flags = [env.step(SETTLE_ACTION)[2:4] for _ in range(env.task.max_steps)]
    assert flags[-2] == (False, False)
    assert flags[-1] == (False, True)


def test_a_reset_leaves_the_callers_random_numbers_alone(env):
    np.random.seed(3)
    expected = np.random.uniform(size=4)
    np.random.seed(3)
    env.reset(options={"trial": 5})
    np.testing.assert_array_equal(np.random.uniform(size=4), expected)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(6), r"expected shape \(7,\).*got \(6,\)"),
        (np.array([0, 0, np.nan, 0, 0, 0, 0]), r"expected finite.*got nan for z"),
        (np.array([0, 0, 0, 0, 0, 0, np.inf]), r"expected finite.*got inf for gripper"),
    ],
)
def test_bad_actions_are_refused_and_change_nothing(env, action, message):
    env.reset(options={"trial": 0})
    before = env.flat_state()
    with pytest.raises(ValueError, match=message):
        env.step(action)
    np.testing.assert_array_equal(env.flat_state(), before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"suite": "libero_objects"}, "did you mean 'libero_object'"),
        ({"task_id": 10}, "tasks 0 to 9, got 10"),
        ({"cameras": ("agentvew",)}, "did you mean 'agentview'"),
        ({"render": "lo"}, "did you mean 'lod'"),
        ({"scene": "shufled"}, "did you mean 'shuffled'"),
        ({"image_size": 0}, "at least 1 px"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LiberoEnv(**arguments)


def test_a_trial_out_of_range_is_refused(env):
    with pytest.raises(ValueError, match="trials 0 to 49, got 50"):
        env.reset(options={"trial": 50})


@pytest.mark.parametrize(("wanted", "package"), [("", "libosmesa6"), ("egl", "libegl1")])
def test_a_missing_renderer_is_said_with_the_command_that_mends_it(monkeypatch, wanted, package):
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    monkeypatch.setenv("MUJOCO_GL", wanted)
    with pytest.raises(RenderingUnavailable, match=f"apt-get install -y {package}"):
        configure_gl()
