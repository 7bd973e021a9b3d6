"""The image path against TensorFlow's numbers. Arrays are looked for in every npz, so more can be dropped in."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.golden import DATA
from vla.data.augmentation import Augmentation, adjust_brightness, adjust_colour, adjust_contrast
from vla.data.crop import centre_crop, crop_and_resize, to_float, to_uint8
from vla.data.jpeg import decode, jpeg_round_trip
from vla.data.pixels import PixelScale, query_pixels, square
from vla.data.resize import bicubic, lanczos
from vla.embodiment import ImageGeometry

FOLDERS = [DATA / "images", *(Path(extra) for extra in [os.environ.get("OFT_GOLDEN_DIR")] if extra)]


def arrays() -> dict[str, np.ndarray]:
    found = {}
    for folder in FOLDERS:
        for path in sorted(folder.rglob("*.npz")):
            with np.load(path) as stored:
                found.update({name: stored[name] for name in stored if "." in name})
    return found


GOLDEN = arrays()
INPUTS = [name.removesuffix(".input") for name in GOLDEN if name.endswith(".input")]


def difference(ours, theirs):
    assert ours.shape == theirs.shape
    return np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max()


def with_output(output):
    """Sources for which both the input and this output are stored."""
    return [name for name in INPUTS if f"{name}.{output}" in GOLDEN]


@pytest.mark.parametrize("name", with_output("jpeg_decoded"))
def test_jpeg_is_bit_exact(name):
    assert np.array_equal(jpeg_round_trip(GOLDEN[f"{name}.input"]), GOLDEN[f"{name}.jpeg_decoded"])


def test_jpeg_of_odd_size_and_of_other_chroma():
    image = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
    assert jpeg_round_trip(image).shape == image.shape
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", subsampling="4:4:4")
    with pytest.raises(ValueError, match="4:2:0"):
        decode(stream.getvalue())


@pytest.mark.parametrize("name", with_output("resize_image_for_policy"))
def test_square_within_one_grey_level(name):
    ours, theirs = square(GOLDEN[f"{name}.input"], ImageGeometry()), GOLDEN[f"{name}.resize_image_for_policy"]
    assert difference(ours, theirs) <= 1
    assert (ours != theirs).mean() <= 0.001


@pytest.mark.parametrize("name", with_output("lanczos224_nojpeg"))
def test_lanczos_alone(name):
    assert difference(lanczos(GOLDEN[f"{name}.input"], 224), GOLDEN[f"{name}.lanczos224_nojpeg"]) <= 1


CROPS = {f"{name}.resize_image_for_policy": f"{name}.center_crop" for name in with_output("center_crop")} | {
    "scene256.rot180.resize": "scene256.rot180.center_crop",
    "aloha.resize224": "aloha.center_crop",
}


@pytest.mark.parametrize("name", CROPS)
def test_centre_crop_is_bit_exact(name):
    assert np.array_equal(centre_crop(GOLDEN[name], 0.9, 224), GOLDEN[CROPS[name]])


@pytest.mark.parametrize("filter", [Image.Resampling.LANCZOS, Image.Resampling.BICUBIC, Image.Resampling.BILINEAR])
def test_another_resize_filter_is_noticed(filter):
    decoded = GOLDEN["noise256.jpeg_decoded"]
    other = np.asarray(Image.fromarray(decoded).resize((224, 224), filter))
    assert difference(other, GOLDEN["noise256.resize_image_for_policy"]) > 1


def test_accurate_jpeg_decoding_is_noticed():
    stream = io.BytesIO()
    Image.fromarray(GOLDEN["scene256.input"]).save(stream, "JPEG", quality=95, subsampling="4:2:0")
    assert difference(np.asarray(Image.open(stream)), GOLDEN["scene256.jpeg_decoded"]) > 1


def test_turned_image():
    assert (
        difference(square(GOLDEN["scene256.input"][::-1, ::-1], ImageGeometry()), GOLDEN["scene256.rot180.resize"]) <= 1
    )


def test_aloha_image():
    image = GOLDEN["scene480x640.input"]
    assert np.array_equal(bicubic(image, 256), GOLDEN["aloha.pil_bicubic256"])
    assert difference(square(image, ImageGeometry(first_size=256)), GOLDEN["aloha.resize224"]) <= 1


def test_pixels():
    crop = GOLDEN["scene256.center_crop"]
    assert difference(PixelScale()(crop)[:, ::4, ::4], GOLDEN["scene256.pixel_values_bf16consts"]) <= 1e-6
    whole = query_pixels([GOLDEN["scene256.input"]] * 2, ImageGeometry(), PixelScale())  # (2, 6, 224, 224)
    level = 1 / 255 / min(PixelScale().std)
    assert difference(whole[1][:, ::4, ::4], GOLDEN["scene256.pixel_values_bf16consts"]) <= 1.01 * level


def test_preprocessor_config_and_official_outputs():
    config = json.loads((DATA / "processor/preprocessor_config.json").read_text())
    assert PixelScale.from_preprocessor(config) == PixelScale()
    with np.load(DATA / "processor/pixel_values.npz") as stored:
        ours = PixelScale()(GOLDEN["scene256.center_crop"])[None]
        assert difference(ours[..., ::2, ::2], stored["scene256_center_crop"]) <= 1e-6
        direct = PixelScale()(bicubic(GOLDEN["scene480x640.input"], 224))[None]
        assert difference(direct[..., ::4, ::4], stored["scene480x640_direct_bicubic"]) <= 1e-6


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
