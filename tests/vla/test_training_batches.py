import dataclasses

import numpy as np
import pytest
import torch

from tests.tiny_oft import LIBERO_TINY, statistics_of, tiny_model
from vla.data.pixels import PixelScale, square
from vla.embodiment import LIBERO, ImageGeometry
from vla.training.batches import Batcher, Moment

SMALL = dataclasses.replace(LIBERO, images=ImageGeometry(size=28))


def prompt(instruction):
    return [1, *(3 + len(word) for word in instruction.split()), 29871]


def moment(seed, instruction="pick it up", chunk=8):
    random = np.random.default_rng(seed)
    images = {camera: random.integers(0, 256, (64, 64, 3), np.uint8) for camera in SMALL.cameras}
    return Moment(images, random.uniform(-1, 1, 8), instruction, random.uniform(-1, 1, (chunk, 7)))


@pytest.fixture
def batcher():
    return Batcher(SMALL, statistics_of(LIBERO), prompt, PixelScale())


def test_batch_fits_the_network_and_is_normalised(batcher):
    moments = [moment(1), moment(2, "put the red cup down")]
    inputs, actions = batcher(moments)
    assert inputs.prompt_lengths.tolist() == [5, 7]
    assert inputs.prompts[0].tolist() == [1, 7, 5, 5, 29871, 32000, 32000]
    assert actions.shape == (2, 8, 7)
    assert actions[..., :6].abs().max() <= 1
    assert np.allclose(actions[0, :, 6], moments[0].actions[:, 6])  # LIBERO's gripper stays as it is
    assert torch.isfinite(tiny_model(LIBERO_TINY).loss(inputs, actions))


def test_without_augmentation_the_whole_image_is_seen(batcher):
    first = moment(1)
    inputs, _ = batcher([first])
    expected = PixelScale()(square(first.images["wrist"], SMALL.images))
    assert np.array_equal(inputs.pixels[0, 1].numpy(), expected)


def test_augmentation_is_drawn_and_can_be_repeated(batcher):
    first, again, other = (batcher([moment(1)], np.random.default_rng(seed))[0].pixels for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_short_chunks_are_refused(batcher):
    with pytest.raises(ValueError, match="expected 8 actions a moment, got 3"):
        batcher([moment(1, chunk=3)])
