"""Case folders in the format of tests/data/oft_golden, of kinds that were not recorded, computed by the reference.

The networks are those of the recorded cases; heads, projectors, prompts, images and statistics are drawn.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from tests.golden import DATA
from tests.oft_kinds import EMBED, LM_HEAD, PLATFORMS, WORD_ROWS, Kind, draw_weights
from tests.oft_reference import ACTION_BEGIN, EMPTY, IGNORED, STOP, WORDS, Reference


def write_case(kind: Kind, root: Path, seed: int = 0) -> Path:
    """Draw a case, compute its numbers with the reference, write the folder."""
    folder = root / kind.name
    folder.mkdir(parents=True)
    random = torch.Generator().manual_seed(seed + len(kind.name))
    config, weights = _config(kind), draw_weights(kind, random)
    make = _training if kind.train else _inference
    io = make(kind, config, weights, random)
    names = {part: f"{part}." for part in ("action_head", "proprio_projector", "noisy_action_projector")}
    for part, prefix in names.items():
        found = {n.removeprefix(prefix): t.detach() for n, t in weights.items() if n.startswith(prefix)}
        if found:
            save_file(found, folder / f"{part}.safetensors")
    removed = [EMBED, *(n for n in weights if n in (f"{LM_HEAD}.weight", f"{LM_HEAD}.base_layer.weight"))]
    model = {n: t.detach() for n, t in weights.items() if not n.startswith(tuple(names.values())) and n not in removed}
    save_file(model, folder / "model.safetensors")
    save_file({name: t.detach().clone().contiguous() for name, t in io.items()}, folder / "io.safetensors")
    (folder / "config.json").write_text(json.dumps({**config, "removed_from_state_dict": removed}))
    return folder


def _config(kind: Kind) -> dict:
    chunk, action_dim, proprio_dim, norm_type = PLATFORMS[kind.platform]
    recorded = json.loads((DATA / "libero_l1_proprio_2img/config.json").read_text())
    config = {name: recorded[name] for name in ("image_size", "dino", "siglip", "text_config", "unnorm_key")}
    config |= {
        "case": kind.name,
        "platform": kind.platform,
        "num_actions_chunk": chunk,
        "action_dim": action_dim,
        "proprio_dim": proprio_dim,
        "num_images": kind.images,
        "use_proprio": kind.proprio,
        "head": kind.head,
        "use_film": kind.film,
        "num_diffusion_steps_train": 50,
    }
    if kind.lora:
        config |= {"lora_r": 4, "lora_alpha": 2}
    if kind.train:
        return config | {"mode": "train_forward"}
    statistics = {"action": _columns(action_dim, 1), "proprio": _columns(proprio_dim, 2)}
    statistics["action"]["mask"] = [True] * (action_dim - 1) + [kind.platform == "ALOHA"]
    inference = {"norm_type": norm_type, "dtype": f"torch.{kind.dtype}", "diffusion_inference_steps": kind.steps}
    return config | inference | {"norm_stats": {config["unnorm_key"]: statistics}}


def _columns(count: int, seed: int) -> dict[str, list]:
    spread = np.sort(np.random.default_rng(seed).uniform(-2, 2, (6, count)), axis=0)
    return {name: row.tolist() for name, row in zip(("min", "q01", "mean", "std", "q99", "max"), spread, strict=True)}


def _range(columns: dict[str, list], norm_type: str) -> tuple[np.ndarray, np.ndarray]:
    low, high = ("min", "max") if norm_type == "bounds" else ("q01", "q99")
    return np.array(columns[low]), np.array(columns[high])


def _prompt(random: torch.Generator, length: int) -> Tensor:
    return torch.cat([torch.tensor([1]), torch.randint(3, 29000, (length,), generator=random)])


def _given_rows(kind: Kind, weights: dict[str, Tensor], ids: Tensor) -> dict[str, Tensor]:
    """The rows of both vocabulary matrices that a reader needs."""
    used, words = torch.unique(ids), torch.tensor(WORD_ROWS)
    io = {"embed_rows_ids": used, "embed_rows": weights[EMBED][used]}
    if kind.head is None:
        matrix = weights[f"{LM_HEAD}.base_layer.weight" if kind.lora else f"{LM_HEAD}.weight"]
        io |= {"lm_head_rows_ids": words, "lm_head_rows": matrix[words]}
    return io


@torch.no_grad()
def _inference(kind: Kind, config: dict, weights: dict[str, Tensor], random: torch.Generator) -> dict[str, Tensor]:
    dtype, reference = getattr(torch, kind.dtype), Reference(config, weights)
    chunk, action_dim, proprio_dim, norm_type = PLATFORMS[kind.platform]
    prompt = _prompt(random, 20)
    given = torch.cat([prompt, torch.tensor([EMPTY])])
    ids = torch.cat([given, torch.ones(reference.slots, dtype=torch.long), torch.tensor([STOP])])
    action = torch.zeros(len(ids), dtype=torch.bool)
    action[len(given) : -1] = True
    statistics = config["norm_stats"][config["unnorm_key"]]
    raw = np.random.default_rng(3).uniform(-2, 2, proprio_dim)
    low, high = _range(statistics["proprio"], norm_type)
    state = np.clip(2 * (raw - low) / (high - low + 1e-8) - 1, -1, 1)
    pixels = torch.randn(6 * kind.images, 28, 28, generator=random).to(dtype)
    x, slots = reference.sequence(ids, pixels, torch.tensor(state) if kind.proprio else None, action)
    io = {
        "input_ids": (given if kind.platform == "BRIDGE" else prompt)[None],
        "pixel_values": pixels[None],
        "proprio_raw": torch.tensor(raw),
        "proprio_normalized": torch.tensor(state),
        **_given_rows(kind, weights, ids),
    }
    if kind.head == "diff":
        noise = torch.randn(1, chunk, action_dim, generator=random).to(dtype)
        steps, last, sample = _denoise(reference, x, slots, noise, kind.steps or 50)
        io |= {"noise": noise, **steps}
        x, hidden = last
    else:
        x, hidden = reference.states(x, slots, None)
    io |= {"multimodal_embeddings": x[None], "last_hidden_states": hidden[None]}
    io["prefix_embeddings"] = x[None, 1 : reference.prefix_length(x)]
    answers = hidden[slots - 1]
    io["action_hidden_states"] = answers[None]
    if kind.head is None:
        logits = reference.linear(LM_HEAD, answers)
        words = logits.argmax(-1)
        io |= {"predicted_token_ids": words[None], "logits_lm_rows": logits[None, :, torch.tensor(WORD_ROWS)]}
        edges = np.linspace(-1, 1, 256)
        bins = np.clip(WORDS - words.numpy() - 1, 0, 254)
        normalized = torch.tensor(((edges[:-1] + edges[1:]) / 2)[bins]).reshape(chunk, action_dim)
    else:
        normalized = (sample[0] if kind.head == "diff" else reference.head(answers)).double()
    io["normalized_actions"] = normalized
    columns = statistics["action"]
    low, high = _range(columns, norm_type)
    ours = 0.5 * (normalized.numpy() + 1) * (high - low + 1e-8) + low
    io["unnormalized_actions"] = torch.tensor(np.where(columns["mask"], ours, normalized.numpy()))
    return io


def _denoise(reference: Reference, x: Tensor, slots: Tensor, noise: Tensor, steps: int):
    """DDIM with "leading" spacing: (what is recorded of each step, the last input and states, the sample)."""
    alphas, stride = reference.alphas(), reference.config["num_diffusion_steps_train"] // steps
    times, predicted, samples, sample = [i * stride for i in reversed(range(steps))], [], [], noise
    for time in times:
        last = reference.states(x, slots, None, sample, time)
        predicted.append(reference.head(last[1][slots - 1])[None])
        now, after = alphas[time], alphas[time - stride] if time >= stride else torch.tensor(1.0)
        clean = ((sample - (1 - now) ** 0.5 * predicted[-1]) / now**0.5).clamp(-1, 1)
        sample = after**0.5 * clean + (1 - after) ** 0.5 * predicted[-1]
        samples.append(sample)
    record = {"ddim_timesteps": torch.tensor(times), "alphas_cumprod": alphas}
    record |= {"ddim_noise_pred": torch.stack(predicted), "ddim_prev_sample": torch.stack(samples)}
    record["time_embeddings"] = torch.cat([reference.clock(time) for time in times])
    return record, last, sample


def _training(kind: Kind, config: dict, weights: dict[str, Tensor], random: torch.Generator) -> dict[str, Tensor]:
    chunk, action_dim, proprio_dim, _ = PLATFORMS[kind.platform]
    for tensor in weights.values():
        tensor.requires_grad_()
    reference, batch = Reference(config, weights), 2
    actions = torch.rand(batch, chunk, action_dim, generator=random) * 2 - 1
    words = torch.tensor(WORDS - np.digitize(actions.double().numpy(), np.linspace(-1, 1, 256)))
    prompts, end = [_prompt(random, length) for length in (16, 21)], torch.tensor([STOP])
    rows = [
        torch.cat([prompt, torch.tensor([EMPTY]), answer.flatten(), end])
        for prompt, answer in zip(prompts, words, strict=True)
    ]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=32000)
    labels = ids.clone()
    for index, row in enumerate(rows):
        labels[index, : len(row) - reference.slots - 1] = IGNORED
    labels[ids == 32000] = IGNORED
    state = torch.rand(batch, proprio_dim, generator=random) * 2 - 1 if kind.proprio else None
    pixels = torch.randn(batch, 6 * kind.images, 28, 28, generator=random)
    io = {"input_ids": ids, "attention_mask": (ids != 32000).long(), "labels": labels}
    io |= {"pixel_values": pixels, "actions": actions}
    io |= {} if state is None else {"proprio": state}
    noisy, times = None, [0, 0]
    if kind.head == "diff":
        times = [7, 38]
        noise, level = torch.randn(actions.shape, generator=random), reference.alphas()[times][:, None, None]
        noisy = level.sqrt() * actions + (1 - level).sqrt() * noise
        io |= {"noise": noise, "timesteps": torch.tensor(times), "noisy_actions": noisy}
    hidden, answers = [], []
    for index in range(batch):
        one = None if state is None else state[index]
        x, slots = reference.sequence(ids[index], pixels[index], one, labels[index] > ACTION_BEGIN)
        real = torch.cat([torch.ones(len(x) - ids.shape[1], dtype=torch.bool), ids[index] != 32000])
        hidden.append(reference.states(x, slots, real, None if noisy is None else noisy[index], times[index])[1])
        answers.append(hidden[-1][slots - 1])
    io |= {"last_hidden_states": torch.stack(hidden), "action_hidden_states": torch.stack(answers)}
    if kind.head is None:
        start = hidden[0].shape[0] - ids.shape[1]
        logits = reference.linear(LM_HEAD, torch.stack(hidden)[:, start:-1])
        loss = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)
        io["predicted_token_ids_shifted"] = logits.argmax(-1)
        first = torch.arange(labels.shape[1] - 1)[None] - (labels[:, 1:] > ACTION_BEGIN).int().argmax(1)[:, None]
        io["current_action_mask"] = (first >= 0) & (first < action_dim)
        io["next_actions_mask"] = (first >= action_dim) & (first < reference.slots)
    else:
        out = torch.stack([reference.head(a) for a in answers])
        loss = (out - actions).abs().mean() if kind.head == "l1" else (out - io["noise"]).square().mean()
        io["predicted_actions" if kind.head == "l1" else "predicted_noise"] = out
    loss.backward()
    config["params_without_grad"] = [n for n, t in weights.items() if t.grad is None and "lm_head" not in n]
    io |= {"loss": loss[None], **_gradients(weights)}
    return io | _given_rows(kind, weights, ids)


def _gradients(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    wanted = ("layers.0.self_attn.q_proj", "projector.fc1", "proprio_projector.fc2", "model.norm", "action_head")
    wanted += ("blocks.0.scale", "blocks.1.shift")
    parts = ("action_head", "proprio_projector", "noisy_action_projector")
    names = [n for n, t in weights.items() if t.grad is not None and any(word in n for word in wanted)]
    grown = {n: n if n.startswith(parts) else f"model.{n}" for n in names}
    gradients = {f"grad.{grown[n]}": weights[n].grad for n in names}
    if (matrix := weights.get(f"{LM_HEAD}.weight")) is not None and matrix.grad is not None:
        gradients[f"grad.model.{LM_HEAD}.weight"] = matrix.grad[WORD_ROWS]
    return gradients
