"""The whole of `scripts/train.py`: dataset -> frames -> training -> checkpoint folder."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import torch
from tqdm import tqdm

from vla.data.frames import load_frames
from vla.data.lerobot.errors import DatasetError
from vla.embodiment import LIBERO, Embodiment, Gripper, ImageGeometry
from vla.evaluation.config import compose_config, to_dict, usage
from vla.evaluation.errors import EvaluationError, RefusedError
from vla.models.mini.checkpoint import MiniCheckpoint, read_checkpoint, write_checkpoint
from vla.models.mini.config import MiniConfig
from vla.models.mini.loss import LossWeights
from vla.models.mini.model import MiniVLA
from vla.models.openvla_oft.weights import CheckpointError
from vla.normalize import Normalization
from vla.training.curve import draw_curve
from vla.training.imitation import Imitation, ImitationSettings
from vla.training.samples import Augmentation, Samples, make_statistics


def main(conf: Path, overrides: Sequence[str]) -> int:
    """Compose, train, write the checkpoint. Returns the exit code."""
    if {"-h", "--help"} & set(overrides):
        sys.stdout.write(usage(conf, "train", "python scripts/train.py"))
        return 0
    try:
        train(to_dict(compose_config(conf, "train", overrides)), sys.stdout)
    except EvaluationError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except (DatasetError, CheckpointError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def train(config: dict[str, Any], stream: TextIO) -> None:
    """Train into `config["run_dir"]`; a folder that holds a state is continued.

    Raises:
        RefusedError: the folder belongs to another configuration.
        DatasetError: a dataset is damaged.
    """
    folder = Path(config["run_dir"])
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, config)
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    torch.manual_seed(config["seed"])
    network = MiniConfig(**{**config["model"], "channels": tuple(config["model"]["channels"])})
    embodiment = describe(network)
    start = read_checkpoint(config["init"]) if config["init"] else None
    frames = [
        load_frames(Path(root), embodiment.cameras, network.image_size, Path(config["cache"]))
        for root in config["datasets"]
    ]
    statistics = start.statistics if start else make_statistics(frames)
    samples = Samples(
        frames, statistics, embodiment.normalization, network.chunk, Augmentation(**config["augment"]), config["seed"]
    )
    model = _model(network, start)
    settings = ImitationSettings(**{**config["train"], "weights": LossWeights(**config["train"]["weights"])})
    imitation = Imitation(model, samples, settings, folder)
    resumed = imitation.resume()
    size = sum(p.numel() for p in model.parameters())
    stream.write(
        f"{len(samples)} frames, {size / 1e6:.1f} M parameters, step {imitation.step} of {settings.steps}"
        f"{' (continued)' if resumed else ''} -> {folder}\n"
    )
    recipe = {"config": config, "frames": len(samples), "episodes": [int(each.episode.max()) + 1 for each in frames]}

    def write(step: int) -> None:
        weights = imitation.average.state_dict()
        checkpoint = MiniCheckpoint(network, embodiment, statistics, weights, {**recipe, "steps": step})
        write_checkpoint(folder / "checkpoint", checkpoint)
        draw_curve(folder / "log.jsonl", folder / "loss.png")

    with tqdm(total=settings.steps, initial=imitation.step, unit="step", disable=imitation.rank > 0) as bar:

        def on_step(step: int, parts: dict[str, float]) -> None:
            bar.update(1)
            if step % 20 == 0:
                bar.set_postfix({name: f"{value:.3f}" for name, value in parts.items()})
            if imitation.rank == 0 and step % settings.save_every == 0:
                write(step)

        imitation.run(on_step)
    if imitation.rank == 0:
        write(imitation.step)
    stream.write(f"Checkpoint: {folder / 'checkpoint'}\n")


def describe(network: MiniConfig) -> Embodiment:
    """LIBERO as the small model sees it: plain images, and actions as the robot takes them."""
    return dataclasses.replace(
        LIBERO,
        chunk=network.chunk,
        normalization=Normalization.BOUNDS,
        gripper=Gripper.SAME,
        images=ImageGeometry(size=network.image_size, jpeg=False, crop_area=1.0),
    )


def _model(network: MiniConfig, start: MiniCheckpoint | None) -> MiniVLA:
    if start is None:
        return MiniVLA(network)
    if start.config != network:
        raise RefusedError("init: the checkpoint's network differs from model.*; give the same sizes")
    return start.build()


def _claim(folder: Path, config: dict[str, Any]) -> None:
    """Keep the configuration; a folder of another one is not continued."""
    path = folder / "config.json"
    wanted = {key: value for key, value in config.items() if key != "threads"}
    if path.exists() and json.loads(path.read_text()) != wanted:
        raise RefusedError(f"{folder}: was begun with another configuration ({path}); give another run_dir")
    path.write_text(json.dumps(wanted, indent=1) + "\n")
