"""Training the small VLA: `scripts/train.py recipe=mini`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from vla.data.frames import load_frames
from vla.embodiment import LIBERO, Embodiment, Gripper, ImageGeometry
from vla.evaluation.errors import RefusedError
from vla.models.mini.checkpoint import MiniCheckpoint, read_checkpoint, write_checkpoint
from vla.models.mini.config import MiniConfig
from vla.models.mini.loss import LossWeights
from vla.models.mini.model import MiniVLA
from vla.normalize import Normalization
from vla.training.curve import draw_curve
from vla.training.imitation import Imitation, ImitationSettings
from vla.training.samples import Augmentation, Samples, make_statistics


def train_mini(config: Mapping[str, Any], folder: Path, stream: TextIO) -> None:
    """Train into `folder`; one that holds a state is continued.

    Raises:
        RefusedError: `init` has other sizes.
        DatasetError: a dataset is damaged.
    """
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
