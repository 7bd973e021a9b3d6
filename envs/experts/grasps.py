"""Grasps with a vertical hand, found in two height maps: the target alone, and everything else.

No table of objects: a rim, a narrow side, a neck or a handle are all places where both fingers go down beside
something that fits between them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from envs.experts.geometry import NOTHING, Boxes, IntArray
from vla.types import FloatArray

STEP = 0.004  # [m] grid of the height maps
THIN = 0.0015  # [m] boxes are grown by this much in the maps; the thinnest walls are 2.6 mm
MARGIN = 0.115  # [m] the maps reach this far beyond the target: half a hand
YAWS = 18  # directions of the closing axis, 10 degrees apart

# The Panda hand, measured from the point between the finger tips ("site"), [m].
TIP = 0.009  # the tips are this far below it
PALM = 0.031  # the palm begins this far above it
PALM_HALF = (0.102, 0.034)  # along and across the closing axis
FINGER_INNER, FINGER_OUTER = 0.038, 0.054  # an open finger, along the closing axis
FINGER_HALF = 0.012  # half width of a finger across the closing axis
OPEN_HALF = 0.035  # half of the opening that may be used
TIP_CLEARANCE = 0.004  # tips stay this far above what is below them
PALM_CLEARANCE = 0.006  # the palm stays this far above what is below it
MIN_ENGAGEMENT = 0.009  # the object must reach this far above the tips
PAD_TOP = 0.022  # more engagement than this adds nothing

# Scores are in metres of engagement.
WEIGHT_CENTER = 0.10  # per metre between grasp and centre of mass
WEIGHT_OFFSET = 0.35  # per metre between the middle of the object and the middle of the fingers
WEIGHT_ROUGH = 1.0  # per metre of unevenness of the gripped faces
WEIGHT_YAW = 0.004  # per radian away from the resting yaw
WEIGHT_WIDTH = 0.04  # per metre of width
TIGHT_PENALTY = 0.006  # a few millimetres of error would make a finger hit something
WEIGHT_SLOPE = 0.5  # per metre between the foot and the top of the gripped faces, seen from above
MAX_SLOPE = 0.020  # [m] the fingers slip off flatter faces, such as a plate's
FAILED_RADIUS = 0.015  # [m] grasps near a failed one are penalised
FAILED_PENALTY = 0.03


@dataclass(frozen=True, eq=False)
class Grasp:
    """A grasp with a vertical hand.

    Attributes:
        position: (3,) [m] of the point between the finger tips.
        yaw: [rad] direction of the closing axis, in [0, pi).
        width: [m] of what is between the fingers.
        engagement: [m] how far it reaches above the tips.
        score: [m] larger is better.
    """

    position: FloatArray
    yaw: float
    width: float
    engagement: float
    score: float


@dataclass(frozen=True, eq=False)
class Maps:
    """Height maps on a square grid: `target` alone and `other` things, (N, N) [m]; NOTHING where there is none."""

    low: FloatArray  # (2,) [m] centre of cell [0, 0]
    target: FloatArray
    other: FloatArray


@dataclass(frozen=True, eq=False)
class Preferences:
    """What makes one grasp better than another besides its hold.

    Attributes:
        rest_yaw: [rad] the hand's preferred closing direction.
        failed: (position (3,), yaw) of grasps that failed already.
        cost: extra cost [m] of hand positions (M, 3) with yaw, such as being out of reach -> (M,).
    """

    rest_yaw: float
    failed: Sequence[tuple[FloatArray, float]] = ()
    cost: Callable[[FloatArray, float], FloatArray] | None = None


def height_maps(target: Boxes, others: Boxes) -> Maps:
    """Look down on the target and what is around it."""
    low, high = target.bounds()
    middle, size = (low + high)[:2] / 2, float((high - low)[:2].max()) / 2 + MARGIN
    count = 2 * math.ceil(size / STEP) + 1
    corner = middle - STEP * (count // 2)
    axis = np.arange(count) * STEP
    x, y = np.meshgrid(corner[0] + axis, corner[1] + axis, indexing="ij")
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    top = target.heights(points, THIN)[1]
    rest = others.heights(points, THIN)[1]
    return Maps(corner, top.reshape(count, count), rest.reshape(count, count))


def plan_grasps(target: Boxes, others: Boxes, mass_center: FloatArray, preferences: Preferences) -> list[Grasp]:
    """Grasps of a target among other things, best first, at most one for each direction of the closing axis.

    Args:
        target: what to grip.
        others: everything else solid, except the robot.
        mass_center: (3,) [m] of the target.
        preferences: what makes one grasp better than another.
    """
    maps = height_maps(target, others)
    found = []
    for index in range(YAWS):
        grasp = _best_at_yaw(maps, math.pi * index / YAWS, mass_center, preferences)
        if grasp is not None:
            found.append(grasp)
    return sorted(found, key=lambda grasp: -grasp.score)


def _best_at_yaw(maps: Maps, yaw: float, mass_center: FloatArray, preferences: Preferences) -> Grasp | None:
    """The best grasp whose closing axis has direction `yaw`."""
    target, other, middle = _rotated(maps, yaw)
    rows, columns, tip = _lowest_tips(target, other)
    if len(rows) == 0:
        return None
    hold = _hold(target, other, rows, columns, tip)
    n = target.shape[0] // 2
    u, v = (rows - n) * STEP, (columns - n) * STEP
    c, s = math.cos(yaw), math.sin(yaw)
    u = u + hold.offset  # the fingers close around the middle of what they grip
    xy = middle + np.stack([c * u - s * v, s * u + c * v], axis=1)  # (M, 2)
    positions = np.concatenate([xy, (tip + TIP)[:, None]], axis=1)
    score = np.minimum(hold.engagement, PAD_TOP) - WEIGHT_CENTER * np.linalg.norm(xy - mass_center[:2], axis=1)
    score -= WEIGHT_OFFSET * np.abs(hold.offset) + WEIGHT_ROUGH * hold.rough + WEIGHT_SLOPE * hold.slope
    score -= WEIGHT_WIDTH * hold.width + TIGHT_PENALTY * _tight(target, other, rows, columns, tip)
    score -= WEIGHT_YAW * abs((yaw - preferences.rest_yaw + math.pi / 2) % math.pi - math.pi / 2)
    for position, failed_yaw in preferences.failed:
        same_yaw = abs((yaw - failed_yaw + math.pi / 2) % math.pi - math.pi / 2) < math.radians(25)
        close = np.linalg.norm(positions - position, axis=1) < FAILED_RADIUS
        score -= FAILED_PENALTY * (close & same_yaw)
    if preferences.cost is not None:
        score -= preferences.cost(positions, yaw)
    score[~hold.possible] = -np.inf
    best = int(np.argmax(score))
    if not np.isfinite(score[best]):
        return None
    return Grasp(positions[best], yaw, float(hold.width[best]), float(hold.engagement[best]), float(score[best]))


def _rotated(maps: Maps, yaw: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The maps on a grid along (first index) and across (second index) the closing axis, and its (2,) centre."""
    count = maps.target.shape[0]
    n = count // 2
    steps = np.arange(-n, n + 1)
    u, v = np.meshgrid(steps, steps, indexing="ij")
    c, s = math.cos(yaw), math.sin(yaw)
    i = np.clip(np.rint(n + c * u - s * v).astype(int), 0, count - 1)
    j = np.clip(np.rint(n + s * u + c * v).astype(int), 0, count - 1)
    return maps.target[i, j], maps.other[i, j], maps.low + n * STEP


