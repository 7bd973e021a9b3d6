"""Fine-tuning OpenVLA or OpenVLA-OFT on recorded demonstrations: `scripts/train.py recipe=openvla_oft`.

Source of the recipe: arXiv 2502.19645, section 4 and appendix; openvla-oft 213c5ff, vla-scripts/finetune.py.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from vla.command.errors import RefusedError
from vla.data.frames import Frames, load_frames
from vla.data.lessons import Selection, control_rate
from vla.data.standard import column_statistics, standard_gripper
from vla.embodiment import EMBODIMENTS, Embodiment, Gripper
from vla.models.openvla_oft.checkpoint import Checkpoint
from vla.models.openvla_oft.config import HeadConfig, MaskMode, ModelConfig
from vla.models.openvla_oft.folder import write_folder
from vla.models.openvla_oft.locate import read_checkpoint
from vla.models.openvla_oft.model import OpenVLAOFT
from vla.models.openvla_oft.weights import Table, check_table, empty_model, lora_merged, shapes_of
from vla.policies.prompt import Prompt
from vla.training.batches import Batcher, Moment
from vla.training.device import training_device
from vla.training.finetune import Batch, Finetuner, FinetuneSettings
from vla.training.log import TrainingLog
from vla.training.lora import LoraSettings, add_lora, merged
from vla.training.run_folder import STATE, keep, learned_from, writing
from vla.training.schedule import Schedule

NEW_PARTS = ("action_head.", "proprio_projector.", "noisy_action_projector.")  # begin at random if init has none
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def finetune(config: Mapping[str, Any], folder: Path, stream: TextIO) -> None:
    """Fine-tune into `folder`; one that holds a state is continued.

    Raises:
        RefusedError: no checkpoint to begin with, a key or a way to start that this recipe has not, or a state that was
            begun with other data or with another checkpoint.
        CheckpointError: the checkpoint does not fit.
        CommandError: state or checkpoint cannot be written.
        MergeError: folding the adapters in changed the actions; the state is kept.
    """
    if (processes := os.environ.get("WORLD_SIZE", "1")) != "1":
        raise RefusedError(
            f"recipe=openvla_oft trains in one process, on one GPU; got {processes} (WORLD_SIZE). Start it without "
            "torchrun; train.accumulate=N stands for N times the batch."
        )
    if config["transfer"]:
        raise RefusedError(
            f"transfer: only recipe=mini has it, got {config['transfer']}. recipe=openvla_oft begins with init=..."
        )
    if not config["init"]:
        raise RefusedError("init: expected a checkpoint of OpenVLA or OpenVLA-OFT to begin with, got null")
    options = dict(config["train"])
    batch, save_every = options.pop("batch"), options.pop("save_every")
    if batch < 1 or save_every < 1:
        raise RefusedError(f"train: expected batch and save_every of at least 1, got {batch} and {save_every}")
    start = read_checkpoint(config["init"], **config["init_says"])
    network, embodiment = _network(config["network"], start, config["init_says"]["cameras"])
    if config["cameras"] or config["boxes"] or config["relative"]:
        raise RefusedError(
            "cameras, boxes, relative: only recipe=mini has them. recipe=openvla_oft takes init_says.cameras."
        )
    roots = [Path(root) for root in config["datasets"]]
    if (rate := control_rate(roots, embodiment.hz)) != embodiment.hz:
        raise RefusedError(
            f"datasets: expected {embodiment.hz:g} control steps a second, as {embodiment.name} has, got {rate:g}"
        )
    cache, selection = Path(config["cache"]), Selection.from_config(config["recordings"])
    frames = [load_frames(root, embodiment.cameras, None, cache, embodiment.chunk, selection) for root in roots]
    moments = Moments(frames, embodiment)
    statistics = moments.statistics()
    batcher = Batcher(
        embodiment, statistics, Prompt(start.extra("tokenizer.json")), start.pixels, use_state=network.state_dim > 0
    )
    lora = LoraSettings(**config["lora"])
    model = _model(network, start, DTYPES[config["dtype"]])
    add_lora(model, lora)
    begun = learned_from(config["datasets"], frames, statistics)
    keep(folder, "begun.json", {**begun, "frozen_weights": _digest_of_frozen(model)})
    schedule = Schedule(**{name: options.pop(name) for name in ("peak", "warmup", "decay_at")})
    settings = FinetuneSettings(**options, schedule=schedule)
    device = training_device()
    tuner, state = Finetuner(model.to(device), settings), folder / STATE
    if state.exists():
        tuner.load(state)
    stream.write(f"{len(moments)} moments, step {tuner.step} of {settings.steps}, {device} -> {folder}\n")
    log = TrainingLog(folder / "log.jsonl", tuner.step)
    first = tuner.step * settings.accumulate
    with tqdm(total=settings.steps, initial=tuner.step, unit="step") as bar, log:

        def on_step(step: int, loss: float) -> None:
            log.add(step, {"total": loss})
            bar.update(1)
            bar.set_postfix(loss=f"{loss:.3f}")
            if step % save_every == 0 or step == settings.steps:
                tuner.save(state)

        tuner.run(moments.batches(batcher, batch, config["seed"], first), on_step)
    probe, _ = batcher(moments.draw(min(4, batch), np.random.default_rng(config["seed"])))
    model.to("cpu")  # a second, whole network for comparing need not fit on the GPU
    table, difference = merged(model, lora, probe, config["merge_tolerance"])
    name = "+".join(Path(root).name for root in config["datasets"])
    provenance = {"init": config["init"], "steps": settings.steps, "lora": config["lora"], "merged_moved": difference}
    done = Checkpoint(network, embodiment, {name: statistics}, table, pixels=start.pixels, extras=start.extras,
                      provenance=provenance)  # fmt: skip
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)  # of a run that was continued
    with writing(folder / "checkpoint"):
        write_folder(done, folder / "checkpoint")
    stream.write(f"Merging moved an action by at most {difference:.2g}. Checkpoint: {folder / 'checkpoint'}\n")


class Moments:
    """Training moments of OpenVLA-OFT in recorded demonstrations: those with a whole chunk ahead.

    Args:
        frames: recorded sets.
        embodiment: chunk, and how its data mean the gripper.
    """

    def __init__(self, frames: Sequence[Frames], embodiment: Embodiment) -> None:
        self._frames, self._embodiment = frames, embodiment
        whole = [np.flatnonzero(each.valid[:, : embodiment.chunk].all(axis=1)) for each in frames]
        self._at = [(which, int(row)) for which, rows in enumerate(whole) for row in rows]
        if not self._at:
            raise ValueError(f"datasets: expected moments with {embodiment.chunk} actions ahead, found none")

    def __len__(self) -> int:
        return len(self._at)

    def statistics(self) -> dict[str, Any]:
        """Of actions and states, as a dataset_statistics.json has them; a LIBERO gripper passes unchanged."""
        actions = np.stack([self._actions(which, row)[0] for which, row in self._at])
        states = np.stack([self._frames[which].state[row] for which, row in self._at]).astype(np.float64)
        mask = np.ones(actions.shape[1], dtype=bool)
        mask[-1] = self._embodiment.gripper != Gripper.LIBERO
        return {"action": {**column_statistics(actions), "mask": mask.tolist()}, "proprio": column_statistics(states)}

    def draw(self, size: int, generator: np.random.Generator) -> list[Moment]:
        """So many moments at random."""
        return [self._moment(*self._at[index]) for index in generator.integers(len(self._at), size=size)]

    def batches(self, batcher: Batcher, size: int, seed: int, first: int) -> Iterator[Batch]:
        """Batch `first` and those after it; each depends on the seed and its number only."""
        number = first
        while True:
            generator = np.random.default_rng([seed, number])
            yield batcher(self.draw(size, generator), generator)
            number += 1

    def _moment(self, which: int, row: int) -> Moment:
        frames = self._frames[which]
        images = {
            camera: np.ascontiguousarray(image.transpose(1, 2, 0))
            for camera, image in zip(self._embodiment.cameras, frames.images[row], strict=True)
        }
        words = frames.instructions[frames.task[row]]
        return Moment(images, frames.state[row].astype(np.float64), words, self._actions(which, row))

    def _actions(self, which: int, row: int) -> np.ndarray:
        """(K, A) in the units of the training data."""
        actions = self._frames[which].actions[row, : self._embodiment.chunk].astype(np.float64)
        return standard_gripper(actions) if self._embodiment.gripper == Gripper.LIBERO else actions


def _network(
    wanted: Mapping[str, Any], start: Checkpoint, cameras: Sequence[str] | None
) -> tuple[ModelConfig, Embodiment]:
    """The network to train: the checkpoint's towers and trunk, with the head and the chunks of the recipe."""
    embodiment = start.embodiment
    if start.config.mask is MaskMode.CAUSAL:  # the original OpenVLA saw one camera and planned one action
        embodiment = dataclasses.replace(EMBODIMENTS[embodiment.name], images=embodiment.images)
        if cameras:
            embodiment = dataclasses.replace(embodiment, cameras=tuple(cameras))
    elif not embodiment.state:
        embodiment = dataclasses.replace(embodiment, state=EMBODIMENTS[embodiment.name].state)
    if wanted["chunk"]:
        embodiment = dataclasses.replace(embodiment, chunk=wanted["chunk"])
    network = dataclasses.replace(
        start.config,
        images=len(embodiment.cameras),
        chunk=embodiment.chunk,
        action_dim=len(embodiment.action),
        state_dim=len(embodiment.state),
        film=wanted["film"],
        mask=MaskMode.BIDIRECTIONAL,
        head=HeadConfig(wanted["head"], wanted["head_options"]),
    )
    return network, embodiment


