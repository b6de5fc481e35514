# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row C8: the report shows every control, escapes what hosts say, is written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.rampart.ollama.plugins.plugin_utils import controls, evidence, report

ROOT = Path(__file__).resolve().parents[4]
TEMPLATE = ROOT / "roles/control_report/templates/report.html.j2"
CATALOGUE = controls.load_catalogue(ROOT / "roles/control_report/files/controls.yml")


def record(directory: Path, phase: int, checks: list[dict[str, str]], **more: object) -> None:
    evidence.write_evidence(
        evidence.evidence_path(directory, "demo", "h1", phase),
        {
            "phase": phase,
            "verdict": "incomplete",
            "collected_at": evidence.now(),
            "override_reason": "",
            "checks": checks,
            "findings": [],
            "measures": [],
            "facts": {},
            **more,
        },
    )


def test_report_holds_every_control_of_the_catalogue(tmp_path: Path) -> None:
    """C8: a host with no evidence at all still shows each control, none of them passed."""
    built = report.build(CATALOGUE, tmp_path, "demo", ["h1"], "0.1.0")
    shown = built["hosts"][0]["controls"]
    assert [item["id"] for item in shown] == [control.id for control in CATALOGUE]
    assert {item["status"] for item in shown} <= {"unknown", "not_covered"}
    assert len(built["checklist"]) == 28
    html = report.render(built, TEMPLATE)
    for control in CATALOGUE:
        assert f">{control.id}</td>" in html
    assert "not covered yet" in html and "No evidence recorded" in html


def test_checklist_line_takes_the_worst_status_of_its_controls(tmp_path: Path) -> None:
    """C1-C5, C8: line 3.1 needs I1 and I2; one of them failing fails the line."""
    catalogue = [
        controls.Control("I1", {"en": "a", "fr": "a"}, 3, (), ("a",), ((3, 1),)),
        controls.Control("I2", {"en": "b", "fr": "b"}, 3, (), ("b",), ((3, 1),)),
    ]
    record(
        tmp_path,
        3,
        [{"id": "a", "status": "passed", "evidence": ""}, {"id": "b", "status": "failed", "evidence": ""}],
    )
    built = report.build(catalogue, tmp_path, "demo", ["h1"], "0.1.0")
    line = next(item for item in built["checklist"] if (item["phase"], item["line"]) == (3, 1))
    assert (line["status"], line["controls"]) == ("failed", ["I1", "I2"])


def test_what_a_host_says_cannot_become_markup(tmp_path: Path) -> None:
    """C8: evidence is data from machines that may be hostile; the page must not run it."""
    hostile = "<script>alert(1)</script>"
    record(
        tmp_path,
        1,
        [{"id": "host-tpm", "status": "failed", "evidence": hostile}],
        findings=[
            {"code": hostile, "severity": "high", "subject": hostile, "evidence": hostile, "remedy": hostile}
        ],
        facts={hostile: hostile},
    )
    html = report.render(report.build(CATALOGUE, tmp_path, "demo", ["h1"], "0.1.0"), TEMPLATE)
    assert hostile not in html
    assert "&lt;script&gt;" in html


def test_report_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    """C8: one file that can be mailed; nothing in it is fetched."""
    html = report.render(report.build(CATALOGUE, tmp_path, "demo", ["h1"], "0.1.0"), TEMPLATE)
    for needle in ("http://", "https://", "<script", "<link", "<img", "url("):
        assert needle not in html


def test_written_report_is_the_same_in_both_forms(tmp_path: Path) -> None:
    built = report.build(CATALOGUE, tmp_path, "demo", ["h1"], "0.1.0")
    paths = report.write(built, TEMPLATE, tmp_path)
    assert json.loads(Path(paths["json"]).read_text(encoding="utf-8")) == built
    assert Path(paths["html"]).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_findings_are_sorted_by_severity(tmp_path: Path) -> None:
    findings = [
        {"code": "A", "severity": "low", "subject": "", "evidence": "", "remedy": ""},
        {"code": "B", "severity": "critical", "subject": "", "evidence": "", "remedy": ""},
    ]
    record(tmp_path, 1, [], findings=findings)
    built = report.build(CATALOGUE, tmp_path, "demo", ["h1"], "0.1.0")
    assert [item["code"] for item in built["hosts"][0]["findings"]] == ["B", "A"]


@pytest.mark.parametrize("name", ["../other", "a/b", "", ".hidden", "x" * 200])
def test_a_host_name_cannot_leave_the_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(evidence.EvidenceError, match="EVIDENCE-NAME"):
        evidence.evidence_path(tmp_path, "demo", name, 1)


def test_a_failed_write_leaves_the_old_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C8: a full disk neither loses the last evidence nor leaves half of the new one."""
    path = evidence.evidence_path(tmp_path, "demo", "h1", 1)
    evidence.write_evidence(path, {"phase": 1})
    before = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(evidence.EvidenceError, match=r"EVIDENCE-WRITE.*No space left"):
        evidence.write_evidence(path, {"phase": 2})
    assert path.read_bytes() == before
    assert [item.name for item in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 99}', "{"])
def test_damaged_evidence_is_named(tmp_path: Path, text: str) -> None:
    path = evidence.evidence_path(tmp_path, "demo", "h1", 1)
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(evidence.EvidenceError, match=r"EVIDENCE-READ.*Run phase 1 again"):
        evidence.read_evidence(tmp_path, "demo", "h1")


def test_missing_evidence_of_an_earlier_phase_fails(tmp_path: Path) -> None:
    """C8: a report over three phases is not complete, and says which one is missing."""
    for phase in (1, 2, 4):
        record(tmp_path, phase, [])
    check = evidence.completeness(tmp_path, "demo", "h1")
    assert (check["status"], check["evidence"]) == ("failed", "phases without evidence: 3")
    record(tmp_path, 3, [])
    assert evidence.completeness(tmp_path, "demo", "h1")["status"] == "passed"
