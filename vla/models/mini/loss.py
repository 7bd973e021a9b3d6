"""What the small model is trained on: the expert's next actions, and where its hand will be at the next keyframes.

The keyframe losses are there for what they teach the vision towers: to find in each image the place that the words and
the moment call for. They are not used when the policy acts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vla.models.heads.l1 import Head as RegressionHead
from vla.models.mini.model import MiniInputs, MiniVLA


@dataclass(frozen=True)
class Targets:
    """What the expert did.

    Attributes:
        actions: (B, K, A) normalised.
        valid: (B, K) whether an action was planned from this frame.
        points: (B, N, J, 2) keyframes in each image; -1 to 1 inside it.
        displacement: (B, J, 3) from the hand to its keyframes, in units of 0.1 m.
        known: (B, J) whether a keyframe is known; points that are not must lie outside the images.
    """

    actions: Tensor
    valid: Tensor
    points: Tensor
    displacement: Tensor
    known: Tensor


@dataclass(frozen=True)
class LossWeights:
    """Of the parts, beside the actions' 1.

    Attributes:
        heat: of the keyframes in the images.
        displacement: of the keyframes from the hand.
        square: of the actions' mean squared error; L1 head only. A movement that follows in few of many frames that
            look alike is best predicted as none under the absolute error alone, and then pulls no harder than noise.
    """

    heat: float = 0.03
    displacement: float = 0.1
    square: float = 0.0


def losses(model: MiniVLA, inputs: MiniInputs, targets: Targets, weights: LossWeights) -> dict[str, Tensor]:
    """`total` and its parts. The actions' part is the masked mean absolute error for the L1 head."""
    query = model.encode(inputs)
    head, parts = model.action_head, {}
    if not isinstance(head, RegressionHead):
        # Without a mask, which would need the head's own loss: what was not planned from a frame is learned as what was
        # done later. Frames without any action hold zeros; training refuses them for these heads.
        if weights.square:
            raise ValueError(f"weights.square: expected 0 for a head other than l1, got {weights.square}")
        action = head.loss(query, targets.actions)
        states = query.all_states(targets.actions, torch.zeros(query.batch, device=query.device))
    else:
        states = query.all_states()
        predicted = head.mlp(head.per_step(query.fold(states)))
        errors = (predicted.float() - targets.actions)[targets.valid]  # (V, A) of the V actions that are learned
        action = errors.abs().sum() / max(1, errors.numel())
        if weights.square:
            parts["square"] = errors.square().sum() / max(1, errors.numel())
    heat = torch.stack(
        [heat_loss(seen.heat, targets.points[:, camera]) for camera, seen in enumerate(query.seen)]
    ).mean()
    aimed = model.displacement(states[:, 1]).float().reshape(targets.displacement.shape)
    missed = F.smooth_l1_loss(aimed, targets.displacement, beta=0.1, reduction="none").mean(2)  # (B, J)
    displacement = (missed * targets.known).sum() / targets.known.sum().clamp_min(1)
    parts |= {"action": action, "heat": heat, "displacement": displacement}
    total = action + sum(getattr(weights, name) * part for name, part in parts.items() if name != "action")
    return {"total": total, **{name: part.detach() for name, part in parts.items()}}


def heat_loss(heat: Tensor, points: Tensor) -> Tensor:
    """Cross-entropy of (B, J, h, w) logits against (B, J, 2) points, spread over the four nearest cells.

    The spread is bilinear, so the expected place under it is the point itself. Points outside the image count nothing.
    """
    height, width = heat.shape[2:]
    inside = (points.abs() < 1).all(dim=2)  # (B, J)
    logs = heat.flatten(2).log_softmax(dim=2)  # (B, J, h*w)
    column, right = _bilinear(points[..., 0], width)  # (B, J) each
    row, down = _bilinear(points[..., 1], height)
    loss = torch.zeros_like(column, dtype=logs.dtype)
    for at_row, row_share in ((row, 1 - down), (row + 1, down)):
        for at_column, column_share in ((column, 1 - right), (column + 1, right)):
            cell = at_row.clamp(0, height - 1) * width + at_column.clamp(0, width - 1)
            loss = loss - row_share * column_share * logs.gather(2, cell[..., None])[..., 0]
    return (loss * inside).sum() / inside.sum().clamp_min(1)


def _bilinear(place: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """Places in [-1, 1] -> index of the cell to the left or above, and the share of the one after it."""
    at = (place.clamp(-1, 1) + 1) * (cells / 2) - 0.5
    before = at.floor()
    return before.long(), at - before
