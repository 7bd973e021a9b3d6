"""Checkpoints of both layouts: what is read is what was written, and what is wrong is named."""

import dataclasses
import functools
import gc
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from tests.golden import DATA, Case
from tests.tiny_oft import CAUSAL, LIBERO_TINY, TINY, one_of, some_inputs, statistics_of, tiny_checkpoint, tiny_model
from vla.embodiment import ALOHA, EMBODIMENTS, LIBERO, Embodiment
from vla.models.openvla_oft.config import HeadConfig, MaskMode, TrunkConfig
from vla.models.openvla_oft.folder import read_folder, write_folder
from vla.models.openvla_oft.locate import read_checkpoint
from vla.models.openvla_oft.random_checkpoint import write_random
from vla.models.openvla_oft.read_official import read_official
from vla.models.openvla_oft.weights import (
    CheckpointError,
    StoredTensor,
    empty_model,
    load_model,
    memory_tensor,
    shapes_of,
)
from vla.models.openvla_oft.write_official import write_official
from vla.training.lora import LoraSettings, add_lora, table_of

ROOT = Path(__file__).parents[2]
TOWERS = (TINY.dino, TINY.siglip)


def assert_same_weights(first, second):
    assert first.keys() == second.keys()
    for name in first:
        one, other = first[name].read(), second[name].read()
        assert one.dtype == other.dtype, name
        assert torch.equal(one, other), name


@pytest.fixture
def official(tmp_path):
    """A tiny checkpoint in the layout of the hub."""
    folder = tmp_path / "official"
    write_official(tiny_checkpoint(), folder, step="150000")
    (folder / "tokenizer.json").write_text("{}")
    return folder


def test_official_layout(official):
    names = {path.name for path in official.iterdir()}
    assert {"action_head--150000_checkpoint.pt", "proprio_projector--150000_checkpoint.pt"} <= names
    head = torch.load(official / "action_head--150000_checkpoint.pt", weights_only=True)
    assert "module.model.mlp_resnet_blocks.0.ffn.0.weight" in head
    checkpoint = read_official(official, towers=TOWERS)
    assert checkpoint.embodiment == LIBERO
    assert checkpoint.config == LIBERO_TINY
    assert checkpoint.config.mask is MaskMode.BIDIRECTIONAL
    assert_same_weights(checkpoint.merged_table(), tiny_checkpoint().table)


def test_there_and_back_is_bit_exact(official, tmp_path):
    first = read_official(official, towers=TOWERS)
    write_folder(first, tmp_path / "ours", shard_bytes=50_000)
    ours = read_folder(tmp_path / "ours")
    assert len(list((tmp_path / "ours").glob("weights-*.safetensors"))) > 2
    assert (ours.config, ours.embodiment, ours.statistics) == (first.config, first.embodiment, first.statistics)
    assert ours.provenance == first.provenance
    write_official(ours, tmp_path / "back")
    back = read_official(tmp_path / "back", towers=TOWERS)
    assert_same_weights(back.table, first.table)
    for path in sorted(official.iterdir()):
        if path.suffix == ".json" and "index" not in path.name:
            assert (tmp_path / "back" / path.name).read_bytes() == path.read_bytes()
        if path.suffix == ".pt":
            one, other = (torch.load(root / path.name, weights_only=True) for root in (official, tmp_path / "back"))
            assert one.keys() == other.keys()
            assert all(torch.equal(one[name], other[name]) for name in one)


