"""Flow matching: the head predicts the velocity from noise to actions along straight lines (arXiv 2210.02747).

Not part of OpenVLA-OFT. It needs about ten times fewer trunk passes than 50-step diffusion, since lines are easy to
integrate.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vla.models.heads.base import ActionHead, HeadSizes, Query
from vla.models.heads.inpainting import Inpainting, Prefix
from vla.models.heads.mlp_resnet import MLPResNet

_TIME_SCALE = 1000.0  # spreads times in [0, 1] over the sinusoids, which were made for step counts


class Head(ActionHead):
    """Predicts velocities; trained on their mean squared error.

    Args:
        sizes: K, A, D.
        steps: Euler steps at inference.
    """

    denoises = True

    def __init__(self, sizes: HeadSizes, steps: int = 5) -> None:
        super().__init__(sizes)
        if steps < 1:
            raise ValueError(f"flow head: expected at least 1 step, got {steps}")
        self.mlp = MLPResNet(sizes)
        self.steps = steps

    def velocity(self, query: Query, noisy: Tensor, time: Tensor) -> Tensor:
        """Predicted actions minus noise: (B, K, A), (B,) in [0, 1] -> (B, K, A). Time 0 is noise."""
        return self.mlp(self.per_step(query.states(noisy, time * _TIME_SCALE)))

    def predict(self, query: Query, noise: Tensor | None = None) -> Tensor:
        """See `ActionHead.predict`."""
        sample = self.draw_noise(query) if noise is None else noise.to(query.device, query.dtype)  # (B, K, A)
        for step in range(self.steps):
            time = torch.full((query.batch,), step / self.steps, device=query.device)  # (B,)
            sample = sample + self.velocity(query, sample, time) / self.steps
        return sample

    def continue_chunk(self, query: Query, prefix: Prefix, noise: Tensor | None = None) -> Tensor:
        """See `ActionHead.continue_chunk`."""
        sample = self.draw_noise(query) if noise is None else noise.to(query.device, query.dtype)  # (B, K, A)
        inpainting = Inpainting(prefix, sample)
        for step in range(self.steps):
            part = step / self.steps
            time = torch.full((query.batch,), part, device=query.device)  # (B,)

            def clean(noisy: Tensor, time: Tensor = time, part: float = part) -> Tensor:
                return noisy + (1 - part) * self.velocity(query, noisy, time)

            sample = inpainting.put_in(sample, part, 1 - part)
            estimate, move = inpainting.guided(clean, sample, part, 1 - part)
            sample = sample + (estimate + move - sample) / (1 - part) / self.steps
        return inpainting.put_in(sample, 1.0, 0.0)

    def loss(self, query: Query, actions: Tensor) -> Tensor:
        """Mean squared error of the velocity at a random time for each sample."""
        noise = self.draw_noise(query)  # (B, K, A)
        time = torch.rand(query.batch, device=query.device)  # (B,)
        part = time[:, None, None].to(query.dtype)  # (B, 1, 1)
        clean = actions.to(query.dtype)
        noisy = (1 - part) * noise + part * clean  # (B, K, A)
        return F.mse_loss(self.velocity(query, noisy, time), clean - noise)
