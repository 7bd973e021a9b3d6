"""Variants of the small model are trained for equally long and compared; killed, it goes on."""

from __future__ import annotations

import io

import numpy as np

from tests.fakes import CONF
from tests.training_runs import LENGTH, MINI, demonstration, write_demonstrations
from vla.models.mini.checkpoint import MiniCheckpoint, read_checkpoint, write_checkpoint
from vla.training import ablation
from vla.training.ablation import ablate, table


def test_variants_are_compared_on_the_actions_that_all_predict(tmp_path, monkeypatch):
    dataset = write_demonstrations(tmp_path / "demos")
    monkeypatch.setattr(ablation, "VARIANTS", {"as it is": (), "short": ("model.chunk=4",)})
    monkeypatch.setattr(ablation, "_steps", lambda *_: 3)
    monkeypatch.setattr(ablation, "chunk_ms", lambda policy: 5.0)
    common = (*MINI, f"datasets=[{dataset}]", f"cache={tmp_path / 'cache'}")
    found = ablate(CONF, common, str(dataset), 1.0, tmp_path / "runs", io.StringIO())
    assert found["short"].error[1] is None
    assert 0 < found["as it is"].error[0] < 1
    told = io.StringIO()
    assert ablate(CONF, common, "gone", 1.0, tmp_path / "runs", told) == found
    assert told.getvalue() == ""
    assert table(found).splitlines()[3].split(" | ")[3:] == [f"{found['short'].error[0]:.4f}", "", "5.0 |"]


def test_the_error_is_that_of_the_actions_in_their_own_units(tmp_path, monkeypatch):
    dataset = write_demonstrations(tmp_path / "demos")
    monkeypatch.setattr(ablation, "VARIANTS", {"as it is": ()})
    monkeypatch.setattr(ablation, "_steps", lambda *_: 1)
    monkeypatch.setattr(ablation, "chunk_ms", lambda policy: 5.0)
    common = (*MINI, f"datasets=[{dataset}]", f"cache={tmp_path / 'cache'}")
    ablate(CONF, common, str(dataset), 1.0, tmp_path / "runs", io.StringIO())

    folder = tmp_path / "runs" / "as_it_is" / "checkpoint"
    read = read_checkpoint(folder)
    zero = {name: value * 0 if name.startswith("action_head.") else value for name, value in read.weights.items()}
    constant = MiniCheckpoint(read.config, read.embodiment, read.statistics, zero, read.recipe)
    write_checkpoint(folder, constant)  # answers 0 everywhere, normalised: the middle of the bounds
    bounds = read.statistics["action"]
    middle = (np.array(bounds["min"]) + np.array(bounds["max"])) / 2
    off = [
        np.abs(chunk[:4] - middle).mean(1)[valid[:4]]
        for number in range(3)
        for chunk, valid in zip(
            *(demonstration(number).columns[name] for name in ("action_chunk", "action_chunk_valid")), strict=True
        )
    ]
    assert len(off) == 3 * LENGTH
    measured = ablation._measure(folder, str(dataset), 1)
    np.testing.assert_allclose(measured.error[0], np.concatenate(off).mean(), rtol=1e-4)
