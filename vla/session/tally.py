"""What an episode of a session came to: rate, late ticks, who commanded; and the table that people read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from vla.runtime.clock import Clock, Pacer
from vla.types import Commander, Episode, Observation, Step

HEADER = ("episode", "outcome", "steps", "rate [1/s]", "late", "worst [ms]", "policy", "nobody", "person", "take-overs",
          "clipped")  # fmt: skip


class Tally:
    """Counts one episode. A subscriber of the loop.

    Args:
        clock: measures the rate.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ticks: Counter[Commander] = Counter()
        self._take_overs = self._clipped = 0
        self._last: Commander | None = None
        self._began = self._ended = clock.now()
        self._reset = False
        self._words = ""  # at the start, as they were said
        self.episode: Episode | None = None

    def on_episode_start(self, observation: Observation) -> None:
        """The first tick begins."""
        self._reset, self._words = True, observation.instruction
        self._began = self._ended = self._clock.now()

    def on_step(self, step: Step) -> None:
        """Count."""
        self._ticks[step.commander] += 1
        self._take_overs += step.commander == Commander.PERSON and self._last != Commander.PERSON
        self._clipped += step.clipped
        self._last = step.commander
        self._ended = self._clock.now()

    def on_episode_end(self, episode: Episode, observation: Observation | None) -> None:
        """Keep how it ended."""
        self.episode = episode

    def row(self, number: int, pacer: Pacer | None) -> dict[str, Any]:
        """JSON values; `late` and `worst_ms` are None where nothing is paced, or was: after a failed reset."""
        episode, steps = self.episode, sum(self._ticks.values())
        pacer = pacer if self._reset else None  # else it is that of the episode before
        if episode is None:
            raise RuntimeError("Tally.row: the episode has not ended")
        seconds = self._ended - self._began
        return {
            "episode": number,
            "task": episode.task,
            "trial": episode.trial,
            "instruction": self._words or episode.instruction,
            "outcome": str(episode.outcome),
            "detail": str(episode.info.get("detail", "")),
            "steps": steps,
            "seconds": round(seconds, 3),
            "rate": round(steps / seconds, 2) if seconds > 0 else None,
            "late": pacer.overruns if pacer else None,
            "worst_ms": round(1e3 * pacer.worst_s, 1) if pacer else None,
            "share": {str(who): round(self._ticks[who] / steps, 4) if steps else 0.0 for who in Commander},
            "take_overs": self._take_overs,
            "clipped": self._clipped,
            "policy_calls": episode.policy_calls,
            "policy_s": round(episode.timing["policy"], 3),
        }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of `Tally.row` for people."""
    cells = [
        (
            str(row["episode"]), row["outcome"], str(row["steps"]), _number(row["rate"]), _number(row["late"]),
            _number(row["worst_ms"]), *(f"{row['share'][str(who)]:.0%}" for who in Commander), str(row["take_overs"]),
            str(row["clipped"]),
        )
        for row in rows
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(HEADER, *cells, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in (HEADER, *cells)
    ]
    reasons = [f"episode {row['episode']}: {row['detail']}" for row in rows if row["detail"]]
    return "\n".join([*lines, *reasons])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
