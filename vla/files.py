"""Durable files: after a kill or a power cut a file has all of its old content or all of its new."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp"  # suffix of what a killed writer may leave; nobody reads such a file

Write = Callable[[int, bytes], int]  # what `os.write` does; tests inject a disk that fills up


def replace_atomic(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write a hidden neighbour, flush it to disk, then rename it. On failure the old content stays.

    Raises:
        OSError: of the disk; or whatever `fill` raises.
    """
    temporary = path.with_name(f".{path.name}{TEMPORARY}")
    try:
        fill(temporary)
        sync(temporary)  # else a power cut may leave the name of the new file and the content of none
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)  # the rename itself must survive a power cut


def write_atomic(path: Path, content: bytes, write: Write = os.write) -> None:
    """Write all bytes, or none.

    Raises:
        OSError: of the disk; the old content stays.
    """

    def fill(temporary: Path) -> None:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            write_all(descriptor, content, write)
        finally:
            os.close(descriptor)

    replace_atomic(path, fill)


def write_all(descriptor: int, content: bytes, write: Write = os.write) -> None:
    """Write to an open file until nothing is left: a disk may take a part only."""
    rest = memoryview(content)
    while rest:
        rest = rest[write(descriptor, bytes(rest)) :]


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically."""
    write_atomic(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value
