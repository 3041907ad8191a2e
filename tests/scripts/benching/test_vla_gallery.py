from __future__ import annotations

from scripts.benching.vla_gallery import Shot, choose

from .vla_made import result


def test_kinds_take_turns_and_rows_do_within_a_kind() -> None:
    rows = {"noise_weak": result("noise_weak", "snnd"), "reposition": result("reposition", "nns")}
    shots = choose({"a": rows, "b": {"noise_weak": result("noise_weak", "ss")}}, 4)
    assert shots == [
        Shot("a", "noise_weak", 3, "dropped"),
        Shot("a", "noise_weak", 1, "never_grasped"),
        Shot("a", "reposition", 0, "never_grasped"),
        Shot("a", "noise_weak", 2, "never_grasped"),
    ]
    assert choose({"a": rows}, 0) == []
