# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scan files with ClamAV and say how much of each was read (row S5).

clamd answers OK to a file that it did not read because of a limit, so its OK is believed only from a daemon that
was seen to report its limits, and only of a size it was seen to take. What was not read is SCAN-PARTIAL and never
clean; a file too large for one piece is scanned in windows that overlap.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from threading import Event
from typing import Any, Optional

from .clamd import Answer, ClamdError
from .findings import Check, Finding, FindingError, Severity, as_dicts, check, clean_text, refuse
from .hashing import open_plain
from .scan_engine import DAEMON_REMEDY, LIMIT_NAME, ScanEngine, ScanSettings, age_finding, open_engine
from .scan_windows import cut, window_of
from .store import FindingList

# A file that needs more windows is no model of this world, whatever size it claims.
WINDOWS_MAX = 65536
# A result names this many files, the bad ones first; the counts are of all.
FILES_SHOWN = 1000

CLEAN, INFECTED, PARTIAL, ERROR = "clean", "infected", "partial", "error"
_WORST_FIRST = (INFECTED, ERROR, PARTIAL, CLEAN)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PARTIAL_REMEDY = (
    "Do not take it for clean: raise clamd's MaxFileSize, MaxScanSize and MaxScanTime, or have it scanned in windows."
)


@dataclass
class FileVerdict:
    """What is known of one file: `size` and `bytes_scanned` in bytes, `verdict` clean, infected, partial or error.

    `windows` is in how many pieces it was read, `note` what that leaves unseen or why it was not read.
    """

    name: str
    path: str
    size: int = 0
    bytes_scanned: int = 0
    verdict: str = ERROR
    signature: str = ""
    windows: int = 1
    note: str = ""

    @property
    def percent(self) -> float:
        """How much was read, rounded down: 100.0 means every byte."""
        if not self.size:
            return 100.0 if self.verdict == CLEAN else 0.0
        return self.bytes_scanned * 1000 // self.size / 10

    def as_dict(self) -> dict[str, Any]:
        """Return the module's shape of a file."""
        return {
            "name": clean_text(self.name),
            "path": clean_text(self.path),
            "size": self.size,
            "bytes_scanned": self.bytes_scanned,
            "percent": self.percent,
            "verdict": self.verdict,
            "signature": self.signature,
            "windows": self.windows,
            "note": clean_text(self.note),
        }


@dataclass
class ScanReport:
    """What a scan found. `verdict` is "failed" from the first finding of medium severity on."""

    files: list[FileVerdict] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    engine: Optional[ScanEngine] = None

    @classmethod
    def refused(cls, finding: Finding) -> ScanReport:
        """Return the report of a scan that could not begin."""
        return cls(findings=[finding], checks=[check("store-scanned", None, finding.evidence)])

    @property
    def verdict(self) -> str:
        """Return "passed" or "failed"."""
        bad = any(finding.severity.rank >= Severity.MEDIUM.rank for finding in self.findings)
        return "failed" if bad else "passed"

    @property
    def infected(self) -> list[FileVerdict]:
        """The files that hold what a signature names."""
        return [item for item in self.files if item.verdict == INFECTED]

    @property
    def counts(self) -> dict[str, int]:
        """How many files have each verdict."""
        return {word: sum(item.verdict == word for item in self.files) for word in _WORST_FIRST}

    def as_result(self) -> dict[str, Any]:
        """Return the module's result, without `changed`."""
        shown = sorted(self.files, key=lambda item: (_WORST_FIRST.index(item.verdict), item.name))[:FILES_SHOWN]
        return {
            "files": [item.as_dict() for item in shown],
            "counts": self.counts,
            "engine": self.engine.as_dict() if self.engine else {},
            "findings": as_dicts(self.findings),
            "checks": as_dicts(self.checks),
            "verdict": self.verdict,
        }


