"""Rows -> rates with Wilson intervals, as JSON and as a table for the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vla.evaluation.journal import Row
from vla.evaluation.statistics import wilson
from vla.types import Outcome

DRIFTED = "this machine does not conform, or what is run has changed; do not compare these numbers with published ones."


def tally(rows: Sequence[Row]) -> dict[str, Any]:
    """Episodes, successes, errors, rate and its 95 % Wilson interval. Errors count as episodes not solved."""
    successes = sum(row["outcome"] == Outcome.SUCCESS for row in rows)
    return {
        "episodes": len(rows),
        "successes": successes,
        "errors": sum(row["outcome"] == Outcome.ERROR for row in rows),
        "rate": successes / len(rows) if rows else 0.0,
        "ci95": list(wilson(successes, len(rows))),
    }


def summarise(rows: Sequence[Row], fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """The content of summary.json: per suite, per task, overall. `drifted` is there only if a row is."""
    suites: dict[str, Any] = {}
    for suite, of_suite in _group(rows, "suite").items():
        tasks = {str(task): tally(of_task) for task, of_task in _group(of_suite, "task_id").items()}
        suites[suite] = {**tally(of_suite), "tasks": tasks}
    summary = {"suites": suites, "overall": tally(rows), "fingerprint": dict(fingerprint)}
    return {**summary, "drifted": True} if is_drifted(rows) else summary


def is_drifted(rows: Sequence[Row]) -> bool:
    """Whether any episode was run on a machine that does not conform, or under other conditions than the first."""
    return any(row.get("drifted", False) for row in rows)


def words_of(rows: Sequence[Row]) -> str:
    """What was said in these episodes of a task: the instruction, or how many there were."""
    said = list(dict.fromkeys(row["instruction"] for row in rows))
    return said[0] if len(said) == 1 else f"{len(said)} instructions, such as: {said[0]}"


def table(rows: Sequence[Row]) -> str:
    """Aligned plain text: a line per task, per suite, and overall if there are several suites."""
    lines = [("task", "success", "rate", "95 % interval", "errors", "instruction")]
    suites = _group(rows, "suite")
    for suite, of_suite in suites.items():
        for task, of_task in _group(of_suite, "task_id").items():
            lines.append((f"{suite} {task}", *_cells(of_task), words_of(of_task)))
        lines.append((suite, *_cells(of_suite), "all tasks"))
    if len(suites) > 1:
        lines.append(("overall", *_cells(rows), "all suites"))
    text = align(lines)
    note = f"DRIFTED: {DRIFTED}\n"
    return note + text if is_drifted(rows) else text


def align(lines: Sequence[Sequence[str]]) -> str:
    """Columns of text; the first and the last are left-aligned, numbers between them right-aligned."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    last = len(widths) - 1
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in (0, last) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def percent_interval(ci95: Sequence[float]) -> str:
    """`72.2 .. 100.0 %`."""
    return f"{100 * ci95[0]:.1f} .. {100 * ci95[1]:.1f} %"


def _cells(rows: Sequence[Row]) -> tuple[str, str, str, str]:
    counts = tally(rows)
    return (
        f"{counts['successes']}/{counts['episodes']}",
        f"{100 * counts['rate']:.1f} %",
        percent_interval(counts["ci95"]),
        str(counts["errors"]),
    )


def _group(rows: Sequence[Row], field: str) -> dict[Any, list[Row]]:
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[field], []).append(row)
    return groups
