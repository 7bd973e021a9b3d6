"""Beginning with another robot's network: what fits comes over, cameras of a kind see alike."""

import dataclasses

import pytest
import torch

from vla.command.errors import RefusedError
from vla.embodiment import ALOHA_SIM, LIBERO
from vla.models.mini.checkpoint import MiniCheckpoint
from vla.models.mini.config import MiniConfig
from vla.models.mini.model import MiniInputs, MiniVLA
from vla.training.transfer import transfer, with_chunk

ONE_ARM = MiniConfig(image_size=32, channels=(4, 4, 8, 8), width=16, layers=1, heads=2, head_width=8)
TWO_ARMS = dataclasses.replace(ONE_ARM, cameras=3, state_dim=14, rotation=None, action_dim=14, chunk=25)


@pytest.fixture
def libero():
    torch.manual_seed(0)
    return MiniCheckpoint(ONE_ARM, LIBERO, {}, MiniVLA(ONE_ARM).state_dict(), {})


def test_wrist_cameras_begin_as_the_wrist_camera_and_others_as_the_other(libero):
    torch.manual_seed(1)
    model = MiniVLA(TWO_ARMS)
    transfer(model, libero, ALOHA_SIM.cameras)
    weights = libero.weights
    for camera, theirs in enumerate((0, 1, 1)):
        for name, tensor in model.towers[camera].state_dict().items():
            assert torch.equal(tensor, weights[f"towers.{theirs}.{name}"]), name
    assert torch.equal(model.trunk[0].qkv.weight, weights["trunk.0.qkv.weight"])
    assert torch.equal(model.words[0].weight, weights["words.0.weight"])


def test_what_does_not_fit_is_named_and_stays_as_it_was(libero):
    torch.manual_seed(1)
    model = MiniVLA(TWO_ARMS)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    new = transfer(model, libero, ALOHA_SIM.cameras)
    assert {"position", "state.0.weight", "unfold.weight"} <= set(new)
    for name in new:
        assert torch.equal(model.state_dict()[name], before[name])


def test_other_towers_are_refused(libero):
    model = MiniVLA(dataclasses.replace(TWO_ARMS, channels=(4, 4, 8, 16)))
    with pytest.raises(RefusedError, match="vision towers"):
        transfer(model, libero, ALOHA_SIM.cameras)


def inputs():
    random = torch.Generator().manual_seed(2)
    pixels = torch.randint(0, 256, (3, 2, 3, 32, 32), generator=random).to(torch.uint8)
    return MiniInputs(pixels, torch.randn(3, 384, generator=random), torch.randn(3, 8, generator=random))


@pytest.mark.parametrize("layers", [0, 1])
def test_a_longer_chunk_begins_with_the_shorter_ones_actions_and_goes_on_with_its_last(libero, layers):
    config = dataclasses.replace(ONE_ARM, layers=layers)
    short = MiniCheckpoint(config, LIBERO, {}, MiniVLA(config).state_dict(), {})
    long = with_chunk(short, 13)
    eight, thirteen = (each.build().eval()(inputs()) for each in (short, long))
    assert thirteen.shape == (3, 13, 7)
    assert torch.equal(thirteen[:, 8:], thirteen[:, 7:8].expand(-1, 5, -1))
    if layers == 0:  # without attention a slot's answer is its own
        assert torch.allclose(thirteen[:, :8], eight, atol=1e-6)
    assert torch.equal(with_chunk(long, 8).weights["position"], short.weights["position"])


def test_the_same_chunk_is_the_same_network(libero):
    same = with_chunk(libero, libero.config.chunk)
    assert same.config == libero.config
    assert torch.equal(same.weights["position"], libero.weights["position"])
