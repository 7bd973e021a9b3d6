"""The disk under a dataset: files in folders whose names are durable too; one process at a time commits."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vla.files import Write, sync, write_atomic


def put(path: Path, content: bytes, write: Write = os.write) -> None:
    """Write a file and the folders that it lies in. On failure the old content stays.

    Raises:
        OSError: of the disk.
    """
    make_folder(path.parent)
    write_atomic(path, content, write)


def adopt(path: Path, source: Path) -> None:
    """Move a finished file of the same disk here, after flushing it.

    Raises:
        OSError: of the disk.
    """
    sync(source)
    make_folder(path.parent)
    source.replace(path)
    sync(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder whose name survives a power cut."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync(path.parent)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` alone, between threads and processes; a dead process holds nothing."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
