"""LiberoEnv as a gymnasium environment: contract, several in one process, bad input."""

from __future__ import annotations

import numpy as np
import pytest

from envs.libero.env import SETTLE_ACTION, LiberoEnv
from envs.rendering import RenderingUnavailable, configure_gl
from tests.envs.contract import EnvContract


@pytest.fixture(scope="module")
def env():
    env = LiberoEnv("libero_object", 0, image_size=128)
    yield env
    env.close()


class TestContract(EnvContract):
    still = SETTLE_ACTION
    moving = np.array([1, 0, 0, 0, 0, 0, 1.0])
    cameras = ("agentview", "wrist")


def test_two_environments_in_one_process_draw_the_right_scenes(env):
    expected = env.reset(options={"trial": 0})[0]["images"].copy()
    other = LiberoEnv("libero_goal", 0, image_size=128)
    kitchen = other.reset(options={"trial": 0})[0]["images"]["agentview"]
    other.close()
    again = env.reset(options={"trial": 0})[0]["images"]
    np.testing.assert_array_equal(again["agentview"], expected["agentview"])
    assert np.abs(kitchen.astype(int) - expected["agentview"]).mean() > 10


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


@pytest.mark.parametrize(("wanted", "package"), [("", "libosmesa6"), ("egl", "libegl1")])
def test_a_missing_renderer_is_said_with_the_command_that_mends_it(monkeypatch, wanted, package):
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    monkeypatch.setenv("MUJOCO_GL", wanted)
    with pytest.raises(RenderingUnavailable, match=f"apt-get install -y {package}"):
        configure_gl()
