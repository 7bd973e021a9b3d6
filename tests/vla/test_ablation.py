"""Variants of the small model are trained for equally long and compared; killed, it goes on."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch

from tests.fakes import CONF
from tests.training_runs import LENGTH, MINI, demonstration, train, write_demonstrations
from vla.command.config import compose_config, to_dict
from vla.data.frames import load_frames
from vla.data.lessons import Selection
from vla.embodiment import LIBERO
from vla.models.mini.checkpoint import MiniCheckpoint, read_checkpoint, write_checkpoint
from vla.models.mini.config import MiniConfig
from vla.models.mini.model import MiniVLA
from vla.training import ablation
from vla.training.ablation import Finding, ablate, table


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


def test_every_variant_is_a_network_that_can_be_trained_into_a_folder_of_its_own(tmp_path, monkeypatch):
    trained = []

    def pretend(config, stream):
        Path(config["run_dir"]).mkdir()
        trained.append(config)

    monkeypatch.setattr(ablation, "train", pretend)
    monkeypatch.setattr(ablation, "_steps", lambda *_: 3)
    monkeypatch.setattr(ablation, "_measure", lambda *_: Finding(1, 3, (0.1, 0.1), 5.0))
    ablate(CONF, (), "unseen", 1.0, tmp_path, io.StringIO())
    parameters = set()
    for name, config in zip(ablation.VARIANTS, trained, strict=True):
        assert config["run_dir"] == str(tmp_path / name.replace(" ", "_"))
        network = MiniConfig(**{**config["model"], "channels": tuple(config["model"]["channels"])})
        assert network.chunk <= to_dict(compose_config(CONF, "collect", ()))["lookahead"]
        with torch.device("meta"):
            parameters.add(sum(p.numel() for p in MiniVLA(network).parameters()))
    assert len(parameters) == len(ablation.VARIANTS) - 1  # the loss of keyframes is no part of the network
    assert len({config["run_dir"] for config in trained}) == len(trained)


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


def test_a_network_is_measured_on_what_it_sees(tmp_path, monkeypatch):
    dataset, seen = write_demonstrations(tmp_path / "demos"), []
    monkeypatch.setattr(ablation, "chunk_ms", lambda policy: 5.0)
    monkeypatch.setattr(
        ablation, "_predict", lambda model, frames, rows, *_: seen.append(frames) or np.zeros((36, 8, 7))
    )
    train(dataset, tmp_path, *MINI, "train.steps=1", "boxes={wrist:[0.25,0.0,1.0,0.5]}")
    ablation._measure(tmp_path / "run" / "checkpoint", str(dataset), 1)
    selection, boxes = Selection(), {"wrist": (0.25, 0.0, 1.0, 0.5)}
    expected = load_frames(dataset, LIBERO.cameras, 32, tmp_path / "cache", 8, selection, boxes)
    np.testing.assert_array_equal(seen[0].images, expected.images)
