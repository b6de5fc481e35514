# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control catalogue and the verdicts drawn from it.

A *check* is one observed fact (``{"id", "status", "evidence"}``, status ``passed``, ``failed`` or
``unknown``); a *control* is a row of the catalogue that names the checks which decide it. Nothing in here
looks at a host: it turns what was seen into what may be said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

PHASES = (1, 2, 3, 4, 5)
ENVIRONMENTS = ("dev", "staging", "prod", "demo")
CHECKLIST_LINES = {1: 5, 2: 6, 3: 6, 4: 6, 5: 5}
"""Lines of the guide's deployment checklist, by phase; a test compares them with the guide itself."""
ADVICE_ITEMS = 8
LAYERS = (
    "input_validation",
    "system_prompt",
    "rate_limiting",
    "response_filtering",
    "behavioral_analysis",
    "human_review",
)
CHECK_STATUSES = ("passed", "failed", "unknown")
CONTROL_STATUSES = ("passed", "failed", "unknown", "not_covered")


class CatalogueError(ValueError):
    """The catalogue, or a check given to it, is not usable; the message starts with its finding code."""


@dataclass(frozen=True)
class Control:
    """One row of the catalogue."""

    id: str
    title: Mapping[str, str]
    phase: int
    mandatory: tuple[str, ...]
    checks: tuple[str, ...]
    checklist: tuple[tuple[int, int], ...] = ()
    advice: tuple[int, ...] = ()
    layers: tuple[str, ...] = ()
    standards: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def row(self) -> str:
        """The requirement row this control belongs to (``W7.1`` belongs to ``W7``)."""
        return self.id.split(".", 1)[0]


def load_catalogue(path: str | Path) -> list[Control]:
    """Read the catalogue file.

    Raises CatalogueError (CATALOGUE-INVALID) naming the entry and the key that is wrong.
    """
    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise CatalogueError(f"CATALOGUE-INVALID: {path} cannot be read: {error}") from None
    entries = document.get("controls") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise CatalogueError(f"CATALOGUE-INVALID: {path} has no list 'controls'")
    controls = [_control(entry, position) for position, entry in enumerate(entries, start=1)]
    seen: set[str] = set()
    for control in controls:
        if control.id in seen:
            raise CatalogueError(f"CATALOGUE-INVALID: control {control.id} stands twice")
        seen.add(control.id)
    return controls


def _control(entry: Any, position: int) -> Control:
    def refuse(what: str) -> CatalogueError:
        name = entry.get("id", f"#{position}") if isinstance(entry, dict) else f"#{position}"
        return CatalogueError(f"CATALOGUE-INVALID: control {name}: {what}")

    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        raise refuse("an entry is a mapping with an id")
    title = entry.get("title")
    if not isinstance(title, dict) or not all(isinstance(title.get(key), str) for key in ("en", "fr")):
        raise refuse("title needs 'en' and 'fr'")
    if entry.get("phase") not in PHASES:
        raise refuse("phase is 1 to 5")
    mandatory = entry.get("mandatory", [])
    if not isinstance(mandatory, list) or any(name not in ENVIRONMENTS for name in mandatory):
        raise refuse(f"mandatory is a list of {', '.join(ENVIRONMENTS)}")
    checks = entry.get("checks", [])
    if not isinstance(checks, list) or not all(isinstance(name, str) for name in checks):
        raise refuse("checks is a list of check ids")
    lines = tuple((line["phase"], line["line"]) for line in entry.get("checklist", []))
    if any(not 1 <= line <= CHECKLIST_LINES.get(phase, 0) for phase, line in lines):
        raise refuse("checklist names a line that the guide does not have")
    advice = tuple(entry.get("advice", []))
    if any(not 1 <= number <= ADVICE_ITEMS for number in advice):
        raise refuse("advice names an item that the guide does not have")
    layers = tuple(entry.get("layers", []))
    if any(name not in LAYERS for name in layers):
        raise refuse(f"layers are {', '.join(LAYERS)}")
    return Control(
        id=entry["id"],
        title=title,
        phase=entry["phase"],
        mandatory=tuple(mandatory),
        checks=tuple(checks),
        checklist=lines,
        advice=advice,
        layers=layers,
        standards=entry.get("standards", {}),
    )


