# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings and checks: the one currency."""

from __future__ import annotations

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.findings import (
    Check,
    Finding,
    FindingError,
    Severity,
    check,
    clean_text,
    refuse,
    summary,
    worst,
)


def test_a_finding_goes_to_a_dictionary_and_back() -> None:
    finding = Finding("STORE-MODE", Severity.HIGH, "blobs/x", "mode 0666", "chmod it")
    assert Finding.from_dict(finding.as_dict()) == finding
    assert finding.as_dict()["severity"] == "high"
    assert finding.as_text() == "STORE-MODE: blobs/x: mode 0666. chmod it"


def test_hostile_evidence_cannot_grow_or_move_the_cursor() -> None:
    finding = Finding("STORE-MODE", Severity.LOW, "a\x1b[2Jb\n\nc", "x" * 10_000, "r")
    assert "\x1b" not in finding.subject
    assert finding.subject == "a?[2Jb c"
    assert len(finding.evidence) == 500
    assert clean_text("\u202eabc") == "?abc"


@pytest.mark.parametrize("code", ["", "lower-case", "ONE", "A_B", "X-", "A B-C"])
def test_a_malformed_code_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match="not a finding code"):
        Finding(code, Severity.LOW, "s", "e", "r")


@pytest.mark.parametrize(
    "data", [{}, {"code": 1}, {"code": "A-B", "severity": "awful", "subject": "", "evidence": "", "remedy": ""}]
)
def test_a_dictionary_that_is_no_finding_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Finding.from_dict(data)


def test_unknown_is_never_a_pass() -> None:
    assert check("store-present", None, "").status == "unknown"
    assert check("store-present", True, "").status == "passed"
    assert check("store-present", False, "").status == "failed"
    with pytest.raises(ValueError, match="not a check"):
        Check("store-present", "ok", "")
    with pytest.raises(ValueError, match="not a check id"):
        Check("Store", "passed", "")


def test_the_worst_is_told_first_and_the_rest_counted() -> None:
    low = Finding("A-LOW", Severity.LOW, "s", "e", "r")
    bad = Finding("A-BAD", Severity.CRITICAL, "s", "e", "r")
    assert worst([low, bad]) is Severity.CRITICAL
    assert worst([]) is None
    text = summary([low] * 7 + [bad])
    assert text.startswith("A-BAD: ")
    assert text.endswith("and 3 more")


def test_a_refusal_is_one_line_with_code_and_remedy() -> None:
    error = refuse("DISK-FULL", "/srv", "no space", "Free some.")
    assert isinstance(error, FindingError)
    assert str(error) == "DISK-FULL: /srv: no space. Free some."
