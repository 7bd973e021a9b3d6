"""LoRA (arXiv 2106.09685) on the layers that openvla-oft adapts, through peft; and folding it back.

Source: openvla-oft 213c5ff, vla-scripts/finetune.py: rank 32, alpha 16, no dropout, target "all-linear", which in its
peft also meant both towers' patch convolutions and the map to words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vla.models.openvla_oft.model import Inputs, OpenVLAOFT
from vla.models.openvla_oft.names import model_name
from vla.models.openvla_oft.weights import Table, load_model, lora_merged, memory_tensor

_LAYERS = "qkv|proj|fc1|fc2|fc3|q|kv|q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj|lm_head"
TARGETS = rf"(vision_backbone|projector|language_model)\.(.*\.)?({_LAYERS})"
TRAINED_WHOLE = ("action_head.", "proprio_projector.", "noisy_action_projector.")


class MergeError(RuntimeError):
    """Folding LoRA into the weights changed what the network does."""


@dataclass(frozen=True)
class LoraSettings:
    """Size of the adapters; what they add is scaled by alpha / rank."""

    rank: int = 32
    alpha: int = 16
    dropout: float = 0.0

    @property
    def scale(self) -> float:
        """alpha / rank."""
        return self.alpha / self.rank


def add_lora(model: OpenVLAOFT, settings: LoraSettings) -> None:
    """Put adapters beside the frozen weights, in place. Heads, small projectors and FiLM are trained whole.

    The adapters start as zero (B = 0), so that nothing changes yet, and have the type of their base weight.
    """
    from peft import LoraConfig, inject_adapter_in_model  # here: it takes 5 s, which the small VLA would wait for too
    from peft.tuners.lora import LoraLayer

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=TARGETS,
        init_lora_weights="gaussian",
    )
    inject_adapter_in_model(config, model)
    for module in model.modules():
        if isinstance(module, LoraLayer):
            base: Any = module.get_base_layer()
            for adapter in (module.lora_A, module.lora_B):
                adapter.to(base.weight.dtype)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".lora_" in name or ".film." in name or name.startswith(TRAINED_WHOLE))


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """What the optimiser may change."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def table_of(model: OpenVLAOFT) -> Table:
    """The weights under our names, adapters beside their base weights. The tensors are not copied."""
    return {model_name(name): memory_tensor(tensor, "training") for name, tensor in model.state_dict().items()}


@torch.no_grad()
def merged(model: OpenVLAOFT, settings: LoraSettings, probe: Inputs, tolerance: float) -> tuple[Table, float]:
    """Fold the adapters in, in float32, and compare actions before and after.

    Args:
        model: with adapters.
        settings: of the adapters.
        probe: observations on which to compare.
        tolerance: largest allowed difference of normalised actions; bf16 weights need about 0.05.

    Returns:
        The weights without adapters, and the difference found.

    Raises:
        MergeError: the difference is larger.
    """
    table = lora_merged(table_of(model), settings.scale)
    was_training = model.training
    before = _act(model.eval(), probe)  # (B, K, A)
    after = _act(load_model(model.config, table), probe)
    model.train(was_training)
    difference = (before - after).abs().max().item()
    if not difference <= tolerance:
        raise MergeError(f"merging LoRA moved an action by {difference:.2g}, expected at most {tolerance:.2g}")
    return table, difference


def _act(model: OpenVLAOFT, probe: Inputs) -> Tensor:
    """(B, K, A) float32, from the same noise each time."""
    shape = (len(probe.prompts), model.config.chunk, model.config.action_dim)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return model(probe, noise.to(probe.pixels.device)).float()
