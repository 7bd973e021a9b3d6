"""Camera frames as H.264: every decoder reads it, any single frame is two frames away, and a frame costs half a ms.

Measured on real LIBERO frames of 256 x 256, one thread: `ultrafast`, crf 17, a key frame every second frame encodes in
0.5 ms with a mean error of 1.7 of 255; slower presets cost two to three times as much and make files a third smaller.
Most of the error is the halved colour resolution of yuv420p (1.4 alone).
"""

from __future__ import annotations

import io
from collections.abc import Collection
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from vla.data.lerobot.errors import DatasetError
from vla.types import Image

OPTIONS = {"preset": "ultrafast", "crf": "17", "g": "2", "bf": "0"}  # no B-frames: decoding order is time order


def encode(frames: Image, fps: int) -> bytes:
    """(T, H, W, 3) uint8 -> an mp4 file whose frame t lies at t / fps seconds."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options=OPTIONS)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return buffer.getvalue()


class StreamEncoder:
    """Encodes a frame at a time; what it returns, one after the other, is a raw H.264 stream that `mux` makes an mp4.

    The bytes of a frame are complete when `encode` returns: a stream that breaks off loses no frame before.

    Args:
        height, width: [px] even.
        fps: [1/s].

    Raises:
        ValueError: an odd height or width; the format halves colours.
    """

    def __init__(self, height: int, width: int, fps: int) -> None:
        if height % 2 or width % 2:
            raise ValueError(f"video: expected even height and width, got {height} x {width}")
        self._codec = av.CodecContext.create("libx264", "w")
        self._codec.height, self._codec.width = height, width
        self._codec.pix_fmt = "yuv420p"
        self._codec.time_base, self._codec.framerate = Fraction(1, fps), fps
        self._codec.thread_count = 1
        self._codec.options = {**OPTIONS, "tune": "zerolatency"}
        self._shape, self._count = (height, width, 3), 0

    def encode(self, frame: Image) -> bytes:
        """The next frame (H, W, 3).

        Raises:
            ValueError: it has another shape.
        """
        if frame.shape != self._shape:
            raise ValueError(f"video: expected frames of {self._shape}, got {frame.shape}")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture.pts = self._count
        self._count += 1
        return b"".join(bytes(packet) for packet in self._codec.encode(picture))


def mux(stream: Path, fps: int, target: Path, sampled: Collection[int]) -> Image:
    """The raw stream of a `StreamEncoder` -> the mp4 file that `encode` would have made; nothing is encoded again.

    Both are files: a long recording does not fit into memory.

    Args:
        stream: whole frames only.
        fps: [1/s].
        target: the mp4.
        sampled: numbers of frames to return; even ones, which are key frames.

    Returns:
        (N, H, W, 3) those frames.
    """
    frames: list[av.VideoFrame] = []
    with av.open(str(stream), format="h264") as source, av.open(str(target), "w", format="mp4") as container:
        read = source.streams.video[0]
        written = container.add_stream_from_template(read)
        for number, packet in enumerate(packet for packet in source.demux(read) if packet.size):
            if number in sampled:
                codec = av.CodecContext.create("h264", "r")
                frames += [*codec.decode(packet), *codec.decode(None)]
            packet.stream = written
            packet.pts = packet.dts = number
            packet.duration, packet.time_base = 1, Fraction(1, fps)
            container.mux(packet)
    return np.stack([frame.to_ndarray(format="rgb24") for frame in frames])


def count_frames(path: Path) -> tuple[int, float]:
    """Number of frames and [1/s] rate that the file's index tells; nothing is decoded.

    Raises:
        DatasetError: not a video.
    """
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            return stream.frames, float(stream.average_rate or 0)
    except (av.FFmpegError, IndexError) as error:
        raise DatasetError(f"{path}: not a video ({error}). Restore the file, or record the episode anew.") from error


def decode(path: Path, first: int, length: int, fps: int, shape: tuple[int, ...]) -> Image:
    """Frames `first` to `first + length` of a file: (T, H, W, 3) uint8.

    Raises:
        DatasetError: a frame is missing, broken, of another size, or not where fps says.
    """
    frames = np.empty((length, *shape), np.uint8)
    found = 0
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_count = 1
            if first:
                container.seek(round(first / fps / stream.time_base), stream=stream)
            for picture in container.decode(stream):
                if found == length:
                    break
                number = float(picture.pts * stream.time_base) * fps
                if number < first - 0.5:
                    continue  # a seek lands on the key frame before
                if abs(number - (first + found)) > 0.01:
                    raise DatasetError(
                        f"{path}: expected frame {first + found} at {(first + found) / fps:.4f} s ({fps} frames a "
                        f"second), got one at {number / fps:.4f} s. The fps of info.json and of the video differ; "
                        "restore the file, or record the episode anew."
                    )
                pixels = picture.to_ndarray(format="rgb24")
                if pixels.shape != shape:
                    raise DatasetError(f"{path}: expected frames of {shape} as in info.json, got {pixels.shape}.")
                frames[found] = pixels
                found += 1
    except (av.FFmpegError, IndexError) as error:
        raise DatasetError(f"{path}: not a video ({error}). Restore the file, or record the episode anew.") from error
    if found != length:
        raise DatasetError(
            f"{path}: expected {length} frames from frame {first} on, as in the episode's table, got {found}. "
            "Restore the file, or record the episode anew."
        )
    return frames
