"""Weights on disk as a table of tensors that are read one at a time, and how they get into a model.

Nothing is held twice: safetensors and zip files are mapped, the model is built without memory, and each tensor goes
from the file to its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import safe_open
from torch import Tensor

from vla.models.openvla_oft.config import ModelConfig
from vla.models.openvla_oft.model import OpenVLAOFT


class CheckpointError(ValueError):
    """A checkpoint that is not what it should be; the message names the tensors or the file."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that is still on disk."""

    shape: tuple[int, ...]
    read: Callable[[], Tensor]
    where: str


Table = dict[str, StoredTensor]


def safetensors_table(path: Path) -> Table:
    """The tensors of one safetensors file."""
    with safe_open(path, framework="pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118

    def reader(name: str) -> Callable[[], Tensor]:
        def read() -> Tensor:
            with safe_open(path, framework="pt") as file:
                return file.get_tensor(name)

        return read

    return {name: StoredTensor(shape, reader(name), path.name) for name, shape in shapes.items()}


def torch_table(path: Path) -> Table:
    """The tensors of one state dict written by `torch.save`. Code in the file is never run."""
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UnpicklingError as error:
        raise CheckpointError(f"{path}: not a plain state dict; what else it holds could run code: {error}") from error
    if not isinstance(tensors, Mapping) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise CheckpointError(f"{path}: expected a state dict of tensors, got {type(tensors).__name__}")
    return {name: memory_tensor(tensor, path.name) for name, tensor in tensors.items()}


def memory_tensor(tensor: Tensor, where: str) -> StoredTensor:
    """A tensor that is already there, as a row of a table."""
    return StoredTensor(tuple(tensor.shape), lambda: tensor, where)


def renamed(table: Table, rename: Callable[[str], str]) -> Table:
    """The same tensors under other names.

    Raises:
        CheckpointError: two tensors would get one name.
    """
    result: Table = {}
    for name, stored in table.items():
        if (new := rename(name)) in result:
            raise CheckpointError(f"{stored.where}: {name} and another tensor both mean {new}")
        result[new] = stored
    return result


def lora_product(down: Tensor, up: Tensor) -> Tensor:
    """What LoRA adds to a weight, unscaled, in float32.

    Args:
        down: lora_A, (r, in) or (r, in, h, w) of a convolution.
        up: lora_B, (out, r) or (out, r, 1, 1).

    Returns:
        (out, in) or (out, in, h, w).
    """
    flat = up.float().flatten(1) @ down.float().flatten(1)  # (out, in*h*w)
    return flat.reshape(up.shape[0], *down.shape[1:])


def lora_merged(table: Table, scale: float) -> Table:
    """Fold LoRA pairs into their base weights, in float32, rounded once to the base's type.

    Takes `x.weight` or `x.base_layer.weight` with `x.lora_A.weight` and `x.lora_B.weight`; gives `x.weight`.

    Args:
        table: with our names.
        scale: alpha / r.
    """
    plain = {n.replace(".base_layer.", "."): t for n, t in table.items() if ".lora_A." not in n and ".lora_B." not in n}
    for down_name, down in table.items():
        if ".lora_A." not in down_name:
            continue
        up, name = table.get(down_name.replace(".lora_A.", ".lora_B.")), down_name.replace(".lora_A.", ".")
        if up is None or name not in plain:
            raise CheckpointError(f"{down.where}: {down_name} has no lora_B or no base weight {name}")
        plain[name] = _merged_tensor(plain[name], down, up, scale)
    return plain


def _merged_tensor(base: StoredTensor, down: StoredTensor, up: StoredTensor, scale: float) -> StoredTensor:
    def read() -> Tensor:
        weight = base.read()
        return (weight.float() + scale * lora_product(down.read(), up.read())).to(weight.dtype)

    return StoredTensor(base.shape, read, f"{base.where} + {down.where}")


def check_table(table: Table, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Compare names and shapes.

    Raises:
        CheckpointError: names every kind of difference, a few examples of each, and what to do.
    """
    missing = [f"{name} {list(expected[name])}" for name in expected if name not in table]
    surplus = [f"{name} ({table[name].where})" for name in table if name not in expected]
    misshapen = [
        f"{name} ({table[name].where}): expected {list(shape)}, got {list(table[name].shape)}"
        for name, shape in expected.items()
        if name in table and table[name].shape != tuple(shape)
    ]
    kinds = (("missing", missing), ("surplus", surplus), ("wrong shape", misshapen))
    problems = [f"{len(found)} {kind}: {_some(found)}" for kind, found in kinds if found]
    if problems:
        raise CheckpointError(
            f"the checkpoint's tensors do not fit the model.\n  {chr(10).join(problems)}\n"
            "Check that the embodiment (chunk, action and state sizes, cameras), head and FiLM are those of training."
        )


def _some(found: list[str], most: int = 5) -> str:
    more = f" ... and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


def empty_model(config: ModelConfig) -> OpenVLAOFT:
    """The model without memory (on torch's meta device)."""
    with torch.device("meta"):
        return OpenVLAOFT(config).eval()


def shapes_of(model: OpenVLAOFT) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all parameters."""
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def load_model(config: ModelConfig, table: Table, dtype: torch.dtype | None = None) -> OpenVLAOFT:
    """Build the model from a table.

    Args:
        config: sizes.
        table: our names.
        dtype: of all weights; None keeps what is stored.

    Raises:
        CheckpointError: the tensors do not fit.
    """
    model = empty_model(config)
    check_table(table, shapes_of(model))
    model.load_state_dict({name: stored.read().to(dtype) for name, stored in table.items()}, assign=True)
    return model.requires_grad_(True)


def merge_tables(tables: Iterable[Table]) -> Table:
    """One table; a later one wins."""
    return {name: stored for table in tables for name, stored in table.items()}