def _lowest_tips(target: FloatArray, other: FloatArray) -> tuple[IntArray, IntArray, FloatArray]:
    """Grid positions (M,), (M,) over the target, and the lowest height (M,) [m] the finger tips may have there."""
    solid = np.maximum(target, other)
    count = solid.shape[0]
    finger = _finger_tops(solid, FINGER_HALF, FINGER_INNER, FINGER_OUTER)
    palm = _window_max(_window_max(solid, _cells(PALM_HALF[0]), 0), _cells(PALM_HALF[1]), 1)
    tip = np.maximum(finger + TIP_CLEARANCE, palm - PALM - TIP + PALM_CLEARANCE)
    hit = np.argwhere(target > NOTHING)
    low, high = np.maximum(hit.min(axis=0) - 9, 0), np.minimum(hit.max(axis=0) + 10, count)
    grid = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1], 2), indexing="ij")
    rows, columns = grid[0].ravel(), grid[1].ravel()
    above = _window_max(target, _cells(OPEN_HALF), 0)[rows, columns] > tip[rows, columns] + MIN_ENGAGEMENT
    return rows[above], columns[above], tip[rows[above], columns[above]]


@dataclass(frozen=True, eq=False)
class _Hold:
    """What is between the fingers of M candidate grasps; (M,) each, lengths in [m]."""

    engagement: FloatArray
    width: FloatArray
    offset: FloatArray
    rough: FloatArray
    slope: FloatArray
    possible: npt.NDArray[np.bool_]


