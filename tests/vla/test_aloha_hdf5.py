"""The exported files have ALOHA's layout, and ACT's way of reading them gives back what was recorded."""

from __future__ import annotations

import cv2
import h5py
import numpy as np
import pytest

from tests.episodes import MEAN_TOLERANCE, picture
from vla.data.aloha_hdf5 import export_aloha_hdf5
from vla.data.lerobot.errors import DatasetError
from vla.data.lerobot.reader import read_dataset
from vla.data.session_recorder import SessionRecorder
from vla.types import Episode, Observation, Outcome, Step

LENGTH, HEIGHT, WIDTH = 7, 48, 64
NAMES = tuple(f"joint_{number}" for number in range(14))
CAMERAS = {"high": "cam_high", "left_wrist": "cam_left_wrist"}


def image(tick, number):
    return np.ascontiguousarray(picture(number, tick, LENGTH, WIDTH)[:HEIGHT])


def seen(tick, channels):
    values = {name: np.arange(14) * 0.01 * (tick + 1) for name in channels}
    images = {name: image(tick, number) for number, name in enumerate(CAMERAS)}
    return Observation(images, np.full(14, tick / 3), "lift", tick / 50, values)


def record(root, channels=("velocity", "effort"), **metadata):
    recorder = SessionRecorder(root, hz=50, robot_type="aloha", action_names=NAMES, metadata=metadata)
    recorder.on_episode_start(seen(0, channels))
    for tick in range(LENGTH):
        action = np.full(14, tick / 7)
        recorder.on_step(Step(tick, seen(tick, channels), action, action, False, False, seen(tick + 1, channels)))
    recorder.on_episode_end(Episode("lift", "lift", 0, Outcome.SUCCESS, LENGTH, 1), None)
    recorder.close()
    return read_dataset(root)


@pytest.mark.parametrize("compress", [False, True])
def test_layout_and_content(tmp_path, compress):
    dataset = record(tmp_path / "set", robot="AlohaRobot")
    (path,) = export_aloha_hdf5(dataset, tmp_path / "out", compress=compress)
    assert path.name == "episode_0.hdf5"
    with h5py.File(path) as root:
        found = []
        root.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
        assert sorted(found) == sorted(
            ["action", *(f"observations/{name}" for name in ("qpos", "qvel", "effort")),
             *(f"observations/images/{name}" for name in CAMERAS.values()), *(["compress_len"] if compress else [])]
        )  # fmt: skip
        assert (bool(root.attrs["sim"]), bool(root.attrs["compress"])) == (False, compress)
        for name in ("/action", "/observations/qpos", "/observations/qvel", "/observations/effort"):
            assert (root[name].shape, root[name].dtype) == ((LENGTH, 14), np.float32)
        ticks = np.arange(LENGTH)[:, None] * np.ones(14)
        np.testing.assert_array_equal(root["/action"], (ticks / 7).astype(np.float32))
        np.testing.assert_array_equal(root["/observations/qpos"], (ticks / 3).astype(np.float32))
        np.testing.assert_allclose(root["/observations/qvel"], np.arange(14) * 0.01 * (ticks + 1), rtol=1e-6)
        np.testing.assert_allclose(root["/observations/effort"], np.arange(14) * 10 * (ticks + 1), rtol=1e-6)  # [mA]
        for number, name in enumerate(CAMERAS.values()):
            stored = root[f"/observations/images/{name}"]
            assert stored.dtype == np.uint8
            if compress:
                lengths = root["/compress_len"][number].astype(int)
                assert stored.shape == (LENGTH, root["/compress_len"][number].max())
                assert all((stored[t, lengths[t] :] == 0).all() for t in range(LENGTH))
                frames = [cv2.imdecode(stored[t, : lengths[t]], 1) for t in range(LENGTH)]
            else:
                assert (stored.shape, stored.chunks) == ((LENGTH, HEIGHT, WIDTH, 3), (1, HEIGHT, WIDTH, 3))
                frames = list(stored)
            for tick, frame in enumerate(frames):
                assert np.abs(frame.astype(int) - image(tick, number)).mean() < 2 * MEAN_TOLERANCE


def test_a_simulation_says_so_and_has_no_effort(tmp_path):
    (path,) = export_aloha_hdf5(record(tmp_path / "set", ("velocity",)), tmp_path / "out")
    with h5py.File(path) as root:
        assert root.attrs["sim"]
        assert "effort" not in root["observations"]


def test_what_is_missing_is_said_and_nothing_is_left(tmp_path):
    with pytest.raises(DatasetError, match=r"expected 'observation.velocity' of 14 numbers a frame, got none"):
        export_aloha_hdf5(record(tmp_path / "set", ()), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
