"""A subscriber that films a session as it runs: cameras side by side, with the words and who commands."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import islice
from pathlib import Path
from threading import Semaphore

import av
import cv2
import numpy as np

from vla.types import Commander, Episode, Image, Observation, Step

LOG = logging.getLogger(__name__)
CAMERAS, HEIGHT_PX, CAPTION_PX = 3, 240, 24
FRAMES_PER_S = 10
WAITING = 2 * FRAMES_PER_S  # frames at most between caller and thread: two seconds, of three cameras 15 MB
COLOURS = {Commander.POLICY: (66, 135, 245), Commander.NOBODY: (150, 150, 150), Commander.PERSON: (245, 158, 66)}  # RGB
INK = (235, 235, 235)


class Film:
    """Writes an mp4 frame by frame, so that a long session takes no memory. Without cameras there is no film.

    The caller puts a frame together; a thread encodes and writes it. A film that cannot be written, on a full disk for
    example, is given up with a word in the log: the session goes on.

    Args:
        path: of the video; it gets its name when the episode ends.
        hz: [1/s] control rate; playback is real time.
        drop: leave a frame out when too many are waiting for the thread. False: wait for it, which makes ticks late.

    Attributes:
        path: None until the video is whole, or if there is none.
        dropped: frames that were left out.
    """

    def __init__(self, path: Path, hz: float, drop: bool) -> None:
        self.path: Path | None = None
        self.dropped = 0
        self._target, self._unfinished = path, path.with_name(f".{path.stem}.tmp{path.suffix}")
        self._stride = max(1, round(hz / FRAMES_PER_S))
        self._rate = Fraction(hz).limit_denominator(1000) / self._stride
        self._drop, self._room = drop, Semaphore(WAITING)
        self._thread: ThreadPoolExecutor | None = None
        self._given_up = False
        self._container: av.container.OutputContainer | None = None  # of the thread

    def on_episode_start(self, observation: Observation) -> None:
        """Open the file; the first frame tells the size."""
        if not observation.images:
            return
        frame = _frame(observation, Commander.NOBODY)
        self._thread = ThreadPoolExecutor(1, "film")
        self._thread.submit(self._open, frame.shape[0], frame.shape[1])
        self._room.acquire()
        self._thread.submit(self._encode, frame, 0)

    def on_step(self, step: Step) -> None:
        """Film what is seen after every `stride`-th action."""
        number, rest = divmod(step.index + 1, self._stride)
        if self._thread is None or self._given_up or rest:
            return
        if self._room.acquire(blocking=not self._drop):
            self._thread.submit(self._encode, _frame(step.after, step.commander), number)
        else:
            self.dropped += 1

    def on_episode_end(self, episode: Episode, observation: Observation | None) -> None:
        """Wait for the thread, close the file and give it its name."""
        if self._thread is not None:
            self._thread.submit(self._finish)
            self._thread.shutdown(wait=True)
            self._thread = None

    def _open(self, height: int, width: int) -> None:
        with self._giving_up():
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(str(self._unfinished), "w", options={"movflags": "+faststart"})
            self._stream = self._container.add_stream(
                "libx264", rate=self._rate, options={"preset": "ultrafast", "crf": "23"}
            )
            self._stream.height, self._stream.width = height, width
            self._stream.pix_fmt = "yuv420p"
            self._stream.thread_count = 1

    def _encode(self, frame: Image, number: int) -> None:
        with self._giving_up():
            if self._container is not None:
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
                picture.pts = number  # what is left out is not made up for: the others stay where they belong
                self._container.mux(self._stream.encode(picture))
        self._room.release()

    def _finish(self) -> None:
        with self._giving_up():
            if self._container is not None:
                self._container.mux(self._stream.encode())
                self._container.close()
                self.path = self._unfinished.replace(self._target)
                self._container = None

    @contextmanager
    def _giving_up(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            # Of the disk, of FFmpeg, whose errors are not all OSErrors, or of ours: nobody else would hear of it.
            LOG.exception("%s could not be written; there will be no film", self._target)
            self._abandon()

    def _abandon(self) -> None:
        """Leave nothing behind."""
        self._given_up = True
        container, self._container = self._container, None
        with suppress(OSError, av.FFmpegError):  # closing writes the rest, which may fail once more
            if container is not None:
                container.close()
        with suppress(OSError):  # its folder may be what is wrong
            self._unfinished.unlink(missing_ok=True)


def _frame(observation: Observation, commander: Commander) -> Image:
    """(H, W, 3) the first cameras, each as high as the others, and a caption."""
    views = [_scaled(observation.images[name]) for name in islice(observation.images, CAMERAS)]
    view = np.concatenate(views, axis=1)
    caption = np.full((CAPTION_PX, view.shape[1], 3), (24, 24, 27), np.uint8)
    caption[:, :8] = COLOURS[commander]
    words = f"{commander}: {observation.instruction}".encode("ascii", "replace").decode()  # OpenCV's font has no more
    cv2.putText(caption, words, (14, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.42, INK, 1, cv2.LINE_AA)
    return np.concatenate([caption, view])


def _scaled(image: Image) -> Image:
    width = 2 * max(1, round(image.shape[1] * HEIGHT_PX / image.shape[0] / 2))  # even, as the format wants
    return np.asarray(cv2.resize(np.ascontiguousarray(image), (width, HEIGHT_PX), interpolation=cv2.INTER_AREA))
