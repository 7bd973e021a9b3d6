"""Small inline SVG charts; colours come from the page's style, so that they follow light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vla.evaluation.html import Html, tag


def interval_bar(rate: float, ci95: Sequence[float], width: int = 220, height: int = 18) -> Html:
    """A bar for a rate in [0, 1] with whiskers for its interval."""
    low, high = (2 + (width - 4) * bound for bound in ci95)  # [px]; the ends of the whiskers stay visible
    middle = height / 2

    def line(x1: float, x2: float, y1: float, y2: float) -> Html:
        return tag("line", class_="whisker", x1=f"{x1:.1f}", x2=f"{x2:.1f}", y1=y1, y2=y2)

    return tag(
        "svg",
        tag("rect", class_="track", x=2, y=4, width=width - 4, height=height - 8, rx=3),
        tag("rect", class_="bar", x=2, y=4, width=f"{(width - 4) * rate:.1f}", height=height - 8, rx=3),
        line(low, high, middle, middle),
        line(low, low, middle - 5, middle + 5),
        line(high, high, middle - 5, middle + 5),
        width=width,
        height=height,
        role="img",
        aria_label=f"{rate:.1%}, interval {ci95[0]:.1%} to {ci95[1]:.1%}",
    )


def stacked_bar(shares: Mapping[str, float], height: int = 22) -> Html:
    """One bar of 100 %, cut into named parts; a part's colour is the style variable of its name."""
    total = sum(shares.values()) or 1.0
    pieces, left = [], 0.0
    for name, value in shares.items():
        share = 100 * value / total
        colour = f"fill: var(--{name})"
        piece = tag("rect", x=f"{left:.2f}%", y=0, width=f"{share:.2f}%", height=height, style=colour)
        pieces.append(piece)
        left += share
    label = ", ".join(f"{name} {value / total:.0%}" for name, value in shares.items())
    return tag("svg", *pieces, width="100%", height=height, role="img", aria_label=label)
