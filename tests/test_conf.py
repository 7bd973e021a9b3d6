"""Every option of every config group composes and builds what it names."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from robot_drivers.aloha.config import ArmConfig
from robot_drivers.cameras.frames import FrameLimits
from vla.command.config import usage
from vla.evaluation.plan import make_plan
from vla.protocols import Policy

CONF = Path(__file__).parents[1] / "conf"
OPTIONS = [
    (group.name, option.stem)
    for group in sorted(CONF.iterdir())
    if group.is_dir()
    for option in sorted(group.glob("*.yaml"))
]


def composed(*overrides: str, primary: str = "eval"):
    with initialize_config_dir(str(CONF), version_base=None):
        return compose(primary, list(overrides))


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes(group, option):
    primary = {"demonstrator": "collect", "model": "train", "recipe": "train", "teleop": "rollout", "robot": "rollout"}
    primary = primary.get(group, "eval")
    assert composed(f"{group}={option}", primary=primary)["learner" if group == "recipe" else group]


@pytest.mark.parametrize("name", [option for group, option in OPTIONS if group == "policy"])
def test_every_policy_is_a_policy(name):
    config = composed(f"policy={name}")
    if OmegaConf.missing_keys(config):  # needs a checkpoint; built in test_openvla_oft_policy.py
        assert OmegaConf.missing_keys(config) == {"policy.checkpoint"}
        return
    policy = instantiate(config.policy)
    assert isinstance(policy, Policy)
    inference = instantiate(config.runtime)(policy)
    assert inference.policy_calls == 0


@pytest.mark.parametrize("name", [option for group, option in OPTIONS if group == "teleop"])
def test_every_teleoperator_is_one(name):
    config = composed(f"teleop={name}", *(["teleop.motion=[[0,1]]"] if name == "scripted" else []), primary="rollout")
    teleoperator = instantiate(config.teleop)
    assert callable(teleoperator.wants_control)
    assert callable(teleoperator.disconnect)


ROBOTS = [option for group, option in OPTIONS if group == "robot"]


@pytest.mark.parametrize("name", ROBOTS)
def test_a_robot_is_configured_with_the_drivers_own_numbers(name):
    robot = composed(f"robot={name}", primary="rollout").robot
    assert instantiate(robot.config) == ArmConfig()
    cameras = {} if name == "aloha_mujoco" else robot.get("cameras", {})
    assert all(instantiate(camera.limits) == FrameLimits() for camera in cameras.values())


@pytest.mark.parametrize(
    "override",
    [
        *(f"robot={name} robot.config.watch.rest_after=5" for name in ROBOTS),
        "robot=aloha_usb robot.cameras.top.limits.max_age=0.5",
        "robot=aloha_realsense robot.cameras.left_wrist.limits.max_age=0.5",
        "robot=aloha_mujoco robot.frame_limits.max_age=0.5",
    ],
)
def test_keys_that_the_docs_name_can_be_set(override):
    key, _, value = override.split()[-1].partition("=")
    config = composed(*override.split(), primary="rollout")
    assert OmegaConf.select(config, key) == float(value)
    instantiate(OmegaConf.select(config, key.rpartition(".")[0]))


@pytest.mark.parametrize(
    ("overrides", "gripper"),
    [
        (["robot=aloha", "robot.gripper=mobile_aloha"], "mobile_aloha"),
        (["robot=aloha_usb"], "aloha"),
        (["env=aloha_transfer_cube"], "aloha"),
        (["robot=aloha", "teleop.gripper=interbotix"], "interbotix"),
    ],
)
def test_leaders_have_the_grippers_of_the_robot(overrides, gripper):
    assert composed("teleop=leaders", *overrides, primary="rollout").teleop.gripper == gripper


def test_the_primary_configs_of_sessions_and_replays_compose():
    assert composed(primary="rollout").runtime.pace == "realtime"
    assert composed(primary="rollout").robot is None
    assert OmegaConf.missing_keys(composed(primary="replay")) == {"recording"}


@pytest.mark.parametrize(
    ("primary", "groups"),
    [
        ("train", ["model=mini | mini_aloha", "recipe=mini | openvla_oft"]),
        ("replay", ["env=aloha_insertion | ", "robot=aloha | aloha_emulated | "]),
    ],
)
def test_help_lists_the_options_of_every_group(primary, groups):
    told = usage(CONF, primary, "").partition("Keys and defaults:")[0]
    assert all(f"\n  {group}" in told for group in groups)
    assert "hydra" not in told


@pytest.mark.parametrize("name", [option for group, option in OPTIONS if group == "env"])
def test_every_environment_can_be_planned(name):
    plan = make_plan(OmegaConf.to_container(composed(f"env={name}"), resolve=True))
    assert len(plan.keys) == (1 if name.startswith("aloha") else 10)


def test_what_an_official_checkpoint_leaves_out_can_be_said_when_fine_tuning():
    config = composed("recipe=openvla_oft", "init_says.mask=causal", "init_says.embodiment=libero", primary="train")
    assert dict(config.init_says) == {"embodiment": "libero", "cameras": None, "mask": "causal", "base": None}
