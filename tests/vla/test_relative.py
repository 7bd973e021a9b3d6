"""Joints that are learned as the way from where they are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.training_runs import train, write_demonstrations
from vla.command.errors import RefusedError
from vla.data.episode import EpisodeData
from vla.data.lerobot.writer import DatasetWriter
from vla.embodiment import ALOHA_SIM, LIBERO, Embodiment
from vla.models.mini.checkpoint import read_checkpoint, write_checkpoint
from vla.policies.mini import MiniPolicy
from vla.types import Observation

TINY = (
    "model=mini_aloha",
    "model.image_size=32",
    "model.channels=[4,4,8,8]",
    "model.width=16",
    "model.layers=1",
    "model.heads=2",
    "model.head_width=8",
    "train.batch=4",
    "train.steps=1",
    "train.save_every=1",
    "threads=1",
)
GRIPPERS = [6, 13]
JOINTS = [entry for entry in range(14) if entry not in GRIPPERS]
AHEAD = 0.125  # [rad] of the commanded joints before the measured ones


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Standing still: what is commanded stays ahead of what is measured, wherever that is."""
    root = tmp_path_factory.mktemp("data") / "recorded"
    with DatasetWriter(root, robot_type="aloha_sim") as writer:
        for number in range(3):
            state = np.full((6, 14), number / 4, np.float32)
            action = state.copy()
            action[:, JOINTS] += AHEAD
            images = {camera: np.zeros((6, 32, 32, 3), np.uint8) for camera in ALOHA_SIM.cameras}
            writer.add(EpisodeData("hold", 50, images, {"observation.state": state, "action": action}))
    return root


def test_an_aloha_has_twelve_such_joints_and_libero_none():
    relative = dataclasses.replace(ALOHA_SIM, relative=ALOHA_SIM.joints)
    state = np.arange(28.0).reshape(2, 14)
    expected = state.copy()
    expected[:, GRIPPERS] = 0
    np.testing.assert_array_equal(relative.reference(state), expected)
    np.testing.assert_array_equal(ALOHA_SIM.reference(state), np.zeros((2, 14)))
    assert LIBERO.joints == ()
    assert Embodiment.from_dict(relative.to_dict()) == relative
    with pytest.raises(ValueError, match=r"relative: expected entries of action and state, got 'x \[0\.05 m\]'"):
        dataclasses.replace(LIBERO, relative=LIBERO.action[:1])


def test_what_is_learned_is_the_way_and_what_is_commanded_starts_from_the_state(recording, tmp_path):
    train(recording, tmp_path, *TINY)
    made = read_checkpoint(tmp_path / "run" / "checkpoint")
    low, high = (np.array(made.statistics["action"][name]) for name in ("min", "max"))
    np.testing.assert_allclose(low[JOINTS], AHEAD, atol=1e-6)
    np.testing.assert_allclose(high[JOINTS], AHEAD, atol=1e-6)
    np.testing.assert_allclose(high[GRIPPERS] - low[GRIPPERS], 0.5)

    # All data have the same way, so the policy knows no other one, whatever its weights are.
    policy = MiniPolicy(str(tmp_path / "run" / "checkpoint"))
    images = {camera: np.zeros((32, 32, 3), np.uint8) for camera in ALOHA_SIM.cameras}
    state = np.linspace(-0.3, 0.4, 14)
    there, elsewhere = (policy.infer(Observation(images, s, "hold", 0.0)).actions for s in (state, state[::-1]))
    np.testing.assert_allclose(there[:, JOINTS], np.tile(state[JOINTS] + AHEAD, (25, 1)), atol=1e-6)
    np.testing.assert_allclose(elsewhere[:, JOINTS], np.tile(state[::-1][JOINTS] + AHEAD, (25, 1)), atol=1e-6)
    assert (there[:, GRIPPERS] >= low[GRIPPERS] - 1e-6).all()
    assert (there[:, GRIPPERS] <= high[GRIPPERS] + 1e-6).all()


def test_they_may_be_learned_as_they_are(recording, tmp_path):
    train(recording, tmp_path, *TINY, "relative=false")
    made = read_checkpoint(tmp_path / "run" / "checkpoint")
    assert made.embodiment.relative == ()
    np.testing.assert_allclose(made.statistics["action"]["max"], 0.5 + AHEAD * np.isin(range(14), JOINTS))


def test_init_says_which_it_is_and_the_other_is_refused(recording, tmp_path):
    train(recording, tmp_path, *TINY, "relative=false")
    begun = tmp_path / "run" / "checkpoint"
    train(recording, tmp_path / "on", *TINY, f"init={begun}")
    assert read_checkpoint(tmp_path / "on" / "run" / "checkpoint").embodiment.relative == ()
    with pytest.raises(RefusedError, match="relative: expected False, as init was trained, got True"):
        train(recording, tmp_path / "other", *TINY, f"init={begun}", "relative=true")


def test_a_robot_without_joint_positions_is_refused(tmp_path):
    root = write_demonstrations(tmp_path / "demos")
    with pytest.raises(RefusedError, match="relative: expected a robot that is told where its joints shall be, got li"):
        train(root, tmp_path, "model.image_size=32", "relative=true")


def test_a_folder_written_before_there_were_any_is_read(recording, tmp_path):
    train(recording, tmp_path, *TINY, "relative=false")
    old = read_checkpoint(tmp_path / "run" / "checkpoint")
    described = old.embodiment.to_dict()
    del described["relative"]
    assert Embodiment.from_dict(described) == old.embodiment
    write_checkpoint(tmp_path / "again", old)
    assert read_checkpoint(tmp_path / "again").embodiment == old.embodiment
