"""Variants of the small model, trained for equally long on the same data and asked about scenes that none has seen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from tqdm import tqdm

from vla.command.config import compose_config, to_dict
from vla.data.frames import Frames, load_frames
from vla.data.lessons import Selection
from vla.files import read_json, write_json
from vla.models.mini.checkpoint import read_checkpoint
from vla.models.mini.model import MiniInputs, MiniVLA
from vla.normalize import Normalizer
from vla.policies.mini import MiniPolicy
from vla.policies.words import SentenceEncoder
from vla.runtime.speed import chunk_ms
from vla.training.samples import as_learned
from vla.training.train import train

# A name becomes a folder in a Hydra override: nothing in it may mean something to its grammar, as a quote does.
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "as shipped": (),
    "images of 96 px": ("model.image_size=96",),
    "images of 160 px": ("model.image_size=160",),
    "half the tower": ("model.channels=[16,32,64,128]",),
    "1.5 times the tower": ("model.channels=[48,96,192,384]",),
    "half the trunk width": ("model.width=128",),
    "1.5 times the trunk width": ("model.width=384", "model.heads=6"),
    "2 trunk layers": ("model.layers=2",),
    "chunks of 4": ("model.chunk=4",),
    "chunks of 16": ("model.chunk=16",),
    "no keyframes": ("train.weights.heat=0", "train.weights.displacement=0"),
}
COMPARED = (4, 8)  # first actions of a chunk: those that all variants predict, and those that are executed
TIMED = 12  # steps from which the time of one is taken, without the first four
BATCH = 128


@dataclass(frozen=True)
class Finding:
    """What came of one variant.

    Attributes:
        parameters: that are trained.
        steps: that fitted into the time.
        error: mean absolute error of the first actions of a chunk, in action units, for each of `COMPARED`; None
            where the chunk is shorter.
        chunk_ms: [ms] median time of a chunk.
    """

    parameters: int
    steps: int
    error: tuple[float | None, ...]
    chunk_ms: float


def ablate(
    conf: Path, common: Sequence[str], unseen: str, minutes: float, folder: Path, stream: TextIO
) -> dict[str, Finding]:
    """Train and measure all variants; killed, it goes on.

    Args:
        conf: the configuration's folder.
        common: overrides of `scripts/train.py` for all variants, such as `datasets=[data/demos]`.
        unseen: dataset to measure on.
        minutes: [min] of training for each.
        folder: for the runs.
        stream: for what is told meanwhile.
    """
    found = {}
    for name, overrides in VARIANTS.items():
        run = folder / name.replace(" ", "_")
        result = run / "finding.json"
        if not result.exists():
            stream.write(f"== {name}\n")
            shared = (*common, *overrides)
            steps = _steps(conf, shared, minutes, run)
            train(
                _config(conf, (*shared, f"run_dir={run}", f"train.steps={steps}", f"train.save_every={steps}")), stream
            )
            write_json(result, vars(_measure(run / "checkpoint", unseen, steps)))
        values = read_json(result)
        found[name] = Finding(**{**values, "error": tuple(values["error"])})
    return found


def table(found: Mapping[str, Finding]) -> str:
    """As Markdown."""
    heads = [f"error of {count} actions" for count in COMPARED]
    lines = [
        f"| variant | M parameters | steps | {' | '.join(heads)} | chunk [ms] |",
        "|---|" + "---|" * (len(heads) + 3),
    ]
    for name, each in found.items():
        errors = " | ".join("" if error is None else f"{error:.4f}" for error in each.error)
        lines.append(f"| {name} | {each.parameters / 1e6:.1f} | {each.steps} | {errors} | {each.chunk_ms:.1f} |")
    return "\n".join(lines)


def _config(conf: Path, overrides: Sequence[str]) -> dict[str, Any]:
    return to_dict(compose_config(conf, "train", overrides))


def _steps(conf: Path, shared: Sequence[str], minutes: float, run: Path) -> int:
    """How many steps fit into the time; measured once."""
    kept = run / "speed.json"
    if not kept.exists():
        trial = run / "trial"
        with (run.parent / "trial.log").open("a") as log:
            train(_config(conf, (*shared, f"run_dir={trial}", f"train.steps={TIMED}")), log)
        seconds = [json.loads(line)["s"] for line in (trial / "log.jsonl").read_text().splitlines()]
        write_json(kept, {"s_per_step": (seconds[-1] - seconds[3]) / (TIMED - 4)})
    return max(1, round(60 * minutes / float(read_json(kept)["s_per_step"])))


def _measure(checkpoint: Path, unseen: str, steps: int) -> Finding:
    read = read_checkpoint(checkpoint)
    config = read.recipe["config"]
    loaded = load_frames(
        Path(unseen),
        read.embodiment.cameras,
        read.config.image_size,
        Path(config["cache"]),
        read.config.chunk,
        Selection.from_config(config["recordings"]),
        read.embodiment.images.boxes,
    )
    frames = as_learned(loaded, read.embodiment)
    actions = Normalizer.from_statistics(read.statistics["action"], read.embodiment.normalization)
    states = Normalizer.from_statistics(read.statistics["proprio"], read.embodiment.normalization)
    model = read.build().eval()
    encoder = SentenceEncoder()
    words = np.stack([encoder([text])[0] for text in frames.instructions])
    sums, counts = np.zeros(len(COMPARED)), np.zeros(len(COMPARED))
    for start in tqdm(range(0, len(frames), BATCH), desc="measuring", unit="batch"):
        rows = np.arange(start, min(start + BATCH, len(frames)))
        predicted = actions.unnormalize(_predict(model, frames, rows, states, words))  # (B, K, A)
        off = np.abs(predicted - frames.actions[rows, : predicted.shape[1]]).mean(2)  # (B, K)
        valid = frames.valid[rows, : predicted.shape[1]]  # (B, K)
        for index, count in enumerate(COMPARED):
            sums[index] += (off * valid)[:, :count].sum()
            counts[index] += valid[:, :count].sum()
    error = tuple(
        float(total / number) if read.config.chunk >= count else None
        for total, number, count in zip(sums, counts, COMPARED, strict=True)
    )
    size = sum(p.numel() for p in model.parameters())
    return Finding(size, steps, error, chunk_ms(MiniPolicy(str(checkpoint))))


@torch.no_grad()
def _predict(model: MiniVLA, frames: Frames, rows: np.ndarray, states: Normalizer, words: np.ndarray) -> np.ndarray:
    inputs = MiniInputs(
        torch.from_numpy(frames.images[rows]),
        torch.from_numpy(words[frames.task[rows]]),
        torch.from_numpy(states.normalize(frames.state[rows]).astype(np.float32)),
    )
    with torch.autocast("cpu", torch.bfloat16):
        return np.asarray(model(inputs, None).float().numpy())
