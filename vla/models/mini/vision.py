"""The vision tower: a small residual network that the words steer (FiLM), and where it looks (keypoints).

FiLM: Perez et al. 2018, arXiv 1709.07871; in the OpenVLA-OFT recipe arXiv 2502.19645, section IV-C.
Keypoints: the expected position under a softmax over the image, Levine et al. 2016, arXiv 1504.00702.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import fuse_conv_bn_eval

HEAT_CELLS = 4  # heat map cells an 1/8-resolution cell, two each way


@dataclass(frozen=True)
class Seen:
    """What one camera gives.

    Attributes:
        tokens: (B, P, D) patches.
        points: (B, J, 2) keypoints; x right, y down, -1 to 1 inside the image.
        point_tokens: (B, J, D) what is at the keypoints, and where they are.
        heat: (B, J, h, w) logits of the keypoints' places.
    """

    tokens: Tensor
    points: Tensor
    point_tokens: Tensor
    heat: Tensor


class Tower(nn.Module):
    """One camera.

    Args:
        channels: of the four stages.
        width: D.
        keyframes: J.
    """

    def __init__(self, channels: tuple[int, int, int, int], width: int, keyframes: int) -> None:
        super().__init__()
        stem, first, second, third = channels
        self.keyframes = keyframes
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 5, 2, 2, bias=False), nn.BatchNorm2d(stem), nn.ReLU())
        self.first = Block(stem, first, width)
        self.second = Block(first, second, width)
        self.third = Block(second, third, width)
        self.patches = nn.Linear(4 * third, width)
        self.lateral = nn.Conv2d(third, second, 1)
        self.merged = Block(second, second, width, stride=1)
        self.heat = nn.Conv2d(second, keyframes * HEAT_CELLS, 1)
        self.point = nn.Linear(second + 3, width)

    def forward(self, image: Tensor, words: Tensor) -> Seen:
        """(B, 3, H, W) in [-1, 1], (B, D) -> what is seen, H/8 x W/8 features and H/4 x W/4 heat."""
        fine = self.second(self.first(self.stem(image), words), words)  # (B, C2, H/8, W/8)
        coarse = self.third(fine, words)  # (B, C3, H/16, W/16)
        tokens = self.patches(F.pixel_unshuffle(coarse, 2).flatten(2).transpose(1, 2))  # (B, P, D)
        both = fine + F.interpolate(self.lateral(coarse), scale_factor=2.0, mode="nearest")
        features = self.merged(both, words)  # (B, C2, H/8, W/8)
        heat = F.pixel_shuffle(self.heat(features), 2).float()  # (B, J, H/4, W/4)
        share = heat.flatten(2).softmax(dim=2).reshape(heat.shape)  # (B, J, H/4, W/4)
        points = torch.stack([_expected(share.sum(2)), _expected(share.sum(3))], dim=2)  # (B, J, 2)
        coarse_share = 4 * F.avg_pool2d(share, 2)  # (B, J, H/8, W/8)
        at_points = torch.einsum("bjhw,bchw->bjc", coarse_share.to(features.dtype), features)  # (B, J, C2)
        sureness = share.flatten(2).amax(2, keepdim=True)  # (B, J, 1)
        where = torch.cat([points, sureness], dim=2).to(at_points.dtype)  # (B, J, 3)
        return Seen(tokens, points, self.point(torch.cat([at_points, where], dim=2)), heat)

    def fuse(self) -> None:
        """Fold each norm into the convolution before it, for inference; the answers stay the same to rounding."""
        convolution, norm = self.stem[0], self.stem[1]
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            self.stem = nn.Sequential(fuse_conv_bn_eval(convolution, norm), nn.ReLU())
        for block in (self.first, self.second, self.third, self.merged):
            block.fuse()


class Block(nn.Module):
    """Two convolutions around a shortcut; the words scale and shift what the second one sees."""

    def __init__(self, inside: int, outside: int, width: int, stride: int = 2) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm1: nn.Module = nn.BatchNorm2d(outside)
        self.film = nn.Linear(width, 2 * outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        last = nn.BatchNorm2d(outside)
        nn.init.zeros_(last.weight)  # a block starts as its shortcut
        self.norm2: nn.Module = last
        same = stride == 1 and inside == outside
        self.shortcut = nn.Identity() if same else nn.Conv2d(inside, outside, 1, stride, bias=False)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        """(B, C, H, W), (B, D) -> (B, C', H/stride, W/stride)."""
        scale, shift = self.film(words)[:, :, None, None].chunk(2, dim=1)  # (B, C', 1, 1) each
        h = F.relu((1 + scale) * self.norm1(self.conv1(x)) + shift)
        return F.relu(self.norm2(self.conv2(h)) + self.shortcut(x))

    def fuse(self) -> None:
        """See `Tower.fuse`."""
        if isinstance(self.norm1, nn.BatchNorm2d) and isinstance(self.norm2, nn.BatchNorm2d):
            self.conv1, self.norm1 = fuse_conv_bn_eval(self.conv1, self.norm1), nn.Identity()
            self.conv2, self.norm2 = fuse_conv_bn_eval(self.conv2, self.norm2), nn.Identity()


def _expected(share: Tensor) -> Tensor:
    """Mean place under (B, J, n) shares of n cells -> (B, J), -1 to 1 from edge to edge."""
    return (share * cell_centers(share.shape[2], share.device)).sum(2)


def cell_centers(cells: int, device: torch.device) -> Tensor:
    """(cells,) middles of equal parts of [-1, 1]."""
    return (torch.arange(cells, device=device) + 0.5) * (2 / cells) - 1
