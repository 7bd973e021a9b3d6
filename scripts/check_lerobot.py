"""Does LeRobot's own reader get back what was recorded? `python scripts/check_lerobot.py [--dataset FOLDER]`.

Run it in an environment that has LeRobot (or `lerobot-dataset`, its reader alone) beside numpy, pyarrow and av; see
docs/datasets.md. It records episodes with this project's writer, opens them with LeRobotDataset, and compares; or it
compares what LeRobotDataset and this project's reader find in a dataset that is there already.
"""

import argparse
import importlib
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from vla.data.episode import ACTION, IMAGES, STATE, EpisodeData
from vla.data.lerobot.reader import read_dataset
from vla.data.lerobot.writer import DatasetWriter

MEAN_TOLERANCE, MAX_TOLERANCE = 3.0, 96  # of 255: yuv420p halves the colours' resolution, so sharp edges differ most
LENGTHS = (23, 1, 40)


def main() -> int:
    """Record, read with LeRobot, compare; 0 if everything is within the tolerance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--frames", type=Path, help="(T, H, W, 3) uint8 frames of a real camera, instead of made-up ones"
    )
    parser.add_argument("--dataset", type=Path, help="a recorded dataset, instead of one made up here")
    parser.add_argument("--backend", help="LeRobot's video_backend: torchcodec or pyav; its own choice if not given")
    arguments = parser.parse_args()
    if arguments.dataset:
        ours = read_dataset(arguments.dataset)
        theirs = _reader()("local/check", root=arguments.dataset, video_backend=arguments.backend)
        return _compare(theirs, (ours[index] for index in range(len(ours))))
    frames = np.load(arguments.frames) if arguments.frames else None
    recorded = [_episode(number, length, frames) for number, length in enumerate(LENGTHS)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        with DatasetWriter(root, robot_type="libero") as writer:
            for episode in recorded:
                writer.add(episode)
        dataset = _reader()("local/check", root=root, video_backend=arguments.backend)
        return _compare(dataset, recorded)


def _reader() -> Any:
    for name in ("lerobot.datasets.lerobot_dataset", "ledataset.datasets.lerobot_dataset"):
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            print(f"{name}: {error}")
            continue
        print(f"reader: {name}")
        return module.LeRobotDataset
    raise SystemExit("LeRobot is not installed here; docs/datasets.md says how to install it.")


def _episode(number: int, length: int, frames: Any) -> EpisodeData:
    rng = np.random.default_rng(number)
    if frames is None:
        ramp = np.linspace(0, 60, 96)
        bright = np.linspace(0, 160, length)[:, None, None] + ramp[:, None] + ramp / 2
        frames = np.stack([bright, bright * 0.8 + 20, 230 - bright * 0.8], axis=-1).astype(np.uint8)
    return EpisodeData(
        instruction=f"put object {number % 2} on the plate",
        fps=20,
        images={
            "agentview": frames[np.arange(length) % len(frames)],
            "wrist": frames[::-1][np.arange(length) % len(frames)],
        },
        columns={
            STATE: rng.normal(size=(length, 8)).astype(np.float32),
            ACTION: rng.normal(size=(length, 7)).astype(np.float32),
            "action_chunk": rng.normal(size=(length, 16, 7)).astype(np.float32),
            "action_chunk_valid": rng.random((length, 16)) > 0.5,
            "phase": rng.integers(0, 3, length),
            "exact": rng.normal(size=length),
            "note": np.array([f"frame {t}" for t in range(length)]),
        },
        names={"phase": ("reach", "grasp", "lift")},
        metadata={"seed": number},
        extras={"sim.state": rng.normal(size=(length, 20))},
    )


def _compare(dataset: Any, recorded: Iterable[EpisodeData]) -> int:
    """One episode in memory at a time; 0 if LeRobot's `dataset` says the same."""
    means, largest, actions, wrong, index, number = [], 0, [], [], 0, -1
    for number, episode in enumerate(recorded):
        actions.append(episode.columns[ACTION].astype(np.float64))
        for t in range(episode.length):
            item = dataset[index]
            expected = {name: column[t] for name, column in episode.columns.items()}
            expected |= {"task": episode.instruction, "episode_index": number, "frame_index": t, "index": index}
            expected |= {"timestamp": np.float32(t / episode.fps)}
            for name, value in expected.items():
                if np.asarray(value).dtype == np.float64:
                    value = np.float32(value)  # LeRobot makes every float a float32
                if not np.array_equal(np.asarray(item[name]), value):
                    wrong.append(f"{name} of frame {index}")
            for camera, images in episode.images.items():
                got = (item[IMAGES + camera].numpy().transpose(1, 2, 0) * 255).round().astype(int)
                error = np.abs(got - images[t])
                means.append(float(error.mean()))
                largest = max(largest, int(error.max()))
            index += 1
    if (len(dataset), dataset.num_episodes) != (index, number + 1):
        wrong.append(f"{len(dataset)} frames in {dataset.num_episodes} episodes")
    if not np.allclose(dataset.meta.stats[ACTION]["q99"], np.quantile(np.concatenate(actions), 0.99, axis=0)):
        wrong.append("statistics of the action")
    if means:
        worst = max(means)
        print(f"images: mean error {np.mean(means):.2f}, of the worst frame {worst:.2f} (tolerance {MEAN_TOLERANCE}), "
              f"largest {largest} (tolerance {MAX_TOLERANCE}), of 255")  # fmt: skip
        if worst > MEAN_TOLERANCE or largest > MAX_TOLERANCE:
            wrong.append("images")
    print(f"{index} frames in {number + 1} episodes")
    print(f"differs: {', '.join(wrong[:10])}" if wrong else "columns, tasks, indices and statistics are equal")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
