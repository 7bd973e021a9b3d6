"""A checkpoint in the hand: everything that is needed to act, with the weights still on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from vla.data.pixels import PixelScale
from vla.embodiment import Embodiment
from vla.models.openvla_oft.config import ModelConfig
from vla.models.openvla_oft.model import OpenVLAOFT
from vla.models.openvla_oft.weights import CheckpointError, Table, check_table, empty_model, load_model, lora_merged
from vla.models.openvla_oft.weights import shapes_of as shapes_of_model


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint folder says.

    Attributes:
        config: sizes, head and mask mode of the network.
        embodiment: cameras, state, action, rate.
        statistics: dataset -> {"action": columns, "proprio": columns, ...}.
        table: the weights under our names; LoRA pairs may still be beside their base weights.
        lora_scale: alpha / r of such pairs.
        pixels: normalisation of the images.
        extras: small files that belong to it (tokenizer, processor), by name.
        provenance: where it came from. JSON values only.
    """

    config: ModelConfig
    embodiment: Embodiment
    statistics: Mapping[str, Any]
    table: Table
    lora_scale: float = 1.0
    pixels: PixelScale = field(default_factory=PixelScale)
    extras: Mapping[str, Path] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config, embodiment = self.config, self.embodiment
        pairs = {
            "chunk": (config.chunk, embodiment.chunk),
            "action_dim": (config.action_dim, len(embodiment.action)),
            "images": (config.images, len(embodiment.cameras)),
            "state_dim": (config.state_dim, len(embodiment.state)),
        }
        wrong = [
            f"{name}: network {ours}, embodiment {theirs}" for name, (ours, theirs) in pairs.items() if ours != theirs
        ]
        if wrong:
            raise CheckpointError(f"embodiment {embodiment.name!r} does not fit the network: {'; '.join(wrong)}")

    def merged_table(self) -> Table:
        """The weights with LoRA folded in, checked against the network.

        Raises:
            CheckpointError: names missing, surplus and misshapen tensors.
        """
        table = lora_merged(self.table, self.lora_scale)
        check_table(table, shapes_of_model(empty_model(self.config)))
        return table

    def load(self, dtype: torch.dtype | None = torch.bfloat16) -> OpenVLAOFT:
        """The network with its weights on the CPU, ready to act."""
        return load_model(self.config, lora_merged(self.table, self.lora_scale), dtype)

    def extra(self, name: str) -> Path:
        """One of the small files.

        Raises:
            CheckpointError: it is not there.
        """
        if name not in self.extras:
            raise CheckpointError(f"checkpoint: no file {name}; found {sorted(self.extras)}")
        return self.extras[name]