def film_folder(case: Case, folder):
    """The golden FiLM case as files: LoRA unmerged in the towers' file, merged elsewhere, as upstream leaves it."""
    folder.mkdir()
    raw = load_file(case.folder / "model.safetensors")
    towers = {
        name.removeprefix("vision_backbone."): tensor
        for name, tensor in raw.items()
        if name.startswith("vision_backbone.")
    }
    torch.save(towers, folder / "vision_backbone--5_checkpoint.pt")
    merged = {name: stored.read() for name, stored in case.table().items()}
    save_file(
        {n: t for n, t in merged.items() if n.startswith(("language_model", "projector"))}, folder / "model.safetensors"
    )
    for part in ("action_head", "proprio_projector"):
        tensors = load_file(case.folder / f"{part}.safetensors")
        torch.save({f"module.{name}": tensor for name, tensor in tensors.items()}, folder / f"{part}--5_checkpoint.pt")
    (folder / "dataset_statistics.json").write_text(json.dumps(case.config["norm_stats"]))
    (folder / "config.json").write_text(json.dumps({"text_config": case.config["text_config"]}))
    (folder / "lora_adapter").mkdir()
    adapter = {"r": case.config["lora_r"], "lora_alpha": case.config["lora_alpha"]}
    (folder / "lora_adapter/adapter_config.json").write_text(json.dumps(adapter))


@torch.no_grad()
def test_film_with_unmerged_lora_acts_as_the_official_code(tmp_path):
    case = Case(DATA / "libero_l1_film_lora_2img")
    film_folder(case, tmp_path / "official")
    config = case.model_config()
    checkpoint = read_official(tmp_path / "official", towers=(config.dino, config.siglip))
    assert checkpoint.config.film
    assert checkpoint.lora_scale == 0.5
    write_folder(checkpoint, tmp_path / "ours")
    write_official(read_folder(tmp_path / "ours"), tmp_path / "back")
    before, after = (
        torch.load(tmp_path / root / "vision_backbone--5_checkpoint.pt", weights_only=True)
        for root in ("official", "back")
    )
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    for read in (checkpoint, read_folder(tmp_path / "ours")):
        actions = read.load(torch.float32)(case.inputs())[0]
        assert (actions - case.io["normalized_actions"]).abs().max() <= 5e-4


