"""The run folder of a training: what it was begun with, and the state from which it goes on.

config.json   the configuration
begun.json    what was learned from: frames of each dataset, statistics, the checkpoint it began with
state.pt      see `Imitation.save` and `Finetuner.save`
.lock         held while a training runs
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from vla.command.config import describe_differences
from vla.command.errors import CommandError, RefusedError
from vla.command.lock import lock
from vla.data.frames import Frames
from vla.files import replace_atomic, write_json

STATE = "state.pt"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a run folder for one training. Of processes that train together only the first one holds it.

    Raises:
        RefusedError: another training runs in it.
    """
    if rank():  # torchrun ends the others if the first one is refused
        yield
        return
    with (folder / ".lock").open("a") as file:
        lock(
            file.fileno(),
            f"run_dir: another process is training into {folder}; each would write over the other's state. Wait for "
            "it, or choose another run_dir.",
        )
        yield


def keep(folder: Path, name: str, wanted: Mapping[str, Any], *, lately: Collection[str] = ()) -> None:
    """Keep what a training is begun with; a state is continued with the same only.

    Before the first state nothing is bound: a first command with a mistake does not occupy the folder.

    Args:
        folder: of the run.
        name: of the file in it; a state without one takes what it is given.
        wanted: JSON values.
        lately: keys that a folder which was begun before they were kept may lack.

    Raises:
        RefusedError: the folder holds a state that was begun with something else.
    """
    path, now = folder / name, json.loads(json.dumps(wanted))  # as it will be read: lists, no tuples
    begun = _read(path) if path.exists() else None
    if begun is not None:
        begun = {**{key: now[key] for key in lately if key in now}, **begun}
    if begun == now:
        return
    if begun is not None and (folder / STATE).exists():
        raise RefusedError(
            f"{folder}: its training was begun with something else than this command gives ({path}):\n"
            f"{describe_differences(begun, now, 'then', 'now')}\n"
            f"Restore that to go on, or give another run_dir; init={folder / 'checkpoint'} begins with its weights."
        )
    if rank() == 0:
        write_json(path, now)


def learned_from(roots: list[str], frames: list[Frames], statistics: Mapping[str, Any]) -> dict[str, Any]:
    """What trained weights hang on beside the configuration, for `keep`."""
    sets = {
        root: {"episodes": int(each.episode.max()) + 1, "frames": len(each), "content": each.content}
        for root, each in zip(roots, frames, strict=True)
    }
    return {"datasets": sets, "statistics": statistics}


def rank() -> int:
    """Which of the processes that train together this is; 0 writes."""
    return int(os.environ.get("RANK", "0"))


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state; the file appears at once or not at all.

    Raises:
        CommandError: it cannot be written; the state before it is safe.
    """
    with writing(path):
        replace_atomic(path, lambda temporary: torch.save(state, temporary))


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote; tensors are on the CPU.

    Raises:
        RefusedError: it is empty or torn, or cannot be read.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch says in at least six ways that a file is torn
        raise RefusedError(
            f"{path}: cannot be read ({type(error).__name__}: {_first_line(error)}). If it is torn, restore it, or "
            f"delete it to begin anew; init={path.with_name('checkpoint')} in another run_dir begins with the weights "
            "that were saved last."
        ) from error
    return state


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make one message of what a full disk raises: torch and safetensors have errors of their own.

    Raises:
        CommandError: with the path, the cause and what to do.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        raise CommandError(
            f"{path}: could not be written ({_first_line(error)}). Mend that, for example make room on the disk, and "
            f"repeat the command: it goes on from the last {STATE} that was written."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]  # torch adds a trace of its own


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RefusedError(
            f"{path}: not JSON ({error}). Delete it: the next command takes its place, and nothing else is lost."
        ) from error
