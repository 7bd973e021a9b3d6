"""Writes a table of tensors as safetensors files of bounded size, a few tensors in memory at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from vla.models.openvla_oft.weights import Table

SHARD_BYTES = 2 << 30


def write_shards(folder: Path, tables: Mapping[str, Table], shard_bytes: int = SHARD_BYTES) -> dict[str, str]:
    """Write each table under its stem: `{stem}-00001.safetensors`, ...

    Returns:
        tensor -> file name.
    """
    places: dict[str, str] = {}
    for stem, table in tables.items():
        shard: dict[str, Tensor] = {}
        number, size = 1, 0
        for name, stored in table.items():
            tensor = stored.read().contiguous()
            if shard and size + tensor.nbytes > shard_bytes:
                save_file(shard, folder / f"{stem}-{number:05d}.safetensors", metadata={"format": "pt"})
                shard, number, size = {}, number + 1, 0
            shard[name], size = tensor, size + tensor.nbytes
            places[name] = f"{stem}-{number:05d}.safetensors"
        if shard:
            save_file(shard, folder / f"{stem}-{number:05d}.safetensors", metadata={"format": "pt"})
    return places
