"""The files a policy is made of: a path alone does not say which checkpoint it was."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vla.command.config import flatten
from vla.command.errors import RefusedError
from vla.evaluation.run_folder import RunFolder

HASHED_UP_TO = 200 * 10**6  # [bytes] reading more than that would take longer than an episode

Files = dict[str, dict[str, str]]  # key in the policy's config -> file -> what it contains


def policy_files(policy: Mapping[str, Any]) -> Files:
    """What is in each folder (or file) that a value of the policy's config names.

    Hidden files are left out, and evaluations that somebody put into the folder. A small file is known by its SHA-256,
    so that a copy counts as the same; a large one by size [bytes] and time of its last change [ns].

    Raises:
        RefusedError: a file vanished meanwhile.
    """
    named = {key: value for key, value in flatten(policy).items() if isinstance(value, str) and os.path.exists(value)}
    try:
        return {key: _contents(Path(path)) for key, path in named.items()}
    except FileNotFoundError as error:
        raise RefusedError(
            f"policy: {error.filename} vanished while it was read; something is being saved there. Copy the "
            "checkpoint to a folder of its own, or wait until it is complete."
        ) from error


def _contents(path: Path) -> dict[str, str]:
    if path.is_file():
        return {path.name: _content(path)}
    found: dict[str, str] = {}
    for where, folders, names in os.walk(path):
        here = Path(where)
        folders[:] = sorted(name for name in folders if not (_hidden(name) or RunFolder(here / name).journal.exists()))
        files = [here / name for name in sorted(names) if not _hidden(name)]
        found.update({str(file.relative_to(path)): _content(file) for file in files if file.is_file()})
    return found


def _hidden(name: str) -> bool:
    return name.startswith(".")


def _content(file: Path) -> str:
    facts = file.stat()
    if facts.st_size > HASHED_UP_TO:
        return f"{facts.st_size} bytes, changed at {facts.st_mtime_ns} ns"
    return hashlib.sha256(file.read_bytes()).hexdigest()
