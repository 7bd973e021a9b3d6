"""Building blocks of self-contained pages: everything that is not `Html` already is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable

VOID = {"img", "meta", "input"}


class Html(str):
    """Text that is markup and must not be escaped again."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: object) -> Html:
    """An element. `class_` and `for_` lose the underscore, `stroke_width` becomes `stroke-width`.

    Args:
        name: element name.
        children: `Html` goes in as it is, any other string is escaped.
        attributes: True gives a bare attribute; None and False leave it out.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        label = key.rstrip("_").replace("_", "-")
        parts.append(label if value is True else f'{label}="{html.escape(str(value), quote=True)}"')
    opening = f"<{' '.join(parts)}>"
    if name in VOID:
        return Html(opening)
    return Html(f"{opening}{join(children)}</{name}>")


def join(children: Iterable[str]) -> Html:
    """Put together, escaping what is not `Html`."""
    return Html("".join(child if isinstance(child, Html) else html.escape(child) for child in children))


def page(title: str, body: Iterable[str]) -> str:
    """A complete document with the style inside, light or dark as the reader's system is."""
    head = join(
        [
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("title", title),
            tag("style", Html(STYLE)),
        ]
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body><main>{join(body)}</main></body></html>\n'


STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #656d76; --paper: #ffffff; --card: #f6f8fa;
  --line: #d8dee4; --good: #2da44e; --bad: #cf222e; --odd: #9a6700; --accent: #3b6fd4;
  --sim: #3b6fd4; --render: #8957e5; --policy: #d98c1f; --other: #a0a8b0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #8d96a0; --paper: #0d1117;
  --card: #161b22; --line: #30363d; --good: #3fb950; --bad: #f85149; --odd: #d29922; --accent: #6ea0ff;
  --sim: #6ea0ff; --render: #b392f0; --policy: #e3a24a; --other: #6e7681; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1100px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 22px; margin: 0; font-weight: 600; }
h2 { font-size: 17px; margin: 40px 0 12px; font-weight: 600; }
.soft { color: var(--soft); }
.headline { font-size: 19px; }
.rate { font-size: 60px; line-height: 1.1; font-weight: 650; letter-spacing: -.02em; margin: 16px 0 0; }
.facts { display: flex; flex-wrap: wrap; gap: 12px; margin: 20px 0 0; padding: 0; list-style: none; }
.facts li { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 8px 16px; }
.facts b { display: block; font-size: 18px; font-variant-numeric: tabular-nums; }
.banner { border: 2px solid var(--bad); border-radius: 8px; padding: 12px 16px; margin: 0 0 24px; }
.banner ul { margin: 4px 0 0; padding-left: 20px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 6px 12px 6px 0; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 500; font-size: 13px; }
td.number { white-space: nowrap; text-align: right; }
th.number { text-align: right; }
tr.total td { font-weight: 650; border-top: 2px solid var(--line); }
svg { display: block; } svg .track { fill: var(--line); opacity: .55; } svg .bar { fill: var(--accent); }
svg .whisker { stroke: var(--ink); stroke-width: 1.5; }
.key { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 6px; }
.filter { display: flex; gap: 16px; margin: 0 0 12px; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(440px, 1fr)); gap: 16px; align-items: start; }
.episode { background: var(--card); border: 1px solid var(--line); border-left: 4px solid var(--odd);
  border-radius: 8px; padding: 10px 12px; min-width: 0; }
.episode.SUCCESS { border-left-color: var(--good); } .episode.FAILURE { border-left-color: var(--bad); }
.episode img, .episode video { width: 100%; border-radius: 4px; display: block; margin-top: 8px; }
.episode img { width: auto; max-width: 100%; max-height: 96px; }
.episode summary { list-style: none; cursor: pointer; }
.episode summary::-webkit-details-marker { display: none; }
.episode p { margin: 0; overflow-wrap: anywhere; }
.chip { font-size: 12px; font-weight: 650; letter-spacing: .03em; color: var(--odd); }
.SUCCESS .chip { color: var(--good); } .FAILURE .chip { color: var(--bad); }
.play { font-size: 13px; color: var(--accent); } details[open] .play { display: none; }
main:has(#only-SUCCESS:checked) .episode:not(.SUCCESS),
main:has(#only-FAILURE:checked) .episode:not(.FAILURE),
main:has(#only-other:checked) .episode:is(.SUCCESS, .FAILURE) { display: none; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px;
  overflow-x: auto; font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, monospace; }
"""
