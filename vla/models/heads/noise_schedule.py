"""The noise schedule of the diffusion head and DDIM, its deterministic sampler.

Sources: squared cosine schedule (arXiv 2102.09672, eq. 17), DDIM (arXiv 2010.02502, eq. 12 with eta 0); details as
diffusers 0.31 `DDIMScheduler(beta_schedule="squaredcos_cap_v2")`: "leading" spacing, clipped samples, last alpha 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def cosine_alphas(steps: int, largest_beta: float = 0.999) -> Tensor:
    """How much of the signal is left after each step, in variance: (steps,) float32."""

    def left(part: float) -> float:
        return math.cos((part + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - left((i + 1) / steps) / left(i / steps), largest_beta) for i in range(steps)]
    return (1.0 - torch.tensor(betas, dtype=torch.float32)).cumprod(0)  # (steps,)


def leading_timesteps(trained: int, steps: int) -> list[int]:
    """Times to visit, from noisy to clean, `trained // steps` apart and ending at 0.

    With `steps=1` this visits time 0 only: pure noise is taken for a clean sample, and the policy fails (table III).
    """
    if not 1 <= steps <= trained:
        raise ValueError(f"denoising steps: expected 1 to {trained} (the trained number), got {steps}")
    return [i * (trained // steps) for i in reversed(range(steps))]


def add_noise(clean: Tensor, noise: Tensor, time: Tensor, alphas: Tensor) -> Tensor:
    """Mix: (B, K, A), (B, K, A), (B,) -> (B, K, A)."""
    alpha = alphas.to(clean.device, clean.dtype)[time][:, None, None]  # (B, 1, 1)
    return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise


def ddim_step(sample: Tensor, noise: Tensor, time: int, stride: int, alphas: Tensor) -> Tensor:
    """Go from `time` to `time - stride`, with the clean sample clipped to [-1, 1]: (B, K, A) -> (B, K, A)."""
    alpha = alphas[time]
    clean = ((sample - (1 - alpha).sqrt() * noise) / alpha.sqrt()).clamp(-1, 1)
    return ddim_mix(clean, noise, time, stride, alphas)


def ddim_mix(clean: Tensor, noise: Tensor, time: int, stride: int, alphas: Tensor) -> Tensor:
    """The sample at `time - stride` that consists of these two: (B, K, A), (B, K, A) -> (B, K, A)."""
    alpha_next = alphas[time - stride] if time >= stride else torch.ones_like(alphas[time])
    return alpha_next.sqrt() * clean + (1 - alpha_next).sqrt() * noise
