"""The small model's checkpoint folder: everything that is needed to act, and what it was made from.

checkpoint.json       format, network, embodiment, statistics, recipe
model.safetensors     weights as float16, running statistics as float32
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from vla.embodiment import Embodiment
from vla.files import replace_atomic, write_atomic
from vla.models.mini.config import MiniConfig
from vla.models.mini.model import MiniVLA
from vla.models.openvla_oft.weights import CheckpointError

FORMAT = "vla-control/mini/1"
MANIFEST, WEIGHTS = "checkpoint.json", "model.safetensors"


@dataclass(frozen=True)
class MiniCheckpoint:
    """A checkpoint in memory.

    Attributes:
        weights: state dict.
        statistics: `action` and `proprio`, as `vla.normalize.Normalizer` reads them.
        recipe: how it was trained: JSON values.
    """

    config: MiniConfig
    embodiment: Embodiment
    statistics: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    recipe: Mapping[str, Any]

    def build(self) -> MiniVLA:
        """The network with these weights.

        Raises:
            CheckpointError: weights are missing, surplus or of another shape; names them.
        """
        model = MiniVLA(self.config)
        wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
        found = {name: tensor.shape for name, tensor in self.weights.items()}
        if wrong := sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)):
            name = wrong[0]
            raise CheckpointError(
                f"small model: {len(wrong)} tensors do not fit its configuration; {name}: "
                f"expected {wanted.get(name, 'none')}, got {found.get(name, 'none')}"
            )
        model.load_state_dict({name: tensor.float() for name, tensor in self.weights.items()})
        return model


def write_checkpoint(folder: Path, checkpoint: MiniCheckpoint) -> None:
    """Write the folder; an older checkpoint in it is replaced file by file, the manifest last."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.half() if tensor.is_floating_point() and "running" not in name else tensor
        for name, tensor in checkpoint.weights.items()
    }
    stored = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    replace_atomic(folder / WEIGHTS, lambda temporary: save_file(stored, temporary))
    manifest = {
        "format": FORMAT,
        "network": checkpoint.config.to_dict(),
        "embodiment": checkpoint.embodiment.to_dict(),
        "statistics": dict(checkpoint.statistics),
        "recipe": dict(checkpoint.recipe),
    }
    write_atomic(folder / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of the files of a checkpoint, by name."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (MANIFEST, WEIGHTS)}


def read_checkpoint(folder: str | Path) -> MiniCheckpoint:
    """Read a folder.

    Raises:
        CheckpointError: it is not there, or not of this format.
    """
    path = Path(folder) / MANIFEST
    if not path.exists():
        raise CheckpointError(f"{folder}: no {MANIFEST}; expected a folder that scripts/train.py wrote")
    manifest = json.loads(path.read_text())
    if manifest.get("format") != FORMAT:
        raise CheckpointError(f"{path}: expected format {FORMAT!r}, got {manifest.get('format')!r}")
    return MiniCheckpoint(
        config=MiniConfig.from_dict(manifest["network"]),
        embodiment=Embodiment.from_dict(manifest["embodiment"]),
        statistics=manifest["statistics"],
        weights=load_file(Path(folder) / WEIGHTS),
        recipe=manifest["recipe"],
    )
