"""Other words for the same task, by a small grammar. LIBERO-PRO's own paraphrases are not in it: they are a test."""

from __future__ import annotations

import itertools
import re

# Pattern -> other ways to say it. Groups are kept.
_FORMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        r"pick up (?P<a>.+?) and place it (?P<p>in|on) (?P<b>.+)",
        (
            "put {a} {p} {b}",
            "place {a} {p} {b}",
            "take {a} and put it {p} {b}",
            "grab {a} and set it down {p} {b}",
            "{p} {b}, put {a}",
        ),
    ),
    (
        r"put both (?P<a>.+?) and (?P<c>the .+?) (?P<p>in|on) (?P<b>.+)",
        ("put {a} and {c} {p} {b}", "place both {a} and {c} {p} {b}", "pick up {a}, then {c}, and put them {p} {b}"),
    ),
    (
        r"turn on (?P<a>.+?) and put (?P<b>.+?) on it",
        ("switch on {a}, then put {b} on it", "light {a} and place {b} on top"),
    ),
    (r"turn on (?P<a>.+)", ("switch on {a}", "turn {a} on", "light {a}")),
    (
        r"open (?P<a>.+?) and put (?P<b>.+?) inside",
        ("open {a}, then place {b} inside it", "put {b} inside {a} after opening it"),
    ),
    (r"open (?P<a>.+)", ("pull open {a}", "pull out {a}")),
    (r"push (?P<a>.+?) to (?P<b>.+)", ("slide {a} to {b}", "move {a} over to {b}", "drag {a} to {b}")),
    (
        r"put (?P<a>.+?) (?P<p>in|on|on top of) (?P<b>[^,]+?) and close it",
        ("place {a} {p} {b}, then close it", "put {a} {p} {b} and shut it"),
    ),
    (
        r"put (?P<a>.+?) (?P<p>on top of|in|on) (?P<b>.+?) and put (?P<c>.+?) (?P<q>on|to) (?P<d>.+)",
        ("place {a} {p} {b} and {c} {q} {d}", "put {a} {p} {b}, then {c} {q} {d}"),
    ),
    (
        r"put (?P<a>.+?) (?P<p>on top of|in|on) (?P<b>.+)",
        ("place {a} {p} {b}", "set {a} {p} {b}", "move {a} so that it is {p} {b}"),
    ),
)


def paraphrases(instruction: str) -> tuple[str, ...]:
    """The instruction itself and other ways to say it; the first one is always the instruction."""
    for pattern, forms in _FORMS:
        found = re.fullmatch(pattern, instruction)
        if found:
            others = [form.format(**found.groupdict()) for form in forms]
            return tuple(dict.fromkeys(itertools.chain([instruction], others)))
    return (instruction,)