def _hold(target: FloatArray, other: FloatArray, rows: IntArray, columns: IntArray, tip: FloatArray) -> _Hold:
    """Look at the strip between the fingers, row by row of the pads' width."""
    reach, pad = _cells(OPEN_HALF), 2  # cells; pads are 21 mm wide
    along, across = np.arange(-reach, reach + 1), np.arange(-pad, pad + 1)
    limit = target.shape[0] - 1
    i = np.clip(rows[:, None, None] + along[None, None, :], 0, limit)
    j = np.clip(columns[:, None, None] + across[None, :, None], 0, limit)
    strip, rest = target[i, j], other[i, j]  # (M, rows, cells)
    row_top = strip.max(axis=2)
    engagement = (row_top - tip[:, None]).min(axis=1)
    left, right = _edges(strip, tip[:, None] + 0.005, along)  # pads begin 5 mm above the tips
    left_top, right_top = _edges(strip, row_top - 0.004, along)
    slope = np.maximum((left_top - left).mean(axis=1), (right - right_top).mean(axis=1)) * STEP
    width = (right.max(axis=1) - left.min(axis=1) + 1) * STEP
    offset = 0.5 * (right.max(axis=1) + left.min(axis=1)) * STEP
    rough = (left.std(axis=1) + right.std(axis=1)) * STEP
    free = rest.max(axis=(1, 2)) < tip + 0.002
    fits = (width < 2 * OPEN_HALF) & (np.abs(offset) < 0.012)
    possible = free & fits & (engagement >= MIN_ENGAGEMENT) & (slope < MAX_SLOPE)
    return _Hold(engagement, width, offset, rough, slope, possible)


def _edges(strip: FloatArray, level: FloatArray, along: IntArray) -> tuple[FloatArray, FloatArray]:
    """First and last cell of each row higher than `level`: (M, rows) each, in cells from the middle."""
    high = strip > level[..., None]
    left = along[np.argmax(high, axis=2)]
    right = along[strip.shape[2] - 1 - np.argmax(high[:, :, ::-1], axis=2)]
    return left.astype(np.float64), right.astype(np.float64)


def _tight(target: FloatArray, other: FloatArray, rows: IntArray, columns: IntArray, tip: FloatArray) -> FloatArray:
    """(M,) 1 where a hand that is 6 mm off would touch something on its way down, else 0."""
    wide = _finger_tops(np.maximum(target, other), FINGER_HALF + 0.006, FINGER_INNER, FINGER_OUTER + 0.006)
    return np.asarray(wide[rows, columns] + TIP_CLEARANCE > tip + 0.001, dtype=np.float64)


def _finger_tops(solid: FloatArray, half: float, inner: float, outer: float) -> FloatArray:
    """The highest point under both open fingers of a hand centred on each cell."""
    across = _window_max(solid, _cells(half), 1)
    tops = np.full_like(solid, NOTHING)
    count = solid.shape[0]
    for shift in range(_cells(inner), _cells(outer) + 1):
        tops[:-shift] = np.maximum(tops[:-shift], across[shift:])
        tops[shift:] = np.maximum(tops[shift:], across[: count - shift])
    return tops


def _window_max(values: FloatArray, radius: int, axis: int) -> FloatArray:
    """Maximum over `radius` cells to both sides along an axis; beyond the edge the edge's values count."""
    pad = [(0, 0), (0, 0)]
    pad[axis] = (radius, radius)
    return np.asarray(sliding_window_view(np.pad(values, pad, mode="edge"), 2 * radius + 1, axis).max(axis=-1))


def _cells(length: float) -> int:
    """[m] -> whole cells."""
    return round(length / STEP)
