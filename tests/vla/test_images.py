"""The image path against TensorFlow's numbers. Every npz in the golden folders is looked through for more of them."""

import io
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.golden import DATA, FOLDERS
from vla.data.augmentation import Augmentation, adjust_brightness, adjust_colour, adjust_contrast
from vla.data.crop import centre_crop, crop_and_resize, to_float, to_uint8
from vla.data.jpeg import decode, jpeg_round_trip
from vla.data.pixels import PixelScale, query_pixels, square
from vla.data.resize import bicubic, lanczos
from vla.embodiment import ImageGeometry


@dataclass(frozen=True)
class Source:
    """An image of a file, and what became of it: `source["center_crop"]` is the array `{name}.center_crop`."""

    path: Path
    name: str

    def __getitem__(self, output: str) -> np.ndarray:
        return arrays(self.path)[f"{self.name}.{output}"]

    def __contains__(self, output: str) -> bool:
        return f"{self.name}.{output}" in arrays(self.path)


@cache
def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as stored:
        return {name: stored[name] for name in stored}


FILES = [path for folder in FOLDERS for path in sorted(folder.rglob("*.npz"))]
SOURCES = sorted({Source(f, name.partition(".")[0]) for f in FILES for name in arrays(f) if "." in name}, key=str)
SCENE, NOISE, WIDE = (
    Source(DATA / f"images/{file}.npz", name)
    for file, name in (("scene256", "scene256"), ("noise256", "noise256"), ("scene480x640_aloha", "scene480x640"))
)


def difference(ours, theirs):
    assert ours.shape == theirs.shape
    return np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max()


def having(*outputs):
    """Parametrised over the sources for which all of these are stored."""
    found = [source for source in SOURCES if all(output in source for output in outputs)]
    return pytest.mark.parametrize("source", found, ids=lambda source: source.name)


@having("input", "jpeg_decoded")
def test_jpeg_is_bit_exact(source):
    assert np.array_equal(jpeg_round_trip(source["input"]), source["jpeg_decoded"])


def test_jpeg_of_odd_size_and_of_other_chroma():
    image = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
    assert jpeg_round_trip(image).shape == image.shape
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", subsampling="4:4:4")
    with pytest.raises(ValueError, match="4:2:0"):
        decode(stream.getvalue())


@having("input", "resize_image_for_policy")
def test_square_within_one_grey_level(source):
    ours, theirs = square(source["input"], ImageGeometry()), source["resize_image_for_policy"]
    assert difference(ours, theirs) <= 1
    assert (ours != theirs).mean() <= 0.001


@having("input", "lanczos224_nojpeg")
def test_lanczos_alone(source):
    assert difference(lanczos(source["input"], 224), source["lanczos224_nojpeg"]) <= 1


@pytest.mark.parametrize(
    ("source", "before", "after"),
    [
        pytest.param(source, before, after, id=f"{source.name}-{after}")
        for source in SOURCES
        for before, after in (
            ("resize_image_for_policy", "center_crop"),
            ("rot180.resize", "rot180.center_crop"),
            ("resize224", "center_crop"),
        )
        if before in source and after in source
    ],
)
def test_centre_crop_is_bit_exact(source, before, after):
    assert np.array_equal(centre_crop(source[before], 0.9, 224), source[after])


@having("resize_image_for_policy", "center_crop_float")
def test_centre_crop_before_rounding(source):
    side = np.sqrt(np.float32(0.9))
    offset = (np.float32(1) - side) / np.float32(2)
    ours = crop_and_resize(to_float(source["resize_image_for_policy"]), offset, offset, side, 224)
    assert difference(ours, source["center_crop_float"]) <= 1e-6


@pytest.mark.parametrize("filter", [Image.Resampling.LANCZOS, Image.Resampling.BICUBIC, Image.Resampling.BILINEAR])
def test_another_resize_filter_is_noticed(filter):
    decoded = NOISE["jpeg_decoded"]
    other = np.asarray(Image.fromarray(decoded).resize((224, 224), filter))
    assert difference(other, NOISE["resize_image_for_policy"]) > 1


def test_accurate_jpeg_decoding_is_noticed():
    stream = io.BytesIO()
    Image.fromarray(SCENE["input"]).save(stream, "JPEG", quality=95, subsampling="4:2:0")
    assert difference(np.asarray(Image.open(stream)), SCENE["jpeg_decoded"]) > 1


@having("input", "rot180.resize")
def test_turned_image(source):
    assert difference(square(source["input"][::-1, ::-1], ImageGeometry()), source["rot180.resize"]) <= 1


