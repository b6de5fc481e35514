# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which known vulnerabilities a version of Ollama has, and whether it is at or above the floor (row S8).

The table is data (`roles/images/files/ollama_cves.yml`), handed in already read. A version that cannot be
told (a development build calls itself 0.0.0) is unknown, which is never a pass.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from .findings import Check, Finding, FindingError, Severity, check, clean_text, refuse

CHECK_ID = "ollama-version-floor"
COMPONENTS = ("ollama", "llama.cpp")
VULNERABILITIES_MAX = 1000
VERSION_MAX_CHARS = 80

# Releases are X.Y.Z and X.Y.Z-rcN. `-N-gHASH` is what `git describe` adds: N commits after that release. Tags of the
# official image may end in a flavour. Anything else, also a build of changed sources (-dirty), is no known version.
_VERSION = re.compile(
    r"\Av?(?P<numbers>[0-9]{1,5}(?:\.[0-9]{1,5}){2})(?:-?(?P<stage>alpha|beta|rc)\.?(?P<count>[0-9]{0,4}))?"
    r"(?:-[0-9]{1,6}-g[0-9a-f]{7,40})?(?:-(?:rocm|vulkan))?\Z"
)
_CVE_ID = re.compile(r"\A(?:CVE-[0-9]{4}-[0-9]{4,7}|(?!CVE-)[A-Z][A-Z0-9]*(?:-[A-Z0-9]+)+)\Z")
_KEYS = ("id", "title", "severity", "component", "fixed_in", "by_design", "answer")
# A candidate comes before the release it is a candidate for.
_STAGES = {"alpha": 0, "beta": 1, "rc": 2, None: 3}

Version = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Vulnerability:
    """One line of the table; `fixed_in` None means that no version of Ollama is named for it."""

    id: str
    title: str
    severity: Severity
    component: str
    fixed_in: Optional[Version]
    by_design: bool
    answer: str


@dataclass(frozen=True)
class CveTable:
    """The floor, as it is written and as a version, and the known vulnerabilities."""

    floor_text: str
    floor: Version
    vulnerabilities: tuple[Vulnerability, ...]


def parse_version(text: object) -> Optional[Version]:
    """Return a version that can be compared, or None for what is none; 0.0.0 is none, it is what an unknown
    build says.
    """
    if not isinstance(text, str) or len(text) > VERSION_MAX_CHARS:
        return None
    match = _VERSION.match(text.strip())
    if not match:
        return None
    major, minor, patch = (int(number) for number in match.group("numbers").split("."))
    if (major, minor, patch) == (0, 0, 0):
        return None
    return (major, minor, patch, _STAGES[match.group("stage")], int(match.group("count") or 0))


def parse_table(data: Any) -> CveTable:
    """Return the table in an already read YAML document. Raises FindingError (OLLAMA-CVE-TABLE)."""
    if not isinstance(data, Mapping) or set(data) != {"floor", "vulnerabilities"}:
        raise _bad_table("table", "it is no mapping of floor and vulnerabilities")
    floor = parse_version(data["floor"])
    if floor is None:
        raise _bad_table("floor", "{0!r} is no version".format(clean_text(data["floor"], 40)))
    lines = data["vulnerabilities"]
    if not isinstance(lines, list) or not 0 < len(lines) <= VULNERABILITIES_MAX:
        raise _bad_table("vulnerabilities", "no list of 1 to {0}".format(VULNERABILITIES_MAX))
    parsed = tuple(_vulnerability(line, "line {0}".format(number)) for number, line in enumerate(lines, start=1))
    seen: set[str] = set()
    for line in parsed:
        if line.id in seen:
            raise _bad_table(line.id, "it is there twice")
        seen.add(line.id)
        # A floor that lets a vulnerable version through is a mistake of the table, not of the host.
        if line.fixed_in is not None and line.fixed_in > floor:
            raise _bad_table(line.id, "it is fixed in a version above the floor")
    return CveTable(str(data["floor"]), floor, parsed)


