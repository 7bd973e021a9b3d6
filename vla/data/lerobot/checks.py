"""Checks of a dataset that need more than one of its parts."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vla.data.episode import INDICES, Column
from vla.data.lerobot import video
from vla.data.lerobot.errors import DatasetError
from vla.data.lerobot.layout import STATS, column_features, video_keys
from vla.data.lerobot.rows import EpisodeRow
from vla.data.lerobot.statistics import NAMES, Statistics

MEND = "Delete it and write it anew: DatasetWriter(root).close()."
FRAME_TOLERANCE = 0.01  # of the time between two frames


def check_files(rows: Sequence[EpisodeRow], cameras: Sequence[str]) -> None:
    """Every file that a row names is there.

    Raises:
        DatasetError: the first that is missing.
    """
    for row in rows:
        for path in (row.data, *(row.videos[camera][0] for camera in cameras), *([row.extras] if row.extras else [])):
            if not path.is_file():
                raise DatasetError(
                    f"{path}: missing; episode {row.index} lies there. Restore it from a copy, or record anew."
                )


def check_indices(columns: Mapping[str, Column], row: EpisodeRow, fps: int) -> None:
    """The index columns of an episode's table say what its row says.

    Raises:
        DatasetError: frames are missing or twice, or were taken at another rate.
    """
    where = f"{row.data}: episode {row.index}"
    count = len(columns["frame_index"])
    if count != row.length:
        raise DatasetError(
            f"{where}: expected {row.length} frames as in meta/episodes, got {count}. Restore it, or record it anew."
        )
    frame = np.arange(count)
    for name, expected in (("frame_index", frame), ("index", row.start + frame)):
        wrong = np.flatnonzero(columns[name] != expected)
        if wrong.size:
            at = int(wrong[0])
            raise DatasetError(
                f"{where}: expected {name} {expected[at]} in row {at}, got {columns[name][at]}: frames are missing or "
                "not in order. Restore the file from a copy, or record it anew."
            )
    off = np.abs(columns["timestamp"].astype(np.float64) * fps - frame)
    off -= np.spacing(columns["timestamp"]) * fps  # float32 cannot tell more: after an hour 1% of a frame at 50 Hz
    if off.max() > FRAME_TOLERANCE:
        at = int(off.argmax())
        raise DatasetError(
            f"{where}: expected timestamp {at / fps:.4f} s in row {at} ({fps} frames a second, as in info.json), got "
            f"{columns['timestamp'][at]:.4f} s. The fps of info.json is wrong, or frames are missing."
        )


def check_finite(columns: Mapping[str, Column], row: EpisodeRow) -> None:
    """No float is NaN or infinite.

    Raises:
        DatasetError: names the first.
    """
    for name, column in columns.items():
        if column.dtype.kind == "f" and not np.isfinite(column).all():
            frame, *entry = (int(i) for i in np.argwhere(~np.isfinite(column))[0])
            raise DatasetError(
                f"{row.data}: episode {row.index}: expected finite numbers in {name!r}, got "
                f"{column[(frame, *entry)]} at frame {frame}, entry {entry}. Leave the episode out or record it anew."
            )


def frames_of_videos(rows: Sequence[EpisodeRow], cameras: Sequence[str]) -> dict[Path, int]:
    """How many frames each video file must have."""
    expected: dict[Path, int] = defaultdict(int)
    for row in rows:
        for camera in cameras:
            path, first = row.videos[camera]
            expected[path] = max(expected[path], first + row.length)
    return expected


def check_video(path: Path, frames: int, fps: int) -> None:
    """A video has as many frames as the tables of its episodes, at the dataset's rate. Nothing is decoded.

    Raises:
        DatasetError: it has not.
    """
    found, rate = video.count_frames(path)
    if found != frames:
        raise DatasetError(
            f"{path}: expected {frames} frames as in the tables, got {found}. Restore it, or record it anew."
        )
    if abs(rate - fps) > FRAME_TOLERANCE:
        raise DatasetError(f"{path}: expected {fps} frames a second as in info.json, got {rate:g}. Record it anew.")


def read_statistics(root: Path, info: Mapping[str, Any], rows: Sequence[EpisodeRow]) -> dict[str, Statistics]:
    """meta/stats.json, if it is about these episodes or the first of them; empty if there is none.

    Raises:
        DatasetError: it belongs to other data.
    """
    path = root / STATS
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        statistics = {
            name: {key: np.asarray(value) for key, value in values.items() if key in NAMES}
            for name, values in content.items()
        }
    except (ValueError, AttributeError) as error:
        raise DatasetError(f"{path}: not statistics ({error}). {MEND}") from error
    shapes = {
        name: tuple(feature["shape"])
        for name, feature in column_features(info["features"]).items()
        if feature["dtype"] != "string"
    }
    shapes |= dict.fromkeys(video_keys(info["features"]), (3, 1, 1))
    for name in sorted((shapes.keys() ^ statistics.keys()) - set(INDICES)):
        there, here = name in statistics, name in shapes
        raise DatasetError(
            f"{path}: {'has' if there else 'lacks'} {name!r}, which the dataset {'has' if here else 'lacks'}: "
            f"statistics of other data. {MEND}"
        )
    for name, values in statistics.items():
        _check_statistics(path, name, values, shapes.get(name), rows)
    return statistics


def _check_statistics(
    path: Path, name: str, values: Statistics, shape: tuple[int, ...] | None, rows: Sequence[EpisodeRow]
) -> None:
    if missing := [key for key in ("min", "max", "mean", "std", "count") if key not in values]:
        raise DatasetError(f"{path}: {name!r} lacks {missing}. {MEND}")
    if shape is not None and values["mean"].shape != shape:
        raise DatasetError(f"{path}: expected {name!r} of shape {shape}, got {values['mean'].shape}. {MEND}")
    if shape == (3, 1, 1):
        return  # counted in sampled frames
    ends = np.cumsum([row.length for row in rows])
    count = int(values["count"].reshape(-1)[0])
    if count not in ends:
        raise DatasetError(
            f"{path}: {name!r} is about {count} frames, the dataset has {ends[-1] if rows else 0}, and no episode ends "
            f"there: statistics of other data. {MEND}"
        )
    covered = rows[: int(np.flatnonzero(ends == count)[0]) + 1]
    for end, reduce in (("min", np.min), ("max", np.max)):
        bounds = [row.bounds[name, end] for row in covered if (name, end) in row.bounds]
        if len(bounds) == len(covered):
            expected = reduce(np.stack(bounds), axis=0)
            if not np.allclose(values[end], expected, rtol=1e-6, atol=1e-9):
                raise DatasetError(
                    f"{path}: {name!r}: expected {end} {expected.tolist()}, as in the episodes, got "
                    f"{values[end].tolist()}: statistics of other data. {MEND}"
                )
