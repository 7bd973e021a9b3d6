"""JSON files, whole or not at all; and one process at a time."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

from vla.evaluation.errors import RefusedError
from vla.files import write_atomic


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
