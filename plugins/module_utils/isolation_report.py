# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collects what independent probes saw: facts, findings and checks, and the verdict that follows from them.

A probe that cannot run leaves the status `unknown` and a finding behind. That is never a pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Optional

from .engine import EngineError
from .findings import Check, Finding, Severity, as_dicts, check, clean_text
from .nsenter import EnterError
from .procfs import ProcError

# Grows when a key changes its meaning or goes; a key may come without it.
SCHEMA = 1
FACT_MAX_CHARS = 4096
FACT_MAX_ITEMS = 1000


class NotSeenError(Exception):
    """A probe's own way to say that a property could not be seen; the text says why."""


class Report:
    """What was seen. `facts` is free, checks are kept once each: the worse status of a repeated id stays.

    `probe_code` is the code of the finding that a probe which cannot run leaves behind.
    """

    def __init__(self, probe_code: str = "ISO-PROBE-FAILED") -> None:
        self.probe_code = probe_code
        self.facts: dict[str, Any] = {}
        self.findings: list[Finding] = []
        self.checks: dict[str, Check] = {}
        self.inapplicable: set[str] = set()

    def not_applicable(self, check_id: str, evidence: object) -> None:
        """Record that this machine cannot have the property: the check is unknown, the verdict does without it."""
        self.record(check_id, None, evidence)
        self.inapplicable.add(check_id)

    def record(self, check_id: str, holds: Optional[bool], evidence: object) -> None:
        """Record a check; of two with one id the worse (failed, then unknown) wins."""
        new = check(check_id, holds, evidence)
        order = ("passed", "unknown", "failed")
        old = self.checks.get(check_id)
        if old is None or order.index(new.status) > order.index(old.status):
            self.checks[check_id] = new

    def expect(
        self,
        check_id: str,
        holds: bool,
        evidence: object,
        code: str,
        severity: Severity,
        subject: str,
        remedy: str,
    ) -> None:
        """Record a check, and the finding `code` when it does not hold."""
        self.record(check_id, holds, evidence)
        if not holds:
            self.findings.append(Finding(code, severity, subject, str(evidence), remedy))

    def unknown(self, check_id: str, subject: str, reason: object) -> None:
        """Record that a property could not be seen, with the finding that says so."""
        self.record(check_id, None, reason)
        self.findings.append(
            Finding(
                self.probe_code,
                Severity.MEDIUM,
                subject,
                "{0} could not be seen: {1}".format(check_id, reason),
                "Mend what hinders the probe (run as root; /proc and the Docker socket readable) and look again.",
            )
        )

    @contextmanager
    def probe(self, check_id: str, subject: str) -> Iterator[None]:
        """Run one probe; whatever it raises makes this one check `unknown` and touches no other probe."""
        try:
            yield
        except (NotSeenError, ProcError, EnterError, EngineError) as error:
            self.unknown(check_id, subject, error)
        # Data of others (a changed kernel or engine, a hostile answer) must never end in a traceback.
        except Exception as error:  # noqa: BLE001
            self.unknown(check_id, subject, "{0}: {1}".format(type(error).__name__, error))

    def verdict(self) -> str:
        """Return "failed" when a check failed, else "unknown" when one is unknown or there is none, else
        "passed".
        """
        statuses = {item.status for name, item in self.checks.items() if name not in self.inapplicable}
        if "failed" in statuses:
            return "failed"
        return "unknown" if "unknown" in statuses or not statuses else "passed"

    def as_dict(self) -> dict[str, Any]:
        """Return {schema, facts, findings, checks, verdict} as plain data; findings worst first, checks by id."""
        findings = sorted(self.findings, key=lambda item: (-item.severity.rank, item.code, item.subject, item.evidence))
        return {
            "schema": SCHEMA,
            "facts": plain(self.facts),
            "findings": as_dicts(findings),
            "checks": as_dicts(self.checks[name] for name in sorted(self.checks)),
            "verdict": self.verdict(),
        }


def plain(value: Any) -> Any:
    """Return facts as data that any log, terminal or JSON reader can take: what is long is cut, names are printable.

    Names of interfaces, mounts and programs are chosen by others, and may hold bytes that are no text.
    """
    if isinstance(value, dict):
        return {clean_text(key, FACT_MAX_CHARS): plain(item) for key, item in list(value.items())[:FACT_MAX_ITEMS]}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value[:FACT_MAX_ITEMS]]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return clean_text(value, FACT_MAX_CHARS)


def whole(value: Any) -> bool:
    """Whether an engine's answer has a whole number there; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def dig(data: Any, *keys: str) -> Any:
    """Return data[key][key]... of an engine's answer, or None where it does not have that shape."""
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data
