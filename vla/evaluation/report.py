"""Run folder -> report.html: one file, no external requests; videos are linked, filmstrips are inside."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vla.command.errors import RefusedError
from vla.evaluation.charts import interval_bar, stacked_bar
from vla.evaluation.html import Html, join, page, tag
from vla.evaluation.journal import Row, read_rows
from vla.evaluation.run_folder import RunFolder, drifts_of
from vla.evaluation.summary import DRIFTED, is_drifted, percent_interval, summarise, words_of
from vla.files import read_json, write_atomic
from vla.types import Outcome


def write_report(folder: RunFolder) -> Path:
    """Build report.html from what is in the run folder, complete or not. Returns its path.

    Raises:
        RefusedError: it is not a run folder, or has no episode.
    """
    for path in (folder.journal, folder.fingerprint, folder.plan):
        if not path.exists():
            raise RefusedError(f"{folder.path}: expected a run folder, but {path.name} is missing.")
    rows = read_rows(folder.journal)
    if not rows:
        raise RefusedError(f"{folder.journal}: expected at least one episode, got none.")
    text = render_report(folder.path, rows, read_json(folder.fingerprint), read_json(folder.plan))
    write_atomic(folder.report, text.encode())
    return folder.report


def render_report(folder: Path, rows: Sequence[Row], fingerprint: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    """The page as text."""
    summary = summarise(rows, fingerprint)
    policy = str(fingerprint["policy"].get("_target_", "policy")).rsplit(".", 1)[-1]
    suites = ", ".join(summary["suites"])
    planned = len(plan["identity"]["tasks"]) * plan["identity"]["episodes"]
    sections = [
        _banner(rows, fingerprint),
        _headline(policy, suites, summary["overall"], rows, planned),
        _settings(plan["identity"]),
        _tasks(summary, rows),
        _timing(rows),
        _episodes(folder, rows),
        _errors(rows),
        tag("h2", "Repeat it"),
        tag("pre", plan["command"]),
        tag("h2", "Fingerprint"),
        tag("pre", json.dumps(fingerprint, indent=2, ensure_ascii=False)),
    ]
    return page(f"{policy} on {suites}", sections)


def _banner(rows: Sequence[Row], fingerprint: Mapping[str, Any]) -> Html:
    if not is_drifted(rows):
        return Html("")
    drifts = tag("ul", *(tag("li", drift) for drift in drifts_of(fingerprint)))
    return tag("div", tag("b", f"Drifted: {DRIFTED}"), drifts, class_="banner")


def _headline(policy: str, suites: str, overall: Mapping[str, Any], rows: Sequence[Row], planned: int) -> Html:
    low, high = overall["ci95"]
    solved = [row["steps"] for row in rows if row["outcome"] == Outcome.SUCCESS]
    facts = {
        "solved": f"{overall['successes']} of {overall['episodes']}",
        "errors": str(overall["errors"]),
        "steps to success, mean": f"{sum(solved) / len(solved):.0f}" if solved else "none",
        "seconds per episode, mean": f"{sum(row['wall_s'] for row in rows) / len(rows):.1f}",
    }
    partial = f" Unfinished: {len(rows)} of {planned} planned episodes." if len(rows) < planned else ""
    return join(
        [
            tag("h1", f"{policy} on {suites}"),
            tag("p", f"{100 * overall['rate']:.1f} %", class_="rate"),
            tag(
                "p",
                f"success, 95 % Wilson interval {100 * low:.1f} to {100 * high:.1f} %.{partial}",
                class_="soft",
            ),
            tag("ul", *(tag("li", tag("b", value), name) for name, value in facts.items()), class_="facts"),
        ]
    )


def _settings(identity: Mapping[str, Any]) -> Html:
    """What the numbers hold for: the environment's settings, such as scene and render profile."""
    settings = {name: value for name, value in identity["env"].items() if name not in ("_target_", "suite")}
    words = [
        f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}" for name, value in settings.items()
    ]
    return tag("p", "; ".join(words), class_="soft")


