"""The JPEG round trip that OpenVLA's training images went through, bit for bit as TensorFlow makes it.

TensorFlow encodes at quality 95 with halved chroma, and decodes with libjpeg's FAST inverse DCT and its smooth chroma
interpolation. Pillow's decoder has the fast DCT only together with plain doubling of the chroma; so it is asked for
undoubled luma and chroma, and the interpolation and the colour conversion, both exact integer arithmetic, are here.
Sources: tensorflow 2.15 `tf.io.encode_jpeg`, `decode_image`; libjpeg-turbo jdsample.c `h2v2_fancy_upsample`, jdcolor.c.
"""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import JpegImagePlugin

from vla.types import Image

QUALITY = 95

_Plane = npt.NDArray[np.int32]


def jpeg_round_trip(image: Image) -> Image:
    """Encode and decode: (H, W, 3) uint8 RGB -> same."""
    stream = io.BytesIO()
    Pillow.fromarray(image).save(stream, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return decode(stream.getvalue())


def decode(stream: bytes) -> Image:
    """A baseline JPEG with halved (4:2:0) chroma as TensorFlow decodes it: -> (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the stream has another kind of chroma.
    """
    with Pillow.open(io.BytesIO(stream)) as file:
        if not isinstance(file, JpegImagePlugin.JpegImageFile) or JpegImagePlugin.get_sampling(file) != 2:
            raise ValueError(f"JPEG: expected halved (4:2:0) chroma, got {file.format} {file.mode}")
        file.draft("YCbCr", None)
        file.decoderconfig = (1, 1)  # no scaling; fast DCT and chroma samples doubled
        planes = np.asarray(file)  # (H, W, 3)
    luma = planes[..., 0].astype(np.int32)
    height, width = luma.shape
    blue, red = (_interpolate(planes[::2, ::2, channel])[:height, :width] - 128 for channel in (1, 2))
    return _to_rgb(luma, blue, red)


def _interpolate(chroma: Image) -> _Plane:
    """Double both axes with weights 9, 3, 3, 1: (h, w) -> (2h, 2w)."""
    plane = chroma.astype(np.int32)
    above, below = np.concatenate([plane[:1], plane[:-1]]), np.concatenate([plane[1:], plane[-1:]])
    rows = np.stack([3 * plane + above, 3 * plane + below], axis=1).reshape(-1, plane.shape[1])  # (2h, w)
    left = np.concatenate([rows[:, :1], rows[:, :-1]], axis=1)
    right = np.concatenate([rows[:, 1:], rows[:, -1:]], axis=1)
    return np.stack([(3 * rows + left + 8) >> 4, (3 * rows + right + 7) >> 4], axis=2).reshape(len(rows), -1)


def _to_rgb(luma: _Plane, blue: _Plane, red: _Plane) -> Image:
    """JFIF conversion in 16-bit fixed point; chroma centred at 0. 3 x (H, W) -> (H, W, 3)."""

    def fixed(value: float) -> int:
        return int(value * 65536 + 0.5)

    half = 32768
    channels = (
        luma + ((fixed(1.402) * red + half) >> 16),
        luma + ((half - fixed(0.34414) * blue - fixed(0.71414) * red) >> 16),
        luma + ((fixed(1.772) * blue + half) >> 16),
    )
    return np.clip(np.stack(channels, axis=-1), 0, 255).astype(np.uint8)