def _vulnerability(line: Any, subject: str) -> Vulnerability:
    if not isinstance(line, Mapping):
        raise _bad_table(subject, "no mapping")
    for key in line:
        if key not in _KEYS:
            raise _bad_table(subject, "the key {0!r} is unknown".format(clean_text(key, 40)))
    for key in ("id", "title", "severity", "component", "answer"):
        if not isinstance(line.get(key), str) or not line[key]:
            raise _bad_table(subject, "{0} is no text".format(key))
    if not _CVE_ID.match(line["id"]):
        raise _bad_table(subject, "the id {0!r} is not one".format(clean_text(line["id"], 40)))
    if line["component"] not in COMPONENTS:
        raise _bad_table(subject, "the component {0!r} is unknown".format(clean_text(line["component"], 40)))
    severities = [severity.value for severity in Severity]
    if line["severity"] not in severities:
        raise _bad_table(subject, "the severity is none of {0}".format(", ".join(severities)))
    by_design = line.get("by_design", False)
    if not isinstance(by_design, bool):
        raise _bad_table(subject, "by_design is neither true nor false")
    if "fixed_in" not in line:
        raise _bad_table(subject, "fixed_in is missing; null says that no version is named")
    fixed_in = None if line["fixed_in"] is None else parse_version(line["fixed_in"])
    if fixed_in is None and line["fixed_in"] is not None:
        raise _bad_table(subject, "fixed_in {0!r} is no version".format(clean_text(line["fixed_in"], 40)))
    if by_design and fixed_in is not None:
        raise _bad_table(subject, "it is by design and fixed at the same time")
    return Vulnerability(
        line["id"], line["title"], Severity(line["severity"]), line["component"], fixed_in, by_design, line["answer"]
    )


def _bad_table(subject: str, why: str) -> FindingError:
    return refuse(
        "OLLAMA-CVE-TABLE", subject, why, "Correct roles/images/files/ollama_cves.yml (docs/sbom.md says how)."
    )


def open_vulnerabilities(version: Version, table: CveTable) -> list[Vulnerability]:
    """Return what is known to be in a version: fixed later than it.

    Below the floor that includes what no version is named for (an old Ollama carries old GGUF code); what is by
    design is in every version and in no list.
    """
    return [
        line
        for line in table.vulnerabilities
        if not line.by_design and (version < (table.floor if line.fixed_in is None else line.fixed_in))
    ]


def version_findings(text: object, table: CveTable, subject: str = "ollama") -> list[Finding]:
    """Return what is wrong with running the version `text`: nothing, OLLAMA-VERSION-FLOOR or
    OLLAMA-VERSION-UNKNOWN.
    """
    version = parse_version(text)
    if version is None:
        return [
            Finding(
                "OLLAMA-VERSION-UNKNOWN",
                Severity.MEDIUM,
                subject,
                "{0}, so nothing says whether it is {1} or later".format(
                    "{0!r} names no release".format(clean_text(text, 60)) if text else "no version was told",
                    table.floor_text,
                ),
                "Run an official release of {0} or later, named by its version.".format(table.floor_text),
            )
        ]
    if version >= table.floor:
        return []
    known = [line.id for line in open_vulnerabilities(version, table) if line.component == "ollama"]
    carried = [line.id for line in open_vulnerabilities(version, table) if line.component != "ollama"]
    evidence = "{0} is below {1}: {2}".format(clean_text(text, 60), table.floor_text, ", ".join(known) or "none listed")
    if carried:
        evidence += "; GGUF code of its time: {0}".format(", ".join(carried))
    return [
        Finding(
            "OLLAMA-VERSION-FLOOR",
            Severity.HIGH,
            subject,
            evidence,
            "Set images_ollama_base to {0} or later, pinned by digest, and build the images again.".format(
                table.floor_text
            ),
        )
    ]


def version_check(text: object, table: CveTable) -> Check:
    """Return the check `ollama-version-floor`: passed at or above the floor, failed below, unknown for what is
    no release.
    """
    version = parse_version(text)
    shown = clean_text(text, 60) if text else "no version"
    evidence = "{0}, lowest accepted {1}, {2} vulnerabilities in the table".format(
        shown, table.floor_text, len(table.vulnerabilities)
    )
    return check(CHECK_ID, None if version is None else version >= table.floor, evidence)
