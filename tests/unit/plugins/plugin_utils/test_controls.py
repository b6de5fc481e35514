# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows C1-C5, C8: every line of the guide is answered; a verdict never says more than was seen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ansible_collections.rampart.ollama.plugins.plugin_utils import controls

ROOT = Path(__file__).resolve().parents[4]
CATALOGUE = ROOT / "roles/control_report/files/controls.yml"
GUIDE = ROOT.parent / "shared/spec/guide.fr.txt"
REQUIREMENTS = ROOT.parent / "shared/spec/requirements.md"


@pytest.fixture(scope="module")
def catalogue() -> list[controls.Control]:
    return controls.load_catalogue(CATALOGUE)


def one(**changes: object) -> controls.Control:
    values: dict[str, object] = {
        "id": "X1",
        "title": {"en": "x", "fr": "x"},
        "phase": 1,
        "mandatory": ("prod",),
        "checks": ("a", "b"),
    }
    return controls.Control(**{**values, **changes})  # type: ignore[arg-type]


def passed(name: str) -> dict[str, str]:
    return {"id": name, "status": "passed", "evidence": "seen"}


def test_every_checklist_line_has_a_control(catalogue: list[controls.Control]) -> None:
    """C1-C5: each line of the checklist, by phase and number, is answered by at least one control."""
    answered = {line for control in catalogue for line in control.checklist}
    wanted = {
        (phase, line) for phase, count in controls.CHECKLIST_LINES.items() for line in range(1, count + 1)
    }
    assert answered == wanted


def test_every_advice_item_and_layer_has_a_control(catalogue: list[controls.Control]) -> None:
    """C1-C5: the eight advice items and the six defence layers are answered too."""
    assert {number for control in catalogue for number in control.advice} == set(
        range(1, controls.ADVICE_ITEMS + 1)
    )
    assert {layer for control in catalogue for layer in control.layers} == set(controls.LAYERS)


@pytest.mark.skipif(not GUIDE.exists(), reason="the guide's text is not at hand in this checkout")
def test_line_counts_are_the_guides() -> None:
    """C1-C5: the counts that the catalogue is checked against are counted in the guide itself."""
    counted: dict[int, int] = {}
    phase = 0
    for line in GUIDE.read_text(encoding="utf-8").splitlines():
        heading = re.match(r"### Phase (\d)", line)
        if heading:
            phase = int(heading.group(1))
        elif line.startswith("- [ ]"):
            counted[phase] = counted.get(phase, 0) + 1
    assert counted == controls.CHECKLIST_LINES
    advice = re.findall(
        r"^(\d)\. .{60,}", GUIDE.read_text(encoding="utf-8").split("* Conseils")[1], re.MULTILINE
    )
    assert len(advice) == controls.ADVICE_ITEMS


@pytest.mark.skipif(not REQUIREMENTS.exists(), reason="the requirements are not at hand in this checkout")
def test_every_control_belongs_to_a_requirement_row(catalogue: list[controls.Control]) -> None:
    """C8: the report maps to the requirement rows; an invented row would map to nothing."""
    text = REQUIREMENTS.read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| ([WSIPMCT]\d+) \|", text, re.MULTILINE))
    assert {control.row for control in catalogue} <= rows


def test_a_control_passes_only_if_every_check_was_made_and_passed() -> None:
    """C8: neither a missing nor an undecided check is a pass."""
    statuses = {}
    for name, checks in {
        "all": [passed("a"), passed("b")],
        "missing": [passed("a")],
        "unknown": [passed("a"), {"id": "b", "status": "unknown", "evidence": ""}],
        "failed": [passed("a"), {"id": "b", "status": "failed", "evidence": ""}],
    }.items():
        statuses[name] = controls.evaluate([one()], checks, "prod")[0]["status"]
    assert statuses == {"all": "passed", "missing": "unknown", "unknown": "unknown", "failed": "failed"}


def test_a_control_without_checks_is_not_covered() -> None:
    """C8: what nothing looks at is shown as not covered, whatever else passed."""
    assert controls.evaluate([one(checks=())], [passed("a")], "prod")[0]["status"] == "not_covered"


def test_the_worst_report_of_a_check_stands() -> None:
    """C8: a check that failed once is not healed by passing elsewhere."""
    failed = {"id": "a", "status": "failed", "evidence": "second host"}
    assert controls.merge_checks([failed, passed("a")])["a"]["status"] == "failed"
    assert controls.merge_checks([passed("a"), failed])["a"]["status"] == "failed"


@pytest.mark.parametrize(
    "check", [{"id": "a", "status": "ok"}, {"status": "passed"}, {"id": 3, "status": "passed"}]
)
def test_a_malformed_check_is_refused(check: dict[str, object]) -> None:
    with pytest.raises(controls.CatalogueError, match="CHECK-INVALID"):
        controls.merge_checks([check])


def test_verdict_follows_what_is_mandatory_here() -> None:
    """C1-C5: the same failure stops prod and not dev."""
    failed = [{"id": "a", "status": "failed", "evidence": ""}]
    assert controls.verdict(controls.evaluate([one()], failed, "prod")) == "failed"
    assert controls.verdict(controls.evaluate([one()], failed, "dev")) == "incomplete"
    assert controls.verdict(controls.evaluate([one()], [passed("a"), passed("b")], "prod")) == "passed"
    assert controls.verdict(controls.evaluate([one()], [], "prod")) == "failed"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"phase": 6}, "phase is 1 to 5"),
        ({"title": {"en": "only"}}, "title needs"),
        ({"mandatory": ["production"]}, "mandatory is a list"),
        ({"checks": "a"}, "checks is a list"),
        ({"checklist": [{"phase": 1, "line": 6}]}, "a line that the guide does not have"),
        ({"advice": [9]}, "an item that the guide does not have"),
        ({"layers": ["firewall"]}, "layers are"),
    ],
)
def test_a_wrong_catalogue_is_refused_by_name(tmp_path: Path, change: dict[str, object], said: str) -> None:
    entry = {"id": "X1", "title": {"en": "x", "fr": "x"}, "phase": 1, "mandatory": [], "checks": [], **change}
    path = tmp_path / "controls.yml"
    path.write_text(yaml.safe_dump({"controls": [entry]}), encoding="utf-8")
    with pytest.raises(controls.CatalogueError, match=f"CATALOGUE-INVALID: control X1: .*{said}"):
        controls.load_catalogue(path)


def test_summary_names_the_check_that_failed() -> None:
    """C1-C5: a person reads in the summary what to look at."""
    failed = [passed("a"), {"id": "b", "status": "failed", "evidence": "tcp://0.0.0.0:2375"}]
    lines = controls.summary(controls.evaluate([one()], failed, "prod"), "h1", 1)
    assert lines[0] == "Phase 1 on h1: failed"
    assert "b: tcp://0.0.0.0:2375" in lines[1]
    assert lines[-1].strip() == "0 passed, 1 failed, 0 unknown, 0 not covered yet"
