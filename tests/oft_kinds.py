"""Kinds of cases in the format of tests/data/oft_golden that were not recorded, and networks for them.

The networks are those of the recorded cases; heads and projectors are drawn where sizes differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.golden import DATA
from tests.oft_reference import STOP

PLATFORMS = {"LIBERO": (8, 7, 8, "bounds_q99"), "ALOHA": (25, 14, 14, "bounds"), "BRIDGE": (5, 7, 7, "bounds_q99")}
EMBED, LM_HEAD = "language_model.model.embed_tokens.weight", "language_model.lm_head"
WORD_ROWS = [STOP, 100, *range(31743, 32001), 32010]  # not 0 in the map to words: action words and a few others


@dataclass(frozen=True)
class Kind:
    """What a synthetic case switches on."""

    name: str
    platform: str = "LIBERO"
    head: str | None = "l1"
    images: int = 2
    proprio: bool = True
    film: bool = False
    lora: bool = False
    dtype: str = "float32"
    steps: int | None = None
    train: bool = False


KINDS = [
    Kind("aloha_l1_3img", "ALOHA", images=3),
    Kind("aloha_l1_film_lora_3img", "ALOHA", images=3, film=True, lora=True),
    Kind("aloha_diffusion_5", "ALOHA", "diff", images=3, steps=5),
    Kind("aloha_discrete", "ALOHA", None, images=1, proprio=True),
    Kind("bridge_l1_1img", "BRIDGE", images=1),
    Kind("bridge_film_noproprio", "BRIDGE", images=1, film=True, proprio=False),
    Kind("libero_bf16", dtype="bfloat16"),
    Kind("libero_film_lora_bf16", film=True, lora=True, dtype="bfloat16"),
    Kind("libero_diffusion_50", head="diff", steps=50),
    Kind("libero_diffusion_noproprio_bf16", head="diff", steps=10, proprio=False, dtype="bfloat16"),
    Kind("libero_diffusion_film_1", head="diff", steps=1, film=True, images=1),
    Kind("libero_discrete_lora_bf16", head=None, lora=True, dtype="bfloat16"),
    Kind("train_discrete", head=None, train=True),
    Kind("train_discrete_noproprio", "BRIDGE", None, images=1, proprio=False, train=True),
    Kind("train_film", film=True, train=True),
    Kind("train_film_lora", film=True, lora=True, train=True),
    Kind("train_film_diffusion_aloha", "ALOHA", "diff", images=3, film=True, train=True),
    Kind("train_film_discrete", head=None, film=True, proprio=False, train=True),
]


def draw_weights(kind: Kind, random: torch.Generator) -> dict[str, Tensor]:
    weights = load_file(
        DATA / ("libero_l1_film_lora_2img" if kind.film or kind.lora else "shared") / "model.safetensors"
    )
    if not kind.film:
        weights = {
            n.replace("vision_backbone.vision_backbone.", "vision_backbone.").replace(".block.", "."): t
            for n, t in weights.items()
            if ".scale.weight" not in n and ".scale.bias" not in n and ".shift." not in n
        }
    if not kind.lora:
        weights = {n.replace(".base_layer.", "."): t for n, t in weights.items() if ".lora_" not in n}
    _, action_dim, proprio_dim, _ = PLATFORMS[kind.platform]
    width = 64

    def draw(name: str, *shape: int) -> None:
        spread = (3 * shape[-1]) ** -0.5 if len(shape) > 1 else 0.1  # of linear maps as torch starts them
        value = torch.randn(shape, generator=random) * spread
        weights[name] = value + 1 if "norm" in name and name.endswith("weight") else value

    def pair(name: str, given: int, wanted: int) -> None:
        draw(f"{name}.weight", wanted, given)
        draw(f"{name}.bias", wanted)

    def norm(name: str, count: int) -> None:
        draw(f"{name}.weight", count)
        draw(f"{name}.bias", count)

    if kind.head is not None:
        mlp = "action_head." + ("model" if kind.head == "l1" else "noise_predictor.mlp_resnet")
        norm(f"{mlp}.layer_norm1", action_dim * width)
        pair(f"{mlp}.fc1", action_dim * width, width)
        for index in range(2):
            norm(f"{mlp}.mlp_resnet_blocks.{index}.ffn.0", width)
            pair(f"{mlp}.mlp_resnet_blocks.{index}.ffn.1", width, width)
        norm(f"{mlp}.layer_norm2", width)
        pair(f"{mlp}.fc2", width, action_dim)
    parts = [("proprio_projector", proprio_dim, kind.proprio), ("noisy_action_projector", 1, kind.head == "diff")]
    for part, numbers, there in parts:
        if there:
            pair(f"{part}.fc1", numbers, width)
            pair(f"{part}.fc2", width, width)
    if kind.platform == "LIBERO":  # 50 steps of a drawn head are chaotic: a start moved by 1e-6 moves actions by 1
        head = "diffusion" if kind.head == "diff" else "l1"
        files = {"action_head": f"action_head_{head}"}
        for part in ("action_head", "proprio_projector", "noisy_action_projector"):
            recorded = load_file(DATA / f"shared/{files.get(part, part)}.safetensors")
            weights |= {n: t for name, t in recorded.items() if (n := f"{part}.{name}") in weights}
    vocabulary = torch.zeros(2, 32064, width)
    vocabulary[0] = torch.randn(32064, width, generator=random)
    rows = torch.tensor(WORD_ROWS)
    vocabulary[1, rows] = torch.randn(len(rows), width, generator=random)
    weights[EMBED] = vocabulary[0]
    weights[f"{LM_HEAD}.base_layer.weight" if kind.lora else f"{LM_HEAD}.weight"] = vocabulary[1]
    dtype = getattr(torch, kind.dtype)
    return {name: tensor.to(dtype) for name, tensor in weights.items()}
