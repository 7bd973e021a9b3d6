"""Cropping a box and stretching it to a square, as `tf.image.crop_and_resize` does it (bilinear, corners aligned).

Sources: tensorflow 2.15 crop_and_resize_op.cc; openvla-oft 213c5ff, experiments/robot/openvla_utils.py
`center_crop_image`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vla.types import Image

FloatImage = npt.NDArray[np.float32]  # (H, W, 3) in [0, 1]


def to_float(image: Image) -> FloatImage:
    """uint8 -> float32 in [0, 1], same shape."""
    return image.astype(np.float32) * np.float32(1 / 255)


def to_uint8(image: FloatImage) -> Image:
    """float32 -> uint8, same shape; TensorFlow truncates x * 255.5."""
    return (np.clip(image, 0, 1) * np.float32(255.5)).astype(np.uint8)


def crop_and_resize(image: FloatImage, top: float, left: float, side: float, size: int) -> FloatImage:
    """Cut out a square box and stretch it.

    Args:
        image: (H, W, 3).
        top, left: corner of the box, as parts of height and width.
        side: edge of the box, as part of the picture.
        size: [px] edge of the result.

    Returns:
        (size, size, 3), clipped to [0, 1].
    """
    rows_0, rows_1, down = _sources(image.shape[0], top, side, size)
    columns_0, columns_1, across = _sources(image.shape[1], left, side, size)
    across, down = across[None, :, None], down[:, None, None]

    def row_pixels(rows: npt.NDArray[np.int64]) -> FloatImage:
        near, far = image[rows][:, columns_0], image[rows][:, columns_1]  # (size, size, 3)
        return near + (far - near) * across

    upper, lower = row_pixels(rows_0), row_pixels(rows_1)
    return np.clip(upper + (lower - upper) * down, 0, 1)


def _sources(
    length: int, start: float, side: float, size: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """For each of `size` outputs of one axis: the two samples it lies between, and how far towards the second."""
    low, high = np.float32(start), np.float32(np.float32(start) + np.float32(side))
    step = (high - low) * np.float32(length - 1) / np.float32(size - 1)
    place = low * np.float32(length - 1) + np.arange(size, dtype=np.float32) * step  # (size,) float32
    first = np.clip(np.floor(place), 0, length - 1).astype(np.int64)
    second = np.clip(np.ceil(place), 0, length - 1).astype(np.int64)
    return first, second, place - first.astype(np.float32)


def centre_crop(image: Image, area: float, size: int) -> Image:
    """Keep `area` of the picture around its centre: (H, W, 3) uint8 -> (size, size, 3) uint8."""
    side = np.sqrt(np.float32(area))  # float32 from here on: bit-exactness needs the same roundings
    offset = (np.float32(1) - side) / np.float32(2)
    return to_uint8(crop_and_resize(to_float(image), offset, offset, side, size))
