"""Beginning with another policy's network: that of another robot, what fits of it, or one of another chunk."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import torch

from vla.command.errors import RefusedError
from vla.models.mini.checkpoint import MiniCheckpoint
from vla.models.mini.model import MiniVLA

TOWER = re.compile(r"towers\.(\d+)\.")


def transfer(model: MiniVLA, start: MiniCheckpoint, cameras: Sequence[str]) -> list[str]:
    """Take over every tensor of the same name and shape.

    A camera's tower begins as that of the other robot's first camera of the same kind, on a wrist or not.

    Args:
        model: of the new robot; changed in place.
        start: of the other robot.
        cameras: of the new robot, in the order of the model.

    Returns:
        The tensors that stay as they were.

    Raises:
        RefusedError: the towers have other sizes.
    """
    theirs = [_nearest(camera, start.embodiment.cameras) for camera in cameras]
    state = model.state_dict()
    new = []
    for name, tensor in state.items():
        other = start.weights.get(TOWER.sub(lambda match: f"towers.{theirs[int(match[1])]}.", name))
        if other is not None and other.shape == tensor.shape:
            tensor.copy_(other)
        else:
            new.append(name)
    if strange := [name for name in new if TOWER.match(name)]:
        raise RefusedError(
            f"transfer: expected vision towers of the sizes in model.*, got others, first {strange[0]}; "
            f"the other robot's network has {start.config}"
        )
    return new


def with_chunk(start: MiniCheckpoint, chunk: int) -> MiniCheckpoint:
    """The same network for chunks of another length.

    Slots differ by their position only, so a new one begins as the last one was, and one that is not wanted goes.
    """
    position, before = start.weights["position"], start.config.chunk  # (1, observed + K + 1, D), K
    observed, slots, clock = position.split([position.shape[1] - before - 1, before, 1], dim=1)
    copies = slots[:, -1:].expand(-1, max(0, chunk - before), -1)
    position = torch.cat([observed, slots[:, :chunk], copies, clock], dim=1)
    config = dataclasses.replace(start.config, chunk=chunk)
    return dataclasses.replace(start, config=config, weights={**start.weights, "position": position})


def _nearest(camera: str, others: Sequence[str]) -> int:
    """Which of the other robot's cameras sees most like this one."""
    alike = [index for index, other in enumerate(others) if ("wrist" in other) == ("wrist" in camera)]
    return alike[0] if alike else 0
