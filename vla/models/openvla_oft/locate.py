"""Finds a checkpoint: a folder of ours, a folder of openvla-oft, or a name on the Hugging Face hub."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from vla.embodiment import EMBODIMENTS
from vla.models.openvla_oft.checkpoint import Checkpoint
from vla.models.openvla_oft.config import MaskMode
from vla.models.openvla_oft.folder import is_folder, read_folder
from vla.models.openvla_oft.read_official import read_official
from vla.models.openvla_oft.weights import CheckpointError


def read_checkpoint(
    where: str,
    embodiment: str | None = None,
    cameras: Sequence[str] | None = None,
    mask: str | None = None,
    base: str | None = None,
) -> Checkpoint:
    """Read whatever `where` names; no weight is loaded yet.

    Args:
        where: folder, or `owner/name` on the hub.
        embodiment, cameras, mask, base: what a folder of openvla-oft does not say (see `read_official`); a folder
            of ours says it all, and is refused if it says otherwise.

    Raises:
        CheckpointError: not found, not readable, or contradictory.
    """
    folder = _local(where)
    asked_mask = None if mask is None else MaskMode(mask)
    if is_folder(folder):
        checkpoint = read_folder(folder)
        _refuse_contradiction("embodiment", checkpoint.embodiment.name, embodiment)
        _refuse_contradiction("mask", checkpoint.config.mask, asked_mask)
        _refuse_contradiction("cameras", checkpoint.embodiment.cameras, None if cameras is None else tuple(cameras))
        return checkpoint
    if embodiment is not None and embodiment not in EMBODIMENTS:
        raise CheckpointError(f"embodiment: expected one of {sorted(EMBODIMENTS)}, got {embodiment!r}")
    chosen = EMBODIMENTS[embodiment] if embodiment is not None else None
    if cameras is not None:
        if chosen is None:
            raise CheckpointError("cameras: name the embodiment too, whose cameras these are")
        chosen = dataclasses.replace(chosen, cameras=tuple(cameras))
    return read_official(folder, chosen, asked_mask, None if base is None else _local(base))


def _refuse_contradiction(name: str, stored: object, asked: object) -> None:
    if asked is not None and asked != stored:
        raise CheckpointError(f"{name}: the checkpoint says {stored!r}, got {asked!r}; leave policy.{name} out")


def _local(where: str) -> Path:
    """A local folder, downloaded from the hub if need be."""
    folder = Path(where).expanduser()
    if folder.is_dir():
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", where):
        raise CheckpointError(f"checkpoint: no folder {where}, and it is no hub name of the form owner/name")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(where, allow_patterns=["*.json", "*.safetensors", "*.pt", "tokenizer.model"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(f"checkpoint: no folder {where}, and the hub did not give it: {error}") from error
