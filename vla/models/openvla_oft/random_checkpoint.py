"""Checkpoints with random weights in the official layout, to try loading, memory and speed without a download."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor

from vla.embodiment import Embodiment
from vla.models.openvla_oft.checkpoint import Checkpoint
from vla.models.openvla_oft.config import ModelConfig
from vla.models.openvla_oft.weights import StoredTensor, empty_model, shapes_of
from vla.models.openvla_oft.write_official import write_official


def write_random(folder: Path, config: ModelConfig, embodiment: Embodiment, seed: int = 0) -> None:
    """Write the folder; a few tensors are in memory at a time.

    The weights are bf16 normals with a deviation of 0.02, norms' scales are 1, the statistics span [-1, 1], and the
    tokenizer knows no word, so that every word is the same id.

    Args:
        folder: must not exist.
        config: sizes.
        embodiment: whose it is.
        seed: of the weights.
    """
    random = torch.Generator().manual_seed(seed)

    def draw(name: str, shape: tuple[int, ...]) -> Tensor:
        if "norm" in name and name.endswith("weight"):
            return torch.ones(shape, dtype=torch.bfloat16)
        return torch.empty(shape, dtype=torch.bfloat16).normal_(std=0.02, generator=random)

    shapes = shapes_of(empty_model(config))
    table = {name: StoredTensor(shape, partial(draw, name, shape), "random") for name, shape in shapes.items()}
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer = Tokenizer(WordLevel({"[UNK]": 3}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = Whitespace()
        path = Path(scratch) / "tokenizer.json"
        tokenizer.save(str(path))
        columns = {"action": _columns(len(embodiment.action)), "proprio": _columns(len(embodiment.state))}
        checkpoint = Checkpoint(config, embodiment, {"random": columns}, table, extras={path.name: path})
        write_official(checkpoint, folder)


def _columns(count: int) -> dict[str, list[float]]:
    values = {"min": -1.0, "max": 1.0, "q01": -1.0, "q99": 1.0, "mean": 0.0, "std": 0.5}
    return {name: [value] * count for name, value in values.items()}
