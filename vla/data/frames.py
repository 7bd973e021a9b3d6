"""Training frames: a dataset decoded once, at the network's resolution, into memory-mapped arrays."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from vla.data.episode import IMAGES, Column
from vla.data.lerobot.disk import locked
from vla.data.lerobot.errors import DatasetError
from vla.data.lerobot.reader import Dataset, read_dataset
from vla.data.lessons import WORDS, Selection, as_demonstration, is_demonstration, lessons
from vla.embodiment import Box
from vla.types import Image

LAYOUT = 3  # of the cached arrays; another one is decoded anew
DEMONSTRATION = ("action_chunk", "action_chunk_valid", "keyframes")  # columns; without the first it is a recording

Recorded = tuple[int, Selection] | None  # how many actions to take, and of what; None: demonstrations say it


@dataclass(frozen=True, eq=False)
class Frames:
    """F frames of many episodes; the images stay on disk until they are read.

    Attributes:
        images: (F, N, 3, H, W) uint8 RGB, memory-mapped.
        state: (F, S) float32.
        actions: (F, L, A) float32, the next L actions.
        valid: (F, L) whether each is learned from this frame.
        offsets: (F, J, 3) [m] from a hand to where it will be at its next keyframe.
        known: (F, J) whether that is known.
        points: (F, N, J, 2) the same in each image; -1 to 1 inside it.
        episode: (F,) index of the episode.
        task: (F,) index into `instructions`.
        suite: (F,) index into `suites`.
        content: digest of the dataset that they were decoded from.
    """

    images: npt.NDArray[np.uint8]
    state: npt.NDArray[np.float32]
    actions: npt.NDArray[np.float32]
    valid: npt.NDArray[np.bool_]
    offsets: npt.NDArray[np.float32]
    known: npt.NDArray[np.bool_]
    points: npt.NDArray[np.float32]
    episode: npt.NDArray[np.int64]
    task: npt.NDArray[np.int64]
    suite: npt.NDArray[np.int64]
    instructions: tuple[str, ...]
    suites: tuple[str, ...]
    content: str = ""

    def __len__(self) -> int:
        return len(self.state)


def load_frames(
    root: Path,
    cameras: Sequence[str],
    size: int | None,
    cache: Path,
    chunk: int,
    selection: Selection,
    boxes: Mapping[str, Box] = MappingProxyType({}),
) -> Frames:
    """The frames of a dataset, decoded if the cache does not hold them yet.

    Demonstrations say what is learned at each of their frames. Of any other recording, those frames are taken that
    `selection` wants, with the next actions that were sent, and unknown keyframes. What the cache holds of the same
    folder with other episodes is removed.

    Args:
        root: of the dataset.
        cameras: N, in the order in which the network sees them.
        size: [px] edge of the network's images; None: as the first camera was recorded.
        cache: folder for decoded frames; may be deleted at any time.
        chunk: L, actions to take from each frame of a recording; demonstrations hold as many as were stored.
        selection: of recordings; demonstrations are taken whole.
        boxes: see `vla.embodiment.ImageGeometry`.

    Raises:
        DatasetError: the dataset is damaged, lacks a camera or columns, or has nothing to learn; or the disk of the
            cache is full.
    """
    dataset = read_dataset(root, cameras=cameras)
    demonstrated = is_demonstration(dataset.features)
    if demonstrated and (missing := [name for name in DEMONSTRATION if name not in dataset.features]):
        raise DatasetError(
            f"{root}: expected demonstrations, with the columns {', '.join(DEMONSTRATION)}; missing "
            f"{', '.join(missing)}. Record with scripts/collect.py."
        )
    size = size or int(dataset.features[f"{IMAGES}{cameras[0]}"]["shape"][0])
    content = _content(dataset)
    home, same = cache / _short(str(root.resolve())), f"{LAYOUT}-{content}-"
    key: list[Any] = [list(cameras), size]
    key += [] if demonstrated else [chunk, asdict(selection)]
    key += [dict(boxes)] if boxes else []
    folder = home / (same + _short(key))
    try:
        home.mkdir(parents=True, exist_ok=True)
        with locked(cache / ".lock"):  # processes that train together decode once; nobody removes what is being opened
            for other in home.iterdir():
                if not other.name.startswith(same):
                    shutil.rmtree(other)  # whoever still trains on it keeps its open files
            if not (folder / "done").exists():
                recorded = None if demonstrated else (chunk, selection)
                _decode_whole(dataset, cameras, size, boxes, folder, recorded)
            return _open(folder, content)
    except OSError as error:
        raise DatasetError(
            f"{folder}: cannot hold the decoded frames of {root} ({error}). Make room on the disk, or name a folder on "
            "another one with cache=..."
        ) from error


def cut(image: Image, box: Box | None) -> Image:
    """(H, W, 3) -> the part of it that the network sees; None: all."""
    if box is None:
        return image
    height, width = image.shape[:2]
    left, top, right, bottom = box
    return image[round(top * height) : round(bottom * height), round(left * width) : round(right * width)]


def cut_points(points: Column, box: Box | None) -> Column:
    """(..., 2) image coordinates -> the same places in what `cut` leaves: x right, y down, -1 to 1 inside."""
    if box is None:
        return points
    left, top, right, bottom = box
    centre, half = np.array([left + right - 1, top + bottom - 1]), np.array([right - left, bottom - top])
    return ((points - centre) / half).astype(points.dtype)


def shrink(image: Image, size: int) -> Image:
    """(H, W, 3) -> (size, size, 3): every pixel is the mean of those it covers."""
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _content(dataset: Dataset) -> str:
    """Digest of what the dataset lists of its episodes, and of the sizes of their files.

    A dataset that was deleted and recorded anew has other bounds, and its videos other sizes; a copy has the same.
    """
    digest = hashlib.sha256()
    for row in dataset.episodes:
        bounds = sorted((*key, values.tolist()) for key, values in row.bounds.items())
        sizes = [path.stat().st_size for path in (row.data, *(path for path, _ in row.videos.values()))]
        digest.update(json.dumps([row.length, row.tasks, row.metadata, bounds, sizes], sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _short(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _open(folder: Path, content: str) -> Frames:
    columns = np.load(folder / "columns.npz", allow_pickle=False)
    names = json.loads((folder / "names.json").read_text())
    return Frames(
        images=np.load(folder / "images.npy", mmap_mode="r"),
        instructions=tuple(names["instructions"]),
        suites=tuple(names["suites"]),
        content=content,
        **{name: columns[name] for name in columns.files},
    )


def _decode_whole(
    dataset: Dataset, cameras: Sequence[str], size: int, boxes: Mapping[str, Box], folder: Path, recorded: Recorded
) -> None:
    """Fill the folder; what fails leaves nothing, so that a full disk is not filled by a torn cache."""
    shutil.rmtree(folder, ignore_errors=True)  # of a kill
    try:
        _decode(dataset, cameras, size, boxes, folder, recorded)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _decode(
    dataset: Dataset, cameras: Sequence[str], size: int, boxes: Mapping[str, Box], folder: Path, recorded: Recorded
) -> None:
    whole = {row.index: np.arange(row.length) for row in dataset.episodes}
    taken = lessons(dataset, recorded[1]) if recorded else whole  # episode -> its frames
    folder.mkdir(parents=True)
    total = sum(map(len, taken.values()))
    shape = (total, len(cameras), 3, size, size)
    images = np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
    with (folder / "images.npy").open("r+b") as file:
        # The file is sparse: without this a disk that fills up is told as a kill (SIGBUS), in the middle of decoding.
        os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    parts: dict[str, list[Any]] = {name: [] for name in ("state", "actions", "valid", "offsets", "known", "points")}
    owners: list[tuple[int, int, int]] = []  # episode, suite, frames
    told: list[int] = []  # instruction of each frame
    instructions: dict[str, int] = {}
    suites: dict[str, int] = {}
    start = 0
    for index, rows in tqdm(taken.items(), desc="decoding", unit="episode"):
        episode = dataset[index]
        columns = episode.columns
        if recorded:
            chunk, selection = recorded
            columns = as_demonstration(episode, rows, selection, cameras, chunk)
        for at, camera in enumerate(cameras):
            seen = [cut(episode.images[camera][row], boxes.get(camera)) for row in rows]
            small = np.stack([shrink(image, size) for image in seen])  # (F, size, size, 3)
            images[start : start + len(rows), at] = small.transpose(0, 3, 1, 2)
        start += len(rows)
        parts["state"].append(columns["observation.state"])
        parts["actions"].append(columns["action_chunk"])
        parts["valid"].append(columns["action_chunk_valid"])
        parts["offsets"].append(_offsets(columns))
        parts["known"].append(columns.get("keyframe_known", np.ones(columns["keyframes"].shape[:2], bool)))
        points = [cut_points(columns[f"keyframe_pixels.{camera}"], boxes.get(camera)) for camera in cameras]
        parts["points"].append(np.stack(points, axis=1))
        words = columns.get(WORDS, np.full(len(rows), episode.instruction))
        told += [instructions.setdefault(str(text), len(instructions)) for text in words]
        suite = suites.setdefault(str(episode.metadata.get("suite", "")), len(suites))
        owners.append((index, suite, len(rows)))
    images.flush()
    lengths = [owner[2] for owner in owners]
    arrays: dict[str, Any] = {name: np.concatenate(values) for name, values in parts.items()}
    arrays["task"] = np.array(told)
    for at, name in enumerate(("episode", "suite")):
        arrays[name] = np.repeat([owner[at] for owner in owners], lengths)
    np.savez(folder / "columns.npz", **arrays)
    (folder / "names.json").write_text(json.dumps({"instructions": list(instructions), "suites": list(suites)}))
    (folder / "done").touch()


def _offsets(columns: Mapping[str, Column]) -> Column:
    """(T, J, 3) [m]; where they are not stored, the state begins with the position of the only hand."""
    if "keyframe_offsets" in columns:
        return columns["keyframe_offsets"]
    return np.asarray(columns["keyframes"] - columns["observation.state"][:, None, :3], dtype=np.float32)
