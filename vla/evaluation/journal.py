"""The append-only record of a run: one JSON row per line, safe against a kill at any byte and a full disk."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from vla.command.errors import CommandError
from vla.command.lock import lock
from vla.evaluation.plan import EpisodeKey
from vla.files import write_atomic

Row = dict[str, Any]  # one episode; has at least ROW_FIELDS
ROW_FIELDS = (
    "suite", "task_id", "task", "trial", "instruction", "seed", "outcome", "steps", "policy_calls",
    "final_state_sha256", "wall_s", "sim_s", "render_s", "policy_s", "video", "error",
)  # fmt: skip


class JournalError(CommandError):
    """The journal cannot be read or written."""


def key_of(row: Row) -> EpisodeKey:
    """Which episode a row is about."""
    return EpisodeKey(row["suite"], row["task_id"], row["trial"])


def read_rows(path: Path) -> list[Row]:
    """All complete rows of a journal. A torn last line (no newline) is left out.

    Raises:
        JournalError: a complete line is not a row, or an episode occurs twice.
    """
    rows: list[Row] = []
    seen: set[EpisodeKey] = set()
    for number, line in enumerate(_complete(path.read_bytes()).splitlines(), start=1):
        row = _parse(path, number, line)
        if key_of(row) in seen:
            raise JournalError(f"{path}:{number}: {key_of(row)} is there twice. Remove one of the two lines.")
        seen.add(key_of(row))
        rows.append(row)
    return rows


class Journal:
    """Open for appending by exactly one process.

    Opening cuts off a torn last line; its episode counts as not run.

    Args:
        path: `episodes.jsonl` of the run folder; made if missing.
        write: how bytes get to a file descriptor; tests inject a disk that fills up.

    Raises:
        RefusedError: another process has it open.
        JournalError: it is corrupt.
    """

    def __init__(self, path: Path, write: Callable[[int, bytes], int] = os.write) -> None:
        self._path = path
        self._write = write
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            lock(
                self._descriptor,
                f"{path}: another process is running in this folder. Wait for it, or choose another run_dir.",
            )
            self.rows = read_rows(path)
            self._size = len(_complete(path.read_bytes()))
            os.ftruncate(self._descriptor, self._size)
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def append(self, row: Row) -> None:
        """Add a row and wait until it is on disk.

        Raises:
            JournalError: it could not be written; the journal is as it was before.
        """
        line = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode()
        try:
            written = self._write(self._descriptor, line)
            if written != len(line):  # a disk that fills up in the middle of a line
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, self._size)
            raise self._cannot_write(error) from error
        self._size += len(line)
        self.rows.append(row)

    def finish(self, order: Iterable[EpisodeKey]) -> None:
        """Put the complete journal into plan order by an atomic rewrite: equal runs give equal files."""
        by_key = {key_of(row): row for row in self.rows}
        rows = [by_key[key] for key in order]
        if rows == self.rows:
            return
        content = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        try:
            write_atomic(self._path, content.encode())
        except OSError as error:
            raise self._cannot_write(error) from error
        self.rows = rows

    def _cannot_write(self, error: OSError) -> JournalError:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return JournalError(
            f"{self._path}: {'the disk is full' if full else error}. The {len(self.rows)} episodes measured "
            f"so far are safe; {'make room' if full else 'mend it'}, then continue with eval.resume=true."
        )


def _complete(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]


def _parse(path: Path, number: int, line: bytes) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise JournalError(
            f"{path}:{number}: not a JSON row ({error}). The file was changed from outside; remove that "
            "line to have its episode run again with eval.resume=true."
        ) from error
    if not isinstance(row, dict) or not set(ROW_FIELDS) <= row.keys():
        raise JournalError(f"{path}:{number}: expected a row with the fields {', '.join(ROW_FIELDS)}.")
    return row
