"""OpenVLA-OFT as one module: observations in, a chunk of normalised actions out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vla.models.heads import build_head
from vla.models.heads.base import HeadSizes
from vla.models.heads.inpainting import Prefix
from vla.models.openvla_oft.config import MaskMode, ModelConfig
from vla.models.openvla_oft.language import Cache, LanguageModel
from vla.models.openvla_oft.projectors import PatchProjector, VectorProjector, sinusoid
from vla.models.openvla_oft.sequence import SequenceLayout
from vla.models.openvla_oft.vision import VisionBackbone


@dataclass(frozen=True)
class Inputs:
    """A batch of observations, ready for the model.

    Attributes:
        pixels: (B, N, 6, H, W), normalised for DINOv2 (3 channels) and SigLIP (3 channels).
        prompts: (B, T) ids with BOS and the empty token at the end, padded on the right.
        prompt_lengths: (B,) ids of each prompt, BOS counted.
        state: (B, S) normalised proprioception, or None.
    """

    pixels: Tensor
    prompts: Tensor
    prompt_lengths: Tensor
    state: Tensor | None = None


class OpenVLAOFT(nn.Module):
    """The policy network.

    Args:
        config: sizes, head, mask mode.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        width = config.trunk.width
        self.vision_backbone = VisionBackbone(config.dino, config.siglip, width if config.film else None)
        self.projector = PatchProjector(config.vision_width, width)
        self.language_model = LanguageModel(config.trunk)
        self.proprio_projector = VectorProjector(config.state_dim, width) if config.state_dim else None
        sizes = HeadSizes(config.chunk, config.action_dim, width)
        self.action_head = build_head(config.head.kind, sizes, config.head.options)
        self.noisy_action_projector = VectorProjector(1, width) if self.action_head.denoises else None

    def forward(self, inputs: Inputs, noise: Tensor | None = None) -> Tensor:
        """Normalised actions.

        Args:
            inputs: the observations.
            noise: (B, K, A) where a denoising head starts; random if None.

        Returns:
            (B, K, A).
        """
        return self.action_head.predict(self.encode(inputs), noise)

    def continue_chunk(self, inputs: Inputs, prefix: Prefix, noise: Tensor | None = None) -> Tensor:
        """Normalised actions (B, K, A) that go on from a running chunk (see `ActionHead.continue_chunk`)."""
        return self.action_head.continue_chunk(self.encode(inputs), prefix, noise)

    def loss(self, inputs: Inputs, actions: Tensor, film_sees_padding: bool = False) -> Tensor:
        """Scalar training loss for normalised actions (B, K, A). For the flag see `encode`."""
        return self.action_head.loss(self.encode(inputs, film_sees_padding), actions)

    def encode(self, inputs: Inputs, film_sees_padding: bool = False) -> EncodedQuery:
        """Everything that does not depend on the actions: patches, state, words. The towers run here, once.

        Args:
            inputs: the observations.
            film_sees_padding: average padding into FiLM's words. The official training does, so that what a sample
                sees depends on its neighbours in the batch; inference (there, of one prompt) never does.
        """
        self._check(inputs)
        layout = SequenceLayout(
            patches=self.config.images * self.config.dino.patches,
            state=self.proprio_projector is not None,
            timestep=self.action_head.denoises,
            prompt_lengths=inputs.prompt_lengths - 1,
            slots=self.config.action_slots,
        )
        embed = self.language_model.model.embed_tokens
        bos, tail = embed(inputs.prompts[:, :1]), embed(layout.tail_ids(inputs.prompts))  # (B, 1, D), (B, tail, D)
        words = self._mean_words(bos, tail, layout, film_sees_padding) if self.config.film else None  # (B, D)
        dtype = bos.dtype
        patches = self.projector(self.vision_backbone(inputs.pixels.to(dtype), words))  # (B, N*P, D)
        prefix = [bos, patches]
        if self.proprio_projector is not None and inputs.state is not None:
            prefix.append(self.proprio_projector(inputs.state.to(dtype))[:, None])  # (B, 1, D)
        return EncodedQuery(self, layout, torch.cat(prefix, dim=1), tail)

    @staticmethod
    def _mean_words(bos: Tensor, tail: Tensor, layout: SequenceLayout, padding: bool) -> Tensor:
        """Mean vector of BOS, prompt and stop token: (B, 1, D), (B, tail, D) -> (B, D)."""
        place = torch.arange(layout.tail, device=tail.device) + layout.prefix  # (tail,)
        slots = (place >= layout.slots_at[:, :1]) & (place < layout.stop_at[:, None])  # (B, tail)
        counts = ~slots if padding else ~slots & layout.real[:, layout.prefix :]  # (B, tail)
        total = bos[:, 0].float() + (tail.float() * counts[..., None]).sum(dim=1)  # (B, D)
        return (total / (counts.sum(dim=1, keepdim=True) + 1)).to(bos.dtype)

    def _check(self, inputs: Inputs) -> None:
        size = self.config.dino.image_size
        batch = len(inputs.prompts)
        expected = (batch, self.config.images, 6, size, size)
        if tuple(inputs.pixels.shape) != expected:
            raise ValueError(
                f"pixels: expected (B, N, 6, H, W) = {expected} for {self.config.images} images, "
                f"got {tuple(inputs.pixels.shape)}"
            )
        state = None if inputs.state is None else tuple(inputs.state.shape)
        wanted = (batch, self.config.state_dim) if self.config.state_dim else None
        if state != wanted:
            raise ValueError(f"state: expected {wanted}, got {state} (the model was built with state_dim {wanted})")


