"""Global random generators."""

from __future__ import annotations

import random
import sys

import numpy as np


def seed_generators(seed: int) -> None:
    """Seed Python's, numpy's and (if somebody loaded it) torch's global generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch = sys.modules.get("torch")  # evaluation never imports it
    if torch is not None:
        torch.manual_seed(seed)
