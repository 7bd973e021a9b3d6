"""L1 regression: one pass, the actions are read off (arXiv 2502.19645, section IV-B). The released LIBERO head."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vla.models.heads.base import ActionHead, HeadSizes, Query
from vla.models.heads.mlp_resnet import MLPResNet


class Head(ActionHead):
    """Regresses the chunk; trained on the mean absolute error."""

    def __init__(self, sizes: HeadSizes) -> None:
        super().__init__(sizes)
        self.mlp = MLPResNet(sizes)

    def predict(self, query: Query, noise: Tensor | None = None) -> Tensor:
        """See `ActionHead.predict`; there is no noise."""
        return self.mlp(self.per_step(query.states()))  # (B, K, A)

    def loss(self, query: Query, actions: Tensor) -> Tensor:
        """Mean |predicted - true|."""
        return F.l1_loss(self.predict(query), actions)
