"""Reads a checkpoint folder as openvla-oft's training leaves it, on disk or on the hub.

Such a folder does not say how many images, steps or state entries its network has: upstream takes them from the
command line. Here they come from an embodiment, which is checked against the tensors' shapes.
Source: openvla-oft 213c5ff, experiments/robot/openvla_utils.py, vla-scripts/finetune.py `save_training_checkpoint`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vla.data.pixels import PixelScale
from vla.embodiment import ALOHA_SIM, EMBODIMENTS, Embodiment
from vla.models.openvla_oft.checkpoint import Checkpoint
from vla.models.openvla_oft.config import (
    DINOV2_LARGE,
    SIGLIP_SO400M,
    HeadConfig,
    MaskMode,
    ModelConfig,
    TowerConfig,
    TrunkConfig,
)
from vla.models.openvla_oft.names import COMPONENTS, component_name, head_kind, model_name
from vla.models.openvla_oft.weights import (
    CheckpointError,
    Table,
    lora_merged,
    merge_tables,
    renamed,
    safetensors_table,
    torch_table,
)

_FULL_SIZE = (DINOV2_LARGE, SIGLIP_SO400M)
_WEIGHTS = (".safetensors", ".pt", ".bin")


def read_official(
    folder: Path,
    embodiment: Embodiment | None = None,
    mask: MaskMode | None = None,
    base: Path | None = None,
    towers: tuple[TowerConfig, TowerConfig] = _FULL_SIZE,
) -> Checkpoint:
    """Read the folder; no weight is loaded yet.

    Args:
        folder: config.json, sharded safetensors or a `lora_adapter` folder, `*--{step}_checkpoint.pt`,
            dataset_statistics.json, tokenizer files.
        embodiment: whose it is; None: the only known one with these numbers of actions and state entries.
        mask: needed only for a checkpoint without an action head, which may be either kind of OpenVLA.
        base: folder of the base model, needed only where there is an adapter and no merged weights.
        towers: sizes of DINOv2 and SigLIP, which config.json gives by name only.

    Raises:
        CheckpointError: a file is missing, or several candidates contradict each other.
    """
    config = _json(folder / "config.json")
    components = _Components.of(folder)
    statistics = _statistics(folder, config)
    mask = _mask(components, mask)
    embodiment = _embodiment(embodiment, statistics, components.state_dim)
    if mask is MaskMode.CAUSAL:  # the original OpenVLA: one image, one action
        embodiment = dataclasses.replace(embodiment, cameras=embodiment.cameras[:1], chunk=1)
    scale = _lora_scale(folder, components.film)
    return Checkpoint(
        config=_network(embodiment, components, mask, towers, trunk_config(config.get("text_config", {}))),
        embodiment=embodiment,
        statistics=statistics,
        table=_without_doubles(merge_tables([_trunk_table(folder, base, scale), *components.renamed()])),
        lora_scale=scale,
        pixels=_pixels(folder),
        extras={path.name: path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix not in _WEIGHTS},
        provenance={"format": "openvla-oft", "folder": folder.name, "files": components.names},
    )


@dataclass(frozen=True)
class _Components:
    """The `.pt` files of a folder: head and small projectors by name, and the towers with FiLM; upstream's names."""

    names: list[str]
    tables: dict[str, Table]
    film: Table | None

    @classmethod
    def of(cls, folder: Path) -> _Components:
        found = {part: _one_file(folder, part) for part in (*COMPONENTS, "vision_backbone")}
        paths = {part: path for part, path in found.items() if path is not None}
        tables = {part: torch_table(path) for part, path in paths.items()}
        film = tables.pop("vision_backbone", None)
        return cls([path.name for path in paths.values()], tables, film)

    @property
    def head(self) -> str:
        return head_kind(list(self.tables["action_head"])) if "action_head" in self.tables else "discrete"

    @property
    def state_dim(self) -> int:
        """S, from the state projector's shape; 0 if there is none."""
        shapes = {name.removeprefix("module."): t.shape for name, t in self.tables.get("proprio_projector", {}).items()}
        return shapes["fc1.weight"][1] if "fc1.weight" in shapes else 0

    def renamed(self) -> list[Table]:
        """Under our names."""
        film = [renamed(self.film, model_name)] if self.film else []
        return film + [renamed(table, partial(component_name, part)) for part, table in self.tables.items()]


def _network(
    embodiment: Embodiment,
    components: _Components,
    mask: MaskMode,
    towers: tuple[TowerConfig, TowerConfig],
    trunk: TrunkConfig,
) -> ModelConfig:
    return ModelConfig(
        images=len(embodiment.cameras),
        chunk=embodiment.chunk,
        action_dim=len(embodiment.action),
        state_dim=components.state_dim,
        film=components.film is not None,
        mask=mask,
        head=HeadConfig(components.head, {} if mask is MaskMode.BIDIRECTIONAL else {"parallel": False}),
        dino=towers[0],
        siglip=towers[1],
        trunk=trunk,
    )


