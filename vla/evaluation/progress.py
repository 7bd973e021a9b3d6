"""What a person sees while it runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from typing import TextIO

from tqdm import tqdm

from vla.evaluation.journal import Row
from vla.types import Outcome

LINE_EVERY_S = 15.0


class Progress:
    """Episodes per minute, running success rate, errors and time left.

    Args:
        total: episodes of the plan.
        done: rows that were there before (a resumed run); not counted in the speed.
        stream: where to write; a bar if it is a terminal.
        clock: [s] monotonic.
    """

    def __init__(
        self,
        total: int,
        done: Iterable[Row],
        stream: TextIO,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total = total
        self._stream = stream
        self._clock = clock
        self._count = self._successes = self._errors = 0
        for row in done:
            self._tally(row)
        self._initial = self._count
        self._started = self._last_line = clock()
        self._bar = None
        if stream.isatty():
            layout = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}]{postfix}"
            columns, rows = shutil.get_terminal_size()  # tqdm's own look shows nothing in a pty without a size
            self._bar = tqdm(
                total=total, initial=self._count, file=stream, bar_format=layout, ncols=columns, nrows=rows
            )

    def add(self, row: Row) -> None:
        """Count a row; show it."""
        self._tally(row)
        now = self._clock()
        if self._bar is not None:
            self._bar.set_postfix_str(self.describe(), refresh=False)
            self._bar.update(1)
        elif now - self._last_line >= LINE_EVERY_S or self._count == self._total:
            self._last_line = now
            self.note(f"{self._count}/{self._total} episodes, {self.describe()}")

    def note(self, text: str) -> None:
        """Show a line without tearing the bar."""
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            self._stream.write(text + "\n")
            self._stream.flush()

    def describe(self) -> str:
        """Speed, success rate, errors, time left."""
        fresh = self._count - self._initial
        elapsed_s = self._clock() - self._started
        parts = []
        if fresh and elapsed_s > 0:
            parts.append(f"{60 * fresh / elapsed_s:.1f} episodes/min")
        rate = self._successes / self._count if self._count else 0.0
        parts.append(f"success {rate:.1%} ({self._successes}/{self._count})")
        if self._errors:
            parts.append(f"{self._errors} errors")
        left = self._total - self._count
        if fresh and left:
            parts.append(f"{_duration(elapsed_s / fresh * left)} left")
        return ", ".join(parts)

    def close(self) -> None:
        """Leave the bar as it is and go to the next line."""
        if self._bar is not None:
            self._bar.close()

    def _tally(self, row: Row) -> None:
        self._count += 1
        self._successes += row["outcome"] == Outcome.SUCCESS
        self._errors += row["outcome"] == Outcome.ERROR


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