def _tasks(summary: Mapping[str, Any], rows: Sequence[Row]) -> Html:
    of_tasks: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        of_tasks.setdefault((row["suite"], str(row["task_id"])), []).append(row)
    lines = []
    for suite, counts in summary["suites"].items():
        for task_id, of_task in counts["tasks"].items():
            lines.append(_task_line(f"{suite} {task_id}", words_of(of_tasks[suite, task_id]), of_task))
        lines.append(_task_line(suite, "all tasks", counts, total=True))
    if len(summary["suites"]) > 1:
        lines.append(_task_line("overall", "all suites", summary["overall"], total=True))
    head = [tag("th", "task"), tag("th", "instruction"), tag("th", "success rate, 95 % interval")]
    head += [tag("th", name, class_="number") for name in ("rate", "interval", "solved", "errors")]
    return join([tag("h2", "Tasks"), tag("div", tag("table", tag("tr", *head), *lines), class_="scroll")])


def _task_line(name: str, instruction: str, counts: Mapping[str, Any], *, total: bool = False) -> Html:
    numbers = (
        f"{100 * counts['rate']:.1f} %",
        percent_interval(counts["ci95"]),
        f"{counts['successes']}/{counts['episodes']}",
        str(counts["errors"]),
    )
    return tag(
        "tr",
        tag("td", name),
        tag("td", instruction),
        tag("td", interval_bar(counts["rate"], counts["ci95"])),
        *(tag("td", number, class_="number") for number in numbers),
        class_="total" if total else None,
    )


def _timing(rows: Sequence[Row]) -> Html:
    parts = {name: sum(row[f"{name}_s"] for row in rows) for name in ("sim", "render", "policy")}
    wall_s = sum(row["wall_s"] for row in rows)
    parts["other"] = max(0.0, wall_s - sum(parts.values()))
    legend = [
        tag(
            "li",
            tag("b", f"{seconds / len(rows):.2f} s"),
            tag("span", class_="key", style=f"background: var(--{name})"),
            f"{name}, {seconds / (sum(parts.values()) or 1.0):.0%}",
        )
        for name, seconds in parts.items()
    ]
    steps = sum(row["steps"] for row in rows)
    note = f"Mean per episode, one process. {steps} steps in all, {steps / wall_s if wall_s else 0:.0f} steps/s."
    bar, items = stacked_bar(parts), tag("ul", *legend, class_="facts")
    return join([tag("h2", "Where the time went"), bar, items, tag("p", note, class_="soft")])


def _episodes(folder: Path, rows: Sequence[Row]) -> Html:
    names = {"all": "all", "SUCCESS": "successes", "FAILURE": "failures", "other": "errors and stops"}
    radios = [
        tag(
            "label",
            tag("input", type="radio", name="only", id=f"only-{key}", checked=key == "all"),
            f" {label}",
        )
        for key, label in names.items()
    ]
    cards = (_episode(folder, row) for row in rows)
    return join([tag("h2", "Episodes"), tag("div", *radios, class_="filter"), tag("div", *cards, class_="grid")])


def _episode(folder: Path, row: Row) -> Html:
    caption = join(
        [
            tag("p", tag("span", row["outcome"], class_="chip"), f" {row['instruction']}"),
            tag(
                "p",
                f"{row['suite']} task {row['task_id']}, trial {row['trial']}: {row['steps']} steps, "
                f"{row['policy_calls']} policy calls, {row['wall_s']:.1f} s",
                class_="soft",
            ),
        ]
    )
    if row["video"] is None:
        return tag("article", caption, class_=f"episode {row['outcome']}")
    strip = (folder / row["video"]).with_suffix(".jpg")
    picture = _embedded(strip, f"filmstrip of trial {row['trial']}") if strip.exists() else Html("")
    summary = tag("summary", caption, picture, tag("span", "play the video", class_="play"))
    video = tag("video", controls=True, preload="none", src=quote(row["video"]))
    return tag("article", tag("details", summary, video), class_=f"episode {row['outcome']}")


def _embedded(path: Path, alt: str) -> Html:
    data = base64.b64encode(path.read_bytes()).decode()
    return tag("img", src=f"data:image/jpeg;base64,{data}", alt=alt, loading="lazy")


def _errors(rows: Sequence[Row]) -> Html:
    failed = [row for row in rows if row["error"] is not None]
    if not failed:
        return Html("")
    entries = [
        tag(
            "details",
            tag("summary", f"{row['outcome']}: {row['suite']} task {row['task_id']}, trial {row['trial']}"),
            tag("pre", row["error"]),
        )
        for row in failed
    ]
    return join([tag("h2", f"Errors and stops ({len(failed)})"), *entries])
