"""Tiny random networks and checkpoints of OpenVLA-OFT."""

import dataclasses

import torch

from vla.embodiment import LIBERO, Embodiment
from vla.models.openvla_oft.checkpoint import Checkpoint
from vla.models.openvla_oft.config import HeadConfig, MaskMode, ModelConfig, TowerConfig, TrunkConfig
from vla.models.openvla_oft.model import Inputs, OpenVLAOFT
from vla.models.openvla_oft.weights import memory_tensor

TINY = ModelConfig(
    chunk=3,
    action_dim=2,
    state_dim=4,
    dino=TowerConfig(width=16, depth=3, heads=2, mlp_width=32, registers=2, layer_scale=True, image_size=28),
    siglip=TowerConfig(width=24, depth=3, heads=2, mlp_width=40, attention_pool=True, image_size=28),
    trunk=TrunkConfig(width=32, depth=2, heads=4, key_value_heads=4, mlp_width=48),
)
CAUSAL = dataclasses.replace(TINY, mask=MaskMode.CAUSAL, head=HeadConfig("discrete", {"parallel": False}))
LIBERO_TINY = dataclasses.replace(TINY, chunk=8, action_dim=7, state_dim=8)


def tiny_model(config=TINY, seed=0):
    torch.manual_seed(seed)
    model = OpenVLAOFT(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def some_inputs(config, lengths, seed=1):
    random = torch.Generator().manual_seed(seed)
    batch, size = len(lengths), config.dino.image_size
    prompts = torch.randint(3, 20000, (batch, max(lengths)), generator=random)
    return Inputs(
        torch.randn(batch, config.images, 6, size, size, generator=random),
        prompts,
        torch.tensor(lengths),
        torch.randn(batch, config.state_dim, generator=random) if config.state_dim else None,
    )


def one_of(inputs, index):
    length = int(inputs.prompt_lengths[index])
    return Inputs(
        inputs.pixels[index : index + 1],
        inputs.prompts[index : index + 1, :length],
        inputs.prompt_lengths[index : index + 1],
        None if inputs.state is None else inputs.state[index : index + 1],
    )


def columns(count, mask=None):
    values = {"min": -1.0, "max": 1.0, "q01": -0.9, "q99": 0.8, "mean": 0.1, "std": 0.3}
    filled = {name: [value] * count for name, value in values.items()}
    return filled | ({"mask": mask} if mask else {})


def statistics_of(embodiment: Embodiment):
    count = len(embodiment.action)
    return {"action": columns(count, [True] * (count - 1) + [False]), "proprio": columns(len(embodiment.state))}


def tiny_checkpoint(config=LIBERO_TINY, embodiment=LIBERO, keys=("libero_spatial_no_noops",), statistics=None):
    model = tiny_model(config).bfloat16()
    table = {name: memory_tensor(tensor, "memory") for name, tensor in model.state_dict().items()}
    if config.state_dim == 0:
        embodiment = dataclasses.replace(embodiment, state=())
    return Checkpoint(config, embodiment, {key: statistics or statistics_of(LIBERO) for key in keys}, table)
