"""An episode made ready for the disk: the expensive part of writing, done in memory and without any lock."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vla.data.episode import IMAGES, Column, EpisodeData
from vla.data.lerobot import statistics, tables, video
from vla.data.lerobot.layout import features_of, place, video_feature


@dataclass(frozen=True, eq=False)
class EncodedEpisode:
    """Everything about an episode that does not depend on its number.

    Attributes:
        features: what info.json must say.
        videos: camera's feature name -> content of an mp4 file, or a file on the dataset's disk that is moved.
        extras: an npz file, or None.
        statistics: feature name -> statistics.
        robot_type: of the robot that it was recorded with, if that is known.
    """

    episode: EpisodeData
    features: dict[str, dict[str, Any]]
    videos: Mapping[str, bytes | Path]
    extras: bytes | None
    statistics: Mapping[str, statistics.Statistics]
    robot_type: str | None = None

    @classmethod
    def of(cls, episode: EpisodeData) -> EncodedEpisode:
        """Encode videos and extras, compute the statistics."""
        return cls(
            episode=episode,
            features=features_of(episode),
            videos={IMAGES + camera: video.encode(frames, episode.fps) for camera, frames in episode.images.items()},
            extras=_npz(episode) if episode.extras else None,
            statistics={
                **_of_columns(episode),
                **{IMAGES + camera: statistics.of_images(frames) for camera, frames in episode.images.items()},
            },
        )

    @classmethod
    def of_streams(
        cls, episode: EpisodeData, streams: Mapping[str, Path], robot_type: str | None = None
    ) -> EncodedEpisode:
        """With cameras that were encoded while the episode ran. The mp4 files lie beside the streams at first.

        Args:
            episode: without images.
            streams: camera -> raw stream of a `video.StreamEncoder`, as many frames as the episode has.
            robot_type: see `EncodedEpisode`.
        """
        evenly = np.linspace(0, episode.length - 1, statistics.IMAGE_SAMPLES).astype(int)
        sampled = {int(number) // 2 * 2 for number in evenly}
        videos = {IMAGES + camera: path.with_suffix(".mp4") for camera, path in streams.items()}
        seen = {
            IMAGES + camera: video.mux(path, episode.fps, videos[IMAGES + camera], sampled)
            for camera, path in streams.items()
        }
        cameras = {name: video_feature(frames.shape[1], frames.shape[2], episode.fps) for name, frames in seen.items()}
        return cls(
            episode=episode,
            features=features_of(episode) | cameras,
            videos=videos,
            extras=_npz(episode) if episode.extras else None,
            statistics={
                **_of_columns(episode),
                **{name: statistics.of_images(frames) for name, frames in seen.items()},
            },
            robot_type=robot_type,
        )

    def files(self, number: int, start: int, task: int) -> tuple[bytes, bytes]:
        """The data file and the episode's row, now that its number, first frame and task are known."""
        length = self.episode.length
        frame = np.arange(length)
        indices: dict[str, Column] = {
            "timestamp": (frame / self.episode.fps).astype(np.float32),
            "frame_index": frame,
            "episode_index": np.full(length, number),
            "index": start + frame,
            "task_index": np.full(length, task),
        }
        described = {**self.statistics, **{name: statistics.of_column(column) for name, column in indices.items()}}
        where = place(number)
        row: dict[str, Any] = {
            "episode_index": number,
            "tasks": [self.episode.instruction],
            "length": length,
            "dataset_from_index": start,
            "dataset_to_index": start + length,
            **{f"data/{key}": value for key, value in where.items()},
            **{f"meta/episodes/{key}": value for key, value in where.items()},
            "extras": list(self.episode.extras),
            "metadata": json.dumps(dict(self.episode.metadata), ensure_ascii=False, allow_nan=False),
        }
        for camera in self.videos:
            span = {"from_timestamp": 0.0, "to_timestamp": length / self.episode.fps}
            row |= {f"videos/{camera}/{key}": value for key, value in {**where, **span}.items()}
        for name, values in described.items():
            row |= {f"stats/{name}/{key}": value for key, value in values.items()}
        return tables.data_file({**self.episode.columns, **indices}), tables.episode_file(row)


def _of_columns(episode: EpisodeData) -> dict[str, statistics.Statistics]:
    numeric = {name: column for name, column in episode.columns.items() if column.dtype.kind != "U"}
    return {name: statistics.of_column(column) for name, column in numeric.items()}


def _npz(episode: EpisodeData) -> bytes:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {name: np.asarray(extra) for name, extra in episode.extras.items()}
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
