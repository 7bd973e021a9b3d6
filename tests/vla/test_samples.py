"""What is drawn for the small VLA: balanced, left out, focused, varied, and the same again for the same number."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tests.vla.test_mini import TINY, make_frames, make_samples
from vla.normalize import Normalization
from vla.training.samples import Augmentation, Samples, make_statistics


def test_the_noise_of_a_step_depends_on_the_seed_and_its_number():
    (samples, _), (again, _), (other, _) = (make_samples(seed) for seed in (0, 0, 1))
    assert samples.noise_seed(3) == again.noise_seed(3)
    assert len({samples.noise_seed(3), samples.noise_seed(4), other.noise_seed(3)}) == 3


def test_a_batch_depends_on_its_number_only():
    first, second = make_samples()[0], make_samples()[0]
    second.batch(0, 4)
    for a, b in zip(vars(first.batch(3, 4)[0]).values(), vars(second.batch(3, 4)[0]).values(), strict=True):
        assert torch.equal(a, b)


def test_a_shifted_image_takes_its_points_with_it():
    frames = make_frames(4)
    black = np.zeros_like(frames.images)
    black[:, :, :, 16, 20] = 255  # one white pixel
    place = np.array([(20.5 / 32) * 2 - 1, (16.5 / 32) * 2 - 1])
    points = np.broadcast_to(place, frames.points.shape).astype(np.float32)
    marked = dataclasses.replace(frames, images=black, points=points)
    still_light = Augmentation(shift=3, brightness=0.0, contrast=0.0, gain=0.0)
    samples = Samples([marked], make_statistics([marked], 3), Normalization.BOUNDS, 8, still_light, 0)
    given, wanted = samples.batch(0, 8)
    for image, point in zip(given.pixels.flatten(0, 1), wanted.points.flatten(0, 1)[:, 0], strict=True):
        row, column = np.argwhere(image[0].numpy() == 255)[0]
        found = torch.tensor([(column + 0.5) / 16 - 1, (row + 0.5) / 16 - 1], dtype=torch.float32)
        torch.testing.assert_close(found, point, atol=1e-5, rtol=0)


@pytest.mark.parametrize("told", ["suite", "task"])
@pytest.mark.parametrize(("balance", "share"), [(0.0, 0.1), (1.0, 0.5)])
def test_words_with_few_frames_can_be_drawn_as_often_as_the_others(balance, share, told):
    frames = make_frames(40)
    names = {"suites": ("few", "many")} if told == "suite" else {"instructions": ("seldom", "often")}
    same = {"suite": np.zeros(40, int), "task": np.zeros(40, int)}
    few = dataclasses.replace(
        frames,
        **{**same, told: np.repeat([0, 1], [4, 36])},
        **names,
        state=np.repeat([[1.0], [0.0]], [4, 36], axis=0).astype(np.float32) * np.ones(8, np.float32),
    )
    statistics = make_statistics([few], 3)
    samples = Samples([few], statistics, Normalization.BOUNDS, TINY.chunk, Augmentation(), 0, balance)
    drawn = np.concatenate([samples.batch(number, 64)[0].state[:, 0].numpy() for number in range(8)])
    assert np.mean(drawn > 0) == pytest.approx(share, abs=0.06)


def test_of_what_is_left_out_in_part_the_rest_is_drawn_as_often_as_the_balance_says():
    task, state = np.repeat([0, 1], [20, 20]), np.repeat([[1.0], [0.0]], [20, 20], axis=0).astype(np.float32)
    whole = dataclasses.replace(
        make_frames(40), task=task, instructions=("mended", "other"), state=state * np.ones(8, np.float32)
    )
    statistics = make_statistics([whole], 3)
    samples = Samples([whole] * 4, statistics, Normalization.BOUNDS, TINY.chunk, Augmentation(), 0, 1.0)
    samples.leave_out({"mended": [0, 1, 2]})
    drawn = np.concatenate([samples.batch(number, 64)[0].state[:, 0].numpy() for number in range(8)])
    assert np.mean(drawn > 0) == pytest.approx(0.5, abs=0.06)


def test_what_is_left_out_is_never_drawn():
    task, state = np.repeat([0, 1], [4, 36]), np.repeat([[1.0], [0.0]], [4, 36], axis=0).astype(np.float32)
    whole = dataclasses.replace(
        make_frames(40), task=task, instructions=("seldom", "often"), state=state * np.ones(8, np.float32)
    )
    statistics = make_statistics([whole], 3)
    samples = Samples([whole, whole], statistics, Normalization.BOUNDS, TINY.chunk, Augmentation(), 0)
    samples.leave_out({"seldom": [0, 1], "often": [1]})
    samples.focus(np.linspace(0, 1, 80), 1.0)  # the one does not undo the other
    states = np.concatenate([samples.batch(number, 64)[0].state[:, 0].numpy() for number in range(8)])
    assert (states < 0).all()
    with pytest.raises(ValueError, match=r"expected one of its instructions, \['often', 'seldom'\], got 'never'"):
        samples.leave_out({"never": [0]})
    with pytest.raises(ValueError, match="nothing is left"):
        samples.leave_out({"seldom": [0, 1], "often": [0, 1]})
