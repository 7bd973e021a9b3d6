"""Two runs on the trials they share: who is better, how sure is that, and what would make it sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vla.command.config import describe_differences
from vla.command.errors import RefusedError
from vla.evaluation.html import page, tag
from vla.evaluation.journal import Row, key_of, read_rows
from vla.evaluation.plan import EpisodeKey
from vla.evaluation.run_folder import RunFolder, drifts_of
from vla.evaluation.statistics import (
    PairedCounts,
    further_pairs_needed,
    mcnemar_exact,
    paired_difference_interval,
)
from vla.evaluation.summary import align, words_of
from vla.files import read_json, write_atomic, write_json
from vla.types import Outcome

ALPHA = 0.05


@dataclass(frozen=True)
class TaskDifference:
    """A task on which A and B did not solve the same trials."""

    suite: str
    task_id: int
    instruction: str
    pairs: PairedCounts


@dataclass(frozen=True)
class Comparison:
    """A against B.

    Attributes:
        a, b: the run folders.
        pairs: counts over all shared trials.
        unmatched_a, unmatched_b: episodes only one of them ran; left out.
        ci95: of rate(A) - rate(B).
        p_value: exact McNemar, two-sided.
        further_pairs: see `further_pairs_needed`.
        tasks: where they differ, largest difference first.
        caveats: what makes the comparison questionable (only with `anyway`).
    """

    a: str
    b: str
    pairs: PairedCounts
    unmatched_a: int
    unmatched_b: int
    ci95: tuple[float, float]
    p_value: float
    further_pairs: int | None
    tasks: tuple[TaskDifference, ...]
    caveats: tuple[str, ...] = ()

    def verdict(self) -> str:
        """One sentence."""
        if self.p_value < ALPHA:
            better = "A" if self.pairs.difference > 0 else "B"
            return f"{better} is better (exact McNemar p = {self.p_value:.3g})."
        undecided = f"Undecided (exact McNemar p = {self.p_value:.3g})."
        if self.further_pairs is None:
            return f"{undecided} Both solved equally many: no number of episodes would decide it at this rate."
        return (
            f"{undecided} If what was seen is the truth, about {self.further_pairs} more paired episodes "
            f"would decide it (alpha {ALPHA}, power 0.8)."
        )


def compare_folders(a: RunFolder, b: RunFolder, *, anyway: bool = False) -> Comparison:
    """Compare two run folders.

    Raises:
        RefusedError: not a run folder, no shared trial, or (without `anyway`) different environments.
    """
    for folder in (a, b):
        if not folder.journal.exists() or not folder.plan.exists():
            raise RefusedError(f"{folder.path}: expected a run folder (episodes.jsonl and plan.json).")
    caveats = _caveats(a, b)
    if caveats and not anyway:
        raise RefusedError(
            "These runs cannot be compared trial by trial:\n" + "\n".join(caveats) + "\nAdd --anyway to insist."
        )
    return compare_rows(str(a.path), str(b.path), read_rows(a.journal), read_rows(b.journal), caveats)


def compare_rows(
    a: str, b: str, rows_a: Sequence[Row], rows_b: Sequence[Row], caveats: Sequence[str] = ()
) -> Comparison:
    """Compare rows of the same (suite, task, trial). An ERROR is a trial not solved.

    Raises:
        RefusedError: no trial is in both.
    """
    by_key_a, by_key_b = ({key_of(row): row for row in rows} for rows in (rows_a, rows_b))
    shared = [key for key in by_key_a if key in by_key_b]
    if not shared:
        raise RefusedError(f"{a} and {b} share no trial: the same suite, task and trial must be in both.")
    by_task: dict[tuple[str, int], list[EpisodeKey]] = {}
    for key in shared:
        by_task.setdefault((key.suite, key.task_id), []).append(key)
    counts = {task: _count(keys, by_key_a, by_key_b) for task, keys in by_task.items()}
    tasks = [
        TaskDifference(*task, words_of([by_key_a[key] for key in by_task[task]]), pairs)
        for task, pairs in counts.items()
        if pairs.only_a or pairs.only_b
    ]
    pairs = _count(shared, by_key_a, by_key_b)
    return Comparison(
        a=a,
        b=b,
        pairs=pairs,
        unmatched_a=len(by_key_a) - len(shared),
        unmatched_b=len(by_key_b) - len(shared),
        ci95=paired_difference_interval(pairs),
        p_value=mcnemar_exact(pairs),
        further_pairs=further_pairs_needed(pairs),
        tasks=tuple(sorted(tasks, key=lambda task: -abs(task.pairs.difference))),
        caveats=tuple(caveats),
    )


def describe(comparison: Comparison) -> str:
    """The comparison as text for the console."""
    lines = [
        f"A: {comparison.a}",
        f"B: {comparison.b}",
        *(f"CAVEAT: {text}" for text in comparison.caveats),
        "",
    ]
    lines += [f"{name}: {value}" for name, value in _facts(comparison)]
    if comparison.tasks:
        lines += ["", "Tasks where they differ:", align([TASK_HEAD, *map(_task_cells, comparison.tasks)])]
    return "\n".join([*lines, "", comparison.verdict()])


def write_comparison(comparison: Comparison, folder: Path) -> Path:
    """Write compare.json and compare.html; returns the path of the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        **asdict(comparison),
        "difference": comparison.pairs.difference,
        "verdict": comparison.verdict(),
    }
    write_json(folder / "compare.json", content)
    facts = (tag("tr", tag("th", name), tag("td", value)) for name, value in _facts(comparison))
    head = tag("tr", *(tag("th", cell) for cell in TASK_HEAD))
    rows = (tag("tr", *(tag("td", cell) for cell in _task_cells(task))) for task in comparison.tasks)
    body = [
        tag("h1", "A against B"),
        tag("p", f"A: {comparison.a}"),
        tag("p", f"B: {comparison.b}"),
        *(tag("p", text, class_="banner") for text in comparison.caveats),
        tag("p", comparison.verdict(), class_="headline"),
        tag("table", *facts),
        tag("h2", "Tasks where they differ"),
        tag("table", head, *rows) if comparison.tasks else tag("p", "None."),
    ]
    path = folder / "compare.html"
    write_atomic(path, page("A against B", body).encode())
    return path


