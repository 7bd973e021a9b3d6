"""An episode on disk while it is being recorded: after a kill at any byte, every frame whose row is whole is there.

    journal/<id>/head.json      what stays the same: words at the start, rate, robot, cameras, names, metadata
    journal/<id>/<camera>.h264  raw video, appended to
    journal/<id>/rows.jsonl     a line a frame: its numbers, and where its picture ends in each video
    journal/<id>/.lock          held while the recorder lives

A row is written after its pictures, so a row that is whole has them; only a power cut, which takes what was not synced
in any order, may leave rows without. The lines are JSON with all digits of a number: nothing is rounded.
`vla.data.lerobot.recovery` makes an episode of a journal.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from vla.data.episode import Column, EpisodeData
from vla.data.lerobot.disk import locked, make_folder, put
from vla.data.lerobot.encoded import EncodedEpisode
from vla.data.lerobot.errors import DatasetError
from vla.data.lerobot.layout import JOURNALS, LOCK, to_json
from vla.data.lerobot.video import StreamEncoder
from vla.files import Write, write_all
from vla.types import FloatArray, Image

LOG = logging.getLogger(__name__)
HEAD, ROWS, HELD = "head.json", "rows.jsonl", ".lock"
UNFINISHED = {
    "outcome": "ERROR",
    "success": False,
    "detail": "the recorder died; this is what it had recorded",
}


class Journal:
    """Writes one. Pictures are encoded and written by a thread of their own, rows by the caller.

    Another thread brings both to the disk, about once a second: that may take long, and nobody waits for it.

    Args:
        root: folder of the dataset.
        instruction: words at the start.
        fps: [1/s].
        robot_type: as the dataset names the robot.
        images: camera -> (H, W, 3): the first frame; tells sizes, and is shown.
        names: see `EpisodeData.names`.
        metadata: see `EpisodeData.metadata`; what is known at the start.
        write: how bytes get to a file descriptor; tests inject a disk that fills up.

    Attributes:
        frames: rows so far.

    Raises:
        ValueError: a picture with odd sides.
        OSError: of the disk.
    """

    def __init__(
        self,
        root: Path,
        *,
        instruction: str,
        fps: int,
        robot_type: str,
        images: Mapping[str, Image],
        names: Mapping[str, Sequence[str]],
        metadata: Mapping[str, Any],
        write: Write = os.write,
    ) -> None:
        self.frames = 0
        self._write, self._fps = write, fps
        self._encoders = {
            camera: StreamEncoder(image.shape[0], image.shape[1], fps) for camera, image in images.items()
        }
        name = uuid.uuid4().hex
        self.folder = root / JOURNALS / name
        head = {
            "id": name,
            "instruction": instruction,
            "fps": fps,
            "robot_type": robot_type,
            "cameras": list(images),
            "names": {key: list(value) for key, value in names.items()},
            "metadata": {**metadata, "journal": name},
        }
        make_folder(root)
        with locked(root / LOCK):  # else somebody might think that its recorder is dead already, and clear away
            make_folder(self.folder)
            self._held: int | None = os.open(self.folder / HELD, os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(self._held, fcntl.LOCK_EX)
            put(self.folder / HEAD, to_json(head), write)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._rows, self._size = os.open(self.folder / ROWS, flags, 0o644), 0
        self._streams = {camera: os.open(self.folder / f"{camera}.h264", flags, 0o644) for camera in images}
        self._ends = dict.fromkeys(images, 0)
        self._pool = ThreadPoolExecutor(1, "journal")
        self._shown: Future[None] | None = None
        self._disk = ThreadPoolExecutor(1, "journal disk")
        self._synced: Future[None] | None = None
        self.show(images)

    def show(self, images: Mapping[str, Image]) -> None:
        """The pictures of the next row; they are copied here and encoded meanwhile."""
        copies = {camera: np.array(images[camera]) for camera in self._encoders}
        self._shown = self._pool.submit(self._encode, copies)

    def append(self, columns: Mapping[str, Any], extras: Mapping[str, FloatArray]) -> None:
        """Write the row of the pictures that were shown last. When this returns, no kill can take the frame away.

        Args:
            columns: name -> number, list of numbers or text; the same names in every row.
            extras: name -> array of which an extra (T, ...) will be made.

        Raises:
            ValueError: NaN or infinity, or pictures of another size than the first.
            OSError: of the disk, now or when it was last brought up to date.
        """
        self._check_synced()
        if self._shown is not None:
            self._shown.result()
            self._shown = None
        row = {
            "columns": {name: _plain(value) for name, value in columns.items()},
            "extras": {name: _plain(value) for name, value in extras.items()},
            "ends": self._ends,
        }
        self._write_line(row)
        self.frames += 1
        if self.frames % self._fps == 0 and self._synced is None:  # a slow disk is asked less often
            self._synced = self._disk.submit(self._sync)  # a kill loses nothing; a power cut about a second

    def end(self, metadata: Mapping[str, Any], last_event: str = "") -> None:
        """The episode is over; `metadata` is added to that of the start, `last_event` to the events of the last row."""
        self._write_line({"end": dict(metadata), "last_event": last_event})

    def close(self) -> None:
        """Stop writing; the journal can be made an episode now. Any number of times.

        Raises:
            OSError: of the disk, when it was last brought up to date; the journal is closed all the same.
        """
        if self._held is None:
            return
        self._pool.shutdown(wait=True)
        self._disk.shutdown(wait=True)
        for descriptor in (self._rows, *self._streams.values(), self._held):
            os.close(descriptor)
        self._held = None
        self._check_synced()

    def _check_synced(self) -> None:
        """Raise, once, what went wrong on the disk; do not wait for it."""
        if self._synced is not None and self._synced.done():
            synced, self._synced = self._synced, None
            synced.result()

    def _write_line(self, content: Mapping[str, Any]) -> None:
        line = (json.dumps(content, allow_nan=False) + "\n").encode()
        try:
            write_all(self._rows, line, self._write)
        except OSError:
            os.ftruncate(self._rows, self._size)  # a torn line may only be the last one
            raise
        self._size += len(line)

    def _encode(self, images: Mapping[str, Image]) -> None:
        ends = dict(self._ends)
        for camera, image in images.items():
            content = self._encoders[camera].encode(image)
            write_all(self._streams[camera], content, self._write)
            ends[camera] += len(content)
        self._ends = ends

    def _sync(self) -> None:
        for descriptor in (*self._streams.values(), self._rows):
            os.fdatasync(descriptor)


def read_journal(folder: Path) -> EncodedEpisode | None:
    """What a journal holds, ready for the dataset; None if it has no whole row. Nobody else may hold it.

    Rows at the end whose pictures a power cut took are left out; what is left does not count as an episode that ended.

    Raises:
        DatasetError: it is damaged elsewhere than at its end, or no row has its pictures.
    """
    if not (folder / HEAD).exists() or not (folder / ROWS).exists():  # killed before the first row, or while removing
        return None
    head = json.loads((folder / HEAD).read_text(encoding="utf-8"))
    *lines, _torn = (folder / ROWS).read_bytes().split(b"\n")  # what follows the last line end is torn, or nothing
    try:
        rows = [json.loads(line) for line in lines]
    except ValueError as error:
        raise DatasetError(f"{folder / ROWS}: not JSON ({error}). Move {folder} away to go on without it.") from error
    ending: dict[str, Any] = {"end": UNFINISHED, "last_event": ""}
    if rows and "end" in rows[-1]:
        ending = rows.pop()
    if not rows:
        return None
    streams = {camera: folder / f"{camera}.h264" for camera in head["cameras"]}
    metadata = {**head["metadata"], **ending["end"]}
    if _drop_without_pictures(rows, streams):
        metadata |= UNFINISHED
    elif ending["last_event"]:
        _add_event(rows[-1]["columns"], ending["last_event"])
    for camera, path in streams.items():
        os.truncate(path, rows[-1]["ends"][camera])  # the picture of a row that was not written any more
    episode = EpisodeData(
        instruction=head["instruction"],
        fps=head["fps"],
        images={},
        columns={name: to_column([row["columns"][name] for row in rows]) for name in rows[0]["columns"]},
        names=head["names"],
        metadata={**metadata, "steps": len(rows)},
        extras={name: np.array([row["extras"][name] for row in rows]) for name in rows[0]["extras"]},
    )
    return EncodedEpisode.of_streams(episode, streams, head.get("robot_type"))  # older heads do not tell


def _drop_without_pictures(rows: list[dict[str, Any]], streams: Mapping[str, Path]) -> int:
    """Drop the last rows whose pictures are not in the videos; returns how many."""
    sizes = {camera: path.stat().st_size if path.exists() else 0 for camera, path in streams.items()}
    lacking = [[camera for camera, size in sizes.items() if row["ends"][camera] > size] for row in rows]
    whole = lacking.count([])  # they come first: the videos only grow
    if not whole:
        camera = lacking[0][0]
        raise DatasetError(
            f"{streams[camera]}: expected at least {rows[0]['ends'][camera]} bytes as in the first row, got "
            f"{sizes[camera]}. Restore it, or move {streams[camera].parent} away to go on without it."
        )
    if dropped := len(rows) - whole:
        path = streams[lacking[-1][0]]
        LOG.warning("%s: the pictures of the last %d of %d steps are missing; left out", path, dropped, len(rows))
        del rows[whole:]
    return dropped


def _add_event(columns: dict[str, Any], event: str) -> None:
    columns["events"] = "; ".join(filter(None, (columns.get("events"), event)))


def to_column(values: Sequence[Any]) -> Column:
    """Floats as float32, as datasets keep them; whole numbers, truth values and text as they are."""
    column = np.array(values)
    return column.astype(np.float32) if column.dtype.kind == "f" else column


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