def test_adapter_without_merged_weights_needs_its_base(official, tmp_path):
    folder = tmp_path / "adapter"
    shutil.copytree(official, folder, ignore=shutil.ignore_patterns("model*"))
    (folder / "lora_adapter").mkdir()
    (folder / "lora_adapter/adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 1}))
    name = "language_model.model.layers.0.mlp.up_proj"
    down, up = torch.randn(2, 32), torch.randn(48, 2)
    pairs = {f"base_model.model.{name}.lora_A.weight": down, f"base_model.model.{name}.lora_B.weight": up}
    save_file(pairs, folder / "lora_adapter/adapter_model.safetensors")
    with pytest.raises(CheckpointError, match="LoRA adapter only"):
        read_official(folder, towers=TOWERS)
    merged = read_official(folder, base=official, towers=TOWERS).merged_table()
    plain = read_official(official, towers=TOWERS).table[f"{name}.weight"].read()
    expected = (plain.float() + 0.5 * up @ down).bfloat16()
    assert torch.equal(merged[f"{name}.weight"].read(), expected)


@torch.no_grad()
def test_loaded_model_acts_as_the_one_that_was_saved(official):
    model = read_official(official, towers=TOWERS).load(torch.bfloat16)
    inputs = some_inputs(LIBERO_TINY, [9, 5])
    assert torch.equal(model(one_of(inputs, 0)), tiny_model(LIBERO_TINY).bfloat16()(one_of(inputs, 0)))


@torch.no_grad()
def test_fine_tuned_weights_are_merged_for_upstream(tmp_path):
    model = tiny_model(LIBERO_TINY)
    settings = LoraSettings(rank=2, alpha=1)
    add_lora(model, settings)
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            parameter.normal_(std=0.3)
    tuned = dataclasses.replace(tiny_checkpoint(), table=table_of(model), lora_scale=settings.scale)
    write_official(tuned, tmp_path / "official")
    inputs = some_inputs(LIBERO_TINY, [6])
    again = read_official(tmp_path / "official", towers=TOWERS).load(torch.float32)(inputs)
    assert (again - model(inputs)).abs().max() < 1e-4
    assert (again - tiny_model(LIBERO_TINY)(inputs)).abs().max() > 1e-2
    film = dataclasses.replace(LIBERO_TINY, film=True)
    with pytest.raises(CheckpointError, match="before the merge"):
        write_official(tiny_checkpoint(film), tmp_path / "film")


def test_loading_maps_the_weights_and_copies_nothing(tmp_path):
    """Peak memory: anonymous memory grows by less than 15 % of the weights."""
    wide = dataclasses.replace(TINY, trunk=TrunkConfig(width=768, depth=2, heads=4, key_value_heads=4, mlp_width=1024))
    config = dataclasses.replace(wide, chunk=8, action_dim=7, state_dim=8)
    table = {
        name: StoredTensor(shape, lambda shape=shape: torch.ones(shape, dtype=torch.bfloat16), "made")
        for name, shape in shapes_of(empty_model(config)).items()
    }
    write_folder(dataclasses.replace(tiny_checkpoint(), config=config, table=table), tmp_path / "ours")
    gc.collect()
    before = anonymous_memory()
    model = read_folder(tmp_path / "ours").load()
    grown = anonymous_memory() - before
    weights = sum(parameter.nbytes for parameter in model.parameters())
    assert weights > 100e6
    assert grown < 0.15 * weights


def anonymous_memory() -> int:
    """[bytes] of this process that are not mapped from a file."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs /proc")
    return 1024 * int(next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("RssAnon")))


# --- errors --------------------------------------------------------------------------------------------------------


def test_wrong_tensors_are_named():
    table = dict(tiny_checkpoint().table)
    table["projector.fc9.weight"] = table.pop("projector.fc1.weight")
    table["language_model.model.norm.weight"] = memory_tensor(torch.zeros(5), "shard-2")
    with pytest.raises(CheckpointError) as caught:
        load_model(LIBERO_TINY, table)
    message = str(caught.value)
    assert "1 missing: projector.fc1.weight [160, 40]" in message
    assert "1 surplus: projector.fc9.weight (memory)" in message
    assert "1 wrong shape: language_model.model.norm.weight (shard-2): expected [32], got [5]" in message


def test_file_that_runs_code_is_refused(official):
    class Evil:
        def __reduce__(self):
            return print, ("never",)

    torch.save({"module.model.fc1.weight": Evil()}, official / "action_head--150000_checkpoint.pt")
    with pytest.raises(CheckpointError, match="not a plain state dict"):
        read_official(official, towers=TOWERS)


def test_two_steps_in_one_folder(official):
    shutil.copy(official / "action_head--150000_checkpoint.pt", official / "action_head--50000_checkpoint.pt")
    with pytest.raises(CheckpointError, match="keep one step"):
        read_official(official, towers=TOWERS)


def test_lost_shard(official):
    for path in official.glob("model-*.safetensors"):
        path.rename(path.with_name("model-99.safetensors"))
    with pytest.raises(CheckpointError, match="files that are not there"):
        read_official(official, towers=TOWERS)


def test_embodiment_that_does_not_fit(official):
    with pytest.raises(CheckpointError, match="state_dim: network 8, embodiment 14"):
        read_official(official, ALOHA, towers=TOWERS)
    with pytest.raises(CheckpointError, match="wrong shape: action_head"):
        read_official(official, dataclasses.replace(LIBERO, action=("a", "b")), towers=TOWERS).merged_table()


def test_two_arms_are_aloha(tmp_path):
    network = dataclasses.replace(LIBERO_TINY, action_dim=14, state_dim=14, chunk=25, images=3)
    checkpoint = tiny_checkpoint(network, ALOHA, statistics=statistics_of(ALOHA))
    write_official(checkpoint, tmp_path / "a")
    assert read_official(tmp_path / "a", towers=TOWERS).embodiment == ALOHA


def test_discrete_checkpoints_must_say_their_mask(tmp_path):
    config = dataclasses.replace(LIBERO_TINY, state_dim=0, head=HeadConfig("discrete"))
    write_official(tiny_checkpoint(config), tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"policy\.mask"):
        read_official(tmp_path / "a", LIBERO, towers=TOWERS)
    parallel = read_official(tmp_path / "a", LIBERO, MaskMode.BIDIRECTIONAL, towers=TOWERS)
    assert parallel.config == config
    original = read_official(tmp_path / "a", LIBERO, MaskMode.CAUSAL, towers=TOWERS).config
    assert (original.images, original.chunk, original.head) == (1, 1, CAUSAL.head)
    with pytest.raises(CheckpointError, match="does not say whose it is"):
        read_official(tmp_path / "a", mask=MaskMode.CAUSAL, towers=TOWERS)


def test_wrong_mask_is_refused(official, tmp_path):
    with pytest.raises(CheckpointError, match="trained with the bidirectional mask"):
        read_official(official, mask=MaskMode.CAUSAL, towers=TOWERS)
    write_folder(tiny_checkpoint(), tmp_path / "ours")
    with pytest.raises(CheckpointError, match="mask: the checkpoint says"):
        read_checkpoint(str(tmp_path / "ours"), mask="causal")
    with pytest.raises(CheckpointError, match="embodiment: the checkpoint says 'libero'"):
        read_checkpoint(str(tmp_path / "ours"), embodiment="aloha")


def test_hub_name(official, monkeypatch):
    asked = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: asked.append(name) or str(official))
    checkpoint = read_checkpoint("moojink/openvla-7b-oft-finetuned-libero-spatial")
    assert asked == ["moojink/openvla-7b-oft-finetuned-libero-spatial"]
    assert checkpoint.embodiment == LIBERO


def test_hub_that_does_not_answer(monkeypatch):
    def refuse(name, **_):
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(CheckpointError, match="no folder moojink/x, and the hub did not give it: no network"):
        read_checkpoint("moojink/x")


def test_head_that_upstream_does_not_know(tmp_path):
    flow = tiny_checkpoint(dataclasses.replace(LIBERO_TINY, head=HeadConfig("flow")))
    with pytest.raises(CheckpointError, match="action head 'flow': upstream's layout has no file for it"):
        write_official(flow, tmp_path / "flow")
    assert not (tmp_path / "flow").exists()


def test_head_file_of_something_else(official):
    torch.save({"module.net.weight": torch.zeros(1)}, official / "action_head--150000_checkpoint.pt")
    with pytest.raises(CheckpointError, match=r"expected names under one of .* got \['module.net.weight'\]"):
        read_official(official, towers=TOWERS)


def test_no_such_folder(tmp_path):
    with pytest.raises(CheckpointError, match="no hub name"):
        read_checkpoint(str(tmp_path / "nowhere"))
    with pytest.raises(CheckpointError, match="one of"):
        read_checkpoint(str(tmp_path), embodiment="libreo")
    with pytest.raises(CheckpointError, match="no such file"):
        read_checkpoint(str(tmp_path))


def test_folder_is_never_overwritten(tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError):
        write_folder(tiny_checkpoint(), tmp_path / "there")


def test_embodiments_survive_json():
    for embodiment in EMBODIMENTS.values():
        assert Embodiment.from_dict(json.loads(json.dumps(embodiment.to_dict()))) == embodiment


def test_random_checkpoint_is_a_checkpoint(tmp_path):
    write_random(tmp_path / "random", LIBERO_TINY, LIBERO)
    checkpoint = read_official(tmp_path / "random", towers=TOWERS)
    assert checkpoint.config == LIBERO_TINY
    with torch.no_grad():
        actions = checkpoint.load()(some_inputs(LIBERO_TINY, [6]))
    assert actions.isfinite().all()


def test_converting_by_command(tmp_path):
    write_folder(tiny_checkpoint(), tmp_path / "ours")
    command = [sys.executable, "scripts/convert_checkpoint.py", str(tmp_path / "ours"), str(tmp_path / "official")]
    environment = {**os.environ, "PYTHONPATH": "."}
    run = functools.partial(subprocess.run, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert run([*command, "--official"]).returncode == 0
    back = read_official(tmp_path / "official", towers=TOWERS)
    assert_same_weights(back.table, tiny_checkpoint().table)
    again = run([sys.executable, "scripts/convert_checkpoint.py", str(tmp_path / "ours"), str(tmp_path / "official")])
    assert again.returncode == 2
    assert "never overwritten" in again.stderr
