"""Where a training computes: on this process's GPU, or on the CPU if there is none."""

from __future__ import annotations

import os
from typing import TypeVar

import torch
from torch import Tensor

Part = TypeVar("Part")


def training_device() -> torch.device:
    """The GPU that `torchrun` gave this process, the first one without it, or the CPU."""
    return torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu")


def moved(part: Part, device: torch.device) -> Part:
    """A dataclass of tensors on another device; what is None stays None."""
    return type(part)(**{name: _moved(value, device) for name, value in vars(part).items()})


def _moved(value: Tensor | None, device: torch.device) -> Tensor | None:
    return None if value is None else value.to(device, non_blocking=True)
