"""Heads that denoise continue a chunk: frozen steps come out as they were, the rest bends towards the plan."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from tests.tiny_oft import TINY, some_inputs, tiny_checkpoint, tiny_model
from vla.embodiment import LIBERO, ImageGeometry
from vla.models.heads.inpainting import Inpainting, Prefix, soft_mask
from vla.models.openvla_oft.config import HeadConfig
from vla.models.openvla_oft.folder import write_folder
from vla.policies.gripper import from_robot, to_robot
from vla.policies.openvla_oft import OpenVLAOFTPolicy
from vla.protocols import PrefixPolicy
from vla.runtime.inference import RealTimeChunking
from vla.types import ActionSpec, Observation

CHUNK, KNOWN, FROZEN = 8, 6, 2
HEADS = {"flow": {"steps": 5}, "diffusion": {"steps": 10}}


@pytest.fixture(scope="module", params=HEADS)
def network(request):
    """A tiny network with its inputs, noise and a plan to continue that is near what it would answer anyway."""
    config = dataclasses.replace(TINY, chunk=CHUNK, head=HeadConfig(request.param, HEADS[request.param]))
    model = tiny_model(config).requires_grad_(False)
    inputs = some_inputs(config, [5, 9])
    noise = torch.randn(2, CHUNK, 2, generator=torch.Generator().manual_seed(0))
    free = model(inputs, noise)
    return model, inputs, noise, free, (free[:, :KNOWN] + 0.2).clamp(-0.9, 0.9)


@torch.no_grad()
def continued(network, plan=None, frozen=FROZEN):
    model, inputs, noise, _, default = network
    return model.continue_chunk(inputs, Prefix(default if plan is None else plan, frozen), noise)


def test_frozen_steps_come_out_equal(network):
    plan = network[4]
    for frozen in (0, 1, 4, KNOWN):
        assert torch.equal(continued(network, frozen=frozen)[:, :frozen], plan[:, :frozen])


def test_nothing_known_is_the_free_answer(network):
    _, _, _, free, plan = network
    torch.testing.assert_close(continued(network, plan[:, :0], 0), free, atol=1e-4, rtol=1e-4)


def test_what_is_not_frozen_is_pulled_towards_the_plan(network):
    _, _, _, free, plan = network
    answer = continued(network)
    rest = slice(FROZEN, KNOWN)
    near, far = (answer[:, rest] - plan[:, rest]).abs().mean(), (free[:, rest] - plan[:, rest]).abs().mean()
    assert near < far
    assert not torch.equal(answer[:, KNOWN:], free[:, KNOWN:])  # what nothing is known of goes along


def test_the_answer_depends_on_the_plan_smoothly(network):
    plan = network[4]
    direction = torch.randn(plan.shape, generator=torch.Generator().manual_seed(1))
    answer = continued(network)
    changes = [(continued(network, plan + step * direction) - answer).abs().max() for step in (1e-3, 1e-2)]
    assert 0 < changes[0] < 0.05
    assert changes[1] < 20 * changes[0]  # ten times the change gives about ten times the effect: no jump


def test_no_gradient_is_left_behind(network):
    answer = continued(network)
    assert not answer.requires_grad
    assert all(parameter.grad is None for parameter in network[0].parameters())


def test_soft_mask_is_equation_5():
    mask = soft_mask(8, 6, 2)
    expected = [1.0, 1.0]
    for step in range(2, 6):
        part = (6 - step) / (6 - 2 + 1)
        expected.append(part * (math.exp(part) - 1) / (math.e - 1))
    torch.testing.assert_close(mask, torch.tensor([*expected, 0.0, 0.0]))
    assert (mask[1:] <= mask[:-1]).all()


def test_guidance_is_algorithm_1_of_the_paper():
    """A network with a known Jacobian: v = M a. Checked against equations 2 to 4, written out."""
    generator = torch.Generator().manual_seed(2)
    matrix = torch.randn(4, 4, generator=generator, dtype=torch.float64) / 4
    noise, plan = (torch.randn(1, size, 1, generator=generator, dtype=torch.float64) for size in (4, 3))
    inpainting = Inpainting(Prefix(plan, 1), noise)
    for time in (0.0, 0.2, 0.8):
        sample = torch.randn(1, 4, 1, generator=generator, dtype=torch.float64)
        clean, move = inpainting.guided(lambda a, time=time: a + (1 - time) * (matrix @ a), sample, time, 1 - time)
        estimate = sample + (1 - time) * (matrix @ sample)
        weights = torch.diag(soft_mask(4, 3, 1).double())
        wanted = torch.cat([plan, torch.zeros(1, 1, 1, dtype=torch.float64)], 1)
        jacobian = torch.eye(4, dtype=torch.float64) + (1 - time) * matrix
        pull = ((wanted - estimate)[0].T @ weights @ jacobian).T[None]
        variance = (1 - time) ** 2 / (time**2 + (1 - time) ** 2)
        strength = min(5.0, (1 - time) / (time * variance)) if time else 5.0
        velocity = matrix @ sample + strength * pull
        torch.testing.assert_close((clean + move - sample) / (1 - time), velocity)


def test_impossible_prefixes_are_refused():
    with pytest.raises(ValueError, match=r"0 to P frozen, got \(1, 3, 2\) and 4"):
        Prefix(torch.zeros(1, 3, 2), 4)
    with pytest.raises(ValueError, match=r"expected actions \(B, P, A\)"):
        Prefix(torch.zeros(3, 2), 0)


def test_other_heads_cannot():
    model = tiny_model(TINY)
    with pytest.raises(ValueError, match="expected a flow or diffusion head"):
        model.continue_chunk(some_inputs(TINY, [5]), Prefix(torch.zeros(1, 2, 2), 1))


# The policy.


@pytest.fixture(scope="module")
def make_policy(tmp_path_factory):
    tokenizer = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    Tokenizer(WordLevel({"[UNK]": 3}, unk_token="[UNK]")).save(str(tokenizer))

    def make(head):
        head_config = HeadConfig(head, HEADS.get(head, {}))
        config = dataclasses.replace(TINY, chunk=CHUNK, action_dim=7, state_dim=8, head=head_config)
        checkpoint = tiny_checkpoint(config, dataclasses.replace(LIBERO, images=ImageGeometry(size=28)))
        folder = tmp_path_factory.mktemp("checkpoint") / head
        write_folder(dataclasses.replace(checkpoint, extras={"tokenizer.json": tokenizer}), folder)
        return OpenVLAOFTPolicy(str(folder), dtype="float32")

    return make


def seen(tick):
    random = np.random.default_rng(tick)
    images = {camera: random.integers(0, 256, (64, 64, 3), np.uint8) for camera in LIBERO.cameras}
    return Observation(images, random.uniform(-0.5, 0.5, 8), "go", tick / 20)


@pytest.mark.parametrize("head", HEADS)
def test_the_policy_begins_with_the_frozen_actions_to_the_last_bit(make_policy, head):
    policy = make_policy(head)
    assert isinstance(policy, PrefixPolicy)
    assert policy.accepts_prefix
    prefix = policy.infer(seen(0)).actions[3:]  # (5, 7) in the robot's units
    prefix[0, 0] = 7.0  # beyond what normalising can express
    chunk = policy.infer_after(seen(1), prefix, 2)
    np.testing.assert_array_equal(chunk.actions[:2], prefix[:2])
    assert chunk.actions.shape == (CHUNK, 7)
    assert (chunk.instruction, chunk.observed_at) == ("go", 0.05)
    assert np.abs(chunk.actions - policy.infer(seen(1)).actions)[2:, :6].max() > 1e-4


def test_it_runs_in_the_executor(make_policy):
    policy = make_policy("flow")
    spec = ActionSpec("eef_delta", (*"abcdef", "gripper"), -np.ones(7), np.ones(7), np.full(7, np.inf), 20.0)
    inference = RealTimeChunking(policy, 4, latency_s=0.1)
    inference.reset(spec)
    actions = [inference.next_action(seen(tick)) for tick in range(14)]
    assert np.isfinite(actions).all()
    assert inference.policy_calls == 3  # in ticks 0, 6 and 10: the steps that were frozen count as executed


def test_the_executor_refuses_a_regression_head(make_policy):
    policy = make_policy("l1")
    assert not policy.accepts_prefix
    with pytest.raises(ValueError, match="flow or diffusion head"):
        RealTimeChunking(policy)


def test_gripper_there_and_back():
    actions = np.array([[0.3, -1.0], [0.1, 1.0], [0.2, 0.0]])
    for gripper in type(LIBERO.gripper):
        np.testing.assert_array_equal(to_robot(from_robot(actions, gripper), gripper), actions)
