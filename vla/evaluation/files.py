"""Atomic file writes, where a reader and a crash see the old content or the new; and one process at a time."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vla.evaluation.errors import RefusedError


def write_atomic(path: Path, content: bytes) -> None:
    """Write to a temporary neighbour, flush it to disk, then take the name."""

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    replace_atomic(path, fill)


def replace_atomic(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a temporary neighbour (same suffix), then rename it; on failure nothing is left."""
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    try:
        fill(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # the rename itself must survive a power cut
    finally:
        os.close(directory)


def lock(descriptor: int, refusal: str) -> None:
    """Hold an open file alone until it is closed; a dead process holds nothing.

    Raises:
        RefusedError: with the words `refusal`; another process holds it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RefusedError(refusal) from error


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically."""
    write_atomic(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value
