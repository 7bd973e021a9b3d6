"""Between numpy columns and parquet files. Values are kept bit by bit."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vla.data.episode import Column
from vla.data.lerobot.errors import DatasetError

TASK_COLUMNS = ("task", "__index_level_0__")  # lerobot 0.4.4 writes the second: a pandas index without a name


def to_arrow(column: Column) -> pa.Array:
    """(T, ...) -> an array of T values, or of lists: of fixed length for one axis, as the `datasets` library stores."""
    if column.dtype.kind == "U":
        return pa.array(column.tolist(), pa.string())
    array = pa.array(column.reshape(-1))
    if column.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(array, column.shape[1])
    for axis in range(column.ndim - 1, 0, -1):
        ends = np.arange(0, len(array) + 1, column.shape[axis], dtype=np.int32)
        array = pa.ListArray.from_arrays(pa.array(ends), array)
    return array


def to_numpy(array: pa.ChunkedArray, feature: Mapping[str, Any], where: str) -> Column:
    """Inverse of `to_arrow`, checked against what info.json says of the feature.

    Raises:
        DatasetError: another type or shape, or an empty cell.
    """
    rows = len(array)
    values = array.combine_chunks()
    empty = values.null_count
    while pa.types.is_list(values.type) or pa.types.is_fixed_size_list(values.type):
        values = values.flatten()
        empty += values.null_count
    if empty:
        raise DatasetError(f"{where}: {empty} empty cells; expected a value in each. Record the episode anew.")
    if feature["dtype"] == "string":
        return np.array(values.to_pylist(), dtype=np.str_)
    numbers = values.to_numpy(zero_copy_only=False)
    shape = tuple(feature["shape"])
    if numbers.dtype.name != feature["dtype"] or numbers.size != rows * int(np.prod(shape)):
        raise DatasetError(
            f"{where}: expected {feature['dtype']} of shape {shape} a row, as in info.json, got {numbers.dtype.name}, "
            f"{numbers.size / max(rows, 1):g} numbers a row. The file is of another dataset; restore the right one."
        )
    return np.array(numbers.reshape(rows, *(() if shape == (1,) else shape)))  # a copy: arrow's memory is read-only


def data_file(columns: Mapping[str, Column]) -> bytes:
    """A data file of an episode."""
    return _to_parquet(pa.table({name: to_arrow(column) for name, column in columns.items()}))


def episode_file(row: Mapping[str, Any]) -> bytes:
    """A file of `meta/episodes` with one row; arrays are nested lists of float64 or int64."""
    cells: dict[str, pa.Array] = {}
    for name, value in row.items():
        if isinstance(value, np.ndarray):
            values = value.astype(np.int64 if value.dtype.kind in "iu" else np.float64)
            kind = pa.from_numpy_dtype(values.dtype)
            for _ in range(values.ndim):
                kind = pa.list_(kind)
            cells[name] = pa.array([values.tolist()], kind)
        elif isinstance(value, list):
            cells[name] = pa.array([value], pa.list_(pa.string()))
        else:
            cells[name] = pa.array([value])
    return _to_parquet(pa.table(cells))


def tasks_file(tasks: Sequence[str]) -> bytes:
    """meta/tasks.parquet: what pandas reads as a frame with the index `task` and the column `task_index`."""
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())})
    kinds = {"task_index": ("int64", "int64"), "task": ("unicode", "object")}
    columns = [
        {"name": name, "field_name": name, "pandas_type": first, "numpy_type": second, "metadata": None}
        for name, (first, second) in kinds.items()
    ]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.2.0"}
    return _to_parquet(table.replace_schema_metadata({"pandas": json.dumps(pandas)}))


def read_tasks(path: Path) -> list[str]:
    """The instructions of a dataset by their task_index."""
    table = read_table(path)
    name = next((name for name in TASK_COLUMNS if name in table.column_names), None)
    if name is None or "task_index" not in table.column_names:
        raise DatasetError(f"{path}: expected the columns task and task_index, got {table.column_names}.")
    by_index = dict(zip(table["task_index"].to_pylist(), table[name].to_pylist(), strict=True))
    if sorted(by_index) != list(range(len(by_index))):
        raise DatasetError(f"{path}: expected task_index 0 to {len(by_index) - 1}, got {sorted(by_index)}.")
    return [by_index[index] for index in range(len(by_index))]


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A parquet file, or a clear word about why not.

    Raises:
        DatasetError: missing, torn or not parquet.
    """
    try:
        with pq.ParquetFile(path) as file:
            return file.read(columns=columns, use_threads=False)
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: missing. Restore the file, or record the episode anew.") from error
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{path}: cannot be read ({error}). Restore the file from a copy.") from error


def _to_parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
