from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from policies.foundation.shards import INDEX, SINGLE, Shards, read_json

from .tiny import write_json, write_shards

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4), "c.d": torch.zeros(1, dtype=torch.bfloat16)}


def test_all_tensors_are_read_whichever_file_holds_them(tmp_path: Path) -> None:
    write_shards(tmp_path, TENSORS)
    found = dict(Shards(tmp_path).tensors())
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], x) and found[name].dtype == x.dtype for name, x in TENSORS.items())


def test_a_single_file_needs_no_index(tmp_path: Path) -> None:
    save_file(TENSORS, str(tmp_path / SINGLE))
    assert Shards(tmp_path).files == dict.fromkeys(TENSORS, SINGLE)


def test_what_is_rewritten_lies_in_the_same_files_beside_the_same_settings(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    write_shards(source, TENSORS)
    write_json(source / "config.json", {"x": 1})
    Shards(source).rewrite(target, lambda name, x: x + 1 if name == "b" else x)
    assert sorted(p.name for p in source.iterdir()) == sorted(p.name for p in target.iterdir())
    assert read_json(target / "config.json") == {"x": 1}
    assert read_json(target / INDEX) == read_json(source / INDEX)
    found = dict(Shards(target).tensors())
    assert torch.equal(found["b"], torch.full((4,), 2.0)) and torch.equal(found["a"], TENSORS["a"])
    assert torch.equal(dict(Shards(source).tensors())["b"], TENSORS["b"])
    assert load_file(str(target / Shards(target).files["c.d"]))["c.d"].dtype == torch.bfloat16


def test_bad_folders_are_errors_that_say_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"does not exist"):
        Shards(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=f"has neither {INDEX} nor {SINGLE}"):
        Shards(tmp_path)
    write_shards(tmp_path, TENSORS)
    with pytest.raises(ValueError, match=r"choose another folder"):
        Shards(tmp_path).rewrite(tmp_path, lambda name, x: x)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match=r"incomplete: model-00002-of-00002.safetensors"):
        Shards(tmp_path)


def test_a_broken_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / SINGLE).write_bytes(b"not safetensors")
    with pytest.raises(ValueError, match=f"cannot read .*{SINGLE}"):
        Shards(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"cannot read .*config.json"):
        read_json(tmp_path / "config.json")