def _model(network: ModelConfig, start: Checkpoint, dtype: torch.dtype) -> OpenVLAOFT:
    """The network with the checkpoint's weights; parts that it has none for begin as torch makes them.

    Raises:
        CheckpointError: a tensor of towers, projector or trunk is missing or misshapen.
    """
    table = lora_merged(start.table, start.lora_scale)
    shapes = shapes_of(empty_model(network))
    fits = {name: stored for name, stored in table.items() if shapes.get(name) == stored.shape}
    fresh = [name for name in shapes if name not in fits and (name.startswith(NEW_PARTS) or ".film." in name)]
    check_table(_without_old_parts(table, fits), {name: shapes[name] for name in shapes if name not in fresh})
    model = empty_model(network)
    weights: dict[str, Tensor] = {name: stored.read().to(dtype) for name, stored in fits.items()}
    model.load_state_dict(weights, strict=False, assign=True)
    for owner in {name.rpartition(".")[0] for name in fresh}:
        part: Any = model.get_submodule(owner)
        part.to_empty(device="cpu", recurse=False).reset_parameters()
        part.to(dtype)
    return model.requires_grad_(True)


def _digest_of_frozen(model: OpenVLAOFT) -> str:
    """Of a few numbers of each frozen tensor: the state lacks them, so adapters could be put on others."""
    digest = hashlib.sha256()
    for _, parameter in sorted(model.named_parameters()):
        if not parameter.requires_grad:
            flat = parameter.detach().flatten()
            digest.update(flat[:: max(1, len(flat) // 64)].float().numpy().tobytes())
    return digest.hexdigest()[:16]


def _without_old_parts(table: Table, fits: Table) -> Table:
    """What is left of a checkpoint when a head of another kind or size is dropped."""
    return {name: stored for name, stored in table.items() if name in fits or not name.startswith(NEW_PARTS)}
