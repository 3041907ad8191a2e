from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sim2real import manifest as m
from sim2real.contract import contract_of
from sim2real.schema import SchemaError, canonical
from sim2real.verify import verify_bundle

Edit = Callable[[dict[str, Any]], None]


def edit(bundle: Path, change: Edit, reseal: bool = False) -> None:
    """Change the manifest's JSON; ``reseal`` covers the traces in the manifest itself."""
    data = json.loads((bundle / m.FILE).read_text())
    change(data)
    (bundle / m.FILE).write_text(json.dumps(data))
    if reseal:
        m.Manifest.read(bundle).sealed().write(bundle)


def test_a_manifest_reads_back_with_every_digit(mlp_bundle: Path, mlp_agent: Any):
    manifest = m.Manifest.read(mlp_bundle)
    spec = mlp_agent.spec
    assert manifest.contract == contract_of(spec, manifest.contract.model)
    assert manifest.provenance == {"commit": "abc"}
    assert m.check_seal(manifest) == manifest.sha256
    assert m.check_files(manifest, mlp_bundle) == "2 files"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("contract"), "missing key 'contract'"),
        (lambda d: d["contract"]["action"].pop("scale"), r"manifest\.contract\.action: missing key 'scale'"),
        (lambda d: d["contract"]["action"]["scale"].pop(), r"action\.scale: 1 entries for 2 names"),
        (lambda d: d["contract"]["observation"].pop(1), "starts at 4, the term before ends at 2"),
        (lambda d: d["contract"]["observation"].pop(), "obs has shape .*, the observation .*7"),
        (lambda d: d["contract"]["robot"]["kp"].append(1.0), r"robot\.kp: 3 entries"),
        (
            lambda d: d.update(format_version=1),
            "format version 1; this program reads 2 and 3: export the checkpoint again",
        ),
        (lambda d: d.update(format="zip"), "format is 'zip'"),
    ],
)
def test_a_manifest_of_another_form_is_refused(mlp_bundle: Path, copy_of: Any, change: Edit, message: str):
    bundle = copy_of(mlp_bundle)
    edit(bundle, change)
    with pytest.raises(SchemaError, match=message):
        m.Manifest.read(bundle)


def test_a_bundle_of_format_2_is_read_with_its_old_hashes(mlp_bundle: Path, copy_of: Any):
    """As format 2 hashed: all fields it had, none that came later."""
    bundle = copy_of(mlp_bundle)
    data = json.loads((bundle / m.FILE).read_text())
    del data["sha256"]
    data["format_version"] = 2
    assert not {"image", "instruction"} & set(data["contract"]) and "ties" not in data["parity"]
    sealed = {**data, "sha256": hashlib.sha256(canonical(data)).hexdigest()}
    (bundle / m.FILE).write_text(json.dumps(sealed))
    manifest = m.Manifest.read(bundle)
    assert m.check_seal(manifest) == sealed["sha256"]
    assert manifest.contract.sha256() == hashlib.sha256(canonical(data["contract"])).hexdigest()
    assert (manifest.contract.image, manifest.contract.instruction, manifest.parity.ties) == (None, None, 0)
    assert verify_bundle(bundle).passed


def test_no_manifest(tmp_path: Path):
    with pytest.raises(SchemaError, match=r"is no bundle: it has no manifest\.json"):
        m.Manifest.read(tmp_path)


def test_an_edit_breaks_the_seal(mlp_bundle: Path, copy_of: Any):
    bundle = copy_of(mlp_bundle)
    edit(bundle, lambda d: d["contract"]["robot"].update(kp=[35.0, 45.0]))
    with pytest.raises(SchemaError, match=r"manifest\.json was changed after the export"):
        m.check_seal(m.Manifest.read(bundle))


def test_files_are_checked(mlp_bundle: Path, copy_of: Any):
    bundle = copy_of(mlp_bundle)
    manifest = m.Manifest.read(bundle)
    (bundle / "policy.onnx.data").write_bytes(b"stale weights")
    with pytest.raises(SchemaError, match=r"does not list: policy\.onnx\.data"):
        m.check_files(manifest, bundle)
    (bundle / "golden.npz").unlink()
    with pytest.raises(SchemaError, match=r"golden\.npz is missing"):
        m.check_files(manifest, bundle)
    onnx = bytearray((bundle / "policy.onnx").read_bytes())
    onnx[-40] ^= 1
    (bundle / "policy.onnx").write_bytes(onnx)
    with pytest.raises(SchemaError, match=r"policy\.onnx was changed"):
        m.check_files(manifest, bundle)
    (bundle / "policy.onnx").write_bytes(onnx[:-1])
    with pytest.raises(SchemaError, match=r"policy\.onnx has \d+ bytes"):
        m.check_files(manifest, bundle)


def test_a_file_without_a_hash_is_noticed(mlp_bundle: Path, copy_of: Any):
    bundle = copy_of(mlp_bundle)
    edit(bundle, lambda d: d["files"].pop("golden.npz"), reseal=True)
    with pytest.raises(SchemaError, match=r"golden\.npz has no hash"):
        m.check_files(m.Manifest.read(bundle), bundle)
