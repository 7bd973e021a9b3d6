"""Numbers of the official implementation, case by case (see tests/golden.py)."""

import pytest
import torch

from tests.golden import Case, find_cases
from vla.models.heads.discrete import decode, encode
from vla.models.heads.noise_schedule import cosine_alphas, ddim_step, leading_timesteps
from vla.models.openvla_oft.names import component_name, model_name
from vla.models.openvla_oft.projectors import sinusoid
from vla.normalize import Normalization, Normalizer

CASES = find_cases()
INFERENCE = [case for case in CASES if not case.training]
TRAINING = [case for case in CASES if case.training]
# Largest and mean absolute difference. bf16: these random nets amplify roundings. Two attention kernels of torch differ
# by 0.5 in actions (mean 0.1; after 50 denoising steps 0.8, mean 0.16), and by 1.1 in the worst of 6000 hidden numbers
# (mean 0.01); a wrong mask by 3 to 5.
FLOAT32, FIFTY_STEPS, BFLOAT16, BFLOAT16_STATES = (5e-4, 5e-4), (1e-3, 1e-3), (2.0, 0.35), (2.0, 0.1)


def name_of(case: Case) -> str:
    return case.folder.name


def tolerance(case: Case) -> tuple[float, float]:
    if case.dtype == torch.bfloat16:
        return BFLOAT16
    return FIFTY_STEPS if case.steps >= 50 else FLOAT32


def assert_near(
    case: Case, ours: torch.Tensor, theirs: torch.Tensor, bounds: tuple[float, float] | None = None
) -> None:
    assert ours.shape == theirs.shape
    largest, mean = bounds or tolerance(case)
    difference = (ours.double() - theirs.double()).abs()
    assert difference.max() <= largest
    assert difference.mean() <= mean


