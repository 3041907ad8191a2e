from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from policies.foundation.keymap import Entry, KeyMap, export, load, renamed, same, stacked
from policies.foundation.shards import Shards

from .tiny import write_shards


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k = nn.Linear(3, 2, bias=False), nn.Linear(3, 2, bias=False)
        self.norm = nn.LayerNorm(3)


KEYS: KeyMap = {"old.qk": stacked("q.weight", "k.weight"), "old.pool": None} | renamed(
    "old.ln.", "norm.", ("weight", "bias")
)
TENSORS = {
    "old.qk": torch.arange(12.0).view(4, 3),
    "old.ln.weight": torch.tensor([1.0, 2.0, 3.0]),
    "old.ln.bias": torch.tensor([4.0, 5.0, 6.0]),
    "old.pool": torch.full((2,), 9.0),
}


def shards(folder: Path, tensors: dict[str, Tensor] = TENSORS) -> Shards:
    folder.mkdir(exist_ok=True)
    write_shards(folder, tensors)
    return Shards(folder)


def test_published_tensors_go_where_the_map_says(tmp_path: Path) -> None:
    net = Net()
    load(net, shards(tmp_path), KEYS)
    assert net.q.weight.tolist() == [[0, 1, 2], [3, 4, 5]] and net.k.weight.tolist() == [[6, 7, 8], [9, 10, 11]]
    assert net.norm.weight.tolist() == [1, 2, 3] and net.norm.bias.tolist() == [4, 5, 6]


def test_an_entry_may_say_nothing_about_one_of_its_tensors(tmp_path: Path) -> None:
    net = Net()
    before = net.norm.bias.clone()
    entry = Entry(("norm.weight", "norm.bias"), lambda x: (x, None), lambda own: own[0] + own[1])
    load(net, shards(tmp_path, {"sum": torch.ones(3)}), {"sum": entry})
    assert net.norm.weight.tolist() == [1, 1, 1] and torch.equal(net.norm.bias, before)


def test_exported_weights_are_ours_and_what_is_not_used_stays(tmp_path: Path) -> None:
    source, net = shards(tmp_path / "a"), Net()
    load(net, source, KEYS)
    with torch.no_grad():
        net.k.weight += 1
    export(lambda name: net.get_parameter(name), source, KEYS, tmp_path / "b")
    found = dict(Shards(tmp_path / "b").tensors())
    assert torch.equal(found["old.qk"], TENSORS["old.qk"] + torch.tensor([0.0, 0, 1, 1]).view(4, 1))
    assert all(torch.equal(found[name], TENSORS[name]) for name in ("old.pool", "old.ln.weight", "old.ln.bias"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"old.qk": None}, "old.qk is missing"),
        ({"new": torch.ones(1)}, "new is not known"),
        ({"old.qk": torch.ones(6, 3)}, r"old.qk is \(6, 3\), not \(4, 3\)"),
        ({"old.ln.bias": torch.ones(4)}, r"old.ln.bias is \(4,\), not \(3,\)"),
    ],
)
def test_what_does_not_fit_is_an_error_that_names_it(
    change: dict[str, Tensor | None], message: str, tmp_path: Path
) -> None:
    changed = {name: x for name, x in (TENSORS | change).items() if x is not None}
    with pytest.raises(ValueError, match=message):
        load(Net(), shards(tmp_path, changed), KEYS)


def test_many_faults_are_counted(tmp_path: Path) -> None:
    keys = {f"x{i}": same("norm.bias") for i in range(5)}
    with pytest.raises(ValueError, match=r"x0 is missing; x1 is missing; x2 is missing \(and 6 more\)"):
        load(Net(), shards(tmp_path), keys)
