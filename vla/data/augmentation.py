"""Training augmentations, in the official order: crop, brightness, contrast, saturation, hue.

Each takes and gives a (H, W, 3) float32 image in [0, 1]; the values are clipped after each.
Sources: openvla-oft 213c5ff, prismatic/vla/datasets/rlds/obs_transforms.py; dlimp augmentations.py; tensorflow 2.15
adjust_contrast, adjust_saturation_op.cc, adjust_hue_op.cc.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vla.data.crop import FloatImage, crop_and_resize, to_float, to_uint8
from vla.types import Image


@dataclass(frozen=True)
class Augmentation:
    """One draw of all augmentations.

    Attributes:
        offset: corner of the crop as part of the picture. One number for both axes: upstream draws them with the same
            seed, so its crops all lie on the diagonal.
        brightness: added.
        contrast, saturation: factors.
        hue: added, in turns.
        area: part of the picture the crop keeps.
    """

    offset: float = 0.0
    brightness: float = 0.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    area: float = 0.9

    @classmethod
    def draw(cls, random: np.random.Generator, area: float = 0.9) -> Augmentation:
        """Official ranges."""
        return cls(
            offset=random.uniform(0, 1 - math.sqrt(area)),
            brightness=random.uniform(-0.2, 0.2),
            contrast=random.uniform(0.8, 1.2),
            saturation=random.uniform(0.8, 1.2),
            hue=random.uniform(-0.05, 0.05),
            area=area,
        )

    def __call__(self, image: Image) -> Image:
        """(H, W, 3) uint8 -> (H, W, 3) uint8, square."""
        result = crop_and_resize(to_float(image), self.offset, self.offset, math.sqrt(self.area), len(image))
        result = adjust_brightness(result, self.brightness)
        result = adjust_contrast(result, self.contrast)
        return to_uint8(adjust_colour(adjust_colour(result, saturation=self.saturation), hue=self.hue))


def adjust_brightness(image: FloatImage, delta: float) -> FloatImage:
    """Add."""
    return np.clip(image + np.float32(delta), 0, 1)


def adjust_contrast(image: FloatImage, factor: float) -> FloatImage:
    """Spread around each channel's mean."""
    mean = image.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
    return np.clip((image - mean) * np.float32(factor) + mean, 0, 1)


def adjust_colour(image: FloatImage, saturation: float = 1.0, hue: float = 0.0) -> FloatImage:
    """Multiply saturation, turn hue, in the HSV space."""
    angle, chroma, value = _to_hsv(image)
    return np.clip(_to_rgb((angle + np.float32(hue)) % 1, np.clip(chroma * np.float32(saturation), 0, 1), value), 0, 1)


_Channel = npt.NDArray[np.float32]


def _to_hsv(image: FloatImage) -> tuple[_Channel, _Channel, _Channel]:
    """(H, W, 3) -> hue [turn], saturation, value, each (H, W)."""
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    value = image.max(axis=-1)
    spread = value - image.min(axis=-1)
    safe = np.where(spread > 0, spread, 1)
    sector = np.where(
        value == red,
        (green - blue) / safe,
        np.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = np.where(spread > 0, (sector / 6) % 1, 0)
    return hue.astype(np.float32), spread / np.where(value > 0, value, 1), value


def _to_rgb(hue: _Channel, saturation: _Channel, value: _Channel) -> FloatImage:
    """Inverse of `_to_hsv`: 3 x (H, W) -> (H, W, 3)."""
    sextant = hue * 6
    part = (
        np.abs(sextant - 3) - 1,
        2 - np.abs(sextant - 2),
        2 - np.abs(sextant - 4),
    )
    pure = np.clip(np.stack(part, axis=-1), 0, 1)  # (H, W, 3)
    return (value[..., None] * (1 + saturation[..., None] * (pure - 1))).astype(np.float32)