def scan_files(paths: Mapping[str, Path], settings: ScanSettings, now: Optional[datetime] = None) -> ScanReport:
    """Scan the files at `paths` ({name: path}, names for the findings); never raises, never writes a name.

    When clamd cannot be asked, or its OK could not be believed, every file is an "error" and SCAN-UNAVAILABLE says
    why. `now` (UTC) is for the age of the signatures.
    """
    report = ScanReport()
    findings = FindingList()
    try:
        report.engine = open_engine(settings)
        stale = age_finding(report.engine.version, settings, now or datetime.now(timezone.utc))
        if stale:
            findings.append(stale)
        for name, path in paths.items():
            report.files.append(_scan_file(report.engine, settings, name, path, findings))
    except FindingError as error:
        findings.append(error.finding)
        for name in list(paths)[len(report.files) :]:
            report.files.append(FileVerdict(name, str(paths[name]), windows=0, note="not scanned: clamd was not there"))
    report.findings = findings.items()
    report.checks = [_check(report)]
    return report


def plain_files(directory: Path) -> dict[str, Path]:
    """Return {relative path: path} of everything below a directory but directories, following no link.

    What is no plain file is listed too, for the scan to say that it was not read. Raises FindingError (SCAN-ERROR).
    """
    found: dict[str, Path] = {}

    def refused(error: OSError) -> None:
        raise refuse(
            "SCAN-ERROR",
            clean_text(error.filename or directory),
            error.strerror or error,
            "Name a directory that can be read by this account.",
        ) from error

    if directory.is_symlink():
        refused(OSError(errno.ELOOP, "a symbolic link, not a directory", str(directory)))
    for parent, directories, files in os.walk(directory, onerror=refused):
        links = [name for name in directories if os.path.islink(os.path.join(parent, name))]
        for name in sorted(files + links):
            path = Path(parent, name)
            found[str(path.relative_to(directory))] = path
        directories.sort()
    return found


def _scan_file(engine: ScanEngine, settings: ScanSettings, name: str, path: Path, findings: FindingList) -> FileVerdict:
    """Return the verdict of one file and record its finding. Raises FindingError when clamd is gone."""
    result = FileVerdict(name, str(path))
    try:
        descriptor = open_plain(path)
    except OSError as error:
        return _unread(result, error.strerror or str(error), findings)
    try:
        before = os.fstat(descriptor)
        result.size = before.st_size
        _scan_pieces(engine, settings, descriptor, result)
        after = os.fstat(descriptor)
    except ClamdError as error:
        raise refuse(
            "SCAN-UNAVAILABLE", settings.socket, "while scanning {0}: {1}".format(name, error), DAEMON_REMEDY
        ) from error
    except OSError as error:
        return _unread(result, error.strerror or str(error), findings)
    finally:
        os.close(descriptor)
    moved = (before.st_size, before.st_mtime_ns, before.st_ctime_ns) != (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )
    if result.verdict == INFECTED:
        findings.add(
            "SCAN-INFECTED",
            Severity.CRITICAL,
            name,
            "{0} ({1} bytes)".format(result.signature, result.size),
            "Do not use it. Keep it apart, find out where it came from, and revoke its approval.",
        )
    elif moved:
        return _unread(result, "the file changed while it was scanned", findings)
    elif result.verdict == PARTIAL:
        evidence = "{0} of {1} bytes were read ({2} %): {3}".format(
            result.bytes_scanned, result.size, result.percent, result.note
        )
        findings.add("SCAN-PARTIAL", Severity.HIGH, name, evidence, _PARTIAL_REMEDY)
    elif result.verdict == ERROR:
        return _unread(result, result.note, findings)
    return result


def _unread(result: FileVerdict, reason: str, findings: FindingList) -> FileVerdict:
    result.verdict, result.note = ERROR, reason
    findings.add(
        "SCAN-ERROR",
        Severity.HIGH,
        result.name,
        "not scanned: {0}".format(reason),
        "Find out why, then scan again; it is not known to be clean.",
    )
    return result


@dataclass(frozen=True)
class _Piece:
    """What became of one piece of a file; `text` is the signature, or why it was not read."""

    offset: int
    length: int
    verdict: str
    text: str = ""


def _piece(offset: int, length: int, answer: Answer) -> _Piece:
    if answer.kind == "OK":
        return _Piece(offset, length, CLEAN)
    if answer.kind == "ERROR":
        return _Piece(offset, length, ERROR, "clamd says {0}".format(answer.text))
    if answer.text.startswith(LIMIT_NAME):
        return _Piece(offset, length, PARTIAL, "clamd says {0}".format(answer.text))
    return _Piece(offset, length, INFECTED, answer.text)


