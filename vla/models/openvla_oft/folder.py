"""Our checkpoint folder. It says everything about itself; nothing has to be known from a command line.

checkpoint.json     format, network (sizes, head, mask mode), embodiment, image normalisation, provenance
statistics.json     what actions and states are normalised with
weights-*.safetensors
extras/             small files of where it came from: tokenizer, processor
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

from vla.data.pixels import PixelScale
from vla.embodiment import Embodiment
from vla.models.openvla_oft.checkpoint import Checkpoint
from vla.models.openvla_oft.config import ModelConfig
from vla.models.openvla_oft.shards import SHARD_BYTES, new_folder, write_shards
from vla.models.openvla_oft.weights import CheckpointError, merge_tables, safetensors_table

FORMAT = "vla-control/openvla_oft/1"
MANIFEST = "checkpoint.json"


def is_folder(folder: Path) -> bool:
    """Whether this is a checkpoint folder of ours."""
    return (folder / MANIFEST).exists()


def write_folder(checkpoint: Checkpoint, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Write the folder; it appears at once when all is written, or not at all.

    Raises:
        FileExistsError: the folder is there already.
    """
    with new_folder(folder) as part:
        _write(checkpoint, part, shard_bytes)


def _write(checkpoint: Checkpoint, part: Path, shard_bytes: int) -> None:
    (part / "extras").mkdir()
    for name, path in checkpoint.extras.items():
        shutil.copyfile(path, part / "extras" / name)
    (part / "statistics.json").write_text(json.dumps(checkpoint.statistics, indent=1) + "\n")
    write_shards(part, {"weights": checkpoint.table}, shard_bytes)
    manifest = {
        "format": FORMAT,
        "network": checkpoint.config.to_dict(),
        "embodiment": checkpoint.embodiment.to_dict(),
        "pixels": dataclasses.asdict(checkpoint.pixels),
        "lora_scale": checkpoint.lora_scale,
        "provenance": dict(checkpoint.provenance),
    }
    (part / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def read_folder(folder: Path) -> Checkpoint:
    """Read the folder; no weight is loaded yet.

    Raises:
        CheckpointError: it is not of our format.
    """
    if not is_folder(folder):
        raise CheckpointError(f"{folder}: no {MANIFEST}; expected a checkpoint folder")
    manifest = json.loads((folder / MANIFEST).read_text())
    if manifest.get("format") != FORMAT:
        raise CheckpointError(f"{folder / MANIFEST}: expected format {FORMAT!r}, got {manifest.get('format')!r}")
    pixels = {name: tuple(values) for name, values in manifest["pixels"].items()}
    return Checkpoint(
        config=ModelConfig.from_dict(manifest["network"]),
        embodiment=Embodiment.from_dict(manifest["embodiment"]),
        statistics=json.loads((folder / "statistics.json").read_text()),
        table=merge_tables(safetensors_table(path) for path in sorted(folder.glob("weights-*.safetensors"))),
        lora_scale=manifest["lora_scale"],
        pixels=PixelScale(**pixels),
        extras={path.name: path for path in sorted((folder / "extras").iterdir())},
        provenance=manifest["provenance"],
    )
