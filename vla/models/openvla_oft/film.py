"""FiLM (Perez et al. 2018) as OFT+ uses it: the mean of the prompt's word vectors scales and shifts vision features.

Source: openvla-oft 213c5ff, film_vit_wrapper.py. Both linear maps start as any `nn.Linear`, not at zero.
"""

from __future__ import annotations

from torch import Tensor, nn


class FiLM(nn.Module):
    """x * (1 + scale(words)) + shift(words), one scale and shift a channel.

    Args:
        words: width of the word vectors.
        width: channels of x.
    """

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.scale = nn.Linear(words, width)
        self.shift = nn.Linear(words, width)

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        """(B, L, D), (B, W) -> (B, L, D)."""
        return x * (1 + self.scale(words)[:, None]) + self.shift(words)[:, None]
