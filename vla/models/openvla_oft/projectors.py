"""The small maps into the trunk's width: patches, robot state, noisy actions, denoising time.

Source: openvla-oft 213c5ff, modeling_prismatic.py `PrismaticProjector`, projectors.py, action_heads.py.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class PatchProjector(nn.Module):
    """Patches of both towers -> word vectors."""

    def __init__(self, vision: int, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(vision, 4 * vision)
        self.fc2 = nn.Linear(4 * vision, width)
        self.fc3 = nn.Linear(width, width)

    def forward(self, patches: Tensor) -> Tensor:
        """(B, P, V) -> (B, P, D)."""
        return self.fc3(F.gelu(self.fc2(F.gelu(self.fc1(patches)))))


class VectorProjector(nn.Module):
    """A vector of numbers -> one word vector. Used for the robot state (S numbers) and each noisy action (1)."""

    def __init__(self, numbers: int, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(numbers, width)
        self.fc2 = nn.Linear(width, width)

    def forward(self, numbers: Tensor) -> Tensor:
        """(..., S) -> (..., D)."""
        return self.fc2(F.gelu(self.fc1(numbers)))


def sinusoid(time: Tensor, width: int) -> Tensor:
    """Sinusoidal embedding of a raw (unscaled) time: (B,) -> (B, D) float32, sines first."""
    half = width // 2
    steps = torch.arange(half, device=time.device)
    angles = time.float()[:, None] * torch.exp(steps * (-math.log(10000.0) / (half - 1)))  # (B, D/2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)  # (B, D)
