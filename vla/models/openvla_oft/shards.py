"""Writes a table of tensors as safetensors files of bounded size, a few tensors in memory at a time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from vla.models.openvla_oft.weights import Table

SHARD_BYTES = 2 << 30


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Fill a hidden folder beside it; it gets its name when the block ends without an error.

    Raises:
        FileExistsError: the folder is there already.
    """
    if folder.exists():
        raise FileExistsError(f"{folder}: already there; a checkpoint is never overwritten")
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


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
