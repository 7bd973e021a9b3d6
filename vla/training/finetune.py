"""Fine-tuning of OpenVLA-OFT: one readable loop.

Source of the recipe: arXiv 2502.19645, appendix; openvla-oft 213c5ff, vla-scripts/finetune.py. What upstream computes
and throws away is left out: words over the whole vocabulary for L1 and diffusion, the towers' last blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vla.models.openvla_oft.model import Inputs, OpenVLAOFT
from vla.training.device import moved
from vla.training.lora import trained_parameters
from vla.training.run_folder import load_state, save_state
from vla.training.schedule import Schedule

Batch = tuple[Inputs, Tensor]  # observations, normalised actions (B, K, A)


@dataclass(frozen=True)
class FinetuneSettings:
    """How long and how fast.

    Attributes:
        steps: optimiser steps in all.
        accumulate: batches a step.
        film_sees_padding: as upstream trains FiLM (see `OpenVLAOFT.encode`); False makes a sample independent of its
            neighbours in the batch, as it is at inference.
    """

    steps: int
    accumulate: int = 1
    weight_decay: float = 0.01
    gradient_checkpointing: bool = True
    film_sees_padding: bool = False
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.accumulate < 1:
            raise ValueError(f"fine-tuning: expected steps and accumulate >= 1, got {self.steps}, {self.accumulate}")


class Finetuner:
    """The model, its optimiser and where they stand; can be stopped and continued exactly.

    Args:
        model: adapters in place, everything else frozen (see `add_lora`), on the device that is to compute.
        settings: how long and how fast.
    """

    def __init__(self, model: OpenVLAOFT, settings: FinetuneSettings) -> None:
        self.model, self.settings = model, settings
        self.step = 0
        self._device = next(model.parameters()).device
        self.optimizer = torch.optim.AdamW(
            trained_parameters(model), lr=settings.schedule(0), weight_decay=settings.weight_decay
        )
        model.language_model.model.gradient_checkpointing = settings.gradient_checkpointing

    def run(self, batches: Iterable[Batch], on_step: Callable[[int, float], None] = lambda step, loss: None) -> None:
        """Train until `settings.steps` are done.

        Args:
            batches: at least as many as are still needed.
            on_step: told the number of steps done and the loss, after each.

        Raises:
            ValueError: the batches end too early, or the loss is not finite.
        """
        self.model.train()
        source = iter(batches)
        while self.step < self.settings.steps:
            loss = self._one_step(source)
            self.step += 1
            on_step(self.step, loss)

    def _one_step(self, source: Iterator[Batch]) -> float:
        rate = self.settings.schedule(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        total = 0.0
        for _ in range(self.settings.accumulate):
            batch = next(source, None)
            if batch is None:
                raise ValueError(f"fine-tuning: the batches ended at step {self.step} of {self.settings.steps}")
            inputs, actions = moved(batch[0], self._device), batch[1].to(self._device)
            loss = self.model.loss(inputs, actions, film_sees_padding=self.settings.film_sees_padding)
            loss = loss / self.settings.accumulate
            loss.backward()
            total += loss.item()
        if not torch.isfinite(torch.tensor(total)):
            raise ValueError(f"fine-tuning: the loss became {total} at step {self.step}; lower schedule.peak")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total

    def save(self, path: Path) -> None:
        """Write trained weights, optimiser, step and random state; the file appears at once or not at all.

        Raises:
            CommandError: it cannot be written; the state before it is safe.
        """
        trained = {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        state: dict[str, Any] = {
            "step": self.step,
            "weights": {name: tensor for name, tensor in self.model.state_dict().items() if name in trained},
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }
        if self._device.type == "cuda":
            state["random_cuda"] = torch.cuda.get_rng_state(self._device)
        save_state(path, state)

    def load(self, path: Path) -> None:
        """Continue where `save` was called.

        Raises:
            RefusedError: the file is torn, or cannot be read.
            ValueError: it is of another model.
        """
        state = load_state(path)
        trained = {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        if different := trained ^ set(state["weights"]):
            raise ValueError(f"{path}: trained weights differ from this model's, for one in {sorted(different)[:3]}")
        self.model.load_state_dict(state["weights"], strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        if self._device.type == "cuda" and "random_cuda" in state:  # it is not, if a CPU began
            torch.cuda.set_rng_state(state["random_cuda"], self._device)
        self.step = state["step"]