def trunk_config(text: dict[str, Any]) -> TrunkConfig:
    """Sizes of the trunk; what config.json leaves out is Llama-2 7B with the library's defaults."""
    names = {
        "hidden_size": "width",
        "num_hidden_layers": "depth",
        "num_attention_heads": "heads",
        "num_key_value_heads": "key_value_heads",
        "intermediate_size": "mlp_width",
        "vocab_size": "vocabulary",
        "rms_norm_eps": "norm_eps",
        "rope_theta": "rope_theta",
    }
    return TrunkConfig(**{ours: text[theirs] for theirs, ours in names.items() if theirs in text})


def _json(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise CheckpointError(f"{path}: no such file; expected a checkpoint folder of openvla-oft")
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def _one_file(folder: Path, part: str) -> Path | None:
    found = sorted(folder.glob(f"{part}--*.pt"))
    if len(found) > 1:
        raise CheckpointError(f"{folder}: expected one {part} file, got {[path.name for path in found]}; keep one step")
    return found[0] if found else None


def _statistics(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    path = folder / "dataset_statistics.json"
    statistics = _json(path) if path.exists() else config.get("norm_stats")
    if not statistics:
        raise CheckpointError(f"{folder}: no dataset_statistics.json and no norm_stats in config.json")
    return dict(statistics)


def _embodiment(given: Embodiment | None, statistics: dict[str, Any], state_dim: int) -> Embodiment:
    """The embodiment, without a state if the network has no projector for it. Upstream has no simulated ALOHA."""
    action_dims = {len(entry["action"]["mean"]) for entry in statistics.values()}
    fitting = [
        known
        for known in EMBODIMENTS.values()
        if known is not ALOHA_SIM and {len(known.action)} == action_dims and state_dim in (0, len(known.state))
    ]
    if given is None and len(fitting) != 1:
        raise CheckpointError(
            f"embodiment: the folder does not say whose it is; with {sorted(action_dims)} actions and {state_dim} "
            f"state entries it fits {[known.name for known in fitting] or 'none that is known'}. "
            f"Name one with policy.embodiment, of {sorted(EMBODIMENTS)}."
        )
    chosen = fitting[0] if given is None else given
    return chosen if state_dim else dataclasses.replace(chosen, state=())


def _mask(components: _Components, asked: MaskMode | None) -> MaskMode:
    """The mask of training: with any file of OFT's it is OFT's; else it must be told."""
    known = MaskMode.BIDIRECTIONAL if components.names else None
    if known is None and asked is None:
        raise CheckpointError(
            "mask: a checkpoint without an action head is either the original OpenVLA (policy.mask=causal) "
            "or OFT's discrete variant (policy.mask=bidirectional); say which"
        )
    if known is not None and asked not in (None, known):
        raise CheckpointError(f"mask: this checkpoint was trained with the {known.value} mask, got {asked}")
    return known or asked or MaskMode.BIDIRECTIONAL


def _lora_scale(folder: Path, film: Table | None) -> float:
    """alpha / r: of the adapter's config, else upstream's rule alpha = min(r, 16)."""
    path = folder / "lora_adapter" / "adapter_config.json"
    if path.exists():
        adapter = _json(path)
        return float(adapter["lora_alpha"]) / float(adapter["r"])
    ranks = {stored.shape[0] for name, stored in (film or {}).items() if ".lora_A." in name}
    if len(ranks) > 1:
        raise CheckpointError(
            f"{folder}: LoRA of several ranks {sorted(ranks)} and no lora_adapter/adapter_config.json"
        )
    rank = ranks.pop() if ranks else 1
    return min(rank, 16) / rank


def _trunk_table(folder: Path, base: Path | None, scale: float) -> Table:
    """The merged weights; or, where there is an adapter only, those of the base with the adapter folded in."""
    shards = sorted(folder.glob("model*.safetensors"))
    if shards:
        return renamed(_joined(shards), model_name)
    adapter = folder / "lora_adapter" / "adapter_model.safetensors"
    if not adapter.exists():
        raise CheckpointError(f"{folder}: no model*.safetensors and no lora_adapter/adapter_model.safetensors")
    if base is None:
        raise CheckpointError(f"{folder}: holds a LoRA adapter only; name the folder of its base model (policy.base)")
    table = renamed(_joined(sorted(base.glob("model*.safetensors"))), model_name)
    return lora_merged({**table, **renamed(safetensors_table(adapter), model_name)}, scale)


def _joined(shards: Sequence[Path]) -> Table:
    index = shards[0].parent / "model.safetensors.index.json" if shards else None
    if index is not None and index.exists():
        named = set(_json(index)["weight_map"].values())
        if lost := named - {path.name for path in shards}:
            raise CheckpointError(f"{index}: names files that are not there: {sorted(lost)}")
    return merge_tables(safetensors_table(path) for path in shards)


def _without_doubles(table: Table) -> Table:
    """Where FiLM's file brings `x.base_layer.weight`, the plain `x.weight` of the merged model is not used."""
    wrapped = {name.replace(".base_layer.", ".") for name in table if ".base_layer." in name}
    return {name: stored for name, stored in table.items() if name not in wrapped}


def _pixels(folder: Path) -> PixelScale:
    path = folder / "preprocessor_config.json"
    return PixelScale.from_preprocessor(_json(path)) if path.exists() else PixelScale()
