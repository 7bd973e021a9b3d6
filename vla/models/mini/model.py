"""The small VLA: images, state and words in, a chunk of normalised actions out.

The contract is that of OpenVLA-OFT (arXiv 2502.19645): one bidirectional pass over all tokens with empty action slots,
the actions read off by the same heads, FiLM by the words in the vision towers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vla.models.heads import build_head
from vla.models.heads.base import HeadSizes
from vla.models.mini.config import MiniConfig
from vla.models.mini.vision import Seen, Tower
from vla.models.openvla_oft.projectors import sinusoid


@dataclass(frozen=True)
class MiniInputs:
    """A batch of observations.

    Attributes:
        pixels: (B, N, 3, H, W) uint8 RGB.
        words: (B, E) from the sentence encoder.
        state: (B, S) normalised, except for the axis-angle, which is in radians.
    """

    pixels: Tensor
    words: Tensor
    state: Tensor


class MiniVLA(nn.Module):
    """The policy network.

    Args:
        config: sizes.
    """

    def __init__(self, config: MiniConfig) -> None:
        super().__init__()
        self.config = config
        width, slots = config.width, config.chunk
        self.words = nn.Sequential(nn.Linear(config.words_dim, width), nn.GELU(), nn.Linear(width, width))
        self.towers = nn.ModuleList(Tower(config.channels, width, config.keyframes) for _ in range(config.cameras))
        state_dim = config.state_dim + (0 if config.rotation is None else 3)
        self.state = nn.Sequential(nn.Linear(state_dim, width), nn.GELU(), nn.Linear(width, width))
        patches = (config.image_size // 32) ** 2
        self.observed = config.cameras * (patches + config.keyframes) + 2
        self.position = nn.Parameter(torch.randn(1, self.observed + slots + 1, width) * 0.02)
        self.trunk = nn.ModuleList(Layer(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.unfold = nn.Linear(width, config.action_dim * config.head_width)
        sizes = HeadSizes(slots, config.action_dim, config.head_width)
        self.action_head = build_head(config.head, sizes, config.head_options)
        self.noisy_action = nn.Linear(config.action_dim, width) if self.action_head.denoises else None
        self.displacement = nn.Linear(width, 3 * config.keyframes)

    def forward(self, inputs: MiniInputs, noise: Tensor | None = None) -> Tensor:
        """Normalised actions (B, K, A); `noise` (B, K, A) is where a denoising head starts."""
        return self.action_head.predict(self.encode(inputs), noise)

    def encode(self, inputs: MiniInputs) -> MiniQuery:
        """Everything that does not depend on the actions. The towers run here, once."""
        self._check(inputs)
        words = self.words(inputs.words)  # (B, D)
        state = self.state(self._state_features(inputs.state).to(words.dtype))  # (B, D)
        pixels = inputs.pixels.to(words.dtype) / 127.5 - 1.0
        if self.config.blind:
            pixels = torch.zeros_like(pixels)
        seen = [
            tower(pixels[:, camera].contiguous(memory_format=torch.channels_last), words)
            for camera, tower in enumerate(self.towers)
        ]
        tokens = [part for each in seen for part in (each.tokens, each.point_tokens)]
        observed = torch.cat([words[:, None], state[:, None], *[each.to(words.dtype) for each in tokens]], dim=1)
        return MiniQuery(self, observed, seen)

    def for_inference(self) -> MiniVLA:
        """Frozen, norms folded into convolutions, laid out for speed."""
        self.eval().requires_grad_(False)
        for tower in self.towers:
            if isinstance(tower, Tower):
                tower.fuse()
        return channels_last(self)

    def _state_features(self, state: Tensor) -> Tensor:
        """(B, S) -> (B, S + 3): an axis-angle becomes two columns of its rotation matrix, which has no jump."""
        start = self.config.rotation
        if start is None:
            return state
        columns = rotation_columns(state[:, start : start + 3])  # (B, 6)
        return torch.cat([state[:, :start], columns, state[:, start + 3 :]], dim=1)

    def _check(self, inputs: MiniInputs) -> None:
        size, batch = self.config.image_size, len(inputs.words)
        for name, tensor, expected in (
            ("pixels", inputs.pixels, (batch, self.config.cameras, 3, size, size)),
            ("words", inputs.words, (batch, self.config.words_dim)),
            ("state", inputs.state, (batch, self.config.state_dim)),
        ):
            if tuple(tensor.shape) != expected:
                raise ValueError(f"{name}: expected shape {expected}, got {tuple(tensor.shape)}")


@dataclass(frozen=True)
class MiniQuery:
    """The encoded observations; see `vla.models.heads.base.Query`.

    Attributes:
        observed: (B, L, D) tokens.
        seen: of each camera.
    """

    model: MiniVLA
    observed: Tensor
    seen: list[Seen]

    @property
    def batch(self) -> int:
        """B."""
        return len(self.observed)

    @property
    def dtype(self) -> torch.dtype:
        """Of the embeddings."""
        return self.observed.dtype

    @property
    def device(self) -> torch.device:
        """Of the embeddings."""
        return self.observed.device

    def all_states(self, noisy: Tensor | None = None, time: Tensor | None = None) -> Tensor:
        """(B, L + K + 1, D): states of all tokens; the last token tells a denoising head's time."""
        model, width = self.model, self.observed.shape[2]
        if noisy is None or time is None or model.noisy_action is None:
            slots = self.observed.new_zeros(self.batch, model.config.chunk + 1, width)  # told apart by position only
        else:
            clock = sinusoid(time, width).to(self.dtype)[:, None]  # (B, 1, D)
            slots = torch.cat([model.noisy_action(noisy.to(self.dtype)), clock], dim=1)  # (B, K + 1, D)
        x = torch.cat([self.observed, slots], dim=1) + model.position
        for layer in model.trunk:
            x = layer(x)
        return model.norm(x)

    def states(self, noisy: Tensor | None = None, time: Tensor | None = None) -> Tensor:
        """See `Query.states`: (B, K*A + 1, head width)."""
        return self.fold(self.all_states(noisy, time))

    def fold(self, states: Tensor) -> Tensor:
        """States of all tokens (B, L + K + 1, D) -> what a head reads, (B, K*A + 1, head width)."""
        config = self.model.config
        slots = self.model.unfold(states[:, self.model.observed :])  # (B, K + 1, A * width)
        each = slots[:, :-1].reshape(self.batch, config.chunk * config.action_dim, config.head_width)
        return torch.cat([each, slots[:, -1:, : config.head_width]], dim=1)

    def logits(self, states: Tensor) -> Tensor:
        """The small model has no vocabulary."""
        raise NotImplementedError("head: the small model writes no words; take l1, diffusion or flow")

    def decode_greedily(self, tokens: int) -> Tensor:
        """The small model has no vocabulary."""
        raise NotImplementedError("head: the small model writes no words; take l1, diffusion or flow")


