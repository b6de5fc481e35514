# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S6, T2: every model of a deployment is judged, its use too, and every refusal is told once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from approval_desk import BOB, USES, Desk

from ansible_collections.rampart.ollama.plugins.plugin_utils.approval_policy import Judge, Policy, judge
from ansible_collections.rampart.ollama.plugins.plugin_utils.approvals import load_registry

pytestmark = pytest.mark.row("T2")


def test_s6_each_model_is_judged_and_each_refusal_told(desk: Desk, model: Callable[..., Any]) -> None:
    other = {**model("o:1", b"o").entry(), "approved_uses": USES, "environments": ["prod"], "risk_level": "HIGH"}
    registry = load_registry({"models": [desk.entry, other]})
    verdict = judge(registry, ["m:1", "o:1", "none:1"], "prod", Policy(use=tuple(USES), signers=str(desk.signers)))
    assert [finding.code for finding in verdict.refusals] == ["APPROVAL-UNSIGNED", "APPROVAL-RISK", "APPROVAL-MISSING"]
    assert verdict.entries == []
    statuses = {item.id: item.status for item in verdict.checks()}
    assert statuses == {
        "approval-present": "failed",
        "approval-not-revoked": "unknown",
        "approval-risk-accepted": "failed",
        "approval-use-allowed": "unknown",
        "approval-signed": "failed",
    }


def test_s6_a_good_verdict_passes_every_check(desk: Desk) -> None:
    desk.sign(BOB, "bob")
    registry = load_registry({"models": [desk.entry]})
    verdict = judge(registry, ["m:1"], "prod", Policy(use=tuple(USES), signers=str(desk.signers)))
    assert (verdict.entries, verdict.findings) == ([desk.entry], [])
    assert {item.status for item in verdict.checks()} == {"passed"}


def test_t2_broken_signers_are_told_once(desk: Desk, model: Callable[..., Any]) -> None:
    desk.sign(BOB, "bob")
    other = {**desk.entry, "name": "o", "reference": "o:1", "environments": ["prod"]}
    desk.signers.write_text("nonsense\n")
    registry = load_registry({"models": [desk.entry, other]})
    verdict = judge(registry, ["m:1", "o:1"], "prod", Policy(use=tuple(USES), signers=str(desk.signers)))
    assert [finding.code for finding in verdict.refusals] == ["APPROVAL-SIGNERS-INVALID"]
    assert verdict.entries == []


@pytest.mark.row("S6")
@pytest.mark.parametrize(
    ("use", "code"),
    [
        (("internal_chatbot",), ""),
        ((" Internal_Chatbot ",), ""),
        (("external_api",), "APPROVAL-USE"),
        (("internal_chatbot", "external_api"), "APPROVAL-USE"),
        (("customer_data_processing",), "APPROVAL-USE"),
        ((), "APPROVAL-USE"),
    ],
)
def test_s6_a_use_has_to_be_approved_and_not_prohibited(desk: Desk, use: tuple[str, ...], code: str) -> None:
    desk.entry["prohibited_uses"] = ["customer_data_processing", "Both"]
    desk.sign(BOB, "bob")
    assert desk.ask(use=use) == code


@pytest.mark.row("S6")
def test_s6_a_use_that_is_approved_and_prohibited_is_prohibited(desk: Desk) -> None:
    desk.entry["prohibited_uses"] = ["INTERNAL_CHATBOT"]
    assert desk.ask("dev") == "APPROVAL-USE"
    assert "prohibited" in desk.said


@pytest.mark.row("S6")
def test_s6_dev_without_a_declared_use_goes_on_and_says_so(desk: Desk) -> None:
    found = Judge(load_registry({"models": [desk.entry]}), "dev", Policy()).approve("m:1").findings
    assert [(finding.code, finding.severity.value) for finding in found] == [
        ("APPROVAL-USE", "info"),
        ("APPROVAL-UNSIGNED", "low"),
    ]
