# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scan that a timer starts: settings from a file, findings to the journal, a report for others to read (row W3).

The role antivirus puts this file and those it imports on the host.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TextIO

from .findings import FindingError, refuse
from .hashing import read_plain
from .scan import ScanReport, plain_files, scan_files
from .scan_engine import ScanSettings

SETTINGS_MAX_BYTES = 64 * 1024
_SCAN_KEYS = (
    "socket",
    "config",
    "scratch",
    "windows",
    "window_bytes",
    "max_age_days",
    "allow_undated",
    "seconds",
    "workers",
)


def main(arguments: list[str]) -> int:
    """Scan as the settings file named by the one argument says; return 0 (passed), 1 (failed) or 2 (not begun).

    The file is JSON: `directory`, `report` (a path, written whole or not at all), and fields of ScanSettings. Each
    finding is one line of JSON on standard output.
    """
    try:
        settings = _read_settings(arguments)
        started = _now()
        report = _scan(Path(settings["directory"]), ScanSettings(**{key: settings[key] for key in _SCAN_KEYS}))
        for finding in report.findings:
            _say(sys.stdout, json.dumps(finding.as_dict()))
        _say(sys.stdout, report.checks[0].evidence)
        _write(Path(settings["report"]), {**report.as_result(), "started": started, "ended": _now()})
    except FindingError as error:
        _say(sys.stderr, str(error))
        return 2
    return 0 if report.verdict == "passed" else 1


def _say(stream: TextIO, line: str) -> None:
    stream.write(line + "\n")
    stream.flush()


def _scan(directory: Path, settings: ScanSettings) -> ScanReport:
    try:
        return scan_files(plain_files(directory), settings)
    except FindingError as error:
        return ScanReport.refused(error.finding)


def _read_settings(arguments: list[str]) -> dict[str, Any]:
    subject = arguments[0] if len(arguments) == 1 else "the arguments"
    try:
        if len(arguments) != 1:
            raise ValueError("one settings file is expected")
        settings = json.loads(read_plain(arguments[0], SETTINGS_MAX_BYTES))
        if not isinstance(settings, dict) or set(settings) != {"directory", "report", *_SCAN_KEYS}:
            raise ValueError("the settings are not those that are expected")
    except (OSError, ValueError, RecursionError) as error:
        raise refuse(
            "SCAN-SETTINGS-INVALID",
            subject,
            getattr(error, "strerror", None) or error,
            "Run the role antivirus again: it writes the settings.",
        ) from error
    return settings


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _write(path: Path, content: dict[str, Any]) -> None:
    """Replace the report; whoever reads it sees the old one or the new one. Raises FindingError (SCAN-ERROR)."""
    try:
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".report")
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as stream:
                json.dump(content, stream)
                stream.write("\n")
                os.fchmod(stream.fileno(), 0o644)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(draft, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise
    except OSError as error:
        raise refuse(
            "SCAN-ERROR",
            str(path),
            "the report cannot be written: {0}".format(error.strerror or error),
            "Make room and check the directory's owner, then scan again.",
        ) from error