def merge_checks(checks: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Index checks by id; where one id was reported more than once, the worst status stands.

    Raises CatalogueError (CHECK-INVALID) on a check without an id or with an unknown status: a typing error
    must not turn into a control that nothing can fail.
    """
    rank = {"passed": 0, "unknown": 1, "failed": 2}
    merged: dict[str, dict[str, str]] = {}
    for check in checks:
        name, status = check.get("id"), check.get("status")
        if not isinstance(name, str) or status not in CHECK_STATUSES:
            raise CatalogueError(f"CHECK-INVALID: {dict(check)!r} is no check: it needs an id and a status")
        entry = {"id": name, "status": str(status), "evidence": str(check.get("evidence", ""))}
        known = merged.get(name)
        if known is None or rank[entry["status"]] > rank[known["status"]]:
            merged[name] = entry
    return merged


def evaluate(
    catalogue: Sequence[Control],
    checks: Iterable[Mapping[str, Any]],
    environment: str,
    phase: int | None = None,
) -> list[dict[str, Any]]:
    """Evaluate the controls of one phase (or of all) against the checks that were made.

    A control passes only if every check it names was made and passed. A check that was not made, or that
    could not be decided, leaves it ``unknown``; a control that names no checks is ``not_covered``.
    """
    made = merge_checks(checks)
    results: list[dict[str, Any]] = []
    for control in catalogue:
        if phase is not None and control.phase != phase:
            continue
        evidence = [
            made.get(name, {"id": name, "status": "unknown", "evidence": "this check was not made"})
            for name in control.checks
        ]
        statuses = {item["status"] for item in evidence}
        if not evidence:
            status = "not_covered"
        elif "failed" in statuses:
            status = "failed"
        elif "unknown" in statuses:
            status = "unknown"
        else:
            status = "passed"
        results.append(
            {
                "id": control.id,
                "row": control.row,
                "title": dict(control.title),
                "phase": control.phase,
                "status": status,
                "mandatory": environment in control.mandatory,
                "checks": evidence,
                "checklist": [f"{line_phase}.{line}" for line_phase, line in control.checklist],
                "advice": list(control.advice),
                "layers": list(control.layers),
                "standards": {name: list(values) for name, values in control.standards.items()},
            }
        )
    return results


def verdict(results: Iterable[Mapping[str, Any]]) -> str:
    """Draw the verdict of a phase: ``failed``, ``incomplete`` or ``passed``.

    ``failed``: a control that is mandatory in this environment failed, or could not be decided.
    ``incomplete``: something failed, is unknown or is not covered, and nothing of it is mandatory.
    ``passed``: everything passed.
    """
    worst = "passed"
    for result in results:
        if result["status"] == "passed":
            continue
        if result["mandatory"] and result["status"] in ("failed", "unknown"):
            return "failed"
        worst = "incomplete"
    return worst


def counts(results: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Count controls by status; every status is a key, 0 where there is none."""
    totals = dict.fromkeys(CONTROL_STATUSES, 0)
    for result in results:
        totals[result["status"]] += 1
    return totals


def summary(results: Sequence[Mapping[str, Any]], host: str, phase: int, width: int = 100) -> list[str]:
    """Say one phase of one host in lines a person reads in a terminal."""
    mark = {"passed": "passed", "failed": "FAILED", "unknown": "unknown", "not_covered": "not covered yet"}
    lines = [f"Phase {phase} on {host}: {verdict(results)}"]
    for result in results:
        text = f"  {mark[result['status']]:<16}{result['id']:<6}{result['title']['en']}"
        if result["status"] in ("failed", "unknown"):
            reasons = "; ".join(
                f"{check['id']}: {check['evidence']}"
                for check in result["checks"]
                if check["status"] != "passed"
            )
            text += f" ({reasons})"
        lines.append(text if len(text) <= width * 3 else text[: width * 3 - 3] + "...")
    totals = counts(results)
    lines.append(
        f"  {totals['passed']} passed, {totals['failed']} failed, {totals['unknown']} unknown, "
        f"{totals['not_covered']} not covered yet"
    )
    return lines
