# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S3: the proof that a flipped byte is found, and that it can fail."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import tamper


@pytest.fixture
def store(tmp_path: Path) -> Path:
    root = tmp_path / "store"
    (root / "blobs").mkdir(parents=True)
    (root / "manifests").mkdir()
    for content in (b"small", b"larger blob" * 100):
        (root / "blobs" / f"sha256-{hashlib.sha256(content).hexdigest()}").write_bytes(content)
    return root


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_flipped_bit_is_found_and_nothing_is_left(store: Path, tmp_path: Path) -> None:
    before = snapshot(tmp_path)
    proof = tamper.prove(str(store), str(tmp_path), 10_000)
    assert (proof.check.status, proof.finding, proof.size) == ("passed", None, 1100)
    assert snapshot(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_verification_that_looks_away_fails_the_proof(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Remove the protection and the proof must go red."""
    monkeypatch.setattr(tamper, "_mismatches", lambda _store, _digest: False)
    proof = tamper.prove(str(store), str(tmp_path), 10_000)
    assert proof.check.status == "failed"
    assert proof.finding is not None
    assert proof.finding.code == "STORE-TAMPER-MISSED"


def test_a_served_blob_that_is_wrong_already_is_no_pass(store: Path, tmp_path: Path) -> None:
    largest = max((store / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(b"x" * largest.stat().st_size)
    proof = tamper.prove(str(store), str(tmp_path), 10_000)
    assert proof.check.status == "failed"


@pytest.mark.parametrize("max_bytes", [0, 4])
def test_without_a_blob_to_copy_it_is_unknown(store: Path, tmp_path: Path, max_bytes: int) -> None:
    assert tamper.prove(str(store), str(tmp_path), max_bytes).check.status == "unknown"


def test_a_missing_store_or_scratch_is_unknown(store: Path, tmp_path: Path) -> None:
    assert tamper.prove(str(tmp_path / "nowhere"), str(tmp_path), 10_000).check.status == "unknown"
    assert tamper.prove(str(store), str(tmp_path / "nowhere"), 10_000).check.status == "unknown"


def test_a_link_among_the_manifests_is_not_copied(store: Path, tmp_path: Path) -> None:
    """Following it could fill the disk, or show in the copy what only root may read."""
    (store / "manifests" / "host").mkdir()
    (store / "manifests" / "host" / "zero").symlink_to("/dev/zero")
    assert tamper.prove(str(store), str(tmp_path), 10_000).check.status == "passed"
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
