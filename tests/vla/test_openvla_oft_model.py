"""What holds for the network whatever its weights."""

import dataclasses
import json

import pytest
import torch

from tests.golden import DATA, Case
from tests.tiny_oft import CAUSAL, TINY, one_of, some_inputs, tiny_model
from vla.models import heads
from vla.models.heads import build_head, head_names
from vla.models.heads.base import HeadSizes
from vla.models.openvla_oft import language, projectors, vision
from vla.models.openvla_oft.config import HeadConfig, MaskMode, ModelConfig
from vla.models.openvla_oft.model import OpenVLAOFT
from vla.models.openvla_oft.names import component_file_name, component_name
from vla.models.openvla_oft.read_official import trunk_config
from vla.models.openvla_oft.selftest import SelfTestError, check_mask_mode
from vla.models.openvla_oft.sequence import SequenceLayout
from vla.models.openvla_oft.weights import empty_model, shapes_of

# --- the full-size model -------------------------------------------------------------------------------------------


def test_full_size_names_and_shapes_are_those_of_the_released_checkpoint():
    keys = json.loads((DATA / "full_size_keys.json").read_text())
    parts = {"action_head": "action_head_l1_libero", "proprio_projector": "proprio_projector_libero"}
    expected = {name: tuple(shape) for name, shape in keys["merged_model"].items()}
    assert len(expected) == 982
    for part, table in parts.items():
        expected.update({component_name(part, name): tuple(shape) for name, shape in keys[table].items()})
    shapes = shapes_of(empty_model(ModelConfig()))
    assert shapes == expected
    for name in shapes:
        if name.startswith(tuple(parts)):
            part, theirs = component_file_name(name, "l1")
            assert theirs in keys[parts[part]]


@pytest.mark.parametrize(
    ("config", "table"),
    [
        (ModelConfig(head=HeadConfig("diffusion")), "action_head_diffusion_libero"),
        (ModelConfig(images=3, chunk=25, action_dim=14, state_dim=14), "action_head_l1_aloha"),
    ],
)
def test_full_size_heads(config, table):
    keys = json.loads((DATA / "full_size_keys.json").read_text())
    expected = {component_name("action_head", name): tuple(shape) for name, shape in keys[table].items()}
    if config.head.kind == "diffusion":
        noisy = keys["noisy_action_projector"].items()
        expected.update({component_name("noisy_action_projector", name): tuple(shape) for name, shape in noisy})
    shapes = shapes_of(empty_model(config))
    assert {name: shapes[name] for name in shapes if name.startswith(("action_head", "noisy"))} == expected


def test_full_size_film_has_as_many_parameters_as_published():
    film = [tensor for name, tensor in empty_model(ModelConfig(film=True)).named_parameters() if ".film." in name]
    assert sum(tensor.numel() for tensor in film) == 456_241_920


def test_full_size_epsilons():
    """The published config names none: the trunk's is 1e-6, the old library's default, and not Llama-2's 1e-5."""
    found = {"rms": set(), "vision": set(), "head": set()}
    for name, module in empty_model(ModelConfig()).named_modules():
        if isinstance(module, language.RMSNorm):
            found["rms"].add(module.eps)
        elif isinstance(module, torch.nn.LayerNorm):
            found["vision" if name.startswith("vision") else "head"].add(module.eps)
    assert found == {"rms": {1e-6}, "vision": {1e-6}, "head": {1e-5}}
    assert trunk_config({"vocab_size": 32064}).norm_eps == 1e-6


# --- layout --------------------------------------------------------------------------------------------------------


def test_layout_of_a_libero_query():
    layout = SequenceLayout(512, state=True, timestep=False, prompt_lengths=torch.tensor([34]), slots=56)
    assert layout.length == 605
    assert layout.slots_at[0, [0, -1]].tolist() == [548, 603]
    assert layout.answers_at[0, 0] == 547  # the empty token
    assert layout.stop_at.tolist() == [604]
    assert not layout.padded


def test_layout_of_a_batch():
    layout = SequenceLayout(8, state=False, timestep=True, prompt_lengths=torch.tensor([3, 5]), slots=2)
    assert layout.padded
    assert layout.real.sum(dim=1).tolist() == [1 + 8 + 1 + 3 + 2 + 1, layout.length]
    ids = layout.tail_ids(torch.tensor([[1, 11, 12, 13, 0, 0], [1, 21, 22, 23, 24, 25]]))
    assert ids.tolist() == [[11, 12, 13, 2, 2, 2, 32000, 32000], [21, 22, 23, 24, 25, 2, 2, 2]]