TASK_HEAD = ("task", "only A", "only B", "both", "neither", "instruction")


def _task_cells(task: TaskDifference) -> tuple[str, ...]:
    pairs = task.pairs
    counts = (pairs.only_a, pairs.only_b, pairs.both, pairs.neither)
    return (f"{task.suite} {task.task_id}", *map(str, counts), task.instruction)


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    pairs = comparison.pairs
    solved_a, solved_b = pairs.both + pairs.only_a, pairs.both + pairs.only_b
    low, high = comparison.ci95
    return [
        ("shared trials", str(pairs.total)),
        ("left out", f"{comparison.unmatched_a} only in A, {comparison.unmatched_b} only in B"),
        ("solved by A", f"{solved_a} ({solved_a / pairs.total:.1%})"),
        ("solved by B", f"{solved_b} ({solved_b / pairs.total:.1%})"),
        ("only one solved", f"{pairs.only_a} only A, {pairs.only_b} only B"),
        ("difference A - B", f"{pairs.difference:+.1%}, 95 % interval {low:+.1%} to {high:+.1%}"),
    ]


def _count(keys: Sequence[EpisodeKey], a: Mapping[EpisodeKey, Row], b: Mapping[EpisodeKey, Row]) -> PairedCounts:
    solved = [(a[key]["outcome"] == Outcome.SUCCESS, b[key]["outcome"] == Outcome.SUCCESS) for key in keys]
    return PairedCounts(
        both=solved.count((True, True)),
        only_a=solved.count((True, False)),
        only_b=solved.count((False, True)),
        neither=solved.count((False, False)),
    )


def _caveats(a: RunFolder, b: RunFolder) -> list[str]:
    """What makes trial k of A another thing than trial k of B: the env config, drifts of the machine, and other files.

    Machines that pass the preflight are equal here; that is what the preflight is for. Of a folder of somebody's tasks
    it knows no more than what the files are.
    """
    before, now = (_conditions(folder) for folder in (a, b))
    return describe_differences(before, now, "A", "B").splitlines()


def _conditions(folder: RunFolder) -> dict[str, Any]:
    conditions: dict[str, Any] = {"env": read_json(folder.plan)["identity"]["env"]}
    if folder.fingerprint.exists():
        fingerprint = read_json(folder.fingerprint)
        conditions |= {"drifts": drifts_of(fingerprint), "files": fingerprint["environment"].get("files", {})}
    return conditions
