"""Numpy arrays as columns of parquet files, and back.

Legend: F frames; n elements of a vector.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .episodes import DatasetError
from .files import need


def table_of(columns: dict[str, np.ndarray]) -> Any:
    """Arrays (F, n) or (F,) by name as a table, as LeRobot has it: an element alone is a plain column, more of them are
    lists of a fixed size."""
    arrow = need("pyarrow")
    arrays = {}
    for name, x in columns.items():
        values = arrow.array(x.reshape(-1))
        single = x.ndim == 1 or x.shape[1] == 1
        arrays[name] = values if single else arrow.FixedSizeListArray.from_arrays(values, x.shape[1])
    return arrow.table(arrays)


def array_of(column: Any) -> np.ndarray:
    """A column as (F,), or (F, n) where it holds lists of n, nested or not.

    Raises:
        ValueError: they differ in length, or values are missing.
    """
    arrow = need("pyarrow")
    combined = column.combine_chunks()
    if combined.null_count:
        raise ValueError(f"{combined.null_count} values are missing")
    if not arrow.types.is_nested(combined.type):
        return combined.to_numpy(zero_copy_only=False)
    flat = combined
    while arrow.types.is_nested(flat.type):  # an array of several axes is a list of lists
        if not arrow.types.is_fixed_size_list(flat.type) and len(set(flat.value_lengths().to_pylist())) > 1:
            raise ValueError("its vectors differ in length")
        flat = flat.flatten()
    if flat.null_count:
        raise ValueError(f"{flat.null_count} values are missing")
    return flat.to_numpy(zero_copy_only=False).reshape(len(combined), -1)


def read_table(path: Path, columns: list[str]) -> Any:
    """These columns of a parquet file. Raises DatasetError where the file is damaged or lacks one."""
    arrow, parquet = need("pyarrow"), need("pyarrow.parquet")
    try:
        there = parquet.read_schema(path).names
        missing = [name for name in columns if name not in there]
        if missing:
            raise DatasetError(f"{path}: column {missing[0]!r} is missing; there: {', '.join(there)}")
        return parquet.read_table(path, columns=columns)
    except (OSError, arrow.ArrowException) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error
