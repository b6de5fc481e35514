# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S4, S5: nothing is published that was not judged and scanned first."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import screen
from ansible_collections.rampart.ollama.plugins.module_utils.findings import Finding, FindingError, Severity
from ansible_collections.rampart.ollama.plugins.module_utils.gguf_policy import DEFAULT_POLICY
from ansible_collections.rampart.ollama.plugins.module_utils.manifest import CONFIG_TYPE, LAYER_PREFIX, MANIFEST_TYPE
from ansible_collections.rampart.ollama.plugins.module_utils.revocation import parse_revocation
from ansible_collections.rampart.ollama.plugins.module_utils.revocation_memory import remember
from ansible_collections.rampart.ollama.plugins.module_utils.scan import ScanReport
from ansible_collections.rampart.ollama.plugins.module_utils.scan_engine import ScanSettings
from ansible_collections.rampart.ollama.plugins.module_utils.store import ModelStore

SUBJECT = "registry.ollama.ai/library/small:latest"


def finding(code: str, severity: Severity) -> Finding:
    return Finding(code, severity, "a file", "seen", "Look.")


def delivery(directory: Path, *blobs: bytes) -> tuple[bytes, dict[str, Path]]:
    """A manifest of a config and licence layers, and the files that bring them."""
    files: dict[str, Path] = {}
    described = []
    for number, data in enumerate((b"{}", *blobs)):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        files[digest] = directory / digest.replace(":", "-")
        files[digest].write_bytes(data)
        kind = LAYER_PREFIX + "license" if number else CONFIG_TYPE
        described.append({"mediaType": kind, "digest": digest, "size": len(data)})
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": described[0], "layers": described[1:]}
    return json.dumps(manifest).encode(), files


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Finding]]:
    """What layers and scanner will say, to be filled by a test."""
    said: dict[str, list[Finding]] = {"layers": [], "scan": []}
    monkeypatch.setattr(screen, "inspect_files", lambda manifest, paths, subject, policy: list(said["layers"]))
    monkeypatch.setattr(screen, "scan_files", lambda files, settings: ScanReport(findings=list(said["scan"])))
    return said


def screening(tmp_path: Path, scan: bool = True) -> screen.Screening:
    settings = ScanSettings(socket="/nonexistent", config="/nonexistent", scratch=str(tmp_path)) if scan else None
    return screen.Screening(ModelStore(tmp_path / "store"), SUBJECT, DEFAULT_POLICY, settings)


@pytest.mark.row("S5")
def test_a_scanner_that_does_not_answer_stops_the_model(tmp_path: Path) -> None:
    judge = screening(tmp_path)
    manifest, files = delivery(tmp_path, b"a licence")
    with pytest.raises(FindingError) as refused:
        judge(manifest, files)
    text = str(refused.value)
    assert "SCAN-UNAVAILABLE" in text or "LAYER-" in text
    assert judge.scanned is not None
    assert judge.scanned.verdict == "failed"


@pytest.mark.row("S5")
@pytest.mark.parametrize("severity", [Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL])
def test_what_the_scanner_finds_stops_the_model(
    tmp_path: Path, seen: dict[str, list[Finding]], severity: Severity
) -> None:
    seen["scan"] = [finding("SCAN-INFECTED", severity)]
    with pytest.raises(FindingError, match="SCAN-INFECTED"):
        screening(tmp_path)(*delivery(tmp_path))


@pytest.mark.row("S4")
def test_what_a_layer_shows_stops_the_model_and_the_worst_is_named(
    tmp_path: Path, seen: dict[str, list[Finding]]
) -> None:
    seen["layers"] = [finding("GGUF-TEMPLATE", Severity.MEDIUM), finding("GGUF-EMBEDDED-FILE", Severity.CRITICAL)]
    seen["scan"] = [finding("SCAN-PARTIAL", Severity.HIGH)]
    with pytest.raises(FindingError) as refused:
        screening(tmp_path)(*delivery(tmp_path))
    told = refused.value.finding
    assert told.code == "GGUF-EMBEDDED-FILE"
    assert "2 more (GGUF-TEMPLATE, SCAN-PARTIAL)" in told.evidence


@pytest.mark.row("S4")
def test_what_is_only_worth_knowing_is_kept_and_stops_nothing(
    tmp_path: Path, seen: dict[str, list[Finding]]
) -> None:
    seen["layers"] = [finding("GGUF-TEMPLATE", Severity.LOW)]
    judge = screening(tmp_path)
    judge(*delivery(tmp_path))
    assert [item.code for item in judge.findings] == ["GGUF-TEMPLATE"]


@pytest.mark.row("S5")
def test_without_a_scanner_nothing_counts_as_scanned(tmp_path: Path, seen: dict[str, list[Finding]]) -> None:
    seen["scan"] = [finding("SCAN-INFECTED", Severity.CRITICAL)]
    judge = screening(tmp_path, scan=False)
    judge(*delivery(tmp_path))
    assert judge.scanned is None


@pytest.mark.row("S4")
def test_blobs_that_the_store_has_already_are_judged_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: dict[str, Path] = {}

    def look(manifest: object, paths: dict[str, Path], subject: str, policy: object) -> list[Finding]:
        judged.update(paths)
        return []

    monkeypatch.setattr(screen, "inspect_files", look)
    manifest, files = delivery(tmp_path, b"shared", b"new")
    shared = "sha256:" + hashlib.sha256(b"shared").hexdigest()
    del files[shared]
    judge = screening(tmp_path, scan=False)
    judge(manifest, files)
    assert judged[shared] == judge.store.blob_path(shared)
    assert set(judged) == {shared, *files}


@pytest.mark.row("S5")
def test_blobs_that_the_store_has_already_are_scanned_with_the_model_that_shares_them(
    tmp_path: Path, seen: dict[str, list[Finding]], monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned: dict[str, Path] = {}

    def scan(paths: dict[str, Path], settings: ScanSettings) -> ScanReport:
        scanned.update(paths)
        return ScanReport()

    monkeypatch.setattr(screen, "scan_files", scan)
    manifest, files = delivery(tmp_path, b"shared", b"new")
    shared = "sha256:" + hashlib.sha256(b"shared").hexdigest()
    del files[shared]
    judge = screening(tmp_path)
    judge(manifest, files)
    assert scanned == {shared: judge.store.blob_path(shared), **files}


@pytest.mark.row("S6")
@pytest.mark.parametrize("which", ["manifest", "blob"])
def test_a_model_that_was_revoked_meanwhile_is_not_published(
    tmp_path: Path, seen: dict[str, list[Finding]], which: str
) -> None:
    manifest, files = delivery(tmp_path, b"weights")
    digest = "sha256:" + hashlib.sha256(manifest).hexdigest() if which == "manifest" else min(files)
    listed = {"digest" if which == "manifest" else "blob": digest, "reason": "r", "revoked_date": "2026-01-31"}
    memory = tmp_path / "memory" / "revocations.json"
    memory.parent.mkdir()
    judge = screening(tmp_path, scan=False)
    judge.revocations = memory
    judge(manifest, files)
    remember(memory, [parse_revocation({**listed, "revoked_by": "person@example.org"})])
    with pytest.raises(FindingError, match="APPROVAL-REVOKED"):
        judge(manifest, files)
