"""Trainings on small made-up demonstrations, for the tests of both learners."""

from __future__ import annotations

import dataclasses
import io
import json

import numpy as np

from tests.fakes import CONF
from vla.command.config import build, compose_config, to_dict
from vla.data.episode import EpisodeData
from vla.data.lerobot.writer import DatasetWriter
from vla.embodiment import LIBERO
from vla.training import train as entry
from vla.types import Observation

LENGTH, LOOKAHEAD = 12, 16
MINI = (
    "model.image_size=32",
    "model.channels=[4,4,8,8]",
    "model.width=32",
    "model.layers=1",
    "train.batch=4",
    "train.warmup=2",
)


def demonstration(number, words="put the bowl on the plate"):
    random = np.random.default_rng(number)
    chunks = random.uniform(-0.8, 0.8, (LENGTH, LOOKAHEAD, 7)).astype(np.float32)
    chunks[..., -1] = np.sign(chunks[..., -1])
    valid = np.arange(LENGTH)[:, None] + np.arange(LOOKAHEAD) < LENGTH + 6
    points = {
        f"keyframe_pixels.{camera}": random.uniform(-1, 1, (LENGTH, 2, 2)).astype(np.float32)
        for camera in LIBERO.cameras
    }
    return EpisodeData(
        instruction=words,
        fps=5,
        images={camera: random.integers(0, 256, (LENGTH, 64, 64, 3), np.uint8) for camera in LIBERO.cameras},
        columns={
            "observation.state": random.uniform(-0.5, 0.5, (LENGTH, 8)).astype(np.float32),
            "action": chunks[:, 0],
            "action_chunk": chunks,
            "action_chunk_valid": valid,
            "keyframes": random.uniform(-0.5, 0.5, (LENGTH, 2, 3)).astype(np.float32),
            **points,
        },
    )


def write_demonstrations(root):
    with DatasetWriter(root, robot_type="libero") as writer:
        for number in range(3):
            writer.add(demonstration(number))
    return root


def write_glances(root):
    """Frames without an action to learn, as `collector=glances` writes them."""
    plain = demonstration(0)
    nothing = {name: np.zeros_like(plain.columns[name]) for name in ("action", "action_chunk", "action_chunk_valid")}
    with DatasetWriter(root, robot_type="libero") as writer:
        writer.add(dataclasses.replace(plain, columns={**plain.columns, **nothing}))
    return root


def train(dataset, folder, *overrides):
    places = (f"datasets=[{dataset}]", f"cache={folder / 'cache'}", f"run_dir={folder / 'run'}")
    config = to_dict(compose_config(CONF, "train", [*places, *overrides]))
    told = io.StringIO()
    entry.train(config, told)
    return told.getvalue()


def losses(folder):
    return [json.loads(line)["total"] for line in (folder / "run" / "log.jsonl").read_text().splitlines()]


def acts(name, folder, **options):
    overrides = [f"policy={name}", f"policy.checkpoint={folder / 'run' / 'checkpoint'}"]
    overrides += [f"policy.{key}={value}" for key, value in options.items()]
    policy = build(to_dict(compose_config(CONF, "eval", overrides))["policy"], "policy")
    images = {camera: np.full((64, 64, 3), 90, np.uint8) for camera in LIBERO.cameras}
    return policy.infer(Observation(images, np.zeros(8), "put the bowl on the plate", 0.0)).actions
