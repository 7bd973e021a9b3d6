"""Writes a checkpoint as openvla-oft's own code reads it: sharded safetensors, `.pt` components, small files."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch

from vla.models.openvla_oft.checkpoint import Checkpoint
from vla.models.openvla_oft.config import TrunkConfig
from vla.models.openvla_oft.names import COMPONENTS, component_file_name, film_file_name
from vla.models.openvla_oft.shards import write_shards
from vla.models.openvla_oft.weights import Table


def write_official(checkpoint: Checkpoint, folder: Path, step: str = "latest") -> None:
    """Write the folder; it must not exist. Tensors keep their bits, LoRA of the towers stays unmerged.

    Raises:
        FileExistsError: the folder is there already.
    """
    folder.mkdir(parents=True)
    for name, path in checkpoint.extras.items():
        shutil.copyfile(path, folder / name)
    if not (folder / "config.json").exists():
        _write_json(folder / "config.json", _config(checkpoint))
    _write_json(folder / "dataset_statistics.json", dict(checkpoint.statistics))
    parts = {part: {n: t for n, t in checkpoint.table.items() if n.startswith(f"{part}.")} for part in COMPONENTS}
    rest = {n: t for n, t in checkpoint.table.items() if not n.startswith(tuple(f"{part}." for part in COMPONENTS))}
    step = _step(checkpoint, step)
    for part, table in parts.items():
        if table:
            named = {component_file_name(n, checkpoint.config.head.kind)[1]: t.read() for n, t in table.items()}
            torch.save(named, folder / f"{part}--{step}_checkpoint.pt")
    if checkpoint.config.film:
        towers = {film_file_name(n): t.read() for n, t in rest.items() if n.startswith("vision_backbone.")}
        towers = {re.sub(r"\.(lora_[AB])\.", r".\1.default.", name): tensor for name, tensor in towers.items()}
        torch.save(towers, folder / f"vision_backbone--{step}_checkpoint.pt")
        _write_lora_config(checkpoint, folder)
    places = write_shards(folder, {"model": plain_table(rest)})
    _write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": places})


def plain_table(table: Table) -> Table:
    """The model without FiLM and LoRA, as upstream builds it before it wraps the towers."""
    added = (".film.", ".lora_A.", ".lora_B.")
    return {
        name.replace(".base_layer.", "."): stored
        for name, stored in table.items()
        if not any(word in name for word in added)
    }


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
