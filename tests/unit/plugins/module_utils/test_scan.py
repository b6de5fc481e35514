# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S5: verdicts and coverage. What was not read, or not answered for, is never clean."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import scan_windows
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.module_utils.scan import (
    FILES_SHOWN,
    FileVerdict,
    ScanReport,
    plain_files,
    scan_files,
)
from ansible_collections.rampart.ollama.plugins.module_utils.scan_engine import ScanSettings, eicar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from clamd_stand_in import SIGNATURE, StandIn, saying

pytestmark = pytest.mark.row("S5")
LIMIT = 4096
TODAY = datetime(2026, 8, 21, tzinfo=UTC)
# Windows of 1000 bytes that share 100.
SMALL = {"window_bytes": 1000, "overlap_bytes": 100}


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[StandIn]:
    home = tmp_path / "clamd"
    home.mkdir()
    made = StandIn(home, LIMIT)
    yield made
    made.close()


@pytest.fixture
def scan(stand_in: StandIn, tmp_path: Path) -> Callable[..., ScanReport]:
    """Scan content, or what is at a path: scan(b"...", setting=...)."""

    def run(*contents: bytes | Path, **changes: Any) -> ScanReport:
        paths = {}
        for number, content in enumerate(contents):
            path = content if isinstance(content, Path) else tmp_path / "file{0}".format(number)
            if isinstance(content, bytes):
                path.write_bytes(content)
            paths["blob{0}".format(number)] = path
        return scan_files(paths, ScanSettings(**stand_in.settings(**{**SMALL, **changes})), TODAY)

    return run


def codes(report: ScanReport) -> list[tuple[str, str]]:
    return [(finding.code, finding.severity.value) for finding in report.findings]


def pieces(stand_in: StandIn) -> list[bytes]:
    """What was scanned after the test file."""
    return stand_in.scanned[1:]


def test_s5_a_clean_file_says_how_much_was_read(scan: Callable[..., ScanReport], stand_in: StandIn) -> None:
    report = scan(b"weights", b"")
    assert report.files[0].as_dict() == {
        "name": "blob0",
        "path": report.files[0].path,
        "size": 7,
        "bytes_scanned": 7,
        "percent": 100.0,
        "verdict": "clean",
        "signature": "",
        "windows": 1,
        "note": "",
    }
    assert (report.files[1].verdict, report.files[1].percent) == ("clean", 100.0)
    assert (report.findings, report.verdict) == ([], "passed")
    assert report.checks[0].as_dict() == {
        "id": "store-scanned",
        "status": "passed",
        "evidence": "2 files, 7 of 7 bytes read: 0 infected, 0 error, 0 partial, 2 clean; "
        "ClamAV 1.4.6, signatures 27800 of 2026-08-20",
    }
    assert report.as_result()["engine"]["transport"] == "descriptor"
    assert pieces(stand_in) == [b"weights", b""]


def test_s5_a_signature_is_critical(scan: Callable[..., ScanReport]) -> None:
    report = scan(b"x" + SIGNATURE, b"clean")
    assert codes(report) == [("SCAN-INFECTED", "critical")]
    assert [item.name for item in report.infected] == ["blob0"]
    assert report.counts == {"infected": 1, "error": 0, "partial": 0, "clean": 1}
    assert (report.verdict, report.checks[0].status) == ("failed", "failed")


@pytest.mark.parametrize("streamed", [False, True])
def test_s5_a_large_file_is_read_whole_in_windows(
    scan: Callable[..., ScanReport], stand_in: StandIn, streamed: bool
) -> None:
    stand_in.takes_descriptors = not streamed
    data = os.urandom(LIMIT + 1)
    report = scan(data)
    item = report.files[0]
    assert (item.verdict, item.bytes_scanned, item.percent, item.windows) == ("clean", LIMIT + 1, 100.0, 5)
    assert "archive" in item.note
    expected = [data[start : start + 1000] for start in range(0, LIMIT, 900)]
    assert sorted(pieces(stand_in)) == sorted(expected)
    assert "1 in windows" in report.checks[0].evidence


