"""The policy end to end, with a tiny random network and a tokenizer of a few words."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from tests.tiny_oft import TINY, columns, statistics_of, tiny_checkpoint
from vla.embodiment import LIBERO, Gripper, ImageGeometry
from vla.models.openvla_oft import language
from vla.models.openvla_oft.config import HeadConfig, MaskMode
from vla.models.openvla_oft.folder import write_folder
from vla.models.openvla_oft.selftest import SelfTestError
from vla.policies.gripper import to_robot
from vla.policies.openvla_oft import OpenVLAOFTPolicy
from vla.policies.prompt import Prompt
from vla.protocols import BatchedPolicy
from vla.types import Observation

SMALL = dataclasses.replace(LIBERO, images=ImageGeometry(size=28))
WORDS = ("in", "what", "should", "robot", "take", "to", "pick", "up", "a", "red", "cup", "put", "it", "down", "?", ":")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    vocabulary = {word: 100 + index for index, word in enumerate(WORDS)} | {"[UNK]": 3}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture
def make(tmp_path, tokenizer):
    def make(head="l1", options=None, keys=("libero_spatial_no_noops",), **arguments):
        config = dataclasses.replace(
            TINY, chunk=8, action_dim=7, state_dim=8, film=head == "l1", head=HeadConfig(head, options or {})
        )
        checkpoint = tiny_checkpoint(config, SMALL, keys)
        checkpoint = dataclasses.replace(checkpoint, extras={"tokenizer.json": tokenizer})
        folder = tmp_path / "checkpoint"
        if not folder.exists():
            write_folder(checkpoint, folder)
        return OpenVLAOFTPolicy(str(folder), **{"dtype": "float32", **arguments})

    return make


def observation(seed, instruction="pick up a red cup"):
    random = np.random.default_rng(seed)
    images = {camera: random.integers(0, 256, (64, 64, 3), np.uint8) for camera in SMALL.cameras}
    return Observation(images, random.uniform(-0.5, 0.5, 8), instruction, float(seed))


def test_it_is_a_batched_policy_and_acts(make):
    policy = make()
    assert isinstance(policy, BatchedPolicy)
    chunk = policy.infer(observation(1))
    assert chunk.actions.shape == (8, 7)
    assert chunk.observed_at == 1.0
    assert chunk.inference_s > 0
    assert set(np.unique(chunk.actions[:, -1])) <= {-1.0, 0.0, 1.0}
    assert policy.infer_batch([]) == []


@pytest.mark.parametrize(("head", "options"), [("l1", {}), ("diffusion", {"steps": 5}), ("flow", {}), ("discrete", {})])
def test_batches_equal_single_queries_in_any_order(make, head, options):
    policy = make(head, options)
    words = ["pick up a red cup", "put it down", "Take the cup", "up", "robot take a cup ? up", "down", "a", "red red"]
    observations = [observation(seed, instruction) for seed, instruction in enumerate(words)]
    together = policy.infer_batch(observations[::-1])[::-1]
    for single, batched in zip(observations, together, strict=True):
        assert np.abs(policy.infer(single).actions - batched.actions).max() <= 1e-5
        assert batched.instruction == single.instruction


def test_instruction_and_image_matter(make):
    policy = make()
    first = policy.infer(observation(1)).actions
    assert np.abs(first - policy.infer(observation(1, "put it down")).actions).max() > 1e-4
    other = dataclasses.replace(observation(1), images=observation(2).images)
    assert np.abs(first - policy.infer(other).actions).max() > 1e-4


def test_observation_is_not_changed(make):
    seen = observation(1)
    before = (seen.state.copy(), {name: image.copy() for name, image in seen.images.items()})
    make().infer(seen)
    assert np.array_equal(seen.state, before[0])
    assert all(np.array_equal(seen.images[name], before[1][name]) for name in before[1])


def test_noise_depends_on_the_seed(make):
    first, second = make("diffusion", {"steps": 2}), make("diffusion", {"steps": 2}, seed=1)
    assert np.array_equal(first.infer(observation(1)).actions, first.infer(observation(1)).actions)
    assert not np.array_equal(first.infer(observation(1)).actions, second.infer(observation(1)).actions)


def test_denoising_steps_can_be_set(make):
    assert make("diffusion", denoising_steps=5)._model.action_head.times == [40, 30, 20, 10, 0]


def test_denoising_steps_are_refused_elsewhere(make):
    with pytest.raises(ValueError, match="does not denoise"):
        make("l1", denoising_steps=5)


def test_statistics_must_be_named_if_there_are_several(make):
    keys = ("libero_spatial_no_noops", "libero_object_no_noops")
    with pytest.raises(ValueError, match=r"policy\.statistics=KEY.*libero_object_no_noops"):
        make(keys=keys)
    with pytest.raises(ValueError, match="Did you mean 'libero_object_no_noops'"):
        make(keys=keys, statistics="libero_objekt_no_noops")
    assert make(keys=keys, statistics="libero_object").infer(observation(0)).actions.shape == (8, 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"proprio": None}, "no entry 'proprio', found .'action'.; without it 8 numbers cannot be normalised"),
        ({"proprio": columns(7)}, "proprio: expected 8 numbers, as embodiment 'libero' has, got 7"),
        ({"action": {"mean": [0.0] * 7}}, r"missing \['q01', 'q99', 'min', 'max'\]"),
    ],
)
def test_statistics_that_do_not_fit_are_refused_at_start(make, tmp_path, change, message):
    make()
    path = tmp_path / "checkpoint" / "statistics.json"
    (key, entry), *_ = json.loads(path.read_text()).items()
    entry = {name: value for name, value in (entry | change).items() if value is not None}
    path.write_text(json.dumps({key: entry}))
    with pytest.raises(ValueError, match=message):
        make()


def test_actions_are_in_the_robots_units(make):
    policy = make()
    inputs = policy._inputs([observation(3)])
    normalised = policy._model(inputs)[0].double().numpy()
    scale = statistics_of(LIBERO)["action"]
    low, high = scale["q01"][0], scale["q99"][0]
    expected = 0.5 * (normalised[:, :6] + 1) * (high - low + 1e-8) + low
    actions = policy.infer(observation(3)).actions
    assert np.abs(actions[:, :6] - expected).max() < 1e-6
    assert np.array_equal(actions[:, 6], -np.sign(2 * normalised[:, 6] - 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": {"agentview": np.zeros((8, 8, 3), np.uint8)}}, "no camera 'wrist'"),
        ({"images": dict.fromkeys(SMALL.cameras, np.zeros((8, 8, 3)))}, "expected .H, W, 3. uint8"),
        ({"state": np.zeros(7)}, "vectors of 8 numbers"),
        ({"instruction": "  "}, "expected words"),
    ],
)
def test_wrong_observations_are_named(make, change, message):
    with pytest.raises(ValueError, match=message):
        make().infer(dataclasses.replace(observation(0), **change))


def test_patched_attention_is_refused_at_start(make, monkeypatch):
    original = language.attention_mask
    monkeypatch.setattr(language, "attention_mask", lambda _, *rest: original(MaskMode.CAUSAL, *rest))
    with pytest.raises(SelfTestError, match="trained with the bidirectional mask"):
        make()


def test_prompt(tokenizer):
    prompt = Prompt(tokenizer)
    assert Prompt.text("Pick UP a cup.") == "In: What action should the robot take to pick up a cup.?\nOut:"
    ids = prompt("pick up a red cup")
    assert ids[0] == 1
    assert ids[-1] == 29871
    assert ids.count(29871) == 1
    assert prompt("Pick Up A Red Cup") == ids


def test_gripper(golden_misc):
    for row in golden_misc["gripper_post"]:
        assert to_robot(np.array([[0.3, row["model"]]]), Gripper.LIBERO)[0].tolist() == [0.3, row["env"]]
    assert to_robot(np.array([0.3, 0.2]), Gripper.SAME).tolist() == [0.3, 0.2]


def test_bfloat16_is_near_float32(make):
    first, second = make().infer(observation(4)).actions, make(dtype="bfloat16").infer(observation(4)).actions
    assert np.abs(first[:, :6] - second[:, :6]).max() < 0.2
    with pytest.raises(ValueError, match=r"policy\.dtype"):
        make(dtype="int8")


def test_threads_and_gradients(make):
    policy = make()
    assert not any(parameter.requires_grad for parameter in policy._model.parameters())
    assert torch.is_grad_enabled()
