"""A subscriber that films an episode: H.264 video that plays in a browser, and a filmstrip for the report."""

from __future__ import annotations

import logging
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np

from vla.files import replace_atomic
from vla.types import Episode, Image, Observation, Outcome, Step

CAMERAS = 2  # side by side, in the order of the observation
BORDER_PX = 4
STRIP_FRAMES = 6
STRIP_HEIGHT_PX = 96
GREEN, RED, INK, PAPER = (46, 160, 67), (218, 54, 51), (235, 235, 235), (24, 24, 27)  # RGB
LOG = logging.getLogger(__name__)


class VideoRecorder:
    """Keeps every `stride`-th view and the last one; writes both files when the episode ends.

    Views are read inside `on_step`, while their observation is fresh. A video that cannot be written (a full
    disk) costs no result: `path` stays None and the reason goes to the log. Without a camera there is no video.

    Args:
        stem: path without outcome and suffix; `<stem>_<outcome>.mp4` and `.jpg` are written.
        hz: [1/s] control rate; playback is real time.
        stride: control steps per frame.
        drifted: say so in the picture and in the metadata.

    Attributes:
        path: the video, once it is written.
    """

    def __init__(self, stem: Path, *, hz: float, stride: int, drifted: bool = False) -> None:
        self.path: Path | None = None
        self._stem = stem
        self._rate = Fraction(hz).limit_denominator(1000) / stride
        self._stride = stride
        self._drifted = drifted
        self._views: list[Image] = []
        self._filmed = 0  # number of steps before the newest view

    def on_episode_start(self, observation: Observation) -> None:
        """The first view, if there is anything to see."""
        self._views, self._filmed = [], 0
        if observation.images:
            self._views = [_view(observation)]
            self._first_width = observation.images[next(iter(observation.images))].shape[1]

    def on_step(self, step: Step) -> None:
        """Film what is seen after every `stride`-th action."""
        if self._views and (step.index + 1) % self._stride == 0:
            self._views.append(_view(step.after))
            self._filmed = step.index + 1

    def on_episode_end(self, episode: Episode, observation: Observation | None) -> None:
        """Add the last view, draw outcome and words around all, write the files."""
        if not self._views:
            return
        # After an error the observation may be stale: its images can no longer be read.
        if observation is not None and episode.outcome != Outcome.ERROR and self._filmed != episode.steps:
            self._views.append(_view(observation))
        path = self._stem.with_name(f"{self._stem.name}_{episode.outcome.lower()}.mp4")
        frames = [_frame(view, episode, self._drifted) for view in self._views]
        comment = "drifted" if self._drifted else ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_atomic(
                path.with_suffix(".jpg"), lambda file: _write_jpeg(file, _strip(self._views, self._first_width))
            )
            replace_atomic(path, lambda file: _encode(file, frames, self._rate, episode.instruction, comment))
        except (OSError, av.FFmpegError):  # of the disk; or of FFmpeg, whose errors are not all of the system
            LOG.exception("%s could not be written", path)
            return
        self.path = path


def _view(observation: Observation) -> Image:
    """The first cameras side by side, each as high as the first: (H, W, 3) uint8."""
    names = list(islice(observation.images, CAMERAS))
    images = [np.ascontiguousarray(observation.images[name]) for name in names]
    height = images[0].shape[0]
    same = [im if im.shape[0] == height else _scale(im, height) for im in images]
    return np.concatenate(same, axis=1)


def _scale(image: Image, height: int) -> Image:
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _frame(view: Image, episode: Episode, drifted: bool) -> Image:
    """Caption above, border in the colour of the outcome, even sides (yuv420p wants them)."""
    height, width = view.shape[:2]
    words = f"[DRIFTED] {episode.instruction}" if drifted else episode.instruction
    words = words.encode("ascii", "replace").decode()  # OpenCV's font has no more
    font, thickness = cv2.FONT_HERSHEY_SIMPLEX, 1
    natural = cv2.getTextSize(words, font, 1.0, thickness)[0][0]
    scale = min(0.45, (width - 8) / max(natural, 1))
    caption = np.full((24, width, 3), PAPER, np.uint8)
    cv2.putText(caption, words, (4, 16), font, scale, INK, thickness, cv2.LINE_AA)
    colour = GREEN if episode.outcome == Outcome.SUCCESS else RED
    framed = cv2.copyMakeBorder(
        np.concatenate([caption, view]),
        BORDER_PX,
        BORDER_PX + height % 2,
        BORDER_PX,
        BORDER_PX + width % 2,
        cv2.BORDER_CONSTANT,
        value=colour,
    )
    return np.asarray(framed, dtype=np.uint8)


def _strip(views: list[Image], width: int) -> Image:
    """Evenly spaced views of the first camera, `width` pixels wide, scaled down, side by side."""
    chosen = np.linspace(0, len(views) - 1, min(STRIP_FRAMES, len(views))).round().astype(int)
    return np.concatenate([_scale(views[i][:, :width], STRIP_HEIGHT_PX) for i in chosen], axis=1)


def _write_jpeg(path: Path, image: Image) -> None:
    ok, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 75])
    if not ok:
        raise OSError(f"{path}: OpenCV could not encode a JPEG of shape {image.shape}")
    path.write_bytes(data.tobytes())


def _encode(path: Path, frames: list[Image], rate: Fraction, title: str, comment: str) -> None:
    """Write H.264 yuv420p with the index in front, so that a browser starts before it has all."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        container.metadata.update({"title": title, "comment": comment})
        stream = container.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "23"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
