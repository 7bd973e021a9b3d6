"""Export recorded episodes to the HDF5 layout of the ALOHA robots, which ACT and its descendants read.

Source: tonyzhaozh/aloha 06369f0, record_episodes.py; interbotix/aloha, record_episodes.py for `compress`. To know:

- `/observations/*` at t is what was seen before `/action` at t; T is the number of actions.
- Numbers are float32, grippers as recorded: the state's on the scale of finger positions, the action's on that of the
  leader's joint, see docs/aloha_sim.md.
- Compressed images are JPEGs of quality 50, filled up with zeros to one length. As in the sources, OpenCV gets RGB and
  is not told: `cv2.imdecode` gives RGB back, and a picture viewer shows red and blue exchanged.
- `effort` is in mA, as the servos count it. A simulation has none and its files lack it, like ACT's own.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from vla.data.episode import ACTION, STATE
from vla.data.lerobot.errors import DatasetError
from vla.data.lerobot.reader import Dataset
from vla.data.session_recorder import recorded_actions
from vla.files import replace_atomic
from vla.types import Image

SIZE = 14  # left joints (6), left gripper, right joints (6), right gripper
VELOCITY, EFFORT = "observation.velocity", "observation.effort"
CAMERAS = {
    "high": "cam_high", "top": "cam_high", "low": "cam_low", "left_wrist": "cam_left_wrist",
    "right_wrist": "cam_right_wrist",
}  # fmt: skip
JPEG_QUALITY = 50
CACHE_BYTES = 2 * 1024**2
BLOCK = 200  # frames in memory at a time


def export_aloha_hdf5(dataset: Dataset, folder: str | Path, *, compress: bool = False) -> list[Path]:
    """Write `<folder>/episode_<i>.hdf5` for each episode of a dataset.

    Episodes need 14 numbers of state and action, `observation.velocity` (T, 14), and every control step: what
    `scripts/rollout.py` records of ALOHA, simulated, emulated or real. `observation.effort` (T, 14) [A] is written if
    it was recorded. Cameras get ALOHA's names (`CAMERAS`); others keep their own.

    Args:
        dataset: recorded by a `vla.data.session_recorder.SessionRecorder`.
        folder: made if missing.
        compress: images as JPEG.

    Returns:
        The files.

    Raises:
        DatasetError: something of that is missing; the episodes before it were written.
    """
    names = [CAMERAS.get(camera, camera) for camera in dataset.cameras]
    if len(set(names)) != len(names):
        raise DatasetError(
            f"{dataset.root}: cameras {list(dataset.cameras)} would get the names {names}. Leave one out."
        )
    Path(folder).mkdir(parents=True, exist_ok=True)
    written = []
    for row in dataset.episodes:
        columns = dataset.columns(row.index)
        for name in (STATE, ACTION, VELOCITY, *((EFFORT,) if EFFORT in columns else ())):
            shape = columns[name].shape[1:] if name in columns else None
            if shape != (SIZE,):
                raise DatasetError(
                    f"{dataset.root}: episode {row.index}: expected {name!r} of {SIZE} numbers a frame, got "
                    f"{'none' if shape is None else shape}. Record it with scripts/rollout.py on ALOHA."
                )
        path = Path(folder) / f"episode_{row.index}.hdf5"
        fill = partial(_write, dataset=dataset, index=row.index, columns=columns, compress=compress)
        replace_atomic(path, fill)
        written.append(path)
    return written


def _write(path: Path, dataset: Dataset, index: int, columns: Any, compress: bool) -> None:
    with h5py.File(path, "w", rdcc_nbytes=CACHE_BYTES) as file:
        _fill(file, dataset, index, columns, compress)


def _fill(file: Any, dataset: Dataset, index: int, columns: Any, compress: bool) -> None:
    file.attrs["sim"] = "robot" not in dataset.episodes[index].metadata
    file.attrs["compress"] = compress
    observations = file.create_group("observations")
    observations.create_dataset("qpos", data=columns[STATE].astype(np.float32))
    observations.create_dataset("qvel", data=columns[VELOCITY].astype(np.float32))
    if EFFORT in columns:
        observations.create_dataset("effort", data=(1e3 * columns[EFFORT]).astype(np.float32))
    actions = recorded_actions(dataset.extras(index), columns)
    file.create_dataset("action", data=actions.astype(np.float32))
    images = observations.create_group("images")
    lengths = []
    for camera in dataset.cameras:
        name = CAMERAS.get(camera, camera)
        if compress:
            lengths.append(_write_compressed(images, name, dataset, index, camera, len(actions)))
        else:
            _write_plain(images, name, dataset, index, camera, len(actions))
    if compress:
        file.create_dataset("compress_len", data=np.array(lengths, dtype=np.int64).reshape(-1, len(actions)))


def _write_plain(group: Any, name: str, dataset: Dataset, index: int, camera: str, length: int) -> None:
    stored = None
    for start in range(0, length, BLOCK):
        frames = dataset.images(index, camera, start, start + BLOCK)
        if stored is None:
            shape = frames.shape[1:]
            stored = group.create_dataset(name, (length, *shape), dtype=np.uint8, chunks=(1, *shape))
        stored[start : start + len(frames)] = frames


def _write_compressed(group: Any, name: str, dataset: Dataset, index: int, camera: str, length: int) -> list[int]:
    """Returns the (T,) lengths of the JPEGs."""
    encoded: list[Any] = []
    for start in range(0, length, BLOCK):
        encoded += [_jpeg(frame) for frame in dataset.images(index, camera, start, start + BLOCK)]
    longest = max(map(len, encoded))
    stored = group.create_dataset(name, (length, longest), dtype=np.uint8, chunks=(1, longest))
    for frame, content in enumerate(encoded):
        stored[frame] = np.pad(content, (0, longest - len(content)))
    return [len(content) for content in encoded]


def _jpeg(image: Image) -> Any:
    ok, content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not ok:
        raise DatasetError(f"images: OpenCV could not encode a JPEG of shape {image.shape}. Record them again.")
    return content.ravel()
