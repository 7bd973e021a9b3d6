"""The episodes of a dataset as `meta/episodes` lists them: how long they are and where their parts lie."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vla.data.episode import IMAGES
from vla.data.lerobot.errors import DatasetError
from vla.data.lerobot.layout import EXTRAS_PATH, INFO, LOCK, column_features, place, read_info, video_keys
from vla.types import FloatArray


@dataclass(frozen=True, eq=False)
class EpisodeRow:
    """What is known of an episode without opening its data.

    Attributes:
        index: its episode_index.
        length: T, its number of frames.
        start: index in the dataset of its first frame.
        tasks: its instructions; one, if we recorded it.
        metadata: see `EpisodeData.metadata`; empty in datasets of others.
        data: file of its columns.
        videos: camera -> file, and number of its first frame in that file.
        extras: file of `EpisodeData.extras`, or None.
        bounds: (feature, `min` or `max`) -> statistics that the row keeps.
    """

    index: int
    length: int
    start: int
    tasks: tuple[str, ...]
    metadata: Mapping[str, Any]
    data: Path
    videos: Mapping[str, tuple[Path, int]]
    extras: Path | None
    bounds: Mapping[tuple[str, str], FloatArray]


def camera_of(key: str) -> str:
    """Camera's name from its feature name."""
    return key.removeprefix(IMAGES)


def read_rows(root: Path, info: Mapping[str, Any], *, with_bounds: bool = True) -> list[EpisodeRow]:
    """All episodes, in order.

    A writer that was killed at the worst moment leaves info.json behind by an episode; the rows are what counts.

    Args:
        root: folder of the dataset.
        info: its info.json.
        with_bounds: read `EpisodeRow.bounds`, which takes most of the time.

    Raises:
        DatasetError: an episode is missing, or a row is not one.
    """
    cameras = video_keys(info["features"])
    numeric = [name for name, feature in column_features(info["features"]).items() if feature["dtype"] != "string"]
    bounds = [(name, end) for name in numeric for end in ("min", "max")] if with_bounds else []
    found: list[EpisodeRow] = []
    for cells in _cells(root, cameras, bounds):
        try:
            found.append(_row(root, info, cameras, bounds, cells))
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(
                f"{root}/meta/episodes: the row of episode {cells.get('episode_index')} is not one "
                f"({type(error).__name__}: {error}). Restore the file from a copy."
            ) from error
    start = 0
    for number, row in enumerate(sorted(found, key=lambda row: row.index)):
        if row.index != number or row.start != start:
            raise DatasetError(
                f"{root}/meta/episodes: expected episode {number} with first frame {start}, got episode {row.index} "
                f"with first frame {row.start}; the indices have a gap. Restore the missing files from a copy."
            )
        start += row.length
    if len(found) < info["total_episodes"]:
        raise DatasetError(
            f"{root}: expected {info['total_episodes']} episodes as in {INFO}, got {len(found)} in meta/episodes. "
            "Restore the missing files from a copy."
        )
    return sorted(found, key=lambda row: row.index)


def read_metadata(root: str | Path) -> list[dict[str, Any]]:
    """`EpisodeData.metadata` of every episode; empty if a writer has opened the folder and not written one yet.

    Raises:
        DatasetError: not a dataset.
    """
    root = Path(root)
    if (root / LOCK).exists() and not (root / INFO).exists():
        return []
    return [dict(row.metadata) for row in read_rows(root, read_info(root), with_bounds=False)]


def _cells(root: Path, cameras: list[str], bounds: list[tuple[str, str]]) -> list[dict[str, Any]]:
    wanted = {"episode_index", "length", "tasks", "dataset_from_index", "metadata", "extras",
              "data/chunk_index", "data/file_index"}  # fmt: skip
    wanted |= {
        f"videos/{camera}/{key}" for camera in cameras for key in ("chunk_index", "file_index", "from_timestamp")
    }
    wanted |= {f"stats/{name}/{end}" for name, end in bounds}
    rows: list[dict[str, Any]] = []
    for path in sorted(root.glob("meta/episodes/*/*.parquet")):
        try:
            with pq.ParquetFile(path) as file:
                names = [name for name in file.schema_arrow.names if name in wanted]
                rows += file.read(columns=names, use_threads=False).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(f"{path}: cannot be read ({error}). Restore the file from a copy.") from error
    return rows


def _row(
    root: Path,
    info: Mapping[str, Any],
    cameras: list[str],
    bounds: list[tuple[str, str]],
    cells: Mapping[str, Any],
) -> EpisodeRow:
    where = {key: cells[f"data/{key}"] for key in ("chunk_index", "file_index")}
    videos = {}
    for camera in cameras:
        numbers = {key: cells[f"videos/{camera}/{key}"] for key in ("chunk_index", "file_index")}
        first = round(cells[f"videos/{camera}/from_timestamp"] * info["fps"])
        videos[camera_of(camera)] = (root / info["video_path"].format(video_key=camera, **numbers), first)
    index = int(cells["episode_index"])
    return EpisodeRow(
        index=index,
        length=int(cells["length"]),
        start=int(cells["dataset_from_index"]),
        tasks=tuple(cells["tasks"]),
        metadata=json.loads(cells.get("metadata") or "{}"),
        data=root / info["data_path"].format(**where),
        videos=videos,
        extras=root / EXTRAS_PATH.format(**place(index)) if cells.get("extras") else None,
        bounds={
            (name, end): np.asarray(cells[f"stats/{name}/{end}"], dtype=np.float64)
            for name, end in bounds
            if cells.get(f"stats/{name}/{end}") is not None
        },
    )
