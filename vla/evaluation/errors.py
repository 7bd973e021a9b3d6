"""What can go wrong with an evaluation as a whole, and the exit code each one means."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EvaluationError(RuntimeError):
    """The run cannot start or go on; the message is for the person at the keyboard."""

    exit_code = 1


class RefusedError(EvaluationError):
    """Bad input, found before any episode was run."""

    exit_code = 2


class InterruptedRunError(EvaluationError):
    """Somebody stopped the run; the journal is complete so far."""

    exit_code = 130


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint that ends a message: the nearest valid name, and all of them if they are few."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"{hint} Valid: {', '.join(names)}." if len(names) <= 12 else hint
