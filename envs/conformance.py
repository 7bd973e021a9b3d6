"""What every environment's conformance check needs: hashes of files, versions of packages."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterable, Mapping
from pathlib import Path


def hash_tree(root: Path, endings: set[str] | None = None) -> str:
    """sha256 over names and contents of all files below `root`, in order of name.

    Args:
        root: a folder.
        endings: of the files that count, such as `.xml`; None: all of them.
    """
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and (endings is None or path.suffix in endings):
            digest.update(str(path.relative_to(root)).encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Installed versions of packages."""
    return {package: importlib.metadata.version(package) for package in packages}


def version_drifts(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """One sentence for each package that has another version than the one the references were made with."""
    return [
        f"{package}: expected version {wanted}, got {found[package]}; type: pip install {package}=={wanted}"
        for package, wanted in expected.items()
        if found[package] != wanted
    ]