def _scan_pieces(engine: ScanEngine, settings: ScanSettings, descriptor: int, result: FileVerdict) -> None:
    """Fill in verdict, signature, bytes_scanned, windows and note. Raises ClamdError, OSError of the file."""
    size = result.size
    if size <= engine.limit:
        _judge(result, [_piece(0, size, engine.scan(descriptor, 0, size))])
        return
    length = min(settings.window_bytes, engine.limit)
    overlap = settings.overlap_bytes
    too_many = length <= overlap or size > WINDOWS_MAX * (length - overlap)
    if not settings.windows or too_many:
        result.verdict, result.windows = PARTIAL, 0
        result.note = "clamd reads files of at most {0} bytes, and {1}".format(
            engine.limit, "it needs too many windows" if settings.windows else "windows are switched off"
        )
        return
    windows = cut(size, length, overlap)
    result.windows = len(windows)
    _judge(result, _scan_windows(engine, settings, descriptor, windows))
    if result.verdict == CLEAN:
        result.note = (
            "read in {0} windows of at most {1} bytes sharing {2}: what only the whole shows (its hash, an archive "
            "across windows, a place counted from its end) was not looked for".format(len(windows), length, overlap)
        )


def _scan_windows(
    engine: ScanEngine, settings: ScanSettings, descriptor: int, windows: list[tuple[int, int]]
) -> list[_Piece]:
    """Return the windows that were asked about, in order; a find or an error ends it."""
    enough = Event()

    def once(window: tuple[int, int]) -> Optional[_Piece]:
        if enough.is_set():
            return None
        try:
            piece = _scan_window(engine, settings, descriptor, *window)
        except BaseException:
            enough.set()
            raise
        if piece.verdict in (INFECTED, ERROR):
            enough.set()
        return piece

    with ThreadPoolExecutor(max_workers=settings.threads) as pool:
        return [piece for piece in pool.map(once, windows) if piece is not None]


def _scan_window(engine: ScanEngine, settings: ScanSettings, descriptor: int, offset: int, length: int) -> _Piece:
    if engine.streamed:
        return _piece(offset, length, engine.scan(descriptor, offset, length))
    try:
        with window_of(descriptor, offset, length, settings.scratch) as copy:
            return _piece(offset, length, engine.scan(copy, 0, length))
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        return _Piece(offset, length, PARTIAL, "no space for a window in {0}".format(settings.scratch))


def _judge(result: FileVerdict, pieces: list[_Piece]) -> None:
    """Draw the verdict from the pieces: any find, then any error, then any piece that was not read."""
    end = 0
    for piece in pieces:
        if piece.verdict == CLEAN:
            result.bytes_scanned += piece.offset + piece.length - max(piece.offset, end)
            end = piece.offset + piece.length
    worst = min(pieces, key=lambda piece: _WORST_FIRST.index(piece.verdict))
    result.verdict = worst.verdict
    if worst.verdict == INFECTED:
        result.signature = worst.text
    else:
        result.note = worst.text


def _check(report: ScanReport) -> Check:
    """Passed only when there was something to scan, all of it was read, and nothing was found."""
    counts = report.counts
    read = sum(item.bytes_scanned for item in report.files)
    size = sum(item.size for item in report.files)
    windowed = sum(item.windows > 1 for item in report.files)
    evidence = "{0} files, {1} of {2} bytes read: {3}".format(
        len(report.files), read, size, ", ".join("{0} {1}".format(counts[word], word) for word in _WORST_FIRST)
    )
    if windowed:
        evidence += "; {0} in windows".format(windowed)
    if report.engine:
        evidence += "; {0}".format(report.engine.described)
    unseen = (
        report.engine is None
        or not report.files
        or any(finding.code == "SCAN-UNAVAILABLE" for finding in report.findings)
    )
    failed = report.verdict == "failed"
    if unseen:
        return check("store-scanned", False if counts[INFECTED] else None, evidence)
    return check("store-scanned", not failed, evidence)
