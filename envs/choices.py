"""Settings with a few possible values."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def check_choice(key: str, value: str, known: Sequence[str]) -> None:
    """Refuse a value that is not known.

    Raises:
        ValueError: names the key, the nearest known value, and all of them.
    """
    if value not in known:
        nearest = difflib.get_close_matches(value, known, n=1, cutoff=0.0)[0]
        raise ValueError(f"{key}: unknown value '{value}'; did you mean '{nearest}'? Known: {', '.join(known)}")
