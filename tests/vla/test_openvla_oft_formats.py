"""The parity test on kinds of cases that were not recorded, and the reference that computes them on those that were."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.golden import DATA, Case, find_cases
from tests.oft_kinds import EMBED, KINDS, LM_HEAD
from tests.oft_reference import ACTION_BEGIN, EMPTY, STOP, Reference
from tests.oft_synthetic import write_case
from tests.vla import test_openvla_oft_parity as parity

ROOT = Path(__file__).parents[2]
RECORDED = find_cases([DATA])


def official_weights(case):
    """All tensors of a recorded case under official names."""
    weights = load_file(case.folder / "model.safetensors")
    for part in ("action_head", "proprio_projector", "noisy_action_projector"):
        if (path := case.folder / f"{part}.safetensors").exists():
            weights |= {f"{part}.{name}": tensor for name, tensor in load_file(path).items()}
    weights[EMBED] = torch.zeros(32064, 64)
    weights[EMBED][case.io["embed_rows_ids"]] = case.io["embed_rows"]
    weights[f"{LM_HEAD}.weight"] = torch.zeros(32064, 64)
    if "lm_head_rows" in case.io:
        weights[f"{LM_HEAD}.weight"][case.io["lm_head_rows_ids"]] = case.io["lm_head_rows"]
    return weights


@torch.no_grad()
@pytest.mark.parametrize("case", [c for c in RECORDED if not c.training], ids=parity.name_of)
def test_reference_is_right_at_inference(case):
    reference, io = Reference(case.config, official_weights(case)), case.io
    prompt = torch.cat([io["input_ids"][0], torch.tensor([EMPTY])])
    ids = torch.cat([prompt, torch.ones(reference.slots, dtype=torch.long), torch.tensor([STOP])])
    action = (torch.arange(len(ids)) >= len(prompt)) & (torch.arange(len(ids)) < len(ids) - 1)
    state = io["proprio_normalized"] if case.config["use_proprio"] else None
    x, slots = reference.sequence(ids, io["pixel_values"][0], state, action)
    noisy = io["ddim_prev_sample"][-2] if "noise" in io else None
    x, hidden = reference.states(x, slots, None, noisy, 0)
    assert (x - io["multimodal_embeddings"][0]).abs().max() < 1e-4
    assert (hidden - io["last_hidden_states"][0]).abs().max() < 5e-4
    if case.head == "l1":
        assert (reference.head(hidden[slots - 1]) - io["normalized_actions"]).abs().max() < 5e-4
    if case.head == "discrete":
        assert torch.equal(reference.linear(LM_HEAD, hidden[slots - 1]).argmax(-1), io["predicted_token_ids"][0])


@torch.no_grad()
@pytest.mark.parametrize("case", [c for c in RECORDED if c.training], ids=parity.name_of)
def test_reference_is_right_in_training(case):
    reference, io = Reference(case.config, official_weights(case)), case.io
    for index in range(len(io["actions"])):
        ids, labels = io["input_ids"][index], io["labels"][index]
        state = io["proprio"][index]
        x, slots = reference.sequence(ids, io["pixel_values"][index], state, labels > ACTION_BEGIN)
        real = torch.cat([torch.ones(len(x) - len(ids), dtype=torch.bool), io["attention_mask"][index].bool()])
        noisy, time = (io["noisy_actions"][index], int(io["timesteps"][index])) if "noise" in io else (None, 0)
        answers = reference.states(x, slots, real, noisy, time)[1][slots - 1]
        assert (answers - io["action_hidden_states"][index]).abs().max() < 5e-4
        expected = io["predicted_noise" if "noise" in io else "predicted_actions"][index]
        assert (reference.head(answers) - expected).abs().max() < 5e-4


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    root = tmp_path_factory.mktemp("cases")
    for kind in KINDS:
        write_case(kind, root)
    found = find_cases([root])
    assert len(found) == len(KINDS)
    return {case.folder.name: case for case in found}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_unrecorded_kinds(cases, kind):
    case = cases[kind.name]
    if case.training:
        parity.test_training(case)
        parity.test_action_words_are_the_labels(case)
        return
    parity.test_inference(case)
    parity.test_units(case)
    if case.head == "diffusion":
        parity.test_denoising_steps_one_by_one(case)
    if case.dtype != torch.float32:
        parity.test_rounded_weights_in_float32_arithmetic(case)


def test_cases_are_found_under_the_folder_of_the_environment(tmp_path):
    folder = write_case(KINDS[4], tmp_path / "deep" / "down")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-k", folder.name, parity.__file__]
    environment = {**os.environ, "OFT_GOLDEN_DIR": str(tmp_path)}
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert run.returncode == 0, run.stdout
    assert run.stdout.startswith("..")  # actions, units


def test_a_case_with_a_wrong_number_fails(tmp_path):
    folder = write_case(KINDS[4], tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "text_config": {**config["text_config"], "rms_norm_eps": 1e-2}})
    )
    with pytest.raises(AssertionError):
        parity.test_inference(Case(folder))


def test_padding_counts_in_films_average(cases):
    """As in the official training; our own training leaves it out."""
    case = cases["train_film"]
    model, inputs = case.model(), case.inputs()
    assert abs(model.loss(inputs, case.io["actions"], film_sees_padding=True) - case.io["loss"]).item() <= 1e-5
    assert abs(model.loss(inputs, case.io["actions"]) - case.io["loss"]).item() > 1e-4


def test_kinds_cover_the_format():
    switches = ("platform", "head", "images", "proprio", "film", "lora", "dtype", "steps")
    seen = {name: {getattr(kind, name) for kind in KINDS} for name in switches}
    assert seen["platform"] == {"LIBERO", "ALOHA", "BRIDGE"}
    assert seen["head"] == {"l1", "diff", None}
    assert seen["images"] == {1, 2, 3}
    assert {1, 5, 10, 50} <= seen["steps"]
    assert {kind.head for kind in KINDS if kind.train} == {"l1", "diff", None}
    assert {kind.film for kind in KINDS if kind.train} == {True, False}
