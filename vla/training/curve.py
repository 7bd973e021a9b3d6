"""A picture of the losses over the steps."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT, BORDER = 900, 420, 60  # [px]
COLOURS = {"action": (180, 90, 30), "heat": (40, 120, 220), "displacement": (60, 160, 60)}  # BGR
SMOOTH = 50  # steps averaged


def draw_curve(log: Path, picture: Path) -> None:
    """Draw the parts of the loss on a logarithmic scale from a log of JSON lines."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    canvas = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    steps = np.array([row["step"] for row in rows], dtype=float)
    curves = {name: np.array([row[name] for row in rows]) for name in COLOURS if rows and name in rows[0]}
    curves = {name: _smoothed(values) for name, values in curves.items()}
    if not curves or len(steps) < 2:
        return
    low = np.floor(np.log10(min(values.min() for values in curves.values()) + 1e-9))
    high = np.ceil(np.log10(max(values.max() for values in curves.values())))
    for decade in np.arange(low, high + 1):
        y = _row(decade, low, high)
        cv2.line(canvas, (BORDER, y), (WIDTH - 10, y), (225, 225, 225), 1)
        _write(canvas, f"{10.0**decade:g}", (8, y + 4))
    for index, (name, values) in enumerate(curves.items()):
        x = BORDER + (steps - steps[0]) / (steps[-1] - steps[0]) * (WIDTH - 10 - BORDER)
        rows_of = [_row(value, low, high) for value in np.log10(values + 1e-9)]
        points = np.stack([x, rows_of], axis=1).astype(np.int32)
        cv2.polylines(canvas, [points], False, COLOURS[name], 1, cv2.LINE_AA)
        _write(canvas, f"{name} {values[-1]:.4f}", (WIDTH - 230, 30 + 18 * index), COLOURS[name])
    _write(canvas, f"step {steps[-1]:.0f}", (WIDTH - 110, HEIGHT - 12))
    cv2.imwrite(str(picture), canvas)


def _smoothed(values: np.ndarray) -> np.ndarray:
    window = min(SMOOTH, len(values))
    padded = np.concatenate([np.full(window - 1, values[0]), values])
    return np.convolve(padded, np.full(window, 1 / window), mode="valid")


def _row(decade: float, low: float, high: float) -> int:
    return int(20 + (high - decade) / max(high - low, 1e-9) * (HEIGHT - 60))


def _write(canvas: np.ndarray, text: str, at: tuple[int, int], colour: tuple[int, int, int] = (60, 60, 60)) -> None:
    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
