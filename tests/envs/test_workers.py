"""Worker processes: shared memory, calls, failures."""

import numpy as np
import pytest

from envs.workers import SharedArrays, Workers


class Adder:
    """Adds to its row of what is shared."""

    def __init__(self, shared: SharedArrays, row: int) -> None:
        if row < 0:
            raise ValueError("no such row")
        self.arrays, self.row = shared.views(), row

    def add(self, amount: float) -> float:
        self.arrays["total"][self.row] += amount
        return float(self.arrays["total"][self.row].sum())

    def leave(self) -> None:
        raise SystemExit

    def secret(self) -> object:
        return lambda: None  # cannot be sent


@pytest.fixture
def shared() -> SharedArrays:
    return SharedArrays({"flag": ((3,), "uint8"), "total": ((2, 2), "float64")})


def test_arrays_begin_aligned_and_at_zero(shared: SharedArrays) -> None:
    arrays = shared.views()
    assert arrays["flag"].shape == (3,) and arrays["total"].dtype == np.float64
    assert not arrays["total"].any() and not arrays["flag"].any()
    start = arrays["flag"].__array_interface__["data"][0]
    assert arrays["total"].__array_interface__["data"][0] - start == 64
    arrays["total"][1, 0] = 2.0
    assert shared.views()["total"][1, 0] == 2.0


def test_workers_write_what_is_shared_and_go_on_after_an_error(shared: SharedArrays) -> None:
    workers = Workers("test", Adder, [(shared, 0), (shared, 1)])
    try:
        assert workers.all("add", [(1.0,), (2.0,)]) == [2.0, 4.0]
        np.testing.assert_array_equal(shared.views()["total"], [[1, 1], [2, 2]])
        with pytest.raises(RuntimeError, match=r"(?s)a test worker failed:.*has no attribute 'subtract'"):
            workers.one(1, "subtract")
        with pytest.raises(RuntimeError, match="a test worker failed"):
            workers.one(1, "secret")
        assert workers.one(1, "add", 0.5) == 5.0
        with pytest.raises(RuntimeError, match="a test worker ended without a word"):
            workers.one(0, "leave")
    finally:
        workers.close()
    assert len(workers) == 0


def test_a_worker_that_cannot_begin_says_why(shared: SharedArrays) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)a test worker failed:.*no such row"):
        Workers("test", Adder, [(shared, 0), (shared, -1)])
