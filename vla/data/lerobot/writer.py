"""Append episodes to a LeRobotDataset v3.0, from any number of processes, safe against a kill at any byte.

An episode exists once its row in `meta/episodes` exists. Everything else of it is on disk before that row, and
`info.json` (how many there are) follows it. What a killed writer leaves is therefore either files that no row names,
which the next writer removes, or an info.json that is behind by an episode, which the next writer mends.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from vla.data.episode import EpisodeData
from vla.data.lerobot import tables
from vla.data.lerobot.disk import adopt, locked, make_folder, put
from vla.data.lerobot.encoded import EncodedEpisode
from vla.data.lerobot.errors import DatasetError
from vla.data.lerobot.layout import (
    EPISODES_PATH,
    INFO,
    LOCK,
    TASKS,
    UNKNOWN,
    features_of,
    files_of,
    new_info,
    place,
    read_info,
    to_json,
    video_keys,
)
from vla.data.lerobot.summary import summarize
from vla.files import TEMPORARY, Write


class DatasetWriter:
    """Open for appending; several processes may have the same folder open.

    Args:
        root: folder of the dataset; made if missing. The first episode decides its features.
        robot_type: what info.json calls the robot, if nothing else is known of it.
        write: how bytes get to a file descriptor; tests inject a disk that fills up.

    Raises:
        DatasetError: the folder holds something else, or a dataset with a gap.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        robot_type: str = UNKNOWN,
        write: Write = os.write,
    ) -> None:
        self.root = Path(root)
        self._robot_type = robot_type
        self._write = write
        foreign = sorted(path.name for path in self.root.iterdir()) if self.root.exists() else []
        if foreign and not (self.root / INFO).exists() and not (self.root / LOCK).exists():
            raise DatasetError(f"{self.root}: not a dataset, it holds {', '.join(foreign)}. Choose another folder.")
        make_folder(self.root)
        with locked(self.root / LOCK):
            self._remove_torn()

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

    def __len__(self) -> int:
        """Episodes on disk, of all writers."""
        with locked(self.root / LOCK):
            info = self._caught_up()
        return int(info["total_episodes"]) if info else 0

    def add(self, episode: EpisodeData) -> int:
        """Write an episode and wait until it is on disk. Encoding runs outside the lock.

        Returns:
            Its episode_index.

        Raises:
            DatasetError: it differs from the dataset's other episodes, or the disk is full. Nothing of it is left
                then, unless the message says that it was saved; all other episodes are safe.
        """
        return self.add_encoded(EncodedEpisode.of(episode))

    def add_encoded(self, encoded: EncodedEpisode) -> int:
        """`add` of an episode that is encoded already."""
        with locked(self.root / LOCK):
            info = self._caught_up()
            try:
                info = info or self._create(encoded)
                self._check_same(encoded.features, encoded.episode.fps, info)
                return self._commit(encoded, info)
            except OSError as error:
                raise self._cannot_write(error) from error

    def check(self, episode: EpisodeData) -> None:
        """Whether such an episode could be added; one frame is enough to tell.

        Raises:
            DatasetError: it differs from the dataset's other episodes.
        """
        with locked(self.root / LOCK):
            info = self._caught_up()
            if info:
                self._check_same(features_of(episode), episode.fps, info)

    def close(self) -> None:
        """Bring meta/stats.json up to date: exact statistics over all frames.

        Raises:
            DatasetError: the disk is full.
        """
        with locked(self.root / LOCK):
            info = self._caught_up()
            if not info or not info["total_episodes"]:
                return
            try:
                put(self.root / INFO, to_json(info), self._write)
                summarize(self.root, info, self._write)
            except OSError as error:
                raise self._cannot_write(error) from error

    def _commit(self, encoded: EncodedEpisode, info: dict[str, Any]) -> int:
        number, start = info["total_episodes"], info["total_frames"]
        paths = files_of(self.root, number, list(encoded.videos))
        try:
            task, tasks = self._task(encoded.episode.instruction)
            data, row = encoded.files(number, start, task)
            for camera, content in encoded.videos.items():
                if isinstance(content, Path):
                    adopt(paths[camera], content)
                else:
                    put(paths[camera], content, self._write)
            if encoded.extras is not None:
                put(paths["extras"], encoded.extras, self._write)
            put(paths["data"], data, self._write)
            put(paths["episodes"], row, self._write)  # from here on the episode exists
        except BaseException:
            if not paths["episodes"].exists():
                self._remove(number, list(encoded.videos))
            raise
        counted = _counted(info, number + 1, start + encoded.episode.length, tasks)
        try:
            put(self.root / INFO, to_json(counted), self._write)
        except OSError as error:
            raise DatasetError(
                f"{self.root}: episode {number} is saved, but {INFO} could not be updated ({error}). Make room and go "
                "on in the same folder; the next writer mends it."
            ) from error
        return int(number)

    def _create(self, encoded: EncodedEpisode) -> dict[str, Any]:
        info = new_info(encoded.features, encoded.episode.fps, encoded.robot_type or self._robot_type)
        put(self.root / INFO, to_json(info), self._write)
        return info

    def _task(self, instruction: str) -> tuple[int, int]:
        """The number of an instruction, and how many there are; a new one is appended on disk."""
        path = self.root / TASKS
        tasks = tables.read_tasks(path) if path.exists() else []
        if instruction not in tasks:
            tasks.append(instruction)
            put(path, tables.tasks_file(tasks), self._write)
        return tasks.index(instruction), len(tasks)

    def _caught_up(self) -> dict[str, Any] | None:
        """info.json, or None before the first episode; with an episode whose writer died right after its row."""
        if not (self.root / INFO).exists():
            return None
        info = read_info(self.root)
        number, frames = info["total_episodes"], info["total_frames"]
        while (path := self.root / EPISODES_PATH.format(**place(number))).exists():
            frames += tables.read_table(path, ["length"])["length"][0].as_py()
            number += 1
        if number != info["total_episodes"]:
            info = _counted(info, number, frames, len(tables.read_tasks(self.root / TASKS)))
        self._remove(number, video_keys(info["features"]))
        return info

    def _remove(self, number: int, cameras: list[str]) -> None:
        """Remove what a writer left of an episode that it did not finish."""
        for path in files_of(self.root, number, cameras).values():
            path.unlink(missing_ok=True)

    def _remove_torn(self) -> None:
        for path in self.root.rglob(f".*{TEMPORARY}"):
            path.unlink()
        info = self._caught_up()
        if info is None:
            return
        expected = {self.root / EPISODES_PATH.format(**place(i)) for i in range(info["total_episodes"])}
        found = set(self.root.glob("meta/episodes/*/*.parquet"))
        if expected != found:
            raise DatasetError(
                f"{min(expected ^ found)}: {'missing' if expected - found else 'after a gap'}; {INFO} counts "
                f"{len(expected)} episodes, {len(found)} are there. Restore the missing files from a copy."
            )
        if self._robot_type != UNKNOWN and info.get("robot_type") in (None, UNKNOWN):
            info["robot_type"] = self._robot_type
        try:
            put(self.root / INFO, to_json(info), self._write)
        except OSError as error:
            raise self._cannot_write(error) from error

    def _check_same(self, features: Mapping[str, Any], fps: int, info: dict[str, Any]) -> None:
        if fps != info["fps"]:
            raise DatasetError(
                f"{self.root}: expected {info['fps']} frames a second, as in its other episodes, got "
                f"{fps}. Write to another folder."
            )
        for name in sorted(features.keys() | info["features"].keys()):
            here, there = features.get(name), info["features"].get(name)
            if here != there:
                raise DatasetError(
                    f"{self.root}: feature {name!r} differs from the dataset's other episodes: expected {there}, got "
                    f"{here}. Write to another folder."
                )

    def _cannot_write(self, error: OSError) -> DatasetError:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        info = self._caught_up()
        count = info["total_episodes"] if info else 0
        return DatasetError(
            f"{self.root}: {'the disk is full' if full else error}. The {count} episodes written so far are safe; "
            f"{'make room' if full else 'mend it'}, then go on in the same folder."
        )


def _counted(info: Mapping[str, Any], episodes: int, frames: int, tasks: int) -> dict[str, Any]:
    counts = {"total_episodes": episodes, "total_frames": frames, "total_tasks": tasks}
    return {**info, **counts, "splits": {"train": f"0:{episodes}"}}
