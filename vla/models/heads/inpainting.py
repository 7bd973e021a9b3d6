"""Continuing a running chunk with a head that denoises: freeze what will be executed, pull the rest towards the plan.

Source: Real-Time Chunking (arXiv 2506.07339, section 4 and algorithm 1): soft mask (eq. 5), guidance of the clean
estimate by a vector-Jacobian product (eq. 2 to 4), clipped at 5. There the frozen steps are only guided, with full
weight; here they are also put in, noised to the present level, and so come out exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

STRENGTH = 5.0  # beta in the paper, for few denoising steps


@dataclass(frozen=True, eq=False)
class Prefix:
    """What is left of the running chunk, in normalised actions.

    Attributes:
        actions: (B, P, A); the first belongs to the first step of the new chunk.
        frozen: so many of them are executed whatever is answered.

    Raises:
        ValueError: `frozen` is not in 0 to P.
    """

    actions: Tensor
    frozen: int

    def __post_init__(self) -> None:
        if self.actions.ndim != 3 or not 0 <= self.frozen <= self.actions.shape[1]:
            raise ValueError(
                f"prefix: expected actions (B, P, A) and 0 to P frozen, got {tuple(self.actions.shape)} "
                f"and {self.frozen}"
            )


class Inpainting:
    """Denoising on the way to a chunk that continues a prefix.

    A noisy sample is `signal * clean + spread * noise`; the two numbers say where on the way it is.

    Args:
        prefix: what to continue; actions beyond the chunk are not needed.
        noise: (B, K, A) where denoising starts.
    """

    def __init__(self, prefix: Prefix, noise: Tensor) -> None:
        known = min(prefix.actions.shape[1], noise.shape[1])
        self._frozen = min(prefix.frozen, known)
        self._noise = noise
        self._wanted = torch.zeros_like(noise)  # (B, K, A)
        self._wanted[:, :known] = prefix.actions[:, :known].to(noise.device, noise.dtype)
        self._weights = soft_mask(noise.shape[1], known, self._frozen).to(noise.device, noise.dtype)[:, None]  # (K, 1)

    def put_in(self, sample: Tensor, signal: float, spread: float) -> Tensor:
        """`sample` (B, K, A) with the frozen steps as they are at this noise level."""
        mixed = sample.clone()
        mixed[:, : self._frozen] = (signal * self._wanted + spread * self._noise)[:, : self._frozen]
        return mixed

    def guided(
        self, clean: Callable[[Tensor], Tensor], sample: Tensor, signal: float, spread: float, limit: float = math.inf
    ) -> tuple[Tensor, Tensor]:
        """The clean estimate, and how far to move it so that it agrees better with the prefix: both (B, K, A).

        Args:
            clean: noisy sample (B, K, A) -> estimate of the clean one; differentiable.
            sample: (B, K, A).
            signal: part of the clean actions in it.
            spread: part of the noise.
            limit: what a clean action cannot exceed: the estimate is moved from within it, and not out of it.
        """
        with torch.enable_grad():
            noisy = sample.detach().requires_grad_()
            estimate = clean(noisy)
            within = estimate.detach().clamp(-limit, limit)
            error = self._weights * (self._wanted - within)
            (pull,) = torch.autograd.grad(estimate, noisy, error)  # (B, K, A)
        # In the paper signal + spread is 1; a sample of another length is that one, scaled.
        total = signal + spread
        time, left = signal / total, spread / total
        variance = left**2 / (time**2 + left**2)  # r^2
        weight = min(STRENGTH, left / (time * variance)) if time > 0 else STRENGTH
        moved = (within + left * weight * total * pull).clamp(-limit, limit)
        return estimate.detach(), moved - within


def soft_mask(chunk: int, known: int, frozen: int) -> Tensor:
    """(K,) how much each step is held to the prefix: 1 while frozen, then falling, 0 where nothing is known (eq. 5)."""
    weights = torch.zeros(chunk)
    weights[:frozen] = 1.0
    for step in range(frozen, known):
        part = (known - step) / (known - frozen + 1)
        weights[step] = part * math.expm1(part) / math.expm1(1.0)
    return weights
