"""The losses of a training, a line of JSON a step."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from vla.files import write_atomic


class TrainingLog:
    """Appends to a log; a training that is continued first cuts it back to where it goes on.

    Args:
        path: of the log, `log.jsonl`.
        step: steps done.
    """

    def __init__(self, path: Path, step: int) -> None:
        self._path, self._started = path, time.monotonic()
        if path.exists():
            kept = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
            write_atomic(path, "".join(f"{line}\n" for line in kept).encode())  # a kill now must not take the log

    def __enter__(self) -> TrainingLog:
        self._file = self._path.open("a", buffering=1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, step: int, parts: Mapping[str, float]) -> None:
        """Write the parts of the loss after a step, and the seconds since the log was opened."""
        row: dict[str, Any] = {"step": step, **{name: round(value, 5) for name, value in parts.items()}}
        self._file.write(json.dumps({**row, "s": round(time.monotonic() - self._started, 2)}) + "\n")


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError):
        return math.inf  # torn by a kill
