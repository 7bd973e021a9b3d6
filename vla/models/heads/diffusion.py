"""Diffusion: the slots hold noisy actions, the head predicts their noise, DDIM removes it (arXiv 2502.19645, IV-B).

Each denoising step runs the trunk once; vision runs once a query.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vla.models.heads.base import ActionHead, HeadSizes, Query
from vla.models.heads.inpainting import Inpainting, Prefix
from vla.models.heads.mlp_resnet import MLPResNet
from vla.models.heads.noise_schedule import add_noise, cosine_alphas, ddim_mix, ddim_step, leading_timesteps


class Head(ActionHead):
    """Predicts noise; trained on its mean squared error.

    Args:
        sizes: K, A, D.
        trained_steps: number of noise levels.
        steps: denoising steps at inference; fewer are faster.
    """

    denoises = True

    def __init__(self, sizes: HeadSizes, trained_steps: int = 50, steps: int = 50) -> None:
        super().__init__(sizes)
        self.mlp = MLPResNet(sizes)
        self.trained_steps, self.steps = trained_steps, steps
        self.times = leading_timesteps(trained_steps, steps)

    def noise(self, query: Query, noisy: Tensor, time: Tensor) -> Tensor:
        """Predicted noise: (B, K, A), (B,) -> (B, K, A)."""
        return self.mlp(self.per_step(query.states(noisy, time)))

    def predict(self, query: Query, noise: Tensor | None = None) -> Tensor:
        """See `ActionHead.predict`."""
        sample = self.draw_noise(query) if noise is None else noise.to(query.device, query.dtype)  # (B, K, A)
        alphas = cosine_alphas(self.trained_steps).to(query.device)
        for time in self.times:
            times = torch.full((query.batch,), time, device=query.device)  # (B,)
            predicted = self.noise(query, sample, times)
            sample = ddim_step(sample, predicted, time, self.trained_steps // self.steps, alphas)
        return sample

    def continue_chunk(self, query: Query, prefix: Prefix, noise: Tensor | None = None) -> Tensor:
        """See `ActionHead.continue_chunk`."""
        sample = self.draw_noise(query) if noise is None else noise.to(query.device, query.dtype)  # (B, K, A)
        inpainting = Inpainting(prefix, sample)
        alphas = cosine_alphas(self.trained_steps)
        for time in self.times:
            times = torch.full((query.batch,), time, device=query.device)  # (B,)
            signal, spread = float(alphas[time].sqrt()), float((1 - alphas[time]).sqrt())

            def clean(noisy: Tensor, times: Tensor = times, signal: float = signal, spread: float = spread) -> Tensor:
                return (noisy - spread * self.noise(query, noisy, times)) / signal

            sample = inpainting.put_in(sample, signal, spread)
            estimate, move = inpainting.guided(clean, sample, signal, spread, limit=1.0)
            # The noise is what the network says, but for the move: so without a prefix this is `predict`.
            predicted = (sample - signal * (estimate + move)) / spread
            aim = estimate.clamp(-1, 1) + move
            sample = ddim_mix(aim, predicted, time, self.trained_steps // self.steps, alphas)
        return inpainting.put_in(sample, 1.0, 0.0)

    def loss(self, query: Query, actions: Tensor) -> Tensor:
        """Mean squared error of the noise at a random level for each sample."""
        time = torch.randint(0, self.trained_steps, (query.batch,), device=query.device)  # (B,)
        return self.loss_at(query, actions, self.draw_noise(query), time)

    def loss_at(self, query: Query, actions: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """The loss for given noise (B, K, A) and levels (B,)."""
        noisy = add_noise(actions.to(noise.dtype), noise, time, cosine_alphas(self.trained_steps))
        return F.mse_loss(self.noise(query, noisy, time), noise)
