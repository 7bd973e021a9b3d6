"""Training frames: decoded once, and what a dataset lacks is said."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil

import numpy as np
import pytest

from vla.data.episode import EpisodeData
from vla.data.frames import load_frames
from vla.data.lerobot.errors import DatasetError
from vla.data.lerobot.writer import DatasetWriter
from vla.data.lessons import Selection
from vla.embodiment import ImageGeometry

CAMERAS = ("agentview", "wrist")


def episode(length=3, value=50, told="go", **columns):
    image = np.full((length, 64, 64, 3), value, np.uint8)
    return EpisodeData(
        instruction=told,
        fps=5,
        images={"wrist": image, "agentview": image + 100},
        columns={
            "observation.state": np.full((length, 8), value, np.float32),
            "action": np.zeros((length, 7), np.float32),
            "action_chunk": np.zeros((length, 16, 7), np.float32),
            "action_chunk_valid": np.ones((length, 16), bool),
            "keyframes": np.zeros((length, 2, 3), np.float32),
            "keyframe_pixels.agentview": np.zeros((length, 2, 2), np.float32),
            "keyframe_pixels.wrist": np.ones((length, 2, 2), np.float32),
            **columns,
        },
        metadata={"suite": "s", "task_id": 0, "seed": 0},
    )


def write(root, *episodes):
    with DatasetWriter(root, robot_type="libero") as writer:
        for each in episodes:
            writer.add(each)


def test_frames_follow_the_episodes_and_the_cameras_the_caller(tmp_path):
    write(tmp_path / "d", episode(3, 50), episode(2, 90, "stop"))
    frames = load_frames(tmp_path / "d", CAMERAS, 32, tmp_path / "cache", 8, Selection())
    assert frames.images.shape == (5, 2, 3, 32, 32)
    assert frames.episode.tolist() == [0, 0, 0, 1, 1]
    assert [frames.instructions[task] for task in frames.task] == ["go"] * 3 + ["stop"] * 2
    np.testing.assert_array_equal(frames.state[:, 0], [50, 50, 50, 90, 90])
    means = frames.images.mean(axis=(2, 3, 4))  # (F, N)
    np.testing.assert_allclose(means, [[150, 50]] * 3 + [[190, 90]] * 2, atol=3)
    np.testing.assert_array_equal(frames.points[0, :, 0, 0], [0, 1])
    assert frames.known.all()
    again = load_frames(tmp_path / "d", CAMERAS, 32, tmp_path / "cache", 8, Selection())
    np.testing.assert_array_equal(again.images, frames.images)


def test_of_a_camera_with_a_box_only_that_part_is_seen(tmp_path):
    image = np.zeros((2, 64, 96, 3), np.uint8)
    image[:, 16:48, 48:72] = 200
    points = np.broadcast_to(np.array([0.25, 0.0], np.float32), (2, 2, 2))  # the middle of the bright part
    whole = episode(2, **{"keyframe_pixels.agentview": points, "keyframe_pixels.wrist": points})
    write(tmp_path / "d", dataclasses.replace(whole, images={"agentview": image, "wrist": image}))
    boxes = {"agentview": (0.5, 0.25, 0.75, 0.75)}
    frames = load_frames(tmp_path / "d", CAMERAS, 32, tmp_path / "cache", 8, Selection(), boxes)
    np.testing.assert_allclose(frames.images[:, 0], 200, atol=12)
    assert frames.images[:, 1].mean() < 60
    np.testing.assert_allclose(frames.points[:, 0], 0.0, atol=1e-6)
    np.testing.assert_allclose(frames.points[:, 1], points)
    again = load_frames(tmp_path / "d", CAMERAS, 32, tmp_path / "cache", 8, Selection())
    assert again.images[:, 0].mean() < 60  # decoded beside, not in its place


@pytest.mark.parametrize("box", [(0.5, 0.0, 0.5, 1.0), (0.0, 0.0, 1.2, 1.0), (0.0, 1.0)])
def test_a_box_without_an_area_or_beyond_the_image_is_refused(box):
    with pytest.raises(ValueError, match=r"boxes\.wrist: expected left < right"):
        ImageGeometry(boxes={"wrist": box})


def test_glances_carry_words_and_unknown_keyframes_frame_by_frame(tmp_path):
    known = np.array([[True, False]] * 2)
    extra = {"keyframe_known": known, "instruction": np.array(["pick a", "pick b"])}
    write(tmp_path / "d", episode(2, 50, "look", **extra))
    frames = load_frames(tmp_path / "d", CAMERAS, 32, tmp_path / "cache", 8, Selection())
    np.testing.assert_array_equal(frames.known, known)
    assert [frames.instructions[task] for task in frames.task] == ["pick a", "pick b"]


def test_a_dataset_that_grew_is_decoded_anew(tmp_path):
    write(tmp_path / "d", episode(3))
    before = load_frames(tmp_path / "d", CAMERAS, 32, tmp_path / "cache", 8, Selection())
    assert len(before) == 3
    write(tmp_path / "d", episode(2))
    after = load_frames(tmp_path / "d", CAMERAS, 32, tmp_path / "cache", 8, Selection())
    assert len(after) == 5
    assert after.content != before.content
    assert before.images.mean() > 0  # who trains on the old frames still can


def test_of_a_dataset_that_changed_only_the_newest_frames_are_kept(tmp_path):
    write(tmp_path / "d", episode(3))
    write(tmp_path / "other", episode(4))
    for size in (32, 48):
        load_frames(tmp_path / "d", CAMERAS, size, tmp_path / "cache", 8, Selection())
    load_frames(tmp_path / "other", CAMERAS, 32, tmp_path / "cache", 8, Selection())
    assert len(list(tmp_path.glob("cache/**/done"))) == 3
    write(tmp_path / "d", episode(2))
    load_frames(tmp_path / "d", CAMERAS, 32, tmp_path / "cache", 8, Selection())
    assert len(list(tmp_path.glob("cache/**/done"))) == 2


def test_a_dataset_that_was_recorded_anew_is_decoded_anew(tmp_path):
    write(tmp_path / "d", episode(3, 50))
    load_frames(tmp_path / "d", CAMERAS, 32, tmp_path / "cache", 8, Selection())
    shutil.rmtree(tmp_path / "d")
    write(tmp_path / "d", episode(3, 90))
    frames = load_frames(tmp_path / "d", CAMERAS, 32, tmp_path / "cache", 8, Selection())
    np.testing.assert_allclose(frames.images.mean(axis=(2, 3, 4)), [[190, 90]] * 3, atol=3)
    np.testing.assert_array_equal(frames.state, 90)


def test_a_copy_of_a_dataset_has_the_same_content(tmp_path):
    write(tmp_path / "d", episode(3))
    shutil.copytree(tmp_path / "d", tmp_path / "copy")
    one, other = (
        load_frames(tmp_path / name, CAMERAS, 32, tmp_path / "cache", 8, Selection()) for name in ("d", "copy")
    )
    assert one.content == other.content


def test_a_full_disk_is_said_before_any_image_is_decoded_and_leaves_nothing(tmp_path, monkeypatch):
    write(tmp_path / "d", episode(3))

    def full(descriptor, start, size):
        assert size >= 3 * 2 * 3 * 32 * 32
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DatasetError, match=r"cannot hold the decoded frames of .*No space left.*cache=\.\.\."):
        load_frames(tmp_path / "d", CAMERAS, 32, tmp_path / "cache", 8, Selection())
    assert not list(tmp_path.glob("cache/**/*.npy"))


def test_demonstrations_that_lack_a_column_are_refused(tmp_path):
    whole = episode()
    columns = {name: column for name, column in whole.columns.items() if name != "keyframes"}
    write(tmp_path / "d", EpisodeData("go", 5, whole.images, columns))
    with pytest.raises(DatasetError, match=r"missing keyframes.*scripts/collect\.py"):
        load_frames(tmp_path / "d", CAMERAS, 32, tmp_path / "cache", 8, Selection())


def test_another_camera_is_named(tmp_path):
    write(tmp_path / "d", episode())
    with pytest.raises(DatasetError, match="top"):
        load_frames(tmp_path / "d", ("top",), 32, tmp_path / "cache", 8, Selection())
