"""Which frames a network knows badly: drawn more often, what is rare is not lost among what is common.

With the mean absolute error a movement that follows in few of many similar frames may be predicted as none at all.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from torch import distributed
from tqdm import tqdm

from vla.files import write_atomic
from vla.models.mini.model import MiniVLA
from vla.training.device import moved
from vla.training.run_folder import STATE, rank, writing
from vla.training.samples import Samples

BATCH = 128


def frame_errors(model: MiniVLA, samples: Samples, path: Path) -> np.ndarray:
    """How far the network's actions are from those of each frame, measured once and kept.

    Processes that train together share the work.

    Args:
        model: as training begins with; on its device. Left in training mode.
        samples: all are measured, without variation.
        path: of an .npy file beside the training's state. Read if there is a state; else it may be of another run.

    Returns:
        (F,) mean absolute error of that entry of the actions which is worst known, normalised, over the actions that
        are learned at a frame; 0 where there are none. A mean over all entries would hide the one that matters.

    Raises:
        CommandError: the file cannot be written.
        ValueError: the file is of other frames.
    """
    if path.exists() and path.with_name(STATE).exists():
        kept = np.load(path, allow_pickle=False)
        if kept.shape != (len(samples),):
            raise ValueError(f"{path}: expected errors of {len(samples)} frames, got {kept.shape}. Delete it.")
        return np.asarray(kept)
    together = distributed.is_initialized()
    mine, processes = rank(), distributed.get_world_size() if together else 1
    rows = np.arange(mine, len(samples), processes)
    errors = torch.zeros(len(samples), device=next(model.parameters()).device)
    starts = range(0, len(rows), BATCH)
    for start in tqdm(starts, desc="measuring frames", unit="batch", disable=mine > 0):
        part = rows[start : start + BATCH]
        errors[part] = _errors(model, samples, part.tolist())
    if together:
        distributed.all_reduce(errors)  # each has zeros where the others measured
    model.train()
    found = errors.cpu().numpy()
    if mine == 0:
        with writing(path):
            content = io.BytesIO()
            np.save(content, found)
            write_atomic(path, content.getvalue())
    return found


@torch.no_grad()
def _errors(model: MiniVLA, samples: Samples, rows: list[int]) -> torch.Tensor:
    """(B,) of B frames."""
    device = next(model.parameters()).device
    inputs, targets = samples.plain(rows)
    inputs, targets = moved(inputs, device), moved(targets, device)
    with torch.autocast(device.type, torch.bfloat16):
        predicted = model.eval()(inputs, None).float()  # (B, K, A)
    mask = targets.valid[:, :, None].float()  # (B, K, 1)
    summed = ((predicted - targets.actions).abs() * mask).sum(1)  # (B, A)
    return (summed / mask.sum(1).clamp_min(1.0)).amax(1)
