"""Small recorded episodes, and processes that write them. Content follows from a number, so mix-ups show."""

from __future__ import annotations

import errno
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from vla.data.episode import ACTION, STATE, EpisodeData
from vla.data.lerobot.writer import DatasetWriter

CAMERAS = ("front", "wrist")
SIZE = 32
MEAN_TOLERANCE, MAX_TOLERANCE = 4.0, 24  # of 255, for the pictures below


def picture(number: int, frame: int, length: int, size: int = SIZE) -> np.ndarray:
    """A smooth picture whose brightness tells the frame and whose colour tells the episode."""
    ramp = np.linspace(0, 40, size)
    grey = 40 + 150 * frame / max(length - 1, 1) + ramp[:, None] + 0 * ramp
    colour = np.array([0, 10 * (number % 4), -10 * (number % 3)])
    return np.clip(grey[..., None] + colour, 0, 255).astype(np.uint8)


def make_episode(number: int = 0, length: int = 5, **changes: Any) -> EpisodeData:
    """Episode `number`, the same every time."""
    rng = np.random.default_rng(number)
    parts: dict[str, Any] = {
        "instruction": f"push bowl {number % 3}",
        "fps": 10,
        "images": {
            camera: np.stack([picture(number + shift, t, length) for t in range(length)])
            for shift, camera in enumerate(CAMERAS)
        },
        "columns": {
            STATE: rng.normal(size=(length, 8)).astype(np.float32),
            ACTION: rng.normal(size=(length, 7)).astype(np.float32),
            "phase": rng.integers(0, 2, length),
        },
        "names": {"phase": ("reach", "grasp")},
        "metadata": {"number": number, "success": True},
        **changes,
    }
    return EpisodeData(**parts)


def assert_same(got: EpisodeData, recorded: EpisodeData) -> None:
    """Everything equal bit by bit; images within the tolerance, and none in another one's place."""
    assert (got.instruction, got.fps, dict(got.metadata)) == (
        recorded.instruction, recorded.fps, dict(recorded.metadata),
    )  # fmt: skip
    assert {name: tuple(names) for name, names in got.names.items()} == {
        name: tuple(names) for name, names in recorded.names.items()
    }
    for here, there in ((got.columns, recorded.columns), (got.extras, recorded.extras)):
        assert here.keys() == there.keys()
        for name, values in there.items():
            assert np.asarray(here[name]).dtype.kind == np.asarray(values).dtype.kind
            np.testing.assert_array_equal(here[name], values)
    assert got.images.keys() == recorded.images.keys()
    for camera, frames in recorded.images.items():
        error = np.abs(got.images[camera].astype(int) - frames)
        assert error.mean() < MEAN_TOLERANCE, camera
        assert error.max() <= MAX_TOLERANCE, camera
        assert got.images[camera].shape == frames.shape


def write_episodes(connection: Connection, root: Path, numbers: range, kill_at_byte: int | None = None) -> None:
    """Body of a process: write these episodes and tell of each; die at a byte if asked to."""
    left = kill_at_byte

    def write(descriptor: int, content: bytes) -> int:
        nonlocal left
        if left is not None:
            if len(content) > left:
                os.write(descriptor, content[:left])
                os.kill(os.getpid(), signal.SIGKILL)
            left -= len(content)
        return os.write(descriptor, content)

    writer = DatasetWriter(root, write=write)
    for number in numbers:
        connection.send((number, writer.add(make_episode(number, 3 + number % 3))))


class FillingDisk:
    """`os.write` until the `last`-th call, which writes half and then finds the disk full."""

    def __init__(self, last: int) -> None:
        self.left = last

    def __call__(self, descriptor: int, content: bytes) -> int:
        self.left -= 1
        if self.left == 0:
            os.write(descriptor, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(descriptor, content)
