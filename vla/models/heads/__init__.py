"""Action heads: from the trunk's states to a chunk of normalised actions (B, K, A).

Add a head by adding a file here with a class `Head` that follows `vla.models.heads.base.ActionHead`;
the file's name is the head's name.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from vla.models.heads.base import ActionHead, HeadSizes

_NOT_HEADS = ("base", "inpainting", "mlp_resnet", "noise_schedule")


def head_names() -> list[str]:
    """The heads there are: one file each."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _NOT_HEADS)


def head_class(kind: str) -> type[ActionHead]:
    """The class of a head, by its name.

    Raises:
        ValueError: there is no such head.
    """
    if kind not in head_names():
        raise ValueError(f"action head: expected one of {head_names()}, got {kind!r}")
    head: type[ActionHead] = importlib.import_module(f"{__name__}.{kind}").Head
    return head


def build_head(kind: str, sizes: HeadSizes, options: Mapping[str, Any]) -> ActionHead:
    """Build a head by its name.

    Raises:
        ValueError: there is no such head.
    """
    return head_class(kind)(sizes, **options)
