"""`scripts/train.py` on recordings and glances beside demonstrations, with other cameras, and with parts of images."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training_runs import LENGTH, MINI, acts, demonstration, train, write_demonstrations, write_glances
from vla.command.errors import RefusedError
from vla.data.episode import EpisodeData
from vla.data.lerobot.errors import DatasetError
from vla.data.lerobot.writer import DatasetWriter
from vla.embodiment import LIBERO
from vla.models.mini.checkpoint import read_checkpoint
from vla.policies.mini import MiniPolicy
from vla.types import Observation


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_demonstrations(tmp_path_factory.mktemp("data") / "demos")


def recorded(root, number, **metadata):
    """An episode as a rollout or a session records it, beside those that are there."""
    plain = demonstration(number)
    columns = {name: plain.columns[name] for name in ("observation.state", "action")}
    with DatasetWriter(root, robot_type="libero") as writer:
        writer.add(EpisodeData("pick it up", 20, plain.images, columns, metadata=metadata))


def test_mini_learns_from_demonstrations_and_recordings_together(dataset, tmp_path):
    recorded(tmp_path / "rollouts", 7, outcome="SUCCESS", steps=LENGTH)
    both = f"{dataset},{tmp_path / 'rollouts'}"
    told = train(both, tmp_path, *MINI, "train.steps=2", "recordings.outcomes=[SUCCESS]")
    assert f"{4 * LENGTH} frames" in told
    assert acts("mini", tmp_path).shape == (8, 7)
    assert read_checkpoint(tmp_path / "run" / "checkpoint").embodiment.hz == 20


def test_a_recording_at_another_rate_is_refused_beside_demonstrations(dataset, tmp_path):
    plain = demonstration(7)
    columns = {name: plain.columns[name] for name in ("observation.state", "action")}
    with DatasetWriter(tmp_path / "slow", robot_type="libero") as writer:
        writer.add(EpisodeData("pick it up", 5, plain.images, columns))
    with pytest.raises(DatasetError, match=r"one control rate, got \[5\.0, 20\.0\] Hz"):
        train(f"{dataset},{tmp_path / 'slow'}", tmp_path, *MINI, "train.steps=2")


def test_cameras_of_the_datasets_may_be_named_and_go_on_with_the_checkpoint(tmp_path):
    plain = demonstration(7)
    columns = {name: plain.columns[name] for name in ("observation.state", "action")}
    images = {"front": plain.images["agentview"], "hand": plain.images["wrist"]}
    with DatasetWriter(tmp_path / "d", robot_type="libero") as writer:
        writer.add(EpisodeData("pick it up", 20, images, columns))
    train(tmp_path / "d", tmp_path, *MINI, "train.steps=1", "cameras=[hand,front]")
    begun = tmp_path / "run" / "checkpoint"
    assert read_checkpoint(begun).embodiment.cameras == ("hand", "front")

    train(tmp_path / "d", tmp_path / "on", *MINI, "train.steps=1", f"init={begun}")
    assert read_checkpoint(tmp_path / "on" / "run" / "checkpoint").embodiment.cameras == ("hand", "front")


@pytest.mark.parametrize("head", ["flow", "diffusion"])
def test_only_the_l1_head_learns_from_frames_without_an_action(dataset, tmp_path, head):
    both = f"{dataset},{write_glances(tmp_path / 'glances')}"
    train(both, tmp_path / "l1", *MINI, "train.steps=1")
    with pytest.raises(RefusedError, match=rf"model\.head: expected l1, got {head}: .*glances holds {LENGTH} frames"):
        train(both, tmp_path, *MINI, "train.steps=1", f"model.head={head}")


def test_glances_alone_are_told_what_they_lack(tmp_path):
    with pytest.raises(ValueError, match=rf"datasets: .*an action to learn, got none in {LENGTH} .*add demonstrations"):
        train(write_glances(tmp_path / "glances"), tmp_path, *MINI, "train.steps=1")


def test_boxes_go_into_the_checkpoint_and_on_with_it(dataset, tmp_path):
    box = [0.25, 0.0, 1.0, 0.5]
    train(dataset, tmp_path, *MINI, "train.steps=1", f"boxes={{wrist:{box}}}")
    begun = tmp_path / "run" / "checkpoint"
    assert read_checkpoint(begun).embodiment.images.boxes == {"wrist": tuple(box)}
    train(dataset, tmp_path / "on", *MINI, "train.steps=1", f"init={begun}")
    on = tmp_path / "on" / "run" / "checkpoint"
    assert read_checkpoint(on).embodiment.images.boxes == {"wrist": tuple(box)}

    policy = MiniPolicy(str(on))
    images = {camera: np.full((64, 64, 3), 90, np.uint8) for camera in LIBERO.cameras}
    images["wrist"][:, :16] = images["wrist"][32:] = 255  # outside the box
    grey = {camera: np.full((64, 64, 3), 90, np.uint8) for camera in LIBERO.cameras}
    seen, same = (policy.infer(Observation(each, np.zeros(8), "go", 0.0)).actions for each in (images, grey))
    np.testing.assert_array_equal(seen, same)
    with pytest.raises(RefusedError, match=r"boxes: the cameras are .* got top"):
        train(dataset, tmp_path / "top", *MINI, f"boxes={{top:{box}}}")
