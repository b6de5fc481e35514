# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unexpected network attempts during a fetch, from the egress proxy's log (row S7).

The log is the one of `roles/egress_proxy` (logformat rampart_json): a JSON object a line, every value but the
counters a text. Names in it were written by whoever tried to connect, so they are data, bounded and cleaned.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Optional

from .findings import Finding, Severity, clean_text

LINE_MAX_CHARS = 16 * 1024
RECORDS_MAX = 100_000
FINDINGS_MAX = 20
# The role asks the proxy for this name itself, to see it refuse.
PROBE_HOSTS = ("egress.invalid",)
_REMEDY = "Find out which process asked: only the fetcher reaches the proxy, and it asks for listed names alone."


def read_log(text: str) -> tuple[list[dict[str, Any]], int]:
    """Return the records of a log (or the end of one), and how many lines are none or were too many to read."""
    records: list[dict[str, Any]] = []
    unread = 0
    for line in text.splitlines():
        if not line.strip():
            continue
        record = _record(line) if len(records) < RECORDS_MAX else None
        if record is None:
            unread += 1
        else:
            records.append(record)
    return records, unread


def _record(line: str) -> Optional[dict[str, Any]]:
    if len(line) > LINE_MAX_CHARS:
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def egress_indicators(records: Iterable[Mapping[str, Any]], hosts: Iterable[str], unread: int = 0) -> list[Finding]:
    """Return IOC-EGRESS-DENIED for each destination that was refused, and IOC-EGRESS-UNLISTED for each that was
    let through although it is not in `hosts`.

    Destinations are named once, with the number of attempts; beyond 20 one finding says how many more there
    were. `unread` lines are IOC-EGRESS-LOG: what cannot be read cannot be clean.
    """
    listed = {host.casefold() for host in hosts}
    attempts: dict[tuple[str, str, str], int] = {}
    for record in records:
        reason = _reason(record, listed)
        if reason is not None:
            code, why = reason
            key = (code, _destination(record), why)
            attempts[key] = attempts.get(key, 0) + 1
    found = [
        Finding(
            code,
            Severity.CRITICAL if code == "IOC-EGRESS-UNLISTED" else Severity.HIGH,
            destination,
            "{0}, {1} time{2}".format(why, count, "" if count == 1 else "s"),
            _REMEDY,
        )
        for (code, destination, why), count in sorted(attempts.items())[:FINDINGS_MAX]
    ]
    left_out = len(attempts) - len(found)
    if left_out > 0:
        evidence = "{0} more destinations were refused or not listed".format(left_out)
        found.append(Finding("IOC-EGRESS-DENIED", Severity.HIGH, "egress proxy", evidence, _REMEDY))
    if unread:
        found.append(
            Finding(
                "IOC-EGRESS-LOG",
                Severity.LOW,
                "egress proxy",
                "{0} lines of its log could not be read".format(unread),
                "Look at the log itself, then at who may write to its directory.",
            )
        )
    return found


def _text(record: Mapping[str, Any], key: str) -> str:
    value = record.get(key)
    return "" if value is None or value == "-" else clean_text(value, 120)


def _destination(record: Mapping[str, Any]) -> str:
    port = _text(record, "port")
    return (_text(record, "host") or "no host") + (":" + port if port else "")


def _reason(record: Mapping[str, Any], listed: set[str]) -> Optional[tuple[str, str]]:
    """Return (code, why) of a record that is an indicator, or None."""
    host, sni = _text(record, "host").casefold(), _text(record, "sni").casefold()
    if host in PROBE_HOSTS and _text(record, "method") != "CONNECT":
        return None
    result = _text(record, "result").upper()
    if "DENIED" in result:
        return "IOC-EGRESS-DENIED", "{0} refused ({1})".format(_text(record, "method") or "a request", result)
    if _text(record, "ssl_bump") == "terminate":
        return "IOC-EGRESS-DENIED", "cut: its greeting asked for {0}".format(sni or "no name")
    # A tunnel is the only thing that carries anything; what it was opened to has to be listed.
    if "TUNNEL" in result:
        for name in (host, sni):
            if name and name not in listed:
                return "IOC-EGRESS-UNLISTED", "a tunnel to {0} was let through".format(name)
    return None