def assert_near_states(case: Case, ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert_near(case, ours, theirs, BFLOAT16_STATES if case.dtype == torch.bfloat16 else None)


def test_there_are_cases_of_every_kind():
    assert {case.head for case in INFERENCE} == {"l1", "diffusion", "discrete"}
    assert TRAINING


@torch.no_grad()
@pytest.mark.parametrize("case", INFERENCE, ids=name_of)
def test_inference(case):
    model, inputs, io = case.model(), case.inputs(), case.io
    query, last = model.encode(inputs), ()
    if case.head == "diffusion":  # what was recorded of the sequence is the last step's
        before = torch.cat([io["noise"][None], io["ddim_prev_sample"]])[-2].to(case.dtype)
        last = (before, io["ddim_timesteps"][-1:])
    assert query.layout.length == io["last_hidden_states"].shape[1]
    assert_near_states(case, query.embeddings(*last), io["multimodal_embeddings"])
    assert_near_states(case, query.all_states(*last), io["last_hidden_states"])
    assert_near_states(case, query.states(*last)[:, :-1], io["action_hidden_states"])
    if "predicted_token_ids" in io and case.dtype == torch.float32:
        assert torch.equal(model.action_head.tokens(query), io["predicted_token_ids"])
        rows = query.logits(query.states()[:, :-1])[..., io["lm_head_rows_ids"].long()]
        assert_near(case, rows, io["logits_lm_rows"])
    if case.head != "discrete" or case.dtype == torch.float32:  # a rounding may turn one word into another
        assert_near(case, model(inputs, io.get("noise"))[0], io["normalized_actions"])


@torch.no_grad()
@pytest.mark.parametrize("case", [c for c in INFERENCE if c.dtype != torch.float32], ids=name_of)
def test_rounded_weights_in_float32_arithmetic(case):
    if case.head == "l1":  # denoising repeats the difference, and a rounding may turn one word into another
        actions = case.model(torch.float32)(case.inputs())[0]
        assert (actions - case.io["normalized_actions"]).abs().max() <= 1.0


@pytest.mark.parametrize("case", INFERENCE, ids=name_of)
def test_units(case):
    statistics = case.config["norm_stats"][case.config["unnorm_key"]]
    kind = Normalization(case.config["norm_type"])
    actions = Normalizer.from_statistics(statistics["action"], kind).unnormalize(case.io["normalized_actions"].numpy())
    assert abs(actions - case.io["unnormalized_actions"].numpy()).max() < 1e-6
    if "proprio_raw" not in case.io:
        return
    state = Normalizer.from_statistics(statistics["proprio"], kind).normalize(case.io["proprio_raw"].numpy())
    assert abs(state - case.io["proprio_normalized"].numpy()).max() < 1e-9


@torch.no_grad()
@pytest.mark.parametrize("case", [c for c in INFERENCE if c.head == "diffusion"], ids=name_of)
def test_denoising_steps_one_by_one(case):
    io, config = case.io, case.config
    trained, steps = config["num_diffusion_steps_train"], case.steps
    alphas = cosine_alphas(trained)
    assert torch.allclose(alphas, io["alphas_cumprod"], rtol=1e-6, atol=0)
    assert leading_timesteps(trained, steps) == io["ddim_timesteps"].tolist()
    clocks = sinusoid(io["ddim_timesteps"], config["text_config"]["hidden_size"])
    rounding = 1e-5 if case.dtype == torch.float32 else 0.05
    assert (clocks - io["time_embeddings"].float().reshape(clocks.shape)).abs().max() <= rounding
    model = case.model()
    query = model.encode(case.inputs())
    sample = io["noise"].to(case.dtype)
    for step, time in enumerate(io["ddim_timesteps"].tolist()):
        noise = model.action_head.noise(query, sample, torch.tensor([time]))
        assert_near(case, noise, io["ddim_noise_pred"][step])
        after = ddim_step(sample, io["ddim_noise_pred"][step].to(case.dtype), time, trained // steps, alphas)
        assert (after.float() - io["ddim_prev_sample"][step].float()).abs().max() <= rounding
        sample = io["ddim_prev_sample"][step].to(case.dtype)


@pytest.mark.parametrize("case", TRAINING, ids=name_of)
def test_training(case):
    model, io = case.model(), case.io
    query = model.encode(case.inputs(), film_sees_padding=True)
    if case.head == "diffusion":
        loss = model.action_head.loss_at(query, io["actions"], io["noise"], io["timesteps"])
    else:
        loss = model.action_head.loss(query, io["actions"])
    assert abs(loss.item() - io["loss"].item()) <= 1e-5
    loss.backward()
    parameters = dict(model.named_parameters())
    for name in [name for name in io if name.startswith("grad.")]:
        assert (gradient(case, parameters, name) - io[name]).abs().max() <= 1e-4, name
    if "lora_r" not in case.config:
        for name in case.config.get("params_without_grad", []):
            assert parameters[model_name(name)].grad is None, name
    if case.head != "diffusion":
        assert_near(case, query.states()[:, :-1], io["action_hidden_states"])
    check_predictions(case, model, query)


def gradient(case: Case, parameters: dict, name: str) -> torch.Tensor:
    """Our gradient for one of the listed ones; that of an unmerged LoRA matrix follows from the merged weight's."""
    part, _, name = name.removeprefix("grad.").partition(".")
    ours = model_name(name) if part == "model" else component_name(part, name)
    if ".lora_A." not in ours and ".lora_B." not in ours:
        found = parameters[ours.replace(".base_layer.", ".")].grad
        if found.shape == case.io[f"grad.{part}.{name}"].shape:
            return found
        return found[case.io["embed_rows_ids" if "embed_tokens" in ours else "lm_head_rows_ids"].long()]
    raw = {model_name(key): value for key, value in case.lora_tensors().items()}
    merged = parameters[ours.replace(".lora_A.", ".").replace(".lora_B.", ".")].grad.flatten(1)
    down, up = (raw[ours.replace(".lora_A.", f".{x}.").replace(".lora_B.", f".{x}.")] for x in ("lora_A", "lora_B"))
    scale = case.config["lora_alpha"] / case.config["lora_r"]
    found = up.flatten(1).T @ merged if ".lora_A." in ours else merged @ down.flatten(1).T
    return scale * found.reshape((down if ".lora_A." in ours else up).shape)


def check_predictions(case: Case, model, query) -> None:
    io = case.io
    with torch.no_grad():
        if "predicted_actions" in io:
            assert_near(case, model.action_head.predict(query), io["predicted_actions"])
        if "predicted_noise" in io:
            assert_near(
                case, model.action_head.noise(query, io["noisy_actions"], io["timesteps"]), io["predicted_noise"]
            )
        if "predicted_token_ids_shifted" in io:
            theirs = io["predicted_token_ids_shifted"]
            ours = model.action_head.tokens(query)
            if theirs.shape != ours.shape:
                words = (io["current_action_mask"] | io["next_actions_mask"]).bool()
                theirs = theirs[:, -words.shape[1] :][words].reshape(ours.shape)
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("case", TRAINING, ids=name_of)
def test_action_words_are_the_labels(case):
    labels = case.io["labels"]
    words = labels[labels > 31743].reshape(len(labels), -1)
    assert torch.equal(encode(case.io["actions"]).flatten(1), words)


def test_action_words(golden_misc):
    table = golden_misc["action_tokens"]
    words = encode(torch.tensor(table["value"]))
    assert words.tolist() == table["token_id"]
    assert torch.allclose(decode(words), torch.tensor(table["decoded"], dtype=torch.float64), atol=1e-12)
