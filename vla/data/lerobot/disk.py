"""Durable files: a file has all its bytes or does not exist, and one process at a time commits."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY = ".tmp"  # suffix of what a killed writer may leave; neither LeRobot nor our reader looks at it

Write = Callable[[int, bytes], int]  # what `os.write` does; tests inject a disk that fills up


def put(path: Path, content: bytes, write: Write = os.write) -> None:
    """Write a neighbour, flush it to disk, then take the name. On failure the old content stays.

    Raises:
        OSError: of the disk.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}{TEMPORARY}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[write(descriptor, bytes(rest)) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)  # the rename itself must survive a power cut


def adopt(path: Path, source: Path) -> None:
    """Move a finished file of the same disk here, after flushing it.

    Raises:
        OSError: of the disk.
    """
    descriptor = os.open(source, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    make_folder(path.parent)
    source.replace(path)
    _sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder whose name survives a power cut."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    _sync_folder(path.parent)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` alone, between threads and processes; a dead process holds nothing."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
