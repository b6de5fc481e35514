# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S8: a version below the floor is named with its vulnerabilities; one that cannot be told never passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.rampart.ollama.plugins.module_utils import cve
from ansible_collections.rampart.ollama.plugins.module_utils.findings import (
    EVIDENCE_MAX_CHARS,
    FindingError,
    Severity,
)

pytestmark = pytest.mark.row("S8")

TABLE_FILE = Path(__file__).parents[4] / "roles/images/files/ollama_cves.yml"
# By hand: what the table has to say, whoever edits it.
FIXED_IN = {
    "CVE-2024-37032": "0.1.34",
    "CVE-2024-28224": "0.1.29",
    "CVE-2024-39720": "0.1.46",
    "CVE-2024-39722": "0.1.46",
    "CVE-2024-45436": "0.1.47",
    "CVE-2024-12886": "0.4.0",
    "CVE-2025-1975": "0.5.12",
    "CVE-2025-51471": "0.14.3",
    "CVE-2025-63389": None,
    "CVE-2026-7482": "0.17.1",
    "CVE-2026-65315": "0.31.2",
    "OLLAMA-BLOB-COLLISION": "0.32.10",
    "CVE-2025-49847": None,
    "CVE-2025-53630": None,
    "CVE-2026-27940": None,
    "CVE-2026-33298": None,
}
UNKNOWN = [
    "0.0.0",
    "v0.0.0",
    "0.0.0-rc1",
    "",
    None,
    5,
    0.33,
    ["0.33.0"],
    "latest",
    "0.33",
    "0.33.0.1",
    "1",
    "0.33.x",
    "0.33.0-dirty",
    "0.32.10-4-g1234abc-dirty",
    "0.33.0; rm -rf /",
    "0.33.0\n0.1.0",
    "-0.33.0",
    "99999999999999999999.0.0",
    "9" * 100_000,
    "0.33.0" + "-rc1" * 30_000,
    "\u0660.\u0663\u0663.\u0660",
]


