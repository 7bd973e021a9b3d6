"""What ends a command with one message, and the exit code each one means."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CommandError(RuntimeError):
    """It cannot start or go on; the message is for the person at the keyboard."""

    exit_code = 1


class RefusedError(CommandError):
    """Bad input, found before anything was done."""

    exit_code = 2


class InterruptedRunError(CommandError):
    """Somebody stopped it; what was finished is kept."""

    exit_code = 130


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint that ends a message: the nearest valid name, and all of them if they are few."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"{hint} Valid: {', '.join(names)}." if len(names) <= 12 else hint
