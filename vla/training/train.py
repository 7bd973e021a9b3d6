"""The whole of `scripts/train.py`: dataset -> frames -> training -> checkpoint folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import torch

from vla.command.config import check_lists, compose_config, to_dict, usage
from vla.command.errors import CommandError
from vla.data.lerobot.errors import DatasetError
from vla.models.openvla_oft.weights import CheckpointError
from vla.training.lora import MergeError
from vla.training.mini import train_mini
from vla.training.openvla_oft import finetune
from vla.training.run_folder import alone, keep

Learner = Callable[[Mapping[str, Any], Path, TextIO], None]
LEARNERS: dict[str, Learner] = {"mini": train_mini, "openvla_oft": finetune}


def main(conf: Path, overrides: Sequence[str]) -> int:
    """Compose, train, write the checkpoint. Returns the exit code."""
    if {"-h", "--help"} & set(overrides):
        sys.stdout.write(usage(conf, "train", "python scripts/train.py"))
        return 0
    try:
        train(to_dict(compose_config(conf, "train", overrides)), sys.stdout)
    except CommandError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except (DatasetError, CheckpointError, MergeError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"training: {error}. Mend that and repeat the command: it goes on from the last state.pt.\n")
        return 1
    return 0


def train(config: dict[str, Any], stream: TextIO) -> None:
    """Train into `config["run_dir"]`; a folder that holds a state is continued.

    Raises:
        RefusedError: `datasets` is no list, another process trains into the folder, or its state was begun with another
            configuration or other data.
        DatasetError: a dataset is damaged.
    """
    check_lists(config, "datasets")
    folder = Path(config["run_dir"])
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        keep(folder, "config.json", {key: value for key, value in config.items() if key != "threads"})
        if config["threads"]:
            torch.set_num_threads(config["threads"])
        torch.manual_seed(config["seed"])
        LEARNERS[config["learner"]](config, folder, stream)