@dataclass(frozen=True)
class EncodedQuery:
    """The encoded observations; runs the trunk on behalf of a head (see `vla.models.heads.base.Query`).

    Attributes:
        prefix: (B, 1 + N*P [+ 1], D) BOS, patches, state.
        tail: (B, tail, D) words after the prefix; what stands in the slots is not used.
    """

    model: OpenVLAOFT
    layout: SequenceLayout
    prefix: Tensor
    tail: Tensor

    @property
    def batch(self) -> int:
        """B."""
        return len(self.prefix)

    @property
    def dtype(self) -> torch.dtype:
        """Of all embeddings."""
        return self.prefix.dtype

    @property
    def device(self) -> torch.device:
        """Of all embeddings."""
        return self.prefix.device

    def embeddings(self, noisy: Tensor | None = None, time: Tensor | None = None) -> Tensor:
        """The whole sequence, (B, L, D). For the arguments see `Query.states`."""
        if (noisy is None) == self.layout.timestep or (time is None) == self.layout.timestep:
            raise ValueError("noisy actions and their time: expected for a head that denoises, and only for one")
        slots = self.layout.slots_at - self.layout.prefix  # (B, K*A), counted in the tail
        if noisy is None or time is None or self.model.noisy_action_projector is None:
            content = self.tail.new_zeros(*slots.shape, self.tail.shape[-1])  # (B, K*A, D): only RoPE tells them apart
            prefix = self.prefix
        else:
            content = self.model.noisy_action_projector(noisy.to(self.dtype).flatten(1)[..., None])  # (B, K*A, D)
            clock = sinusoid(time, self.prefix.shape[-1]).to(self.dtype)[:, None]  # (B, 1, D)
            prefix = torch.cat([self.prefix, clock], dim=1)
        tail = self.tail.scatter(1, slots[..., None].expand_as(content), content)  # (B, tail, D)
        return torch.cat([prefix, tail], dim=1)

    def all_states(self, noisy: Tensor | None = None, time: Tensor | None = None) -> Tensor:
        """States of the whole sequence, (B, L, D). For the arguments see `Query.states`."""
        real = self.layout.real if self.layout.padded else None
        return self.model.language_model.model(self.embeddings(noisy, time), self.model.config.mask, real)

    def states(self, noisy: Tensor | None = None, time: Tensor | None = None) -> Tensor:
        """See `Query.states`."""
        wanted = torch.cat([self.layout.answers_at, self.layout.stop_at[:, None] - 1], dim=1)  # (B, K*A + 1)
        return self.layout.gather(self.all_states(noisy, time), wanted)

    def logits(self, states: Tensor) -> Tensor:
        """See `Query.logits`."""
        return self.model.language_model.lm_head(states)

    def decode_greedily(self, tokens: int) -> Tensor:
        """See `Query.decode_greedily`. Keys and values are kept between words."""
        if self.model.config.mask is not MaskMode.CAUSAL:
            raise ValueError(
                f"decoding word by word needs the mask mode {MaskMode.CAUSAL.value!r}; "
                f"this model has {self.model.config.mask.value!r}. Use the parallel head."
            )
        trunk, embed = self.model.language_model.model, self.model.language_model.model.embed_tokens
        lengths = self.layout.prefix + self.layout.prompt_lengths  # (B,) of prefix and prompt
        longest = int(lengths.max())
        real = torch.arange(longest, device=self.device) < lengths[:, None]  # (B, longest)
        sequence = torch.cat([self.prefix, self.tail], dim=1)[:, :longest]  # (B, longest, D)
        cache: Cache = []
        states = trunk(sequence, MaskMode.CAUSAL, real, cache=cache)
        last = self.layout.gather(states, lengths[:, None] - 1)  # (B, 1, D)
        ids = [self.logits(last).argmax(dim=-1)]  # (B, 1) each
        for step in range(tokens - 1):
            real = torch.cat([real, real.new_ones(len(real), 1)], dim=1)
            state = trunk(embed(ids[-1]), MaskMode.CAUSAL, real, lengths[:, None] + step, cache)
            ids.append(self.logits(state).argmax(dim=-1))
        return torch.cat(ids, dim=1)  # (B, tokens)
