# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S5 against a real clamd: what it does not read is never called clean."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.clamd import ENGINE_MAX_BYTES, Clamd
from ansible_collections.rampart.ollama.plugins.module_utils.scan import FileVerdict, ScanReport, scan_files
from ansible_collections.rampart.ollama.plugins.module_utils.scan_engine import eicar, open_engine

pytestmark = pytest.mark.row("S5")
GIB = 1 << 30
MIB = 1 << 20


def codes(report: ScanReport) -> list[tuple[str, str]]:
    return [(finding.code, finding.severity.value) for finding in report.findings]


def one(report: ScanReport) -> FileVerdict:
    (item,) = report.files
    return item


def test_s5_eicar_is_found_in_a_file_that_clamd_has_no_way_to(clamd: Any, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    path = closed / "blob"
    path.write_bytes(eicar())
    path.chmod(0o600)
    report = scan_files({"blob": path}, clamd.settings())
    assert one(report).verdict == "infected"
    assert one(report).signature == "Eicar-Test-Signature.UNOFFICIAL"
    assert ("SCAN-INFECTED", "critical") in codes(report)
    assert report.checks[0].status == "failed"


def test_s5_a_file_below_the_limits_is_clean_to_its_last_byte(clamd: Any, sparse: Callable[..., Path]) -> None:
    path = sparse(20 * MIB, {0: os.urandom(MIB)})
    report = scan_files({"blob": path}, clamd.settings())
    item = one(report)
    assert (item.verdict, item.bytes_scanned, item.percent, item.windows) == ("clean", 20 * MIB, 100.0, 1)
    # Only local signatures are loaded, and that is told even where it is allowed.
    assert codes(report) == [("SCAN-STALE", "info")]
    assert report.checks[0].status == "passed"


def test_s5_undated_signatures_fail_unless_they_are_allowed(clamd: Any, sparse: Callable[..., Path]) -> None:
    report = scan_files({"blob": sparse(10, {})}, clamd.settings(allow_undated=False))
    assert codes(report) == [("SCAN-STALE", "medium")]
    assert (report.verdict, report.checks[0].status) == ("failed", "failed")


def test_s5_a_signature_at_2_5_gib_of_3_gib_is_found_in_windows(
    clamd: Any, sparse: Callable[..., Path], planted: bytes, tmp_path: Path
) -> None:
    path = sparse(3 * GIB, {5 * GIB // 2: planted})
    report = scan_files({"blob": path}, clamd.settings(scratch=str(tmp_path)))
    assert one(report).verdict == "infected"
    assert one(report).signature == "Rampart.Planted.UNOFFICIAL"
    assert one(report).windows == 4
    # Windows are files without a name: nothing but the blob is left behind.
    assert [entry.name for entry in tmp_path.iterdir()] == ["blob"]


def test_s5_the_same_without_windows_is_partial_and_never_clean(
    clamd: Any, sparse: Callable[..., Path], planted: bytes
) -> None:
    path = sparse(3 * GIB, {5 * GIB // 2: planted})
    report = scan_files({"blob": path}, clamd.settings(windows=False))
    item = one(report)
    assert (item.verdict, item.bytes_scanned, item.percent) == ("partial", 0, 0.0)
    assert ("SCAN-PARTIAL", "high") in codes(report)
    assert report.checks[0].status == "failed"


def test_s5_a_clamd_that_says_ok_to_what_it_did_not_read_is_not_believed(
    silent_clamd: Any, sparse: Callable[..., Path], planted: bytes
) -> None:
    path = sparse(3 * GIB, {5 * GIB // 2: planted})
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # The lie that this is all about.
        assert Clamd(str(silent_clamd.socket)).scan_descriptor(descriptor).kind == "OK"
    finally:
        os.close(descriptor)
    report = scan_files({"blob": path}, silent_clamd.settings())
    assert codes(report) == [("SCAN-UNAVAILABLE", "high")]
    assert "AlertExceedsMax" in report.findings[0].evidence
    assert one(report).verdict == "error"
    assert report.checks[0].status == "unknown"


def test_s5_the_largest_size_that_is_believed_is_read_to_its_last_byte(
    clamd: Any, sparse: Callable[..., Path], planted: bytes
) -> None:
    engine = open_engine(clamd.settings())
    assert engine.limit == ENGINE_MAX_BYTES
    path = sparse(ENGINE_MAX_BYTES, {ENGINE_MAX_BYTES - len(planted): planted})
    assert one(scan_files({"blob": path}, clamd.settings())).verdict == "infected"


@pytest.mark.parametrize("before", [1, 25, 50])
def test_s5_a_signature_across_the_end_of_a_window_is_found(
    small_clamd: Any, sparse: Callable[..., Path], planted: bytes, before: int
) -> None:
    sizes = {"window_bytes": 3 * MIB, "overlap_bytes": MIB}
    path = sparse(10 * MIB, {3 * MIB - before: planted})
    report = scan_files({"blob": path}, small_clamd.settings(**sizes))
    assert one(report).verdict == "infected"
    # It is the bytes that windows share which find it.
    blind = scan_files({"blob": path}, small_clamd.settings(window_bytes=3 * MIB, overlap_bytes=0))
    assert one(blind).verdict == "clean"


def test_s5_windows_read_every_byte_once_and_say_what_they_cannot_see(
    small_clamd: Any, sparse: Callable[..., Path]
) -> None:
    path = sparse(10 * MIB + 5, {0: os.urandom(5 * MIB)})
    item = one(scan_files({"blob": path}, small_clamd.settings(window_bytes=3 * MIB)))
    assert (item.verdict, item.bytes_scanned, item.percent, item.windows) == ("clean", 10 * MIB + 5, 100.0, 5)
    assert "archive" in item.note


def test_s5_a_limit_inside_the_file_is_partial_and_not_malware(small_clamd: Any, tmp_path: Path) -> None:
    archive = tmp_path / "a.gz"
    archive.write_bytes(gzip.compress(bytes(6 * MIB)))
    report = scan_files({"archive": archive}, small_clamd.settings())
    item = one(report)
    assert (item.verdict, item.signature, item.bytes_scanned) == ("partial", "", 0)
    assert "Heuristics.Limits.Exceeded" in report.findings[-1].evidence


def test_s5_what_can_only_be_sent_is_scanned_by_the_limit_for_sending(
    small_clamd: Any, sparse: Callable[..., Path], planted: bytes
) -> None:
    path = sparse(5 * MIB, {4 * MIB + 7: planted})
    client = Clamd(str(small_clamd.socket))
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert client.scan_stream(descriptor, 0, MIB).kind == "OK"
        assert client.scan_stream(descriptor, 4 * MIB, MIB).text == "Rampart.Planted.UNOFFICIAL"
        # More than StreamMaxLength: clamd hangs up, and says why.
        refused = client.scan_stream(descriptor, 0, 5 * MIB)
    finally:
        os.close(descriptor)
    assert refused.kind == "ERROR"
    assert "size limit exceeded" in refused.text


def test_s5_a_stopped_clamd_is_unavailable(stopped_clamd: Any, sparse: Callable[..., Path]) -> None:
    report = scan_files({"blob": sparse(10, {})}, stopped_clamd.settings())
    assert codes(report) == [("SCAN-UNAVAILABLE", "high")]
    assert (one(report).verdict, report.verdict, report.checks[0].status) == ("error", "failed", "unknown")
