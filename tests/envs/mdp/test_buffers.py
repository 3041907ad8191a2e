from __future__ import annotations

import pytest
import torch

from envs.mdp.buffers import Buffers, worlds_last

CPU = torch.device("cpu")


def make() -> Buffers:
    buffers = Buffers({"clock": (), "action": (2,), "feet": (2, 3)}, 4, CPU)
    buffers.matrix.copy_(torch.arange(36.0).view(4, 9))
    return buffers


def test_names_are_live_views_of_neighbouring_columns():
    buffers = make()
    assert {name: tuple(value.shape) for name, value in buffers.items()} == {
        "clock": (4,),
        "action": (4, 2),
        "feet": (4, 2, 3),
    }
    assert buffers["action"][1].tolist() == [10.0, 11.0]
    assert buffers["feet"][2].tolist() == [[21.0, 22.0, 23.0], [24.0, 25.0, 26.0]]
    buffers["feet"][2, 1, 0] = -1.0
    assert buffers.matrix[2, 6] == -1.0


def test_rows_are_a_copy_of_some_worlds():
    buffers = make()
    rows = buffers.rows(torch.tensor([3, 0]))
    assert rows["clock"].tolist() == [27.0, 0.0] and rows["feet"].shape == (2, 2, 3)
    rows["clock"][:] = 7.0
    assert buffers["clock"].tolist() == [0.0, 9.0, 18.0, 27.0]


def test_blank_rows_replace_everything_of_their_worlds_and_nothing_else():
    buffers = make()
    fresh = buffers.blank(1)
    assert not fresh.matrix.any()
    fresh["action"][:] = 5.0
    buffers.put(torch.tensor([2]), fresh)
    assert buffers.matrix[2].tolist() == [0.0, 5.0, 5.0] + [0.0] * 6
    assert torch.equal(buffers.matrix[[0, 1, 3]], torch.arange(36.0).view(4, 9)[[0, 1, 3]])


def test_flags_keep_their_type_and_unknown_names_are_errors():
    flags = Buffers({"contact": (4,)}, 2, CPU, torch.bool)
    assert flags["contact"].dtype == flags.blank(3)["contact"].dtype == torch.bool
    with pytest.raises(KeyError, match="contacts"):
        flags["contacts"]


def test_the_numbers_of_a_column_lie_side_by_side():
    buffers = make()
    for view in (buffers["clock"], buffers["action"][:, 1], buffers["feet"][:, 1, 2], make().blank(3)["feet"][:, 0, 0]):
        assert view.is_contiguous()
    x = torch.arange(24.0, dtype=torch.float64).view(2, 3, 4)
    copy = worlds_last(x)
    assert copy.dtype == torch.float32 and torch.equal(copy, x.float())
    assert copy[:, 2, 3].is_contiguous() and copy.movedim(0, -1).is_contiguous()
    assert worlds_last(x[:, 0, 0]).tolist() == [0.0, 12.0] and worlds_last(x[:0]).shape == (0, 3, 4)


def test_a_state_of_another_layout_is_refused():
    buffers, other = make(), make()
    other.matrix.uniform_()
    buffers.load(other.matrix)
    assert torch.equal(buffers.matrix, other.matrix)
    with pytest.raises(ValueError, match=r"shape \(4, 8\), not \(4, 9\).*another version.*embodied train init=RUN"):
        buffers.load(other.matrix[:, 1:])
