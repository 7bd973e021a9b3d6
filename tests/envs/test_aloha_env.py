"""AlohaEnv as a gymnasium environment: contract, units, limits, cameras, bad input."""

from __future__ import annotations

import numpy as np
import pytest

from envs.aloha.env import AlohaEnv
from envs.aloha.robot import START, finger_position, opening, to_controls, to_state
from tests.envs.contract import EnvContract
from vla.embodiment import EMBODIMENTS

SMALL = (60, 80)


@pytest.fixture(scope="module")
def env():
    env = AlohaEnv("aloha_transfer_cube", image_size=SMALL)
    yield env
    env.close()


class TestContract(EnvContract):
    still = to_state(START)
    moving = to_state(START) + np.array([0.4, 0, 0, 0, 0, 0, 0.5, 0, 0, 0.3, 0, 0, 0, 0])
    cameras = ("top", "right_wrist")


@pytest.mark.parametrize("suite", ["aloha_transfer_cube", "aloha_insertion"])
def test_both_arms_begin_in_the_start_pose_above_their_objects(suite):
    env = AlohaEnv(suite, cameras=())
    observation, info = env.reset(options={"trial": 7})
    np.testing.assert_array_equal(observation["state"], to_state(START))
    np.testing.assert_array_equal(env.scene.commanded(), to_state(START))
    assert (env.scene.object_poses()[:, 2] == 0.05).all()
    assert info["time"] == 0.0
    assert env.task.max_steps == 400


def test_actions_are_absolute_joint_positions_in_radians(env):
    env.reset(options={"trial": 0})
    wanted = np.array([0.2, -0.9, 1.0, 0.1, -0.2, 0.3, 0.8, -0.3, -1.0, 1.1, -0.1, 0.2, -0.4, 0.3])
    for _ in range(150):
        observation, *_ = env.step(wanted)
    grippers = env.action_spec.gripper
    np.testing.assert_allclose(observation["state"][~grippers], wanted[~grippers], atol=0.01)  # gravity bends wrists
    np.testing.assert_allclose(observation["state"][grippers], wanted[grippers], atol=0.02)  # fingers creep


def test_velocities_are_on_the_scale_of_the_state(env):
    _, info = env.reset(options={"trial": 0})
    np.testing.assert_array_equal(info["channels"]["velocity"], np.zeros(14))
    *_, info = env.step(to_state(START) + 0.1)
    speed = env.flat_state()[1 + env.scene.model.nq :][:16]  # of joints and fingers
    wanted = np.concatenate([speed[:6], [speed[6] / (finger_position(1.0) - finger_position(0.0))]])
    np.testing.assert_allclose(info["channels"]["velocity"][:7], wanted)
    np.testing.assert_array_equal(info["channels"]["velocity"][7:13], speed[8:14])
    assert info["channels"]["velocity"][6] > 0.1  # opening


def test_limits_are_those_of_the_joints_and_servos(env):
    spec = env.action_spec
    assert spec.kind == "joint_position"
    assert spec.names == EMBODIMENTS["aloha"].action
    assert spec.hz == 50.0
    shoulder, wrist = spec.names.index("left_shoulder [rad]"), spec.names.index("right_wrist_angle [rad]")
    assert (spec.low[shoulder], spec.high[shoulder]) == (-1.85005, 1.25664)
    assert (spec.low[wrist], spec.high[wrist]) == (-1.8675, 2.23402)
    assert (spec.low[spec.gripper] == 0).all()
    assert (spec.high[spec.gripper] == 1).all()
    np.testing.assert_allclose(spec.max_step[~spec.gripper], 3.14 / 50)
    # The gripper's servo turns 2.11 rad from closed to open.
    np.testing.assert_allclose(spec.max_step[spec.gripper], 3.14 / 50 / 2.1123)


def test_the_gripper_scale_is_that_of_the_finger_positions():
    assert opening(0.01844) == pytest.approx(0.0)
    assert opening(0.05800) == pytest.approx(1.0)
    assert finger_position(opening(0.03)) == pytest.approx(0.03)
    np.testing.assert_allclose(to_controls(to_state(START)), START)
    controls = to_controls(np.linspace(0, 1, 14))
    assert controls[6] == -controls[7] == finger_position(6 / 13)
    assert controls[14] == -controls[15] == finger_position(1.0)


def test_the_fingers_reach_less_than_the_scale(env):
    for asked, reached in ((0.0, 0.100), (1.0, 0.975)):
        env.reset(options={"trial": 0})
        action = to_state(START)
        action[[6, 13]] = asked
        for _ in range(100):
            observation, *_ = env.step(action)
        np.testing.assert_allclose(observation["state"][[6, 13]], reached, atol=2e-3)


def test_what_is_out_of_range_is_cut_off(env):
    env.reset(options={"trial": 0})
    for _ in range(20):
        env.step(env.action_spec.high + 1.0)
    joints = ~env.action_spec.gripper
    np.testing.assert_allclose(env.scene.commanded()[joints], env.action_spec.high[joints])
    assert (env.scene.state() < env.action_spec.high + 0.05).all()


def test_a_camera_pose_finds_the_cube_in_its_image(env):
    observation, _ = env.reset(options={"trial": 3})
    cube = env.scene.object_poses()[0, :3]
    x, y = env.camera_poses()["top"].project(cube[None])[0]
    height, width = SMALL
    pixel = observation["images"]["top"][int((y + 1) / 2 * height), int((x + 1) / 2 * width)].astype(int)
    assert pixel[0] > 100 + max(pixel[1], pixel[2])  # red


def test_lod_draws_nearly_the_same():
    images = {}
    for profile in ("full", "lod"):
        env = AlohaEnv("aloha_insertion", image_size=SMALL, cameras=("top",), render=profile)
        images[profile] = env.reset(options={"trial": 0})[0]["images"]["top"].astype(int)
        env.close()
    difference = np.abs(images["full"] - images["lod"])
    assert 0 < difference.mean() < 0.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"suite": "aloha_transfer"}, "did you mean 'aloha_transfer_cube'"),
        ({"task_id": 1}, "tasks 0 to 0, got 1"),
        ({"cameras": ("topp",)}, "did you mean 'top'"),
        ({"render": "lo"}, "did you mean 'lod'"),
        ({"scene": "oficial"}, "did you mean 'official'"),
        ({"image_size": (0, 640)}, "at least 1 px"),
        ({"image_size": (480,)}, r"\[height, width\]"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        AlohaEnv(**arguments)


def test_a_missing_package_is_said_with_the_command_that_mends_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pip install gym-aloha==0\.1\.5"):
        AlohaEnv()
