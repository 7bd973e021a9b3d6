"""Training the small VLA from demonstrations: one readable loop that can be killed and continued exactly."""

from __future__ import annotations

import contextlib
import copy
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import distributed

from vla.command.errors import RefusedError
from vla.models.mini.loss import LossWeights, losses
from vla.models.mini.model import MiniVLA, channels_last
from vla.training.device import moved, training_device
from vla.training.log import TrainingLog
from vla.training.run_folder import STATE, load_state, rank, save_state
from vla.training.samples import Samples


@dataclass(frozen=True)
class ImitationSettings:
    """How long and how fast.

    Attributes:
        steps: optimiser steps in all.
        batch: samples a step in each process.
        peak: highest learning rate; it rises over `warmup` steps, then falls along a cosine to a hundredth.
        ema: the averaged weights keep this part of themselves a step; they are what is saved as the policy.
        clip: largest norm of the gradient.
        save_every: steps between two saved states.
    """

    steps: int
    batch: int = 64
    peak: float = 1e-3
    warmup: int = 300
    weight_decay: float = 0.05
    ema: float = 0.998
    clip: float = 1.0
    save_every: int = 500
    weights: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.save_every < 1:
            raise ValueError(
                f"training: expected steps, batch, save_every >= 1, got {self.steps}, {self.batch}, {self.save_every}"
            )

    def rate(self, step: int) -> float:
        """Learning rate of step 0, 1, ..."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        part = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, part))))


class Imitation:
    """The model, its average, its optimiser, and where they stand.

    Under `torchrun` each process draws its own batches and gradients are averaged; the code is the same.

    Args:
        model: to be trained.
        samples: what to learn from.
        settings: how long and how fast.
        folder: for the state and the log.
    """

    def __init__(self, model: MiniVLA, samples: Samples, settings: ImitationSettings, folder: Path) -> None:
        self.settings, self._samples, self._folder = settings, samples, folder
        self.rank, self.processes = rank(), int(os.environ.get("WORLD_SIZE", "1"))
        if self.processes > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        self._device = training_device()
        self.model = channels_last(model.to(self._device))
        self.average = copy.deepcopy(model).eval().requires_grad_(False)
        decayed = [p for p in model.parameters() if p.ndim > 1]
        others = [p for p in model.parameters() if p.ndim <= 1]
        self._optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=settings.rate(0),
            betas=(0.9, 0.98),
            fused=True,
        )
        self.step = 0

    def run(self, on_step: Callable[[int, dict[str, float]], None] = lambda step, parts: None) -> None:
        """Train until `settings.steps` are done.

        Raises:
            ValueError: the loss is not finite.
        """
        self.model.train()
        with TrainingLog(self._folder / "log.jsonl", self.step) if self.rank == 0 else contextlib.nullcontext() as log:
            while self.step < self.settings.steps:
                parts = self._one_step()
                self.step += 1
                if log is not None:
                    log.add(self.step, parts)
                on_step(self.step, parts)
                if self.step % self.settings.save_every == 0 or self.step == self.settings.steps:
                    self.save()

    def _one_step(self) -> dict[str, float]:
        settings = self.settings
        for group in self._optimizer.param_groups:
            group["lr"] = settings.rate(self.step)
        number = self.step * self.processes + self.rank
        inputs, targets = self._samples.batch(number, settings.batch)
        torch.manual_seed(self._samples.noise_seed(number))  # so that a resumed training draws the same noise
        inputs, targets = moved(inputs, self._device), moved(targets, self._device)
        with torch.autocast(self._device.type, torch.bfloat16):
            parts = losses(self.model, inputs, targets, settings.weights)
        parts["total"].backward()
        if self.processes > 1:
            self._average_gradients()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
        if not torch.isfinite(norm):
            raise ValueError(f"training: the gradient became {norm} at step {self.step}; lower train.peak")
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._update_average()
        return {name: float(part.detach()) for name, part in parts.items()}

    def _average_gradients(self) -> None:
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.processes
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    @torch.no_grad()
    def _update_average(self) -> None:
        keep = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        averaged, current = self.average.state_dict(), self.model.state_dict()
        for name, value in averaged.items():
            if value.is_floating_point():
                value.lerp_(current[name], 1 - keep)
            else:
                value.copy_(current[name])

    def save(self) -> None:
        """Write everything that is needed to go on; the file appears at once or not at all.

        Raises:
            CommandError: it cannot be written; the state before it is safe.
        """
        if self.rank:
            return
        state = {
            "step": self.step,
            "processes": self.processes,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        save_state(self._folder / STATE, state)

    def resume(self) -> bool:
        """Go on where `save` was called last; False if it never was.

        Raises:
            RefusedError: the state is torn or cannot be read, or was begun with another number of processes.
            ValueError: the state is of another model.
        """
        path = self._folder / STATE
        if not path.exists():
            return False
        state = load_state(path)
        begun = state.get("processes", self.processes)  # older states do not say it
        if begun != self.processes:
            raise RefusedError(
                f"{path}: expected as many processes as it was begun with, {begun}, got {self.processes}: batches "
                "would be drawn again, and a step would take another number of samples. Go on with torchrun "
                f"--nproc_per_node={begun}; init={path.with_name('checkpoint')} in another run_dir begins with its "
                "weights."
            )
        try:
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self._optimizer.load_state_dict(state["optimizer"])
        except RuntimeError as error:
            raise ValueError(f"{path}: the state is of another model; train into another folder ({error})") from error
        self.step = state["step"]
        return True
