# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a clamd's answers can be believed: it has to find a test file, to admit its limits, and to have
signatures of a known age (row S5).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Optional

from .clamd import ENGINE_MAX_BYTES, Answer, Clamd, ClamdError, Version, read_limits
from .findings import Finding, Severity, refuse
from .hashing import default_workers
from .scan_windows import scratch_file

DAEMON_REMEDY = (
    "Start clamav-daemon (systemctl status clamav-daemon says why it is down), or run the role antivirus; "
    "nothing is known to be clean."
)
_UPDATE_REMEDY = "Update the signatures (freshclam, or antivirus_database_files), then scan again."
THREADS_MAX = 4
# How clamd names a file that it did not read to its end, when AlertExceedsMax is on.
LIMIT_NAME = "Heuristics.Limits.Exceeded"


@dataclass(frozen=True)
class ScanSettings:
    """How to scan: clamd's `socket` and configuration file, and how large files are cut.

    `scratch` is a directory for the windows' nameless copies, best on the file system of what is scanned.
    `seconds` is for one piece. `workers` is how many windows are scanned at once (0: one a core, at most four); each
    takes `window_bytes` of scratch space. `allow_undated` admits a database of local signatures alone, which has no
    date. Raises FindingError (SCAN-SETTINGS-INVALID) for sizes, ages and times that make no sense.
    """

    socket: str = "/run/clamav/clamd.ctl"
    config: str = "/etc/clamav/clamd.conf"
    scratch: str = "/var/tmp"  # noqa: S108 - nameless files only
    windows: bool = True
    window_bytes: int = 1 << 30
    overlap_bytes: int = 1 << 20
    max_age_days: int = 7
    allow_undated: bool = False
    seconds: float = 900.0
    workers: int = 0

    def __post_init__(self) -> None:
        wrong = ""
        if not 0 <= self.overlap_bytes < self.window_bytes:
            wrong = "a window of {0} bytes cannot share {1}".format(self.window_bytes, self.overlap_bytes)
        elif self.max_age_days < 1 or self.seconds <= 0:
            wrong = "the age and the time allowed have to be positive"
        elif self.workers < 0:
            wrong = "there cannot be {0} workers".format(self.workers)
        if wrong:
            raise refuse("SCAN-SETTINGS-INVALID", "the scan", wrong, "Correct the setting, then scan again.")

    @property
    def threads(self) -> int:
        """How many windows are scanned at once."""
        return min(THREADS_MAX, self.workers or default_workers())


@dataclass(frozen=True)
class ScanEngine:
    """A clamd that was tried: `limit` is the size in bytes of the largest piece that it reads to its end.

    `streamed` is whether it has to be sent the bytes because it takes no descriptors.
    """

    clamd: Clamd
    version: Version
    limit: int
    streamed: bool

    def scan(self, descriptor: int, offset: int, length: int) -> Answer:
        """Have a piece scanned. Raises ClamdError, OSError. A descriptor that is passed is scanned whole."""
        if self.streamed:
            return self.clamd.scan_stream(descriptor, offset, length)
        return self.clamd.scan_descriptor(descriptor)

    @property
    def described(self) -> str:
        """Engine and signatures in a few words."""
        dated = self.version.dated
        signatures = "{0} of {1}".format(self.version.database, dated.date()) if dated else "without a date"
        return "ClamAV {0}, signatures {1}".format(self.version.engine, signatures)

    def as_dict(self) -> dict[str, Any]:
        """Return the module's shape of the engine."""
        dated = self.version.dated
        return {
            "version": self.version.engine,
            "database": self.version.database,
            "database_date": dated.isoformat() if dated else "",
            "limit": self.limit,
            "transport": "stream" if self.streamed else "descriptor",
        }


def open_engine(settings: ScanSettings) -> ScanEngine:
    """Return the daemon, tried. Raises FindingError (SCAN-UNAVAILABLE) when its OK would mean nothing."""
    clamd = Clamd(settings.socket, settings.seconds)
    try:
        clamd.ping()
        version = clamd.version()
        streamed = _find_test_file(clamd, settings)
        limits = read_limits(settings.config, version.engine)
        admits = limits.alerts if streamed else _admits_limits(clamd, settings)
    except ClamdError as error:
        raise refuse("SCAN-UNAVAILABLE", settings.socket, str(error), DAEMON_REMEDY) from error
    except OSError as error:
        raise refuse(
            "SCAN-UNAVAILABLE",
            settings.scratch,
            "no scratch file can be made: {0}".format(error.strerror or error),
            "Name a directory with free space that this account can write to.",
        ) from error
    if not admits:
        raise refuse(
            "SCAN-UNAVAILABLE",
            settings.socket,
            "clamd answers OK to what it did not read: AlertExceedsMax is off",
            "Set AlertExceedsMax yes in {0} and restart clamav-daemon.".format(settings.config),
        )
    return ScanEngine(clamd, version, limits.most(streamed), streamed)


def _find_test_file(clamd: Clamd, settings: ScanSettings) -> bool:
    """Have the harmless EICAR test file found; return whether it had to be sent. Raises FindingError, ClamdError."""
    sample = eicar()
    with scratch_file(settings.scratch, True) as descriptor:
        os.write(descriptor, sample)
        answer = clamd.scan_descriptor(descriptor)
        streamed = answer.kind == "ERROR"
        if streamed:
            answer = clamd.scan_stream(descriptor, 0, len(sample))
    if answer.kind != "FOUND":
        raise refuse(
            "SCAN-UNAVAILABLE",
            settings.socket,
            "clamd does not find the EICAR test file ({0})".format(answer.text or answer.kind),
            "Give it signatures: freshclam, or antivirus_database_files in the role antivirus.",
        )
    return streamed


def _admits_limits(clamd: Clamd, settings: ScanSettings) -> bool:
    """Whether a file that no clamd can read whole, all of it a hole, is answered by its limits and not by OK."""
    with scratch_file(settings.scratch, True) as descriptor:
        os.ftruncate(descriptor, ENGINE_MAX_BYTES + 3)
        answer = clamd.scan_descriptor(descriptor)
    return answer.kind == "FOUND" and answer.text.startswith(LIMIT_NAME)


def eicar() -> bytes:
    """Return the 68 bytes that every scanner reports; put together here, for no scanner to find them in this
    file.
    """
    return b"".join((b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR", b"-STANDARD-ANTIVIRUS-", b"TEST-FILE!$H+H*"))


def age_finding(version: Version, settings: ScanSettings, now: datetime) -> Optional[Finding]:
    """Return the finding for signatures that are old, dated in the future or without a date; None when fresh."""
    severity = Severity.MEDIUM
    if version.dated is None and version.database:
        evidence = "the date of signatures {0} cannot be read".format(version.database)
    elif version.dated is None:
        evidence = "only local signatures are loaded; nothing says how old they are"
        severity = Severity.INFO if settings.allow_undated else Severity.MEDIUM
    elif version.dated > now + timedelta(days=1):
        evidence = "the signatures are dated {0}, and it is {1}: a clock is wrong".format(
            version.dated.date(), now.date()
        )
    elif now - version.dated > timedelta(days=settings.max_age_days):
        evidence = "signatures {0} are of {1}, more than {2} days old".format(
            version.database, version.dated.date(), settings.max_age_days
        )
    else:
        return None
    return Finding("SCAN-STALE", severity, "ClamAV {0}".format(version.engine), evidence, _UPDATE_REMEDY)
