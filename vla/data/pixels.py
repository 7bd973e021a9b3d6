"""From camera images to the numbers that DINOv2 and SigLIP see.

The released checkpoints serialised their normalisation constants under bf16, which rounded them: 0.485 became
0.484375. The rounded ones are what the weights were trained with.
Source: openvla-oft 213c5ff, processing_prismatic.py; preprocessor_config.json of the released checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vla.data.crop import centre_crop
from vla.data.jpeg import jpeg_round_trip
from vla.data.resize import bicubic, lanczos
from vla.embodiment import ImageGeometry
from vla.types import Image

Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PixelScale:
    """Mean and standard deviation of each of the six channels: DINOv2's three, then SigLIP's three."""

    mean: tuple[float, ...] = (0.484375, 0.455078125, 0.40625, 0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.228515625, 0.2236328125, 0.224609375, 0.5, 0.5, 0.5)

    @classmethod
    def from_preprocessor(cls, config: Mapping[str, Any]) -> PixelScale:
        """Read a checkpoint's preprocessor_config.json; its `tvf_*` entries count, not `means` and `stds`."""
        towers = config["tvf_normalize_params"]
        mean, std = (tuple(float(v) for tower in towers for v in tower[name]) for name in ("mean", "std"))
        return cls(mean, std)

    def __call__(self, image: Image) -> Pixels:
        """(H, W, 3) uint8 -> (6, H, W) float32."""
        unit = np.tile(image.transpose(2, 0, 1), (2, 1, 1)).astype(np.float32) / np.float32(255)  # (6, H, W)
        mean, std = (np.asarray(values, dtype=np.float32)[:, None, None] for values in (self.mean, self.std))
        return (unit - mean) / std


def square(image: Image, geometry: ImageGeometry) -> Image:
    """A camera image as the training data has it, before any crop: (H, W, 3) uint8 -> (size, size, 3) uint8."""
    if geometry.first_size is not None:
        image = bicubic(image, geometry.first_size)
    if geometry.jpeg:
        image = jpeg_round_trip(np.ascontiguousarray(image))
    return lanczos(image, geometry.size)


def query_pixels(images: Sequence[Image], geometry: ImageGeometry, scale: PixelScale) -> Pixels:
    """Camera images at test time, in the network's order: N x (H, W, 3) uint8 -> (N, 6, size, size) float32."""
    squares = [square(image, geometry) for image in images]
    if geometry.crop_area < 1:
        squares = [centre_crop(image, geometry.crop_area, geometry.size) for image in squares]
    return np.stack([scale(image) for image in squares])
