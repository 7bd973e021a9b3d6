"""The fused vision backbone: DINOv2 and SigLIP see the same image, their features are joined channel by channel.

Features leave each tower after its last but one block, without the final norm (LLaVA's habit). The last block, the
final norm and SigLIP's pooling head exist for the checkpoints' sake only and are never run.
Sources: timm 0.9.16 vision_transformer.py; openvla-oft 213c5ff, modeling_prismatic.py `PrismaticVisionBackbone`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from vla.models.openvla_oft.config import TowerConfig
from vla.models.openvla_oft.film import FiLM


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        batch, length, width = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads)  # (B, L, 3, heads, d)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # 3 x (B, heads, L, d)
        out = F.scaled_dot_product_attention(query, key, value)  # (B, heads, L, d)
        return self.proj(out.transpose(1, 2).reshape(batch, length, width))


class Mlp(nn.Module):
    """Two linear maps with the exact (erf) GELU between them; SigLIP too uses erf here, not tanh."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.fc2(F.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    """One learned factor a channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale_factor = nn.Parameter(torch.full((width,), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return x * self.scale_factor


class Block(nn.Module):
    """Pre-norm transformer block; with FiLM the words come in between attention and MLP."""

    def __init__(self, config: TowerConfig, film_words: int | None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.attn = Attention(config.width, config.heads)
        self.norm2 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.mlp = Mlp(config.width, config.mlp_width)
        self.ls1 = LayerScale(config.width) if config.layer_scale else nn.Identity()
        self.ls2 = LayerScale(config.width) if config.layer_scale else nn.Identity()
        self.film = FiLM(film_words, config.width) if film_words is not None else None

    def forward(self, x: Tensor, words: Tensor | None) -> Tensor:
        """(B, L, D), (B, W) -> (B, L, D)."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        if self.film is not None and words is not None:
            x = self.film(x, words)
        return x + self.ls2(self.mlp(self.norm2(x)))


class AttentionPool(nn.Module):
    """The parameters of SigLIP's pooling head. OpenVLA never runs it."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.latent = nn.Parameter(torch.zeros(1, 1, config.width))
        self.q = nn.Linear(config.width, config.width)
        self.kv = nn.Linear(config.width, 2 * config.width)
        self.proj = nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.mlp = Mlp(config.width, config.mlp_width)


class PatchEmbed(nn.Module):
    """Cuts the image in patches and maps each to a vector."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, config.width, config.patch_size, stride=config.patch_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, P, D)."""
        return self.proj(pixels).flatten(2).transpose(1, 2)


class Tower(nn.Module):
    """One vision transformer, read after its last but one block.

    Args:
        config: sizes.
        film_words: width of the word vectors if FiLM is on.
    """

    def __init__(self, config: TowerConfig, film_words: int | None = None) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config)
        self.pos_embed = nn.Parameter(torch.zeros(1, config.patches, config.width))
        if config.registers is not None:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
            self.reg_token = nn.Parameter(torch.zeros(1, config.registers, config.width))
        self.blocks = nn.ModuleList(Block(config, film_words) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.attn_pool = AttentionPool(config) if config.attention_pool else None

    def forward(self, pixels: Tensor, words: Tensor | None = None) -> Tensor:
        """(B, 3, H, W), (B, W) -> (B, P, D)."""
        x = self.patch_embed(pixels) + self.pos_embed  # (B, P, D): class and register tokens have no position
        extra = 0
        if self.config.registers is not None:
            prefix = torch.cat([self.cls_token, self.reg_token], dim=1)  # (1, 1 + R, D)
            extra = prefix.shape[1]
            x = torch.cat([prefix.expand(x.shape[0], -1, -1), x], dim=1)  # (B, 1 + R + P, D)
        for block in self.blocks[:-1]:
            x = block(x, words)
        return x[:, extra:]  # (B, P, D)


class VisionBackbone(nn.Module):
    """Both towers on every image. Of an image's six channels the first three are normalised for DINOv2."""

    def __init__(self, dino: TowerConfig, siglip: TowerConfig, film_words: int | None = None) -> None:
        super().__init__()
        self.featurizer = Tower(dino, film_words)
        self.fused_featurizer = Tower(siglip, film_words)

    def forward(self, pixels: Tensor, words: Tensor | None = None) -> Tensor:
        """Encode each image alone, then line the images up.

        Args:
            pixels: (B, N, 6, H, W).
            words: (B, W) mean word vector for FiLM.

        Returns:
            (B, N*P, D of both towers).
        """
        batch, images = pixels.shape[:2]
        flat = pixels.flatten(0, 1)  # (B*N, 6, H, W)
        if words is not None:
            words = words.repeat_interleave(images, dim=0)  # (B*N, W)
        features = torch.cat(
            [self.featurizer(flat[:, :3], words), self.fused_featurizer(flat[:, 3:], words)], dim=2
        )  # (B*N, P, D)
        return features.reshape(batch, -1, features.shape[-1])  # (B, N*P, D)