@pytest.fixture(scope="module")
def raw() -> Any:
    return yaml.safe_load(TABLE_FILE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def table(raw: Any) -> cve.CveTable:
    return cve.parse_table(raw)


def test_s8_the_table_holds_what_is_known(table: cve.CveTable) -> None:
    assert table.floor == (0, 32, 10, 3, 0)
    assert {line.id: line.fixed_in for line in table.vulnerabilities} == {
        name: cve.parse_version(version) if version else None for name, version in FIXED_IN.items()
    }
    assert [line.id for line in table.vulnerabilities if line.by_design] == ["CVE-2025-63389"]
    assert all(line.title and line.answer for line in table.vulnerabilities)


@pytest.mark.parametrize(
    "version",
    [
        "0.32.10",
        "v0.32.10",
        "0.32.11",
        "0.33.0",
        "0.33.0-rc1",
        "0.33.0rc1",
        "1.0.0",
        " 0.33.0\n",
        "0.32.10-rocm",
        "0.33.0-rc1-rocm",
        "0.32.10-0-g1234abc",
        "0.32.10-25-g1234abc",
    ],
)
def test_s8_the_floor_and_later_pass(table: cve.CveTable, version: str) -> None:
    assert cve.version_findings(version, table) == []
    assert cve.version_check(version, table).status == "passed"


@pytest.mark.parametrize(
    "version", ["0.32.9", "0.32.2", "v0.5.12", "0.9.99", "0.32.10-rc1", "0.32.10-beta2", "0.32.10-rc3-7-gabcdef1"]
)
def test_s8_below_the_floor_fails(table: cve.CveTable, version: str) -> None:
    (finding,) = cve.version_findings(version, table, "the served Ollama")
    assert finding.code == "OLLAMA-VERSION-FLOOR"
    assert finding.severity is Severity.HIGH
    assert finding.subject == "the served Ollama"
    # Fixed in the floor itself, so in every version below it, candidates of the floor included.
    assert "OLLAMA-BLOB-COLLISION" in finding.evidence
    assert "0.32.10" in finding.remedy
    check = cve.version_check(version, table)
    assert (check.id, check.status) == ("ollama-version-floor", "failed")


def test_s8_the_vulnerabilities_of_a_version_are_named_and_no_others(table: cve.CveTable) -> None:
    (finding,) = cve.version_findings("v0.5.12", table)
    for name in ("CVE-2025-51471", "CVE-2026-7482", "CVE-2026-65315", "OLLAMA-BLOB-COLLISION", "CVE-2026-33298"):
        assert name in finding.evidence
    # Fixed in that very version or before, and what no version removes.
    for name in ("CVE-2025-1975", "CVE-2024-37032", "CVE-2024-12886", "CVE-2025-63389"):
        assert name not in finding.evidence


def test_s8_the_oldest_version_has_them_all_and_none_is_cut_off(table: cve.CveTable) -> None:
    (finding,) = cve.version_findings("0.1.0", table)
    assert all(name in finding.evidence for name in FIXED_IN if name != "CVE-2025-63389")
    assert len(finding.evidence) < EVIDENCE_MAX_CHARS


@pytest.mark.parametrize("version", UNKNOWN)
def test_s8_what_names_no_release_is_unknown_and_never_passes(table: cve.CveTable, version: Any) -> None:
    (finding,) = cve.version_findings(version, table)
    assert finding.code == "OLLAMA-VERSION-UNKNOWN"
    assert finding.severity is Severity.MEDIUM
    assert len(finding.evidence) < EVIDENCE_MAX_CHARS
    assert cve.version_check(version, table).status == "unknown"


def test_s8_versions_are_compared_as_numbers_and_candidates_come_first() -> None:
    ordered = ["0.1.9", "0.1.10", "0.2.0-alpha", "0.2.0-beta1", "0.2.0-rc2", "0.2.0-rc10", "0.2.0", "0.10.0", "1.0.0"]
    parsed = [cve.parse_version(version) for version in ordered]
    assert None not in parsed
    assert parsed == sorted(parsed, key=lambda version: version or ())


LINE = {
    "id": "CVE-2026-0001",
    "title": "t",
    "severity": "high",
    "component": "ollama",
    "fixed_in": "0.1.0",
    "answer": "a",
}


@pytest.mark.parametrize(
    "data",
    [
        None,
        "floor: 0.32.10",
        [],
        {},
        {"floor": "0.32.10"},
        {"floor": "0.32.10", "vulnerabilities": []},
        {"floor": "0.32.10", "vulnerabilities": {}},
        {"floor": "0.32.10", "vulnerabilities": [LINE], "more": 1},
        {"floor": "0.0.0", "vulnerabilities": [LINE]},
        {"floor": 0.32, "vulnerabilities": [LINE]},
        {"floor": "0.32.10", "vulnerabilities": ["CVE-2026-0001"]},
        {"floor": "0.32.10", "vulnerabilities": [LINE, LINE]},
        {"floor": "0.32.10", "vulnerabilities": [LINE] * 1001},
        {"floor": "0.32.10", "vulnerabilities": [{**LINE, "id": "CVE-26-1"}]},
        {"floor": "0.32.10", "vulnerabilities": [{**LINE, "id": 5}]},
        {"floor": "0.32.10", "vulnerabilities": [{**LINE, "title": ""}]},
        {"floor": "0.32.10", "vulnerabilities": [{**LINE, "severity": "terrible"}]},
        {"floor": "0.32.10", "vulnerabilities": [{**LINE, "component": "squid"}]},
        {"floor": "0.32.10", "vulnerabilities": [{**LINE, "fixed_in": "soon"}]},
        {"floor": "0.32.10", "vulnerabilities": [{**LINE, "fixed_in": 0.4}]},
        {"floor": "0.32.10", "vulnerabilities": [{**LINE, "by_design": "yes"}]},
        {"floor": "0.32.10", "vulnerabilities": [{**LINE, "by_design": True}]},
        {"floor": "0.32.10", "vulnerabilities": [{**LINE, "cvss": 9.8}]},
        {"floor": "0.32.10", "vulnerabilities": [{key: value for key, value in LINE.items() if key != "fixed_in"}]},
        # Raising nothing here would let a version through that is known to be vulnerable.
        {"floor": "0.32.10", "vulnerabilities": [{**LINE, "fixed_in": "0.32.11"}]},
    ],
)
def test_s8_a_table_that_is_none_is_refused(data: Any) -> None:
    with pytest.raises(FindingError) as caught:
        cve.parse_table(data)
    assert caught.value.finding.code == "OLLAMA-CVE-TABLE"
