"""env=aloha_transfer_cube_bus as configured: gym-aloha's task through driver, bus and emulated servos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from envs.aloha.env import AlohaEnv
from envs.aloha.robot import START, to_state
from tests.envs.contract import EnvContract
from vla.command.config import build, compose_config, to_dict
from vla.evaluation.plan import env_settings
from vla.protocols import SafetyStop
from vla.runtime.safety import LimitFilter
from vla.types import Observation

CONF = Path(__file__).parents[1] / "conf"


def through_the_bus(*overrides: str) -> AlohaEnv:
    config = to_dict(compose_config(CONF, "eval", ["env=aloha_transfer_cube_bus", *overrides]))
    return build(env_settings(config["env"]), "env")


@pytest.fixture(scope="module")
def env():
    env = through_the_bus("env.image_size=[24,32]")
    yield env
    env.close()


@pytest.mark.slow
class TestContractThroughTheBus(EnvContract):
    still = to_state(START)
    moving = to_state(START) + 0.04 * np.eye(14)[0] + 0.04 * np.eye(14)[7]
    cameras = ("top", "right_wrist")

    def test_passes_the_env_checker(self, env):
        """The checker takes random actions, which are jumps: as far as those, which the robot refuses."""
        with pytest.raises(SafetyStop, match="too long"):
            super().test_passes_the_env_checker(env)


def wave(env) -> np.ndarray:
    """What the robot reports while its left waist goes to and fro for half a second."""
    raw, _ = env.reset(options={"trial": 3})
    begin, states = raw["state"], [raw["state"]]
    for tick in range(25):
        action = begin.copy()
        action[0] += 0.2 * np.sin(0.2 * tick)
        raw, _, _, _, info = env.step(action)
        states.append(raw["state"])
        assert info["events"] == ()
    return np.array(states)


def test_a_task_through_the_bus_begins_as_in_the_simulation_and_repeats_exactly(env):
    simulation = AlohaEnv(image_size=[24, 32])
    raw, _ = simulation.reset(options={"trial": 3})
    seen, _ = env.reset(options={"trial": 3})
    np.testing.assert_array_equal(env.scene.object_poses(), simulation.scene.object_poses())
    np.testing.assert_allclose(seen["state"], raw["state"], atol=0.03)
    assert seen["images"]["top"].shape == (24, 32, 3)
    simulation.close()
    first = wave(env)
    assert np.ptp(first[:, 0]) > 0.1
    np.testing.assert_array_equal(wave(env), first)
    fresh = through_the_bus("env.image_size=[24,32]")
    np.testing.assert_array_equal(wave(fresh), first)
    np.testing.assert_array_equal(fresh.flat_state(), env.flat_state())
    fresh.close()


def test_what_the_polite_layer_lets_through_is_sent_from_the_start_pose_on(env):
    raw, info = env.reset(options={"trial": 0})
    begin, limits, sent = to_state(START), LimitFilter(env.action_spec), []
    np.testing.assert_array_equal(info["sent"], begin)
    limits.reset(info["sent"])
    for tick in range(24):
        wish = begin.copy()
        wish[[1, 5]] += 0.5 if tick // 8 % 2 == 0 else -0.5  # turns back at full speed
        wish[6] = 0.5
        allowed, _ = limits(wish, Observation({}, raw["state"], "", 0.0))
        raw, _, _, _, info = env.step(allowed)
        limits.was_sent(info["sent"])
        np.testing.assert_array_equal(info["sent"], allowed)
        sent.append(allowed)
    assert np.ptp(np.array(sent)[:, 5]) > 0.3
    assert sent[-1][6] == 0.5


def test_a_jump_is_refused_by_the_robot_and_nothing_moves(env):
    raw, _ = env.reset(options={"trial": 0})
    jump = raw["state"].copy()
    jump[1] += 0.5
    with pytest.raises(SafetyStop, match="left_shoulder"):
        env.step(jump)
    np.testing.assert_allclose(env.scene.state(), raw["state"], atol=0.02)
    env.reset(options={"trial": 0})  # and it can begin anew
