"""Fine-tuning of a tiny network, end to end."""

import dataclasses

import pytest
import torch

from tests.tiny_oft import LIBERO_TINY, TINY, some_inputs, tiny_checkpoint, tiny_model
from vla.embodiment import LIBERO
from vla.models.openvla_oft.checkpoint import Checkpoint
from vla.models.openvla_oft.config import HeadConfig, ModelConfig
from vla.models.openvla_oft.folder import read_folder, write_folder
from vla.models.openvla_oft.weights import empty_model
from vla.training.finetune import Finetuner, FinetuneSettings
from vla.training.lora import LoraSettings, MergeError, add_lora, merged, table_of, trained_parameters
from vla.training.schedule import Schedule

LORA = LoraSettings(rank=4, alpha=2)
FAST = Schedule(peak=5e-3)


def adapted(config=LIBERO_TINY, dtype=torch.float32):
    model = tiny_model(config).to(dtype)
    add_lora(model, LORA)
    return model


def batches(config=LIBERO_TINY, count=100):
    inputs = some_inputs(config, [7, 5])
    actions = torch.rand(2, config.chunk, config.action_dim, generator=torch.Generator().manual_seed(2)) * 2 - 1
    return [(inputs, actions)] * count


def test_full_size_lora_has_as_many_parameters_as_published():
    model = empty_model(ModelConfig())
    add_lora(model, LoraSettings())
    count = sum(parameter.numel() for name, parameter in model.named_parameters() if ".lora_" in name)
    assert count == 110_828_288
    assert round(sum(parameter.numel() for parameter in trained_parameters(model)) / 1e6) == 279


@torch.no_grad()
def test_adapters_change_nothing_at_first():
    inputs = some_inputs(LIBERO_TINY, [5])
    assert torch.equal(adapted()(inputs), tiny_model(LIBERO_TINY)(inputs))


@pytest.mark.parametrize("head", ["l1", "diffusion", "discrete", "flow"])
def test_ten_steps_then_reload_and_act(head, tmp_path):
    config = dataclasses.replace(LIBERO_TINY, film=True, head=HeadConfig(head))
    model, losses = adapted(config), []
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}

    def record(step, loss):
        losses.append(loss)
        torch.manual_seed(0)  # the same noise in each step, so that losses can be compared

    torch.manual_seed(0)
    Finetuner(model, FinetuneSettings(10, schedule=FAST)).run(batches(config), record)
    assert len(losses) == 10
    assert losses[-1] < losses[0]
    assert all(torch.equal(p, frozen[n]) for n, p in model.named_parameters() if n in frozen)
    probe = some_inputs(config, [6, 4], seed=3)
    table, difference = merged(model, LORA, probe, tolerance=1e-3)
    assert difference < 1e-3
    source = tiny_checkpoint()
    unmerged = Checkpoint(config, LIBERO, source.statistics, table_of(model), LORA.scale)
    write_folder(unmerged, tmp_path / "unmerged")
    write_folder(dataclasses.replace(unmerged, table=table, lora_scale=1.0), tmp_path / "merged")
    noise = torch.randn(2, config.chunk, config.action_dim)
    with torch.no_grad():
        actions = model.eval()(probe, noise)
        for folder in ("unmerged", "merged"):
            again = read_folder(tmp_path / folder).load(torch.float32)(probe, noise)
            assert (again - actions).abs().max() < 1e-3


def test_batches_go_where_the_model_is(monkeypatch):
    model, seen = adapted().to("meta"), []  # stands for a GPU

    def loss(inputs, actions, **options):
        seen.extend([*vars(inputs).values(), actions])
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "loss", loss)
    with pytest.raises(KeyboardInterrupt):
        Finetuner(model, FinetuneSettings(1)).run(batches())
    assert {tensor.device.type for tensor in seen if tensor is not None} == {"meta"}


def test_merge_notices_a_wrong_scale():
    model = adapted()
    Finetuner(model, FinetuneSettings(3, schedule=Schedule(peak=5e-2))).run(batches())
    with pytest.raises(MergeError, match="moved an action by"):
        merged(model, LoraSettings(rank=4, alpha=64), some_inputs(LIBERO_TINY, [6]), tolerance=1e-3)


def test_bfloat16_merge():
    model = adapted(dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    _, difference = merged(model, LORA, some_inputs(LIBERO_TINY, [6]), tolerance=0.05)
    assert difference == 0.0


def test_stopped_and_continued_is_the_same(tmp_path):
    settings = FinetuneSettings(6, schedule=FAST)
    config = dataclasses.replace(LIBERO_TINY, head=HeadConfig("diffusion"))
    torch.manual_seed(5)
    whole = Finetuner(adapted(config), settings)
    torch.manual_seed(6)
    whole.run(batches(config))
    torch.manual_seed(5)
    first = Finetuner(adapted(config), dataclasses.replace(settings, steps=3))
    torch.manual_seed(6)
    first.run(batches(config))
    first.save(tmp_path / "state.pt")
    second = Finetuner(adapted(config), settings)
    second.load(tmp_path / "state.pt")
    assert second.step == 3
    second.run(batches(config))
    for one, other in zip(trained_parameters(whole.model), trained_parameters(second.model), strict=True):
        assert torch.equal(one, other)


def test_state_of_another_model_is_refused(tmp_path):
    Finetuner(adapted(), FinetuneSettings(1)).save(tmp_path / "state.pt")
    other = adapted(dataclasses.replace(LIBERO_TINY, film=True))
    with pytest.raises(ValueError, match="differ from this model"):
        Finetuner(other, FinetuneSettings(1)).load(tmp_path / "state.pt")


def test_accumulated_batches_equal_one_large_one():
    losses = []
    for accumulate in (1, 3):
        torch.manual_seed(0)
        tuner = Finetuner(adapted(), FinetuneSettings(1, accumulate=accumulate, schedule=FAST))
        tuner.run(batches(), lambda step, loss: losses.append(loss))
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_batches_that_end_too_early():
    with pytest.raises(ValueError, match="ended at step 2 of 5"):
        Finetuner(adapted(), FinetuneSettings(5)).run(batches(count=2))


def test_not_finite_loss_stops():
    inputs, actions = batches()[0]
    with pytest.raises(ValueError, match="loss became nan"):
        Finetuner(adapted(), FinetuneSettings(1)).run([(inputs, actions * float("nan"))])


def test_schedule_keeps_its_decay_after_a_warm_up():
    schedule = Schedule(peak=1.0, warmup=10, decay_at=20)
    assert [schedule(step) for step in (0, 10, 19, 20)] == pytest.approx([0.1, 1.0, 1.0, 0.1])
    assert schedule(5) == pytest.approx(0.55)
    assert Schedule(peak=1.0, decay_at=20)(0) == 1.0


def test_no_words_over_the_vocabulary_unless_the_loss_needs_them(monkeypatch):
    model = adapted(dataclasses.replace(TINY, head=HeadConfig("l1")))
    monkeypatch.setattr(model.language_model.lm_head, "forward", None)
    model.loss(*batches(TINY)[0]).backward()
