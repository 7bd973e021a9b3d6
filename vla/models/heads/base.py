"""What an action head is, and what it may ask of the trunk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from vla.models.heads.inpainting import Prefix


@dataclass(frozen=True)
class HeadSizes:
    """K, A and D: actions of a chunk, numbers of an action, width of a state."""

    chunk: int
    action_dim: int
    width: int


class Query(Protocol):
    """The observations of a batch, encoded; a head may run the trunk on them as often as it needs."""

    @property
    def batch(self) -> int:
        """B."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the embeddings."""

    @property
    def device(self) -> torch.device:
        """Of the embeddings."""

    def states(self, noisy: Tensor | None = None, time: Tensor | None = None) -> Tensor:
        """Run the trunk: the states that answer the slots and, last, the stop token.

        Args:
            noisy: (B, K, A) what to put in the slots; None leaves them empty.
            time: (B,) denoising time; given exactly when `noisy` is.

        Returns:
            (B, K*A + 1, D), after the final norm.
        """

    def logits(self, states: Tensor) -> Tensor:
        """(..., D) -> (..., V) over the vocabulary."""

    def decode_greedily(self, tokens: int) -> Tensor:
        """Continue the prompt with the likeliest words, one by one: (B, tokens) ids."""


class ActionHead(nn.Module, ABC):
    """Turns states into actions. `predict` and `loss` have the same signature for all heads."""

    denoises: ClassVar[bool] = False  # whether the slots hold noisy actions and the sequence a timestep token

    def __init__(self, sizes: HeadSizes) -> None:
        super().__init__()
        self.sizes = sizes

    @abstractmethod
    def predict(self, query: Query, noise: Tensor | None = None) -> Tensor:
        """Normalised actions.

        Args:
            query: the encoded observations.
            noise: (B, K, A) where to start; only for heads that denoise, drawn from a normal if None.

        Returns:
            (B, K, A).
        """

    def continue_chunk(self, query: Query, prefix: Prefix, noise: Tensor | None = None) -> Tensor:
        """Like `predict`, but going on from a running chunk; only heads that denoise can.

        Args:
            query: the encoded observations.
            prefix: what is left of the running chunk.
            noise: (B, K, A) where to start, drawn from a normal if None.

        Returns:
            (B, K, A), of which the frozen steps are those of the prefix.

        Raises:
            ValueError: this head does not denoise.
        """
        raise ValueError(
            f"{type(self).__module__}: this head cannot continue a chunk; expected a flow or diffusion head"
        )

    @abstractmethod
    def loss(self, query: Query, actions: Tensor) -> Tensor:
        """Scalar training loss against normalised actions (B, K, A)."""

    def per_step(self, states: Tensor) -> Tensor:
        """One vector a step: (B, K*A + 1, D) -> (B, K, A*D), the stop token's state dropped."""
        return states[:, :-1].reshape(states.shape[0], self.sizes.chunk, -1)

    def draw_noise(self, query: Query) -> Tensor:
        """(B, K, A) standard normal."""
        shape = (query.batch, self.sizes.chunk, self.sizes.action_dim)
        return torch.randn(shape, dtype=query.dtype, device=query.device)