@pytest.mark.parametrize("lengths", [torch.tensor([0]), torch.zeros(0), torch.ones(1, 1)])
def test_layout_refuses_impossible_prompts(lengths):
    with pytest.raises(ValueError, match="prompt_lengths"):
        SequenceLayout(8, state=False, timestep=False, prompt_lengths=lengths, slots=2)


def test_wrong_inputs_are_named():
    model, inputs = tiny_model(), some_inputs(TINY, [5])
    with pytest.raises(ValueError, match="pixels: expected"):
        model(dataclasses.replace(inputs, pixels=inputs.pixels[:, :1]))
    with pytest.raises(ValueError, match="state: expected"):
        model(dataclasses.replace(inputs, state=None))


# --- heads ---------------------------------------------------------------------------------------------------------


def test_heads_are_found_by_file_name():
    assert head_names() == ["diffusion", "discrete", "flow", "l1"]
    with pytest.raises(ValueError, match="expected one of"):
        build_head("l2", HeadSizes(1, 1, 8), {})


def test_a_head_is_added_by_adding_a_file(tmp_path, monkeypatch):
    (tmp_path / "constant.py").write_text(
        "import torch\n"
        "from vla.models.heads.base import ActionHead\n"
        "class Head(ActionHead):\n"
        "    def __init__(self, sizes, value=0.5):\n"
        "        super().__init__(sizes)\n"
        "        self.value = torch.nn.Parameter(torch.tensor(value))\n"
        "    def predict(self, query, noise=None):\n"
        "        return self.per_step(query.states()).new_ones(query.batch, *self.shape) * self.value\n"
        "    def loss(self, query, actions):\n"
        "        return (self.predict(query) - actions).abs().mean()\n"
        "    @property\n"
        "    def shape(self):\n"
        "        return self.sizes.chunk, self.sizes.action_dim\n"
    )
    monkeypatch.setattr(heads, "__path__", [*heads.__path__, str(tmp_path)])
    assert "constant" in head_names()
    model = tiny_model(dataclasses.replace(TINY, head=HeadConfig("constant", {"value": 0.25})))
    model.action_head.value.data.fill_(0.25)
    inputs = some_inputs(TINY, [5])
    assert model(inputs).unique().tolist() == [0.25]
    model.loss(inputs, torch.zeros(1, 3, 2)).backward()
    assert model.action_head.value.grad == 1.0


@torch.no_grad()
@pytest.mark.parametrize("film", [False, True])
@pytest.mark.parametrize("kind", ["diffusion", "discrete", "flow", "l1"])
def test_batches_equal_single_queries(kind, film):
    options = {"trained_steps": 10, "steps": 5} if kind == "diffusion" else {}
    config = dataclasses.replace(TINY, film=film, head=HeadConfig(kind, options))
    model, inputs = tiny_model(config), some_inputs(config, [9, 4, 12, 4, 7, 5, 6, 8])
    noise = torch.randn(8, config.chunk, config.action_dim)
    together = model(inputs, noise)  # (B, K, A)
    assert together.shape == (8, config.chunk, config.action_dim)
    for index in range(8):
        alone = model(one_of(inputs, index), noise[index : index + 1])
        assert (together[index] - alone[0]).abs().max() <= 1e-5


@torch.no_grad()
def test_batches_equal_single_queries_word_by_word():
    model, inputs = tiny_model(CAUSAL), some_inputs(CAUSAL, [9, 4, 12])
    together = model.action_head.tokens(model.encode(inputs))
    alone = [model.action_head.tokens(model.encode(one_of(inputs, index))) for index in range(3)]
    assert torch.equal(together, torch.cat(alone))


