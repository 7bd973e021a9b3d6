"""Discrete action tokens: each number is one of 255 words, all in one pass or one after the other (OpenVLA).

Encoding: 256 edges split [-1, 1]; a number between edges d-1 and d is the word 32000 - d. Decoding gives the middle
of the bin; the two outermost words share the last middle. Source: openvla-oft 213c5ff, action_tokenizer.py.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vla.models.heads.base import ActionHead, HeadSizes, Query
from vla.models.openvla_oft.sequence import STOP_ID

WORDS = 32000  # real words of the Llama vocabulary; ids above are padding
BINS = 256


def encode(actions: Tensor) -> Tensor:
    """Normalised actions -> word ids in [31744, 31999], same shape. Values are clipped to [-1, 1]."""
    edges = torch.linspace(-1, 1, BINS, dtype=torch.float64, device=actions.device)  # (256,)
    clipped = actions.double().clamp(-1, 1)
    return WORDS - torch.bucketize(clipped, edges, right=True)


def decode(ids: Tensor) -> Tensor:
    """Word ids -> middles of the bins, float64, same shape. Ids that are no action fall on the nearest bin."""
    edges = torch.linspace(-1, 1, BINS, dtype=torch.float64, device=ids.device)  # (256,)
    middles = (edges[:-1] + edges[1:]) / 2  # (255,)
    return middles[(WORDS - ids - 1).clamp(0, BINS - 2)]


class Head(ActionHead):
    """No parameters of its own: the trunk's map to words is the head. Trained on cross-entropy, stop token included.

    Args:
        sizes: K, A, D.
        parallel: all words in one pass; False: one after the other, as the original OpenVLA (causal mask).
    """

    def __init__(self, sizes: HeadSizes, parallel: bool = True) -> None:
        super().__init__(sizes)
        self.parallel = parallel

    def tokens(self, query: Query) -> Tensor:
        """The likeliest words: (B, K*A) ids, over the whole vocabulary."""
        if self.parallel:
            return query.logits(query.states()[:, :-1]).argmax(dim=-1)
        return query.decode_greedily(self.sizes.chunk * self.sizes.action_dim)

    def predict(self, query: Query, noise: Tensor | None = None) -> Tensor:
        """See `ActionHead.predict`; there is no noise. float64, the middles of the bins."""
        return decode(self.tokens(query)).reshape(query.batch, self.sizes.chunk, self.sizes.action_dim)

    def loss(self, query: Query, actions: Tensor) -> Tensor:
        """Mean cross-entropy over the action words and the stop word; logits exist for these positions only."""
        words = F.pad(encode(actions).flatten(1), (0, 1), value=STOP_ID)  # (B, K*A + 1)
        logits = query.logits(query.states())  # (B, K*A + 1, V)
        return F.cross_entropy(logits.float().flatten(0, 1), words.flatten())
