"""meta/stats.json: the statistics of a whole dataset, made from its files alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vla.data.episode import ACTION
from vla.data.lerobot import statistics, tables
from vla.data.lerobot.disk import put
from vla.data.lerobot.layout import STATS, column_features, files_of, to_json, video_keys
from vla.files import Write


def summarize(root: Path, info: Mapping[str, Any], write: Write = os.write) -> None:
    """Write meta/stats.json for the episodes that `info` counts, unless it is there already.

    Raises:
        OSError: of the disk.
        DatasetError: an episode's file cannot be read.
    """
    if frames_described(root) == info["total_frames"]:
        return
    files = [files_of(root, number, []) for number in range(info["total_episodes"])]
    columns = {name: feature for name, feature in column_features(info["features"]).items()
               if feature["dtype"] != "string"}  # fmt: skip
    cameras = video_keys(info["features"])
    data = pa.concat_tables(tables.read_table(file["data"], list(columns)) for file in files)
    result = {
        name: statistics.of_column(tables.to_numpy(data[name], feature, f"{root}: column {name!r}"))
        for name, feature in columns.items()
    }
    if cameras:
        names = [f"stats/{camera}/{name}" for camera in cameras for name in statistics.NAMES]
        rows = pa.concat_tables(tables.read_table(file["episodes"], names) for file in files).to_pylist()
        for camera in cameras:
            parts = [{name: np.array(row[f"stats/{camera}/{name}"]) for name in statistics.NAMES} for row in rows]
            result[camera] = statistics.pool(parts)
    put(root / STATS, to_json(result), write)


def frames_described(root: Path) -> int | None:
    """How many frames stats.json is about; None if there is no such file."""
    path = root / STATS
    if not path.exists():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    count = content.get(ACTION, {}).get("count") if isinstance(content, dict) else None
    return int(count[0]) if count else None
