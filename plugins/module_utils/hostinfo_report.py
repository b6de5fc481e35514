# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that is known of a host, in one report with its verdict."""

from __future__ import annotations

from typing import Any

from .hostinfo import Host, Preflight, verdict
from .hostinfo_disks import Disks
from .hostinfo_guards import Docker, Firewall, Updates, listeners
from .isolation_report import NotSeenError, Report
from .procfs import ProcError


def inspect_host(host: Host) -> dict[str, Any]:
    """Look at a host once and return {schema, facts, findings, checks, verdict}, the verdict "ready" or
    "blocked".
    """
    report = Report("HOST-PROBE-FAILED")
    for looks in (Preflight, Disks, Docker, Firewall, Updates):
        looks(host, report).run()
    try:
        report.facts["listeners"] = listeners(host)
    except (ProcError, NotSeenError):
        report.facts["listeners"] = None
    return {**report.as_dict(), "verdict": verdict(report)}
