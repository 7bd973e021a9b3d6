"""Export recorded episodes to the HDF5 layout of LIBERO's own demonstrations, which robomimic reads as well.

Source: LIBERO 1952000, scripts/create_dataset.py; robomimic docs/datasets/overview.md. Two differences on purpose:

- `obs` at t is what was seen before action t, like `states` at t and like robomimic's own data. LIBERO's script stores
  what was seen after it, and drops the first five steps because of that.
- Images have the size in which they were recorded, not 128 x 128.

LIBERO's `macros_image_convention` is `opengl`: the first row of an image is the bottom. Ours are upright, so rows are
turned round here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from vla.data.episode import STATE, EpisodeData
from vla.data.lerobot.errors import DatasetError
from vla.data.lerobot.reader import Dataset
from vla.embodiment import LIBERO
from vla.files import replace_atomic
from vla.types import FloatArray

CAMERAS = {"agentview": "agentview_rgb", "wrist": "eye_in_hand_rgb"}
TEXTS = ("sim.model_file", "sim.bddl", "sim.env_args", "sim.problem_info")  # the last two are JSON
ARRAYS = {"sim.state": None, "sim.joint_position": 7, "sim.action": 7}  # (T, 1 + nq + nv), (T, 7), (T, 7)


def export_libero_hdf5(dataset: Dataset, folder: str | Path) -> list[Path]:
    """Write `<folder>/<suite>/<task>_demo.hdf5` for each task of a dataset.

    The episodes must have been recorded at every control step by a `Recorder` with a probe, which gives the extras
    `sim.state` (T, 1 + nq + nv) before each action, `sim.joint_position` (T, 7) [rad], `sim.action` (T, 7), and the
    texts `sim.model_file`, `sim.bddl`, `sim.env_args`, `sim.problem_info`; and with the metadata `suite` and `task`.

    Returns:
        The files, in the order of the tasks in the dataset.

    Raises:
        DatasetError: something of that is missing, two tasks would get the same file, or a task was recorded with
            several instructions; nothing was written for that task.
    """
    if dataset.fps != LIBERO.hz:
        raise DatasetError(
            f"{dataset.root}: expected every control step ({LIBERO.hz:g} frames a second), got {dataset.fps}. Record "
            "again with stride 1; the simulator states between two frames are not there."
        )
    if missing := [camera for camera in CAMERAS if camera not in dataset.cameras]:
        raise DatasetError(f"{dataset.root}: expected the cameras {list(CAMERAS)}, {missing} are missing. Record them.")
    groups: dict[tuple[str, str], list[int]] = {}
    for row in dataset.episodes:
        if missing := [name for name in ("suite", "task") if name not in row.metadata]:
            raise DatasetError(f"{dataset.root}: episode {row.index}: its metadata lacks {missing}. Record it again.")
        groups.setdefault((row.metadata["suite"], row.metadata["task"]), []).append(row.index)
    written: list[Path] = []
    for (suite, task), indices in groups.items():
        path = Path(folder) / Path(suite).name / f"{task}_demo.hdf5"  # a suite may be a folder of somebody's tasks
        if path in written:
            raise DatasetError(
                f"{dataset.root}: expected a file for each task, but two tasks would be {path}: they come from two "
                f"folders of the same name, {sorted(each for each, name in groups if name == task)}. Rename one."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_atomic(path, partial(_write_task, dataset=dataset, indices=indices))
        written.append(path)
    return written


def _write_task(path: Path, dataset: Dataset, indices: list[int]) -> None:
    with h5py.File(path, "w") as file:
        _fill(file.create_group("data"), dataset, indices)


def _fill(group: Any, dataset: Dataset, indices: list[int]) -> None:
    total, words = 0, ""
    for number, index in enumerate(indices):
        episode = dataset[index]
        extras = _checked(episode, f"{dataset.root}: episode {index}")
        if number and episode.instruction != words:  # a file of this layout has one set of words, and their goal
            raise DatasetError(
                f"{dataset.root}: episode {index}: its words are {episode.instruction!r}, those of episode "
                f"{indices[0]} of the same task {words!r}; LIBERO's layout has one instruction a task. Record scenes "
                "whose words stay the same (env.scene=official), or each instruction into a dataset of its own."
            )
        if number == 0:
            words = episode.instruction
            env_args = json.loads(extras["sim.env_args"])
            group.attrs.update(
                {
                    "env_name": env_args["env_name"],
                    "env_args": extras["sim.env_args"],
                    "problem_info": extras["sim.problem_info"],
                    "bddl_file_name": env_args["bddl_file"],
                    "bddl_file_content": extras["sim.bddl"],
                    "macros_image_convention": "opengl",
                }
            )
        _write_demo(group.create_group(f"demo_{number}"), episode, extras)
        total += episode.length
    group.attrs["num_demos"] = len(indices)
    group.attrs["total"] = total


def _write_demo(group: Any, episode: EpisodeData, extras: Mapping[str, Any]) -> None:
    state = episode.columns[STATE].astype(np.float64)  # (T, 8)
    position, rotation, fingers = np.split(state, [3, 6], axis=1)
    last = np.zeros(episode.length, np.uint8)
    last[-1] = bool(episode.metadata.get("success"))
    ends = np.zeros(episode.length, np.uint8)
    ends[-1] = 1
    group.attrs.update(
        {
            "num_samples": episode.length,
            "model_file": extras["sim.model_file"],
            "init_state": extras["sim.state"][0],
        }
    )
    arrays = {
        "actions": extras["sim.action"],
        "states": extras["sim.state"],
        "robot_states": np.hstack([fingers, position, quaternion(rotation)]),  # (T, 9)
        "rewards": last,
        "dones": ends,
        "obs/joint_states": extras["sim.joint_position"],
        "obs/gripper_states": fingers,
        "obs/ee_states": state[:, :6],
        "obs/ee_pos": position,
        "obs/ee_ori": rotation,
        **{f"obs/{name}": episode.images[camera][:, ::-1] for camera, name in CAMERAS.items()},
    }
    for name, array in arrays.items():
        group.create_dataset(name, data=array)


def quaternion(rotation: FloatArray) -> FloatArray:
    """(T, 3) axis times angle [rad] -> (T, 4) x, y, z, w. One of the two signs that mean the same rotation."""
    angle = np.linalg.norm(rotation, axis=1, keepdims=True)
    axis = np.divide(rotation, angle, out=np.zeros_like(rotation), where=angle > 0)
    return np.hstack([axis * np.sin(angle / 2), np.cos(angle / 2)])


def _checked(episode: EpisodeData, where: str) -> Mapping[str, Any]:
    extras = episode.extras
    if missing := [name for name in (*TEXTS, *ARRAYS) if name not in extras]:
        raise DatasetError(
            f"{where}: lacks {missing}. Record it again with stride 1 and a probe (see vla.data.recorder.Recorder)."
        )
    for name, width in ARRAYS.items():
        shape = np.shape(extras[name])
        if len(shape) != 2 or shape[0] != episode.length or (width and shape[1] != width):
            raise DatasetError(f"{where}: expected {name!r} of shape ({episode.length}, {width or 'N'}), got {shape}.")
    if episode.columns[STATE].shape[1] != len(LIBERO.state):
        raise DatasetError(f"{where}: expected a state of {len(LIBERO.state)} numbers, as LIBERO's, got "
                           f"{episode.columns[STATE].shape[1]}.")  # fmt: skip
    return extras
