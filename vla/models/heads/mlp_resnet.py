"""The residual MLP that the L1, diffusion and flow heads share.

Source: openvla-oft 213c5ff, action_heads.py `MLPResNet` (layer norms with torch's default epsilon 1e-5).
"""

from __future__ import annotations

from torch import Tensor, nn

from vla.models.heads.base import HeadSizes


class ResidualBlock(nn.Module):
    """x + ReLU(linear(norm(x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ffn = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return x + self.ffn(x)


class MLPResNet(nn.Module):
    """Norm, linear, residual blocks, norm, linear."""

    def __init__(self, sizes: HeadSizes, blocks: int = 2) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(sizes.action_dim * sizes.width)
        self.fc1 = nn.Linear(sizes.action_dim * sizes.width, sizes.width)
        self.relu = nn.ReLU()
        self.mlp_resnet_blocks = nn.ModuleList(ResidualBlock(sizes.width) for _ in range(blocks))
        self.layer_norm2 = nn.LayerNorm(sizes.width)
        self.fc2 = nn.Linear(sizes.width, sizes.action_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, A*D) -> (B, K, A)."""
        x = self.relu(self.fc1(self.layer_norm1(x)))
        for block in self.mlp_resnet_blocks:
            x = block(x)
        return self.fc2(self.layer_norm2(x))
