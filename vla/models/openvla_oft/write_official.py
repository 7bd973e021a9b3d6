"""Writes a checkpoint as openvla-oft's own code reads it: sharded safetensors, `.pt` components, small files."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vla.models.openvla_oft.checkpoint import Checkpoint
from vla.models.openvla_oft.config import TrunkConfig
from vla.models.openvla_oft.names import COMPONENTS, component_file_name, film_file_name
from vla.models.openvla_oft.shards import new_folder, write_shards
from vla.models.openvla_oft.weights import CheckpointError, Table, lora_merged


def write_official(checkpoint: Checkpoint, folder: Path, step: str = "latest") -> None:
    """Write the folder; it appears at once when all is written. Tensors keep their bits.

    Raises:
        FileExistsError: the folder is there already.
        CheckpointError: upstream has no file for what this checkpoint holds.
    """
    with new_folder(folder) as part:
        _write(checkpoint, part, step)


def _write(checkpoint: Checkpoint, folder: Path, step: str) -> None:
    for name, path in checkpoint.extras.items():
        shutil.copyfile(path, folder / name)
    if not (folder / "config.json").exists():
        _write_json(folder / "config.json", _config(checkpoint))
    statistics = folder / "dataset_statistics.json"
    if not statistics.exists() or json.loads(statistics.read_text()) != checkpoint.statistics:
        _write_json(statistics, dict(checkpoint.statistics))
    parts = {part: {n: t for n, t in checkpoint.table.items() if n.startswith(f"{part}.")} for part in COMPONENTS}
    rest = {n: t for n, t in checkpoint.table.items() if not n.startswith(tuple(f"{part}." for part in COMPONENTS))}
    step = _step(checkpoint, step)
    for part, table in parts.items():
        if table:
            named = {component_file_name(n, checkpoint.config.head.kind)[1]: t.read() for n, t in table.items()}
            torch.save(named, folder / f"{part}--{step}_checkpoint.pt")
    if checkpoint.config.film:
        torch.save(_towers(rest), folder / f"vision_backbone--{step}_checkpoint.pt")
        _write_lora_config(checkpoint, folder)
    places = write_shards(folder, {"model": _merged_model(rest, checkpoint.lora_scale, checkpoint.config.film)})
    _write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": places})


def _towers(table: Table) -> dict[str, Tensor]:
    """The content of a `vision_backbone--*.pt`: towers with FiLM and LoRA unmerged, under upstream's names."""
    towers = {name: stored for name, stored in table.items() if name.startswith("vision_backbone.")}
    if not any(".lora_A." in name for name in towers):
        raise CheckpointError(
            "upstream reads FiLM only together with unmerged LoRA of the towers, and this checkpoint has none; "
            "write the one from before the merge"
        )
    named = {film_file_name(name): stored.read() for name, stored in towers.items()}
    return {re.sub(r"\.(lora_[AB])\.", r".\1.default.", name): tensor for name, tensor in named.items()}


def _merged_model(table: Table, scale: float, film: bool) -> Table:
    """The shards' content: LoRA folded in; with FiLM not in the towers, which upstream adapts from their own file."""
    if film:
        apart = (".film.", ".lora_A.", ".lora_B.")
        table = {n: t for n, t in table.items() if not (n.startswith("vision_") and any(word in n for word in apart))}
    return lora_merged(table, scale)


def _config(checkpoint: Checkpoint) -> dict[str, Any]:
    trunk: TrunkConfig = checkpoint.config.trunk
    text = {
        "model_type": "llama",
        "hidden_size": trunk.width,
        "num_hidden_layers": trunk.depth,
        "num_attention_heads": trunk.heads,
        "num_key_value_heads": trunk.key_value_heads,
        "intermediate_size": trunk.mlp_width,
        "vocab_size": trunk.vocabulary,
        "rms_norm_eps": trunk.norm_eps,
        "rope_theta": trunk.rope_theta,
        "pad_token_id": 32000,
    }
    return {
        "model_type": "openvla",
        "architectures": ["OpenVLAForActionPrediction"],
        "vision_backbone_id": "dinosiglip-vit-so-224px",
        "llm_backbone_id": "llama2-7b-pure",
        "arch_specifier": "no-align+fused-gelu-mlp",
        "image_resize_strategy": "resize-naive",
        "n_action_bins": 256,
        "pad_to_multiple_of": 64,
        "text_config": text,
        "norm_stats": dict(checkpoint.statistics),
    }


def _step(checkpoint: Checkpoint, default: str) -> str:
    """The step in the names of the files it was read from."""
    for name in checkpoint.provenance.get("files", []):
        if found := re.search(r"--(.+)_checkpoint\.pt$", name):
            return found[1]
    return default


def _write_lora_config(checkpoint: Checkpoint, folder: Path) -> None:
    ranks = [t.shape[0] for n, t in checkpoint.table.items() if ".lora_A." in n]
    if ranks:
        (folder / "lora_adapter").mkdir()
        adapter = {"peft_type": "LORA", "r": ranks[0], "lora_alpha": round(checkpoint.lora_scale * ranks[0])}
        _write_json(folder / "lora_adapter" / "adapter_config.json", adapter)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n")
