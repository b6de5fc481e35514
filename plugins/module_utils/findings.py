# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one currency of the project: findings, and the checks that controls are evaluated from.

A finding says that something is wrong (or worth knowing) and what to do next. A check says whether one
property was seen to hold. Modules that look return both, as lists of plain dictionaries.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Optional

_CODE = re.compile(r"^[A-Z][A-Z0-9]*(-[A-Z0-9]+)+$")
_CHECK_ID = re.compile(r"^[a-z][a-z0-9]*(-[a-z0-9]+)+$")
_STATUSES = ("passed", "failed", "unknown")

# Evidence travels to logs, reports and terminals: hostile input must not be able to grow it or to move a
# cursor.
EVIDENCE_MAX_CHARS = 500


def clean_text(text: object, limit: int = EVIDENCE_MAX_CHARS) -> str:
    """Return `text` as one printable line of at most `limit` characters.

    Control characters become `?`, runs of white space one space; what is cut is marked with `...`.
    """
    line = " ".join(str(text).split())
    line = "".join(char if char.isprintable() else "?" for char in line)
    return line if len(line) <= limit else line[: limit - 3] + "..."


class Severity(str, Enum):
    """How bad a finding is, from `info` to `critical`; the value is the word itself."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for `info` up to 4 for `critical`, to sort and compare by."""
        return list(Severity).index(self)


@dataclass(frozen=True)
class Finding:
    """What was seen, where, how bad it is and what to do next.

    `code` is stable, upper case with dashes ("STORE-DIGEST-MISMATCH"); `subject` is what it is about (a blob,
    a container, a socket); `evidence` is short and without secrets. Raises ValueError for a malformed code.
    """

    code: str
    severity: Severity
    subject: str
    evidence: str
    remedy: str

    def __post_init__(self) -> None:
        if not _CODE.match(self.code):
            raise ValueError("not a finding code: {0!r}".format(self.code))
        # A frozen dataclass is filled through object.__setattr__; a plain string is accepted for the
        # severity.
        object.__setattr__(self, "severity", Severity(self.severity))
        object.__setattr__(self, "subject", clean_text(self.subject))
        object.__setattr__(self, "evidence", clean_text(self.evidence))
        object.__setattr__(self, "remedy", clean_text(self.remedy))

    def as_dict(self) -> dict[str, str]:
        """Return the finding as a dictionary of strings, keys in their fixed order."""
        return {
            "code": self.code,
            "severity": self.severity.value,
            "subject": self.subject,
            "evidence": self.evidence,
            "remedy": self.remedy,
        }

    def as_text(self) -> str:
        """Return `CODE: subject: evidence. remedy` on one line, the form of every error message."""
        return "{0}: {1}: {2}. {3}".format(self.code, self.subject, self.evidence.rstrip("."), self.remedy)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Finding:
        """Build a finding from `as_dict`'s shape. Raises ValueError when a key is missing or no string."""
        values: dict[str, str] = {}
        for key in ("code", "severity", "subject", "evidence", "remedy"):
            value = data.get(key)
            if not isinstance(value, str):
                raise ValueError("a finding needs the text {0!r}".format(key))
            values[key] = value
        return cls(
            code=values["code"],
            severity=Severity(values["severity"]),
            subject=values["subject"],
            evidence=values["evidence"],
            remedy=values["remedy"],
        )


class FindingError(Exception):
    """An operation that was refused or failed; carries the finding that says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.as_text())
        self.finding = finding


def refuse(
    code: str, subject: str, evidence: object, remedy: str, severity: Severity = Severity.HIGH
) -> FindingError:
    """Return (not raise) the FindingError for one finding: `raise refuse("DISK-FULL", ...)`."""
    return FindingError(Finding(code, severity, subject, str(evidence), remedy))


@dataclass(frozen=True)
class Check:
    """Whether one property was seen to hold: `passed`, `failed` or `unknown` (which is never a pass).

    `id` is kebab-case with a domain prefix ("store-blobs-verified"). Raises ValueError for anything else.
    """

    id: str
    status: str
    evidence: str

    def __post_init__(self) -> None:
        if not _CHECK_ID.match(self.id):
            raise ValueError("not a check id: {0!r}".format(self.id))
        if self.status not in _STATUSES:
            raise ValueError("not a check status: {0!r}".format(self.status))
        object.__setattr__(self, "evidence", clean_text(self.evidence))

    def as_dict(self) -> dict[str, str]:
        """Return the check as a dictionary of strings."""
        return {"id": self.id, "status": self.status, "evidence": self.evidence}


def check(check_id: str, holds: Optional[bool], evidence: object) -> Check:
    """Return the Check for a property that holds (True), does not (False) or could not be seen (None)."""
    status = "unknown" if holds is None else ("passed" if holds else "failed")
    return Check(check_id, status, str(evidence))


def as_dicts(items: Iterable[Finding | Check]) -> list[dict[str, str]]:
    """Return the dictionaries of findings or checks, in the given order."""
    return [item.as_dict() for item in items]


def worst(findings: Iterable[Finding]) -> Optional[Severity]:
    """Return the highest severity among `findings`, or None when there are none."""
    return max((finding.severity for finding in findings), key=lambda severity: severity.rank, default=None)


def summary(findings: Iterable[Finding], limit: int = 5) -> str:
    """Return the worst `limit` findings as text, and how many were left out: for one error message."""
    ordered = sorted(findings, key=lambda finding: -finding.severity.rank)
    text = " | ".join(finding.as_text() for finding in ordered[:limit])
    left_out = len(ordered) - limit
    return text if left_out <= 0 else "{0} | and {1} more".format(text, left_out)