class Layer(nn.Module):
    """Pre-norm transformer layer; every token sees every other."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        batch, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, L, D/heads) each
        # Written out: for so few tokens three times as fast on a CPU as torch's fused attention, there and back.
        share = (query @ key.transpose(2, 3) * (width // self.heads) ** -0.5).softmax(dim=3)  # (B, heads, L, L)
        attended = (share @ value).transpose(1, 2).reshape(x.shape)
        x = x + self.out(attended)
        return x + self.mlp(self.norm2(x))


def channels_last(model: MiniVLA) -> MiniVLA:
    """Lay the convolutions' weights out for speed, in place."""
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave it out
    return model


def rotation_columns(vector: Tensor) -> Tensor:
    """(B, 3) axis-angle [rad] -> (B, 6): the first two columns of the rotation matrix. Any length of angle."""
    angle = vector.norm(dim=1, keepdim=True)  # (B, 1)
    x, y, z = (vector / angle.clamp_min(1e-8)).unbind(dim=1)  # (B,) each
    c, s = torch.cos(angle[:, 0]), torch.sin(angle[:, 0])
    t = 1 - c
    return torch.stack(
        [c + x * x * t, y * x * t + z * s, z * x * t - y * s, x * y * t - z * s, c + y * y * t, z * y * t + x * s],
        dim=1,
    )
