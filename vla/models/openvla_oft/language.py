"""The Llama trunk with its own attention, which is bidirectional or causal by an explicit mode.

Stock Llama code is causal; OpenVLA-OFT needs every token to see every other one, and a wrong mask raises no error
but costs forty points of success. So the blocks are written out here, on torch's SDPA.
Sources: Llama 2 (arXiv 2307.09288); transformers 4.40.1 modeling_llama.py, whose order of rounding is kept for bf16.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

from vla.models.openvla_oft.config import MaskMode, TrunkConfig

Cache = list[tuple[Tensor, Tensor]]  # one pair of keys and values (B, heads, L, d) a block
Rotation = tuple[Tensor, Tensor]  # cos, sin: (B, 1, L, d)


class RMSNorm(nn.Module):
    """Divides by the root mean square, in float32, then scales each channel."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        precise = x.float()
        precise = precise * torch.rsqrt(precise.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * precise.to(x.dtype)


def rotary(positions: Tensor, head_width: int, theta: float, dtype: torch.dtype) -> Rotation:
    """RoPE angles, computed in float32: (B, L) -> cos and sin (B, 1, L, d)."""
    exponents = torch.arange(0, head_width, 2, device=positions.device).float() / head_width  # (d/2,)
    angles = positions[:, None, :, None].float() * (1.0 / theta**exponents)  # (B, 1, L, d/2)
    angles = torch.cat([angles, angles], dim=-1)  # (B, 1, L, d)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn the halves of each head by the angle of its position: (B, heads, L, d) -> same."""
    cos, sin = rotation
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def attention_mask(mode: MaskMode, real: Tensor | None, queries: int, keys: int, device: torch.device) -> Tensor | None:
    """Who may look at whom; None means everyone at everyone.

    Args:
        mode: bidirectional or causal.
        real: (B, keys) bool, False at padding; None if there is none.
        queries: number of the last positions that ask.
        keys: number of positions that are looked at.
        device: where to build it.

    Returns:
        Bool, True where allowed, broadcastable to (B, heads, queries, keys).
    """
    padding = None if real is None else real[:, None, None, :]  # (B, 1, 1, keys)
    if mode is MaskMode.BIDIRECTIONAL:
        return padding
    asks = torch.arange(keys - queries, keys, device=device)[:, None]  # (queries, 1)
    earlier = (torch.arange(keys, device=device)[None] <= asks)[None, None]  # (1, 1, queries, keys)
    return earlier if padding is None else earlier & padding


class Attention(nn.Module):
    """Self-attention with rotary positions; heads of keys and values may be shared between queries."""

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        self.config = config
        shared = config.key_value_heads * config.head_width
        self.q_proj = nn.Linear(config.width, config.width, bias=False)
        self.k_proj = nn.Linear(config.width, shared, bias=False)
        self.v_proj = nn.Linear(config.width, shared, bias=False)
        self.o_proj = nn.Linear(config.width, config.width, bias=False)

    def forward(
        self, x: Tensor, rotation: Rotation, mask: Tensor | None, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(B, L, D) -> (B, L, D), and the keys and values of all positions so far."""
        batch, length, width = x.shape
        shape = (batch, length, -1, self.config.head_width)
        query = rotate(self.q_proj(x).view(shape).transpose(1, 2), rotation)  # (B, heads, L, d)
        key = rotate(self.k_proj(x).view(shape).transpose(1, 2), rotation)
        value = self.v_proj(x).view(shape).transpose(1, 2)
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        shared = self.config.key_value_heads != self.config.heads
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=shared)
        return self.o_proj(out.transpose(1, 2).reshape(batch, length, width)), (key, value)


class Mlp(nn.Module):
    """SwiGLU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = Mlp(config.width, config.mlp_width)
        self.input_layernorm = RMSNorm(config.width, config.norm_eps)
        self.post_attention_layernorm = RMSNorm(config.width, config.norm_eps)

    def forward(
        self, x: Tensor, rotation: Rotation, mask: Tensor | None, past: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(B, L, D) -> (B, L, D), and the keys and values so far."""
        attended, present = self.self_attn(self.input_layernorm(x), rotation, mask, past)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), present


class Trunk(nn.Module):
    """Word vectors, blocks and the final norm."""

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocabulary, config.width)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = RMSNorm(config.width, config.norm_eps)
        self.gradient_checkpointing = False

    def forward(
        self,
        x: Tensor,
        mode: MaskMode,
        real: Tensor | None = None,
        positions: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Contextual states after the final norm.

        Args:
            x: (B, L, D) embeddings.
            mode: bidirectional or causal.
            real: (B, L of cache and x) bool, False at padding; None if there is none.
            positions: (B, L) for RoPE; default 0..L-1, counting padding.
            cache: keys and values of earlier positions; filled in place. None: nothing is kept.

        Returns:
            (B, L, D).
        """
        length = x.shape[1]
        seen = cache[0][0].shape[2] if cache else 0
        if positions is None:
            positions = torch.arange(seen, seen + length, device=x.device)[None]  # (1, L)
        rotation = rotary(positions, self.config.head_width, self.config.rope_theta, x.dtype)
        mask = attention_mask(mode, real, length, seen + length, x.device)
        past = list(cache) if cache else [None] * len(self.layers)
        for index, layer in enumerate(self.layers):
            if self.gradient_checkpointing and self.training:
                x, present = checkpoint(layer, x, rotation, mask, use_reentrant=False)
            else:
                x, present = layer(x, rotation, mask, past[index])
            if cache is not None:
                cache[index : index + 1] = [present]
        return self.norm(x)


class LanguageModel(nn.Module):
    """The trunk and the map from states to words, under the names of the released checkpoints."""

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        self.model = Trunk(config)
        self.lm_head = nn.Linear(config.width, config.vocabulary, bias=False)
