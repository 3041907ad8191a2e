from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embodied.datasets import DatasetError
from embodied.datasets.arrow import array_of, read_table, table_of

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def test_arrays_come_back_also_from_a_slice() -> None:
    made = {"x": np.arange(12.0).reshape(6, 2), "flag": np.arange(6) > 2, "one": np.arange(6.0).reshape(6, 1)}
    table = table_of(made)
    np.testing.assert_array_equal(array_of(table.column("x")), made["x"])
    np.testing.assert_array_equal(array_of(table.slice(2, 3).column("x")), made["x"][2:5])
    np.testing.assert_array_equal(array_of(table.slice(2, 3).column("flag")), made["flag"][2:5])
    np.testing.assert_array_equal(array_of(table.column("one")), np.arange(6.0))


def test_lists_of_lists_are_flattened() -> None:
    column = arrow.chunked_array([[[[1.0, 2.0], [3.0, 4.0]]], [[[5.0, 6.0], [7.0, 8.0]]]])
    assert array_of(column).tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1.0], [1.0, 2.0]], "differ in length"),
        ([[[1.0]], [[1.0, 2.0]]], "differ in length"),
        ([[1.0], None], "1 values are missing"),
        ([[1.0, None]], "1 values are missing"),
        ([1.0, None, None], "2 values are missing"),
    ],
)
def test_gaps_and_ragged_lists(values: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        array_of(arrow.chunked_array([values]))


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    parquet.write_table(arrow.table({"a": [1], "b": [2]}), tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet", ["b"]).column_names == ["b"]
    with pytest.raises(DatasetError, match=r"t\.parquet: column 'c' is missing; there: a, b"):
        read_table(tmp_path / "t.parquet", ["a", "c"])
