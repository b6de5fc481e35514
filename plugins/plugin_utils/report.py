# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The evidence report: the same data as JSON for machines and as one self-contained HTML file for people."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from ansible_collections.rampart.ollama.plugins.plugin_utils import controls, evidence

PHASE_TITLES = {
    1: {"en": "Preparation", "fr": "Préparation"},
    2: {"en": "Installation", "fr": "Installation"},
    3: {"en": "Hardening", "fr": "Durcissement"},
    4: {"en": "Tests", "fr": "Tests"},
    5: {"en": "Production", "fr": "Production"},
}
SEVERITIES = ("critical", "high", "medium", "low", "info")


def build(
    catalogue: Sequence[controls.Control],
    directory: str | Path,
    environment: str,
    hosts: Sequence[str],
    collection_version: str,
) -> dict[str, Any]:
    """Gather the recorded evidence of the hosts into one report.

    Every control of the catalogue appears for every host, whether or not there is evidence for it.
    """
    entries = []
    for host in hosts:
        records = evidence.read_evidence(directory, environment, host)
        checks = [check for record in records for check in record["checks"]]
        results = controls.evaluate(catalogue, checks, environment)
        findings: list[dict[str, Any]] = [
            {**finding, "phase": record["phase"]} for record in records for finding in record["findings"]
        ]
        findings.sort(key=_by_severity)
        entries.append(
            {
                "host": host,
                "verdict": controls.verdict(results),
                "counts": controls.counts(results),
                "controls": results,
                "findings": findings,
                "measures": [measure for record in records for measure in record["measures"]],
                "facts": {key: value for record in records for key, value in record["facts"].items()},
                "phases": [
                    {
                        "phase": record["phase"],
                        "verdict": record["verdict"],
                        "collected_at": record["collected_at"],
                        "override_reason": record["override_reason"],
                    }
                    for record in records
                ],
            }
        )
    return {
        "schema": evidence.SCHEMA,
        "environment": environment,
        "generated_at": evidence.now(),
        "collection": {"name": "rampart.ollama", "version": collection_version},
        "checklist": checklist(catalogue, entries),
        "hosts": entries,
    }


def checklist(
    catalogue: Sequence[controls.Control], entries: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The guide's checklist, line by line, with the worst status of its controls over all hosts."""
    rank = {"passed": 0, "not_covered": 1, "unknown": 2, "failed": 3}
    lines = []
    for phase, count in controls.CHECKLIST_LINES.items():
        for line in range(1, count + 1):
            owners = [control for control in catalogue if (phase, line) in control.checklist]
            names = {control.id for control in owners}
            statuses = [
                result["status"] for entry in entries for result in entry["controls"] if result["id"] in names
            ]
            lines.append(
                {
                    "phase": phase,
                    "line": line,
                    "controls": [control.id for control in owners],
                    "title": {
                        key: " / ".join(control.title[key] for control in owners) for key in ("en", "fr")
                    },
                    "status": max(statuses, key=lambda status: rank[status]) if statuses else "not_covered",
                }
            )
    return lines


def _by_severity(finding: Mapping[str, Any]) -> tuple[int, str, str]:
    severity = str(finding.get("severity", "info"))
    order = SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)
    return order, str(finding.get("code", "")), str(finding.get("subject", ""))


def render(report: Mapping[str, Any], template: str | Path) -> str:
    """Render the report as HTML. Everything that came from a host is escaped; the page loads nothing."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = Path(template).read_text(encoding="utf-8")
    return environment.from_string(text).render(report=report, phase_titles=PHASE_TITLES)


def write(report: Mapping[str, Any], template: str | Path, directory: str | Path) -> dict[str, str]:
    """Write ``report.json`` and ``report.html``; return their paths and the JSON's sha256."""
    base = Path(directory) / str(report["environment"])
    document = json.dumps(report, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    evidence.write_text(base / "report.json", document)
    evidence.write_text(base / "report.html", render(report, template))
    return {
        "json": str(base / "report.json"),
        "html": str(base / "report.html"),
        "sha256": hashlib.sha256(document.encode()).hexdigest(),
    }