def test_s5_a_window_is_never_larger_than_what_clamd_reads(scan: Callable[..., ScanReport], stand_in: StandIn) -> None:
    report = scan(bytes(3 * LIMIT), window_bytes=1 << 30)
    assert (report.files[0].verdict, report.files[0].percent) == ("clean", 100.0)
    assert max(len(piece) for piece in pieces(stand_in)) == LIMIT


@pytest.mark.parametrize("offset", [0, 990, 1000 - len(SIGNATURE) // 2, 4000, 9000 - len(SIGNATURE)])
def test_s5_a_signature_anywhere_in_a_large_file_is_found(scan: Callable[..., ScanReport], offset: int) -> None:
    data = bytearray(9000)
    data[offset : offset + len(SIGNATURE)] = SIGNATURE
    report = scan(bytes(data))
    assert (report.files[0].verdict, report.files[0].signature) == ("infected", "Test.Signature")


def test_s5_without_windows_a_large_file_is_partial(scan: Callable[..., ScanReport], stand_in: StandIn) -> None:
    report = scan(bytes(LIMIT) + SIGNATURE, windows=False)
    item = report.files[0]
    assert (item.verdict, item.bytes_scanned, item.percent) == ("partial", 0, 0.0)
    assert codes(report) == [("SCAN-PARTIAL", "high")]
    assert report.checks[0].status == "failed"


def test_s5_a_limit_that_clamd_reports_is_partial_and_not_malware(
    scan: Callable[..., ScanReport], stand_in: StandIn
) -> None:
    # The daemon reads less than its configuration says: it was not restarted.
    stand_in.limit = 500
    report = scan(bytes(600))
    assert (report.files[0].verdict, report.files[0].signature) == ("partial", "")
    assert codes(report) == [("SCAN-PARTIAL", "high")]
    assert "0 of 600 bytes were read (0.0 %): clamd says Heuristics.Limits.Exceeded" in report.findings[0].evidence


def test_s5_a_window_that_was_not_read_counts_for_nothing(scan: Callable[..., ScanReport], stand_in: StandIn) -> None:
    stand_in.limit = 999
    report = scan(bytes(LIMIT + 1))
    # Of five windows only the last, 497 bytes long, was read.
    assert (report.files[0].verdict, report.files[0].bytes_scanned) == ("partial", 497)
    assert report.files[0].percent == 12.1


def test_s5_nearly_everything_is_not_a_hundred_per_cent() -> None:
    assert FileVerdict("x", "x", size=10**12, bytes_scanned=10**12 - 1).percent == 99.9


def test_s5_a_daemon_that_hides_its_limits_is_not_believed(scan: Callable[..., ScanReport], stand_in: StandIn) -> None:
    stand_in.admits = False
    report = scan(b"x")
    assert codes(report) == [("SCAN-UNAVAILABLE", "high")]
    assert "AlertExceedsMax" in report.findings[0].evidence
    assert report.files[0].verdict == "error"
    assert (report.verdict, report.checks[0].status) == ("failed", "unknown")
    assert pieces(stand_in) == []


def test_s5_a_daemon_that_is_sent_to_is_taken_by_its_configuration(
    scan: Callable[..., ScanReport], stand_in: StandIn
) -> None:
    stand_in.takes_descriptors = False
    assert scan(b"x").engine is not None
    stand_in.config.write_text("MaxFileSize 1M\n")
    assert codes(scan(b"x")) == [("SCAN-UNAVAILABLE", "high")]


def test_s5_a_daemon_that_finds_nothing_is_not_believed(scan: Callable[..., ScanReport], stand_in: StandIn) -> None:
    stand_in.rude["FILDES"] = saying(b"fd[9]: OK\0")
    report = scan(b"x")
    assert codes(report) == [("SCAN-UNAVAILABLE", "high")]
    assert "EICAR" in report.findings[0].evidence


@pytest.mark.parametrize("command", ["PING", "VERSION", "FILDES"])
@pytest.mark.parametrize("answer", [b"", b"fd[9]: OK", b"\xff" * 10000, b"no\0"])
def test_s5_garbage_makes_every_file_an_error(
    scan: Callable[..., ScanReport], stand_in: StandIn, command: str, answer: bytes
) -> None:
    stand_in.rude[command] = saying(answer)
    report = scan(b"x", b"y")
    assert codes(report) == [("SCAN-UNAVAILABLE", "high")]
    assert [item.verdict for item in report.files] == ["error", "error"]
    assert report.checks[0].status == "unknown"


def test_s5_a_daemon_that_dies_on_the_way_leaves_nothing_clean_behind_it(
    scan: Callable[..., ScanReport], stand_in: StandIn, tmp_path: Path
) -> None:
    honest = stand_in._say
    stand_in._say = lambda data: "" if data == b"poison" else honest(data)  # type: ignore[method-assign]
    report = scan(b"fine", b"poison", b"after")
    assert [item.verdict for item in report.files] == ["clean", "error", "error"]
    assert codes(report) == [("SCAN-UNAVAILABLE", "high")]
    assert "blob1" in report.findings[0].evidence
    assert report.checks[0].status == "unknown"


def test_s5_an_error_of_clamd_is_an_error_of_the_file(scan: Callable[..., ScanReport], stand_in: StandIn) -> None:
    honest = stand_in._say
    stand_in._say = lambda data: "No memory ERROR" if data == b"big" else honest(data)  # type: ignore[method-assign]
    report = scan(b"big", b"small")
    assert [item.verdict for item in report.files] == ["error", "clean"]
    assert codes(report) == [("SCAN-ERROR", "high")]
    assert "No memory" in report.findings[0].evidence


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory", "missing"])
def test_s5_what_is_no_plain_file_is_not_followed_and_not_clean(
    scan: Callable[..., ScanReport], stand_in: StandIn, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "odd"
    if kind == "symlink":
        path.symlink_to("/etc/hostname")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    report = scan(path, b"good")
    assert [item.verdict for item in report.files] == ["error", "clean"]
    assert codes(report) == [("SCAN-ERROR", "high")]
    assert pieces(stand_in) == [b"good"]


def test_s5_a_file_that_changes_under_the_scan_is_an_error(
    scan: Callable[..., ScanReport], stand_in: StandIn, tmp_path: Path
) -> None:
    honest = stand_in._say

    def change(data: bytes) -> str:
        if data == b"first":
            (tmp_path / "file0").write_bytes(b"other bytes")
        return honest(data)

    stand_in._say = change  # type: ignore[method-assign]
    report = scan(b"first")
    assert report.files[0].verdict == "error"
    assert "changed" in report.findings[0].evidence


def test_s5_no_space_for_a_window_is_partial(scan: Callable[..., ScanReport], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(scan_windows, "_copy", full)
    report = scan(bytes(LIMIT + 1))
    assert report.files[0].verdict == "partial"
    assert "no space" in report.findings[0].evidence


def test_s5_a_disk_that_cannot_be_read_is_an_error(
    scan: Callable[..., ScanReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: Any) -> Any:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(scan_windows, "_copy", broken)
    report = scan(b"x" * (LIMIT + 1), b"good")
    assert [item.verdict for item in report.files] == ["error", "clean"]
    assert "Input/output error" in report.findings[0].evidence


@pytest.mark.parametrize(
    ("version", "allowed", "found"),
    [
        ("ClamAV 1.4.6/27800/Thu Aug 13 12:00:00 2026", False, [("SCAN-STALE", "medium")]),
        ("ClamAV 1.4.6/27800/Sat Aug 15 12:00:00 2026", False, []),
        ("ClamAV 1.4.6/27800/Mon Aug 24 00:00:00 2026", False, [("SCAN-STALE", "medium")]),
        ("ClamAV 1.4.6/27800/yesterday afternoon", True, [("SCAN-STALE", "medium")]),
        ("ClamAV 1.4.6", False, [("SCAN-STALE", "medium")]),
        ("ClamAV 1.4.6", True, [("SCAN-STALE", "info")]),
    ],
)
def test_s5_old_and_undated_signatures_are_told(
    scan: Callable[..., ScanReport], stand_in: StandIn, version: str, allowed: bool, found: list[tuple[str, str]]
) -> None:
    stand_in.version = version
    report = scan(b"x", allow_undated=allowed)
    assert codes(report) == found
    failed = ("SCAN-STALE", "medium") in found
    assert report.checks[0].status == ("failed" if failed else "passed")
    # The file was scanned all the same: old signatures find what they know.
    assert report.files[0].verdict == "clean"


def test_s5_nothing_to_scan_is_no_pass(scan: Callable[..., ScanReport]) -> None:
    report = scan()
    assert (report.verdict, report.checks[0].status) == ("passed", "unknown")


def test_s5_many_files_are_counted_and_the_bad_ones_shown_first(stand_in: StandIn) -> None:
    report = ScanReport([FileVerdict("f{0:05}".format(number), "x", verdict="clean") for number in range(3000)])
    report.files.append(FileVerdict("zzz", "x", verdict="infected"))
    result = report.as_result()
    assert (len(result["files"]), result["files"][0]["name"]) == (FILES_SHOWN, "zzz")
    assert result["counts"] == {"infected": 1, "error": 0, "partial": 0, "clean": 3000}


def test_s5_hostile_sizes_cost_nothing(scan: Callable[..., ScanReport], tmp_path: Path) -> None:
    path = tmp_path / "endless"
    with path.open("wb") as stream:
        stream.truncate(8 * 10**12)
    report = scan(path)
    assert (report.files[0].verdict, report.files[0].windows) == ("partial", 0)
    assert "too many windows" in report.findings[0].evidence


def test_s5_a_directory_is_listed_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "d" / "inner").mkdir(parents=True)
    (tmp_path / "d" / "inner" / "blob").write_bytes(b"x")
    (tmp_path / "d" / "out").symlink_to("/etc")
    (tmp_path / "d" / "link").symlink_to("/etc/hostname")
    assert sorted(plain_files(tmp_path / "d")) == ["inner/blob", "link", "out"]
    (tmp_path / "e").symlink_to(tmp_path / "d")
    for wrong in (tmp_path / "e", tmp_path / "none", tmp_path / "d" / "inner" / "blob"):
        with pytest.raises(FindingError) as caught:
            plain_files(wrong)
        assert caught.value.finding.code == "SCAN-ERROR"


def test_s5_settings_that_make_no_sense_are_refused() -> None:
    for wrong in (
        {"window_bytes": 100, "overlap_bytes": 100},
        {"overlap_bytes": -1},
        {"max_age_days": 0},
        {"seconds": 0.0},
        {"workers": -1},
    ):
        with pytest.raises(FindingError) as caught:
            ScanSettings(**wrong)  # type: ignore[arg-type]
        assert caught.value.finding.code == "SCAN-SETTINGS-INVALID"


def test_s5_the_test_file_is_the_real_one_and_stands_in_no_file_of_ours() -> None:
    sample = eicar()
    # What everybody's scanner knows it by.
    assert hashlib.sha256(sample).hexdigest() == "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f"
    home = Path(__file__).resolve().parents[4]
    ours = [
        home / "plugins",
        home / "roles" / "antivirus",
        home / "tests" / "unit" / "plugins",
        home / "tests" / "scan",
    ]
    for root in ours:
        for path in root.rglob("*"):
            assert not path.is_file() or sample not in path.read_bytes(), path