@torch.no_grad()
def test_word_by_word_equals_decoding_without_a_cache():
    model, inputs = tiny_model(CAUSAL), some_inputs(CAUSAL, [6])
    query = model.encode(inputs)
    embed = model.language_model.model.embed_tokens
    sequence = torch.cat([query.prefix, embed(inputs.prompts[:, 1:])], dim=1)
    ids = []
    for _ in range(CAUSAL.action_slots):
        state = model.language_model.model(sequence, MaskMode.CAUSAL)[:, -1]
        ids.append(query.logits(state).argmax(-1))
        sequence = torch.cat([sequence, embed(ids[-1])[:, None]], dim=1)
    assert model.action_head.tokens(query)[0].tolist() == [int(word) for word in ids]


def test_word_by_word_needs_the_causal_mask():
    config = dataclasses.replace(CAUSAL, mask=MaskMode.BIDIRECTIONAL)
    with pytest.raises(ValueError, match="mask mode 'causal'"):
        tiny_model(config)(some_inputs(config, [5]))


@pytest.mark.parametrize("kind", ["diffusion", "discrete", "flow", "l1"])
def test_loss_falls(kind):
    config = dataclasses.replace(TINY, head=HeadConfig(kind))
    model, inputs = tiny_model(config).train(), some_inputs(config, [5, 7])
    actions = torch.rand(2, config.chunk, config.action_dim) * 2 - 1
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        torch.manual_seed(0)  # the same noise each time
        loss = model.loss(inputs, actions)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_gradient_checkpointing_changes_nothing():
    model, inputs, actions = tiny_model().train(), some_inputs(TINY, [5]), torch.zeros(1, 3, 2)
    gradients = []
    for switch in (False, True):
        model.language_model.model.gradient_checkpointing = switch
        model.zero_grad()
        model.loss(inputs, actions).backward()
        gradients.append(model.language_model.model.layers[0].mlp.up_proj.weight.grad.clone())
    assert torch.allclose(*gradients, atol=1e-7)


# --- mask mode -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", list(MaskMode))
def test_self_test_knows_both_modes(mode, monkeypatch):
    model = tiny_model(dataclasses.replace(TINY, mask=mode))
    check_mask_mode(model)
    other = next(other for other in MaskMode if other is not mode)
    original = language.attention_mask
    monkeypatch.setattr(language, "attention_mask", lambda _, *rest: original(other, *rest))
    with pytest.raises(SelfTestError, match=f"trained with the {mode.value} mask"):
        check_mask_mode(model)


# --- mutations: what people get wrong must be seen -----------------------------------------------------------------


def mutate_mask(monkeypatch):
    original = language.attention_mask
    monkeypatch.setattr(language, "attention_mask", lambda _, *rest: original(MaskMode.CAUSAL, *rest))


def mutate_slot(monkeypatch):
    monkeypatch.setattr(SequenceLayout, "answers_at", property(lambda self: self.slots_at))


def mutate_tap(monkeypatch):
    original = vision.Tower.__init__

    def one_block_more(self, *arguments):
        original(self, *arguments)
        self.blocks.append(vision.Block(self.config, None))

    monkeypatch.setattr(vision.Tower, "__init__", one_block_more)


def mutate_gelu(monkeypatch):
    original = torch.nn.functional.gelu
    monkeypatch.setattr(vision.F, "gelu", lambda x: original(x, approximate="tanh"))


def mutate_order(monkeypatch):
    original = vision.VisionBackbone.forward
    monkeypatch.setattr(
        vision.VisionBackbone, "forward", lambda self, x, words=None: original(self, x.roll(3, dims=2), words)
    )


def mutate_epsilon(monkeypatch):
    original = language.RMSNorm.__init__
    monkeypatch.setattr(language.RMSNorm, "__init__", lambda self, width, eps: original(self, width, 1e-5))


@torch.no_grad()
@pytest.mark.parametrize(
    "mutate",
    [mutate_mask, mutate_slot, mutate_tap, mutate_gelu, mutate_order, mutate_epsilon],
    ids=lambda m: m.__name__,
)
@torch.no_grad()
def test_golden_case_notices(mutate, monkeypatch):
    case = Case(DATA / "libero_l1_proprio_2img")
    assert vision.F is projectors.F
    table = case.table()
    mutate(monkeypatch)
    model = OpenVLAOFT(case.model_config()).eval()
    model.load_state_dict({name: stored.read() for name, stored in table.items()}, strict=False)
    difference = (model(case.inputs())[0] - case.io["normalized_actions"]).abs().max()
    assert difference > 5e-4
