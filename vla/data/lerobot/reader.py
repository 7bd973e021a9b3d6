"""Read a LeRobotDataset v3.0 strictly: whatever is wrong is said at once, with file, expected and found."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vla.data.episode import ACTION, INDICES, Column, EpisodeData, EpisodeError
from vla.data.lerobot import tables, video
from vla.data.lerobot.checks import (
    check_files,
    check_finite,
    check_indices,
    check_video,
    frames_of_videos,
    read_statistics,
)
from vla.data.lerobot.errors import DatasetError
from vla.data.lerobot.layout import TASKS, column_features, read_info, video_keys
from vla.data.lerobot.recovery import recover
from vla.data.lerobot.rows import camera_of, read_metadata, read_rows
from vla.data.lerobot.statistics import Statistics
from vla.types import Image

__all__ = ["Dataset", "read_dataset", "read_metadata"]


def read_dataset(root: str | Path, *, cameras: Sequence[str] | None = None) -> Dataset:
    """Open a dataset and check everything that needs no episode's data: see also `Dataset.verify`.

    Args:
        root: its folder.
        cameras: which to read, in this order; None: all.

    Raises:
        DatasetError: another version, other cameras, a gap in the episodes, missing files, or statistics
            of other data.

    An episode whose recorder was killed is finished first: the folder is written to then.
    """
    recover(root)
    return Dataset(Path(root), cameras)


class Dataset:
    """An open dataset; `dataset[i]` is an episode in memory.

    Episodes that were added after opening are not seen. Datasets of others, with several episodes in a file, are read
    as well.

    Attributes:
        fps: [1/s] frames a second.
        cameras: in the order in which they were asked for.
        episodes: what is known without opening their data.
        tasks: instructions by task_index.
        features: as in info.json.
    """

    def __init__(self, root: Path, cameras: Sequence[str] | None) -> None:
        self.root = root
        self.info = read_info(root)
        self.features: dict[str, dict[str, Any]] = self.info["features"]
        self.fps = int(self.info["fps"])
        there = [camera_of(key) for key in video_keys(self.features)]
        self.cameras = tuple(there if cameras is None else cameras)
        if unknown := [camera for camera in self.cameras if camera not in there]:
            raise DatasetError(f"{root}: expected the cameras {unknown}, the dataset has {there}. Name some of those.")
        if stored := [name for name, feature in self.features.items() if feature["dtype"] == "image"]:
            raise DatasetError(f"{root}: {stored} are stored as single images; expected videos. Convert the dataset.")
        self.episodes = tuple(read_rows(root, self.info))
        self.tasks = tuple(tables.read_tasks(root / TASKS)) if self.episodes else ()
        check_files(self.episodes, self.cameras)
        self._video_frames = frames_of_videos(self.episodes, self.cameras)
        self._statistics = read_statistics(root, self.info, self.episodes)
        self._open: tuple[Path, pa.Table] | None = None

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, index: int) -> EpisodeData:
        """Episode `index`, complete.

        Raises:
            DatasetError: frames are missing, numbers are not finite, table and video differ.
        """
        row = self.episodes[index]
        if len(row.tasks) != 1:
            raise DatasetError(f"{row.data}: episode {row.index}: expected one instruction, got {list(row.tasks)}.")
        columns = {name: column for name, column in self.columns(index).items() if name not in INDICES}
        try:
            return EpisodeData(
                instruction=row.tasks[0],
                fps=self.fps,
                images={camera: self.images(index, camera) for camera in self.cameras},
                columns=columns,
                names={name: names for name in columns if (names := self._names(name))},
                metadata=row.metadata,
                extras=self.extras(index),
            )
        except EpisodeError as error:
            raise DatasetError(f"{row.data}: episode {row.index}: {error}") from error

    @property
    def statistics(self) -> dict[str, Statistics]:
        """Of all frames: feature -> min, max, mean, std, count, q01 ... q99.

        Raises:
            DatasetError: there are none, or not of all frames (no writer was closed after the last episode).
        """
        frames = sum(row.length for row in self.episodes)
        covered = int(self._statistics[ACTION]["count"][0]) if ACTION in self._statistics else 0
        if covered != frames:
            raise DatasetError(
                f"{self.root}: meta/stats.json is about {covered} of {frames} frames, because no writer was closed "
                "after the last episode. Write it anew: DatasetWriter(root).close()."
            )
        return self._statistics

    def columns(self, index: int) -> dict[str, Column]:
        """All columns of an episode with the index columns, without decoding images.

        Raises:
            DatasetError: see `__getitem__`.
        """
        row = self.episodes[index]
        table = self._table(row.data)
        features = column_features(self.features)
        if missing := sorted(features.keys() - set(table.column_names)):
            raise DatasetError(f"{row.data}: lacks the columns {missing}, which info.json names. Restore the file.")
        table = table.filter(pc.equal(table["episode_index"], row.index))
        if not len(table):
            raise DatasetError(
                f"{row.data}: expected {row.length} frames of episode {row.index}, got none. Restore the file."
            )
        columns = {
            name: tables.to_numpy(table[name], feature, f"{row.data}: column {name!r}")
            for name, feature in features.items()
        }
        check_indices(columns, row, self.fps)
        check_finite(columns, row)
        named = [self.tasks[task] for task in np.unique(columns["task_index"]) if task < len(self.tasks)]
        if set(named) != set(row.tasks):
            raise DatasetError(
                f"{row.data}: episode {row.index}: its task_index leads to {named} in {TASKS}, expected "
                f"{list(row.tasks)}. Restore that file from a copy."
            )
        return columns

    def images(self, index: int, camera: str, start: int = 0, stop: int | None = None) -> Image:
        """(T, H, W, 3) uint8 frames of a camera in an episode, from `start` to before `stop`; None: to its end.

        Raises:
            DatasetError: see `__getitem__`.
        """
        row = self.episodes[index]
        path, first = row.videos[camera]
        check_video(path, self._video_frames[path], self.fps)
        key = next(key for key in video_keys(self.features) if camera_of(key) == camera)
        start, stop, _ = slice(start, stop).indices(row.length)
        shape = tuple(self.features[key]["shape"])
        return video.decode(path, first + start, max(0, stop - start), self.fps, shape)

    def extras(self, index: int) -> dict[str, npt.NDArray[Any] | str]:
        """`EpisodeData.extras` of an episode.

        Raises:
            DatasetError: the file is broken.
        """
        row = self.episodes[index]
        if row.extras is None:
            return {}
        try:
            with row.extras.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise DatasetError(f"{row.extras}: cannot be read ({error}). Restore it, or record it anew.") from error
        return {name: str(array) if array.dtype.kind == "U" else array for name, array in arrays.items()}

    def verify(self) -> int:
        """Read every table and the index of every video.

        Returns:
            The number of frames.

        Raises:
            DatasetError: the first thing that is wrong.
        """
        total = sum(len(self.columns(index)["index"]) for index in range(len(self)))
        for path, frames in self._video_frames.items():
            check_video(path, frames, self.fps)
        return total

    def _table(self, path: Path) -> pa.Table:
        if self._open is None or self._open[0] != path:  # others keep many episodes in a file
            self._open = (path, tables.read_table(path))
        return self._open[1]

    def _names(self, name: str) -> list[str]:
        feature = self.features[name]
        if "labels" in feature:
            return list(feature["labels"])
        names = feature.get("names")  # others write null, or a mapping of groups
        return names if isinstance(names, list) and feature["shape"] == [len(names)] != [1] else []
