"""Which code made a result."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from vla.command.config import flatten


def code_hashes(config: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of the Python source of each top-level package or module that the config builds from, and of this one.

    A run that is resumed after an edit would mix two programs; a git revision does not show an edit.
    """
    targets = [value for key, value in flatten(config).items() if key.rpartition(".")[2] == "_target_"]
    hashes = {}
    for package in sorted({str(target).partition(".")[0] for target in targets} | {__name__.partition(".")[0]}):
        spec = importlib.util.find_spec(package)
        digest = hashlib.sha256()
        for root, path in _sources(spec) if spec else ():
            digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
        hashes[package] = digest.hexdigest()
    return hashes


def _sources(spec: ModuleSpec) -> list[tuple[Path, Path]]:
    """Python files of a package, or the one of a module, each after the folder that it counts from."""
    if spec.submodule_search_locations is None:
        return [(Path(spec.origin).parent, Path(spec.origin))] if spec.has_location and spec.origin else []
    return [(Path(root), path) for root in spec.submodule_search_locations for path in sorted(Path(root).rglob("*.py"))]


def git_revision() -> dict[str, Any] | None:
    """Commit of this code and whether the tree was changed since; None outside a git clone."""
    root = Path(__file__).resolve().parents[2]
    try:
        revision = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"revision": revision, "changed": bool(changed)}


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
