"""A test at start-up: does the trunk really look where it was trained to look?

A wrong mask raises no error and gives plausible actions, but costs forty points of success. So the last position of
a short sequence is changed, and the first one is watched: it must notice under the bidirectional mask and must not
under the causal one.
"""

from __future__ import annotations

import torch

from vla.models.openvla_oft.config import MaskMode
from vla.models.openvla_oft.model import OpenVLAOFT


class SelfTestError(RuntimeError):
    """The model does not do what its checkpoint needs."""


@torch.no_grad()
def check_mask_mode(model: OpenVLAOFT, length: int = 8) -> None:
    """Run the trunk twice on `length` words.

    Raises:
        SelfTestError: the mask is not the one in the model's config, which is the one of its training.
    """
    trunk, trained = model.language_model.model, model.config.mask
    words = torch.arange(3, 3 + length, device=trunk.embed_tokens.weight.device)
    before = trunk.embed_tokens(words)[None]  # (1, L, D)
    after = before.clone()
    after[:, -1] = -before[:, -1] + before[:, 0]
    noticed = not torch.equal(trunk(before, trained)[:, 0], trunk(after, trained)[:, 0])
    if noticed != (trained is MaskMode.BIDIRECTIONAL):
        found = MaskMode.BIDIRECTIONAL if noticed else MaskMode.CAUSAL
        raise SelfTestError(
            f"this checkpoint was trained with the {trained.value} mask, but attention here is {found.value}: "
            "its actions would be plausible and wrong. Something has replaced or patched the attention."
        )