@having("pil_bicubic256", "resize224")
def test_aloha_image(source):
    """The picture it was made from lies beside it, under another name."""
    (image,) = (array for name, array in arrays(source.path).items() if name.endswith(".input"))
    assert np.array_equal(bicubic(image, 256), source["pil_bicubic256"])
    assert difference(square(image, ImageGeometry(first_size=256)), source["resize224"]) <= 1


@having("input", "center_crop", "pixel_values_bf16consts")
def test_pixels(source):
    theirs = source["pixel_values_bf16consts"]  # (6, h, w), every so many rows and columns
    step = 224 // theirs.shape[-1]
    assert difference(PixelScale()(source["center_crop"])[:, ::step, ::step], theirs) <= 1e-6
    whole = query_pixels([source["input"]] * 2, ImageGeometry(), PixelScale())  # (2, 6, 224, 224)
    level = 1 / 255 / min(PixelScale().std)
    assert difference(whole[1][:, ::step, ::step], theirs) <= 1.01 * level


PROCESSORS = [path.parent for folder in FOLDERS for path in sorted(folder.rglob("pixel_values.npz"))]


@pytest.mark.parametrize("folder", PROCESSORS, ids=lambda folder: folder.name)
def test_preprocessor_config_and_official_outputs(folder):
    config = json.loads((folder / "preprocessor_config.json").read_text())
    scale, stored = PixelScale.from_preprocessor(config), arrays(folder / "pixel_values.npz")
    nominal = PixelScale(*(tuple(np.concatenate(config[name]).tolist()) for name in ("means", "stds")))
    assert scale == PixelScale() != nominal
    crop, direct = SCENE["center_crop"], bicubic(WIDE["input"], 224)
    assert difference(scale(crop)[None, :, ::2, ::2], stored["scene256_center_crop"]) <= 1e-6
    assert difference(nominal(crop)[None, :, ::4, ::4], stored["nominal_constants"]) <= 1e-6
    assert difference(scale(direct)[None, :, ::4, ::4], stored["scene480x640_direct_bicubic"]) <= 1e-6


def test_augmentations_step_by_step():
    with np.load(DATA / "images/augment_scene224.npz") as stored:
        steps = {name: stored[name] for name in stored}
    window = np.s_[40:140, 60:160]
    image = crop_and_resize(to_float(steps["input_uint8"]), 0.03, 0.03, np.sqrt(0.9), 224)
    assert difference(image[window], steps["1_crop_offset0.03"]) <= 2e-6
    image = adjust_brightness(image, 0.13)
    assert difference(image[window], steps["2_brightness_delta0.13"]) <= 2e-6
    image = adjust_contrast(image, 0.87)
    assert difference(image[window], steps["3_contrast0.87"]) <= 2e-6
    image = adjust_colour(image, saturation=1.17)
    assert difference(image[window], steps["4_saturation1.17"]) <= 2e-6
    image = adjust_colour(image, hue=-0.04)
    assert difference(image[window], steps["5_hue-0.04"]) <= 5e-6
    assert difference(to_uint8(image), steps["6_uint8"]) <= 1
    whole = Augmentation(0.03, 0.13, 0.87, 1.17, -0.04)(steps["input_uint8"])
    assert difference(whole, steps["6_uint8"]) <= 1


def test_augmentation_draws_stay_in_range():
    random = np.random.default_rng(0)
    draws = [Augmentation.draw(random) for _ in range(100)]
    assert max(draw.offset for draw in draws) <= 1 - np.sqrt(0.9)
    assert min(draw.hue for draw in draws) >= -0.05


def test_rgb_hsv_round_trip():
    image = np.random.default_rng(1).random((16, 16, 3), np.float32)
    image[0] = image[0, :, :1]  # grey
    assert difference(adjust_colour(image), image) <= 1e-6


@pytest.mark.parametrize("shape", [(37, 53), (48, 31), (17, 64), (1, 1)])
def test_jpeg_edges_of_odd_sizes(shape):
    """In blocks of one colour both inverse DCTs agree, so Pillow's own decoding shows whether the edges are right."""
    blocks = np.random.default_rng(0).integers(0, 256, (5, 5, 3), np.uint8)
    image = np.repeat(np.repeat(blocks, 16, axis=0), 16, axis=1)[: shape[0], : shape[1]]
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=95, subsampling="4:2:0")
    assert difference(jpeg_round_trip(np.ascontiguousarray(image)), np.asarray(Image.open(stream))) <= 3
