"""Frames that a network knows badly are drawn more often; the measurement is kept, and goes on after a kill."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tests.training_runs import LENGTH, MINI, train, write_demonstrations
from tests.vla.test_mini import TINY, make_frames
from vla.command.errors import RefusedError
from vla.models.mini.checkpoint import read_checkpoint
from vla.models.mini.model import MiniVLA
from vla.normalize import Normalization
from vla.training.focus import frame_errors
from vla.training.samples import Augmentation, Samples, make_statistics


def marked(count=40):
    """Samples whose first frames can be told by their state."""
    state = np.repeat([[1.0], [0.0]], [4, count - 4], axis=0).astype(np.float32) * np.ones(8, np.float32)
    frames = dataclasses.replace(make_frames(count), state=state)
    return frames, Samples(
        [frames], make_statistics([frames], 3), Normalization.BOUNDS, TINY.chunk, Augmentation(), seed=0
    )


@pytest.mark.parametrize(("power", "share"), [(0.0, 0.1), (1.0, 4 * 8 / (4 * 8 + 36 * 0.5)), (0.5, 0.3077)])
def test_a_frame_is_drawn_by_its_error_within_bounds(power, share):
    _, samples = marked()
    samples.focus(np.repeat([9.0, 0.01], [4, 36]), power)
    drawn = np.concatenate([samples.batch(number, 64)[0].state[:, 0].numpy() for number in range(16)])
    assert np.mean(drawn > 0) == pytest.approx(share, abs=0.06)


def drawn_states(samples):
    return np.concatenate([samples.batch(number, 64)[0].state[:, 0].numpy() for number in range(16)])


def test_frames_without_an_action_are_drawn_as_a_frame_of_the_mean_error_is():
    frames, _ = marked(36)
    valid = np.repeat([[False], [True]], [18, 18], axis=0) & np.ones(16, bool)
    state = np.repeat([[1.0], [0.0]], [18, 18], axis=0).astype(np.float32) * np.ones(8, np.float32)
    frames = dataclasses.replace(frames, valid=valid, state=state)
    samples = Samples([frames], make_statistics([frames], 3), Normalization.BOUNDS, TINY.chunk, Augmentation(), 0)
    samples.focus(np.repeat([0.0, 3.0], [18, 18]), 1.0)
    assert np.mean(drawn_states(samples) > 0) == pytest.approx(0.5, abs=0.06)


def test_what_is_left_out_does_not_count_towards_the_mean_error():
    frames, _ = marked()
    frames = dataclasses.replace(frames, task=np.repeat([0, 1], 20), instructions=("kept", "mended"))
    samples = Samples([frames], make_statistics([frames], 3), Normalization.BOUNDS, TINY.chunk, Augmentation(), 0)
    samples.leave_out({"mended": [0]})
    samples.focus(np.repeat([9.0, 1.0, 100.0], [4, 16, 20]), 1.0)
    mean = (4 * 9 + 16) / 20
    share = 4 * 9 / mean / (4 * 9 / mean + 16 * 0.5)  # the others' 1 / mean is below the bound
    assert np.mean(drawn_states(samples) > 0) == pytest.approx(share, abs=0.06)


def test_where_only_frames_without_an_action_are_left_all_are_drawn_alike():
    frames, _ = marked()
    valid = np.repeat([[False], [True]], 20, axis=0) & np.ones(16, bool)
    frames = dataclasses.replace(frames, valid=valid, task=np.repeat([0, 1], 20), instructions=("glance", "mended"))
    samples = Samples([frames], make_statistics([frames], 3), Normalization.BOUNDS, TINY.chunk, Augmentation(), 0)
    samples.leave_out({"mended": [0]})
    samples.focus(np.repeat([0.0, 1.0], 20), 1.0)
    assert np.mean(drawn_states(samples) > 0) == pytest.approx(4 / 20, abs=0.06)


def test_plain_frames_are_as_they_were_recorded():
    frames, samples = marked()
    inputs, targets = samples.plain([3, 5])
    np.testing.assert_array_equal(inputs.pixels.numpy(), frames.images[[3, 5]])
    np.testing.assert_allclose(targets.points.numpy(), frames.points[[3, 5]])


def test_errors_are_those_of_the_learned_actions_and_are_kept(tmp_path):
    torch.manual_seed(0)
    frames, _ = marked()
    valid = np.ones((40, 16), bool)
    valid[5], valid[6, 1:] = False, False
    frames = dataclasses.replace(frames, valid=valid)
    samples = Samples([frames], make_statistics([frames], 3), Normalization.BOUNDS, TINY.chunk, Augmentation(), 0)
    model = MiniVLA(TINY)
    found = frame_errors(model, samples, tmp_path / "focus.npy")
    assert model.training
    assert found.shape == (40,)
    assert found[5] == 0
    inputs, targets = samples.plain([0, 6])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        off = (model.eval()(inputs, None).float() - targets.actions).abs()
    assert found[0] == pytest.approx(off[0].mean(0).max().item(), rel=0.02)
    assert found[6] == pytest.approx(off[1, 0].max().item(), rel=0.02)

    assert (frame_errors(MiniVLA(TINY), samples, tmp_path / "focus.npy") != found).any()  # there is no state yet
    np.save(tmp_path / "focus.npy", found)
    (tmp_path / "state.pt").touch()
    np.testing.assert_array_equal(frame_errors(MiniVLA(TINY), samples, tmp_path / "focus.npy"), found)
    np.save(tmp_path / "focus.npy", found[:7])
    with pytest.raises(ValueError, match=r"errors of 40 frames, got \(7,\)\. Delete it"):
        frame_errors(model, samples, tmp_path / "focus.npy")


def test_a_training_that_focuses_goes_on_as_if_it_had_not_been_killed(tmp_path):
    dataset = write_demonstrations(tmp_path / "demos")
    train(dataset, tmp_path / "begin", *MINI, "train.steps=2")
    options = (*MINI, f"init={tmp_path / 'begin' / 'run' / 'checkpoint'}", "focus=1.5", "train.save_every=2")
    train(dataset, tmp_path / "whole", *options, "train.steps=4")
    assert np.load(tmp_path / "whole" / "run" / "focus.npy").shape == (3 * LENGTH,)
    folder = tmp_path / "whole" / "run"
    expected = read_checkpoint(folder / "checkpoint").weights
    np.save(folder / "focus.npy", np.arange(3 * LENGTH))  # left by another command that was killed before its state
    (folder / "state.pt").unlink()
    train(dataset, tmp_path / "whole", *options, "train.steps=4")
    again = read_checkpoint(folder / "checkpoint").weights
    assert all(torch.equal(again[name], expected[name]) for name in expected)


def test_without_a_network_that_knows_something_there_is_no_focus(tmp_path):
    dataset = write_demonstrations(tmp_path / "demos")
    with pytest.raises(RefusedError, match=r"focus: expected init=.*got init=None"):
        train(dataset, tmp_path, *MINI, "focus=1")
