"""Tensor names: those of upstream's files, and ours.

The plain model has the same names. They differ in two places: upstream wraps the towers for FiLM and LoRA, which
doubles prefixes and inserts words; and its heads name their MLP differently, under the DDP prefix `module.`.
"""

from __future__ import annotations

import re

from vla.models.openvla_oft.weights import CheckpointError

_HEAD_PREFIXES = {"l1": "model.", "diffusion": "noise_predictor.mlp_resnet."}

COMPONENTS = ("action_head", "proprio_projector", "noisy_action_projector")


def model_name(upstream: str) -> str:
    """Our name of a tensor of the language-vision model. LoRA's own words (`base_layer`, `lora_A`) stay.

    Example:
        `vision_backbone.vision_backbone.featurizer.blocks.0.block.attn.qkv.base_layer.weight`
        -> `vision_backbone.featurizer.blocks.0.attn.qkv.base_layer.weight`
    """
    name = upstream.removeprefix("base_model.model.")
    name = name.replace("vision_backbone.vision_backbone.", "vision_backbone.")
    name = re.sub(r"(featurizer\.blocks\.\d+)\.block\.", r"\1.", name)
    name = re.sub(r"(featurizer\.blocks\.\d+)\.(scale|shift)\.", r"\1.film.\2.", name)
    return re.sub(r"\.(lora_[AB])\.default\.", r".\1.", name)


def film_file_name(ours: str) -> str:
    """Upstream's name in a `vision_backbone--*.pt` file, where every block is wrapped for FiLM."""
    name = re.sub(r"(featurizer\.blocks\.\d+)\.film\.", r"\1.FILM.", ours)
    name = re.sub(r"(featurizer\.blocks\.\d+)\.(?!FILM)", r"\1.block.", name)
    return name.replace(".FILM.", ".")


def component_name(component: str, upstream: str) -> str:
    """Our name of a tensor of one of the `COMPONENTS`, from its name in that component's own file."""
    name = upstream.removeprefix("module.")
    if component == "action_head":
        for prefix in sorted(_HEAD_PREFIXES.values(), key=len, reverse=True):
            if name.startswith(prefix):
                return f"action_head.mlp.{name.removeprefix(prefix)}"
    return f"{component}.{name}"


def component_file_name(ours: str, head: str) -> tuple[str, str]:
    """(component, upstream's name in its file) of one of our names; inverse of `component_name`.

    Raises:
        CheckpointError: upstream has no such head.
    """
    component, _, name = ours.partition(".")
    if component == "action_head":
        if head not in _HEAD_PREFIXES:
            raise CheckpointError(
                f"action head {head!r}: upstream's layout has no file for it, only for {sorted(_HEAD_PREFIXES)} "
                "(and none for discrete words); keep our own layout"
            )
        name = _HEAD_PREFIXES[head] + name.removeprefix("mlp.")
    return component, f"module.{name}"


def head_kind(upstream: list[str]) -> str:
    """Which head an action head file holds, judged by its names."""
    for kind in sorted(_HEAD_PREFIXES, key=lambda kind: -len(_HEAD_PREFIXES[kind])):
        if all(name.removeprefix("module.").startswith(_HEAD_PREFIXES[kind]) for name in upstream):
            return kind
    raise CheckpointError(
        f"action head: expected names under one of {list(_HEAD_PREFIXES.values())}, got {upstream[:3]} ..."
    )
