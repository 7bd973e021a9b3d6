"""One process at a time."""

from __future__ import annotations

import fcntl

from vla.command.errors import RefusedError


def lock(descriptor: int, refusal: str) -> None:
    """Hold an open file alone until it is closed; a dead process holds nothing.

    Raises:
        RefusedError: with the words `refusal`; another process holds it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RefusedError(refusal) from error
