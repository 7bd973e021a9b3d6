"""Where the parts of a LeRobotDataset v3.0 lie, and what its info.json says.

Source: lerobot 0.4.4, src/lerobot/datasets/utils.py and lerobot_dataset.py. The format lets a file hold several
episodes; ours hold one each, so that an episode is written once and never touched again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vla.data.episode import IMAGES, EpisodeData
from vla.data.lerobot.errors import DatasetError

VERSION = "v3.0"
CHUNK = 1000  # files in a folder
INFO, STATS, TASKS, LOCK = "meta/info.json", "meta/stats.json", "meta/tasks.parquet", ".lock"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
JOURNALS = "journal"  # ours: episodes that are being recorded, or whose recorder died, see `vla.data.lerobot.journal`
EXTRAS_PATH = "extras/chunk-{chunk_index:03d}/file-{file_index:03d}.npz"  # ours: `EpisodeData.extras`
UNKNOWN = "unknown"  # robot_type until somebody knows it
INDEX_FEATURES: dict[str, dict[str, Any]] = {
    "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    **{
        name: {"dtype": "int64", "shape": [1], "names": None}
        for name in ("frame_index", "episode_index", "index", "task_index")
    },
}


def place(index: int) -> dict[str, int]:
    """Chunk and file number of the `index`-th file, as the path patterns want them."""
    return {"chunk_index": index // CHUNK, "file_index": index % CHUNK}


def files_of(root: Path, index: int, cameras: list[str]) -> dict[str, Path]:
    """All files of our episode `index`: data, episodes, extras, and one for each camera's feature name."""
    where = place(index)
    return {
        "data": root / DATA_PATH.format(**where),
        "episodes": root / EPISODES_PATH.format(**where),
        "extras": root / EXTRAS_PATH.format(**where),
        **{camera: root / VIDEO_PATH.format(video_key=camera, **where) for camera in cameras},
    }


def features_of(episode: EpisodeData) -> dict[str, dict[str, Any]]:
    """The `features` of info.json for a dataset of such episodes."""
    features: dict[str, dict[str, Any]] = {}
    for name, column in episode.columns.items():
        shape = list(column.shape[1:]) or [1]
        names = list(episode.names.get(name, ())) or None
        dtype = "string" if column.dtype.kind == "U" else column.dtype.name
        features[name] = {"dtype": dtype, "shape": shape, "names": names if column.ndim > 1 else None}
        if names and column.ndim == 1:
            features[name]["labels"] = names  # ours: what the values 0, 1, ... of a number mean
    for camera, frames in episode.images.items():
        features[IMAGES + camera] = video_feature(frames.shape[1], frames.shape[2], episode.fps)
    return features | INDEX_FEATURES


def video_feature(height: int, width: int, fps: int) -> dict[str, Any]:
    """What info.json says of a camera."""
    return {
        "dtype": "video",
        "shape": [height, width, 3],
        "names": ["height", "width", "channels"],
        "info": {
            "video.height": height,
            "video.width": width,
            "video.codec": "h264",
            "video.pix_fmt": "yuv420p",
            "video.is_depth_map": False,
            "video.fps": fps,
            "video.channels": 3,
            "has_audio": False,
        },
    }


def video_keys(features: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Feature names of the cameras."""
    return [name for name, feature in features.items() if feature["dtype"] == "video"]


def column_features(features: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Features that are columns of the data files, with the index columns."""
    return {name: feature for name, feature in features.items() if feature["dtype"] != "video"}


def new_info(features: dict[str, dict[str, Any]], fps: int, robot_type: str) -> dict[str, Any]:
    """info.json of an empty dataset."""
    return {
        "codebase_version": VERSION,
        "robot_type": robot_type,
        "total_episodes": 0,
        "total_frames": 0,
        "total_tasks": 0,
        "chunks_size": CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {"train": "0:0"},
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH if video_keys(features) else None,
        "features": features,
    }


def read_info(root: Path) -> dict[str, Any]:
    """info.json, of the version that we know.

    Raises:
        DatasetError: it is missing, not JSON, incomplete or of another version.
    """
    path = root / INFO
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: missing. {root} is not a LeRobotDataset {VERSION}; check the path.") from error
    except ValueError as error:
        raise DatasetError(f"{path}: not JSON ({error}). Restore the file from a copy.") from error
    version = info.get("codebase_version") if isinstance(info, dict) else None
    if version != VERSION:
        raise DatasetError(
            f"{path}: expected codebase_version {VERSION!r}, got {version!r}. Convert the dataset with LeRobot's own "
            "conversion script, or record it anew."
        )
    if missing := sorted(new_info({}, 1, "").keys() - {"robot_type", "splits"} - info.keys()):
        raise DatasetError(f"{path}: missing {missing}. Restore the file from a copy.")
    return dict(info)


def to_json(value: Any) -> bytes:
    """Indented JSON; arrays become lists."""

    def listed(array: Any) -> Any:
        if isinstance(array, np.ndarray | np.generic):
            return array.tolist()
        raise TypeError(f"expected a JSON value, got {type(array).__name__}")

    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=listed) + "\n").encode()
