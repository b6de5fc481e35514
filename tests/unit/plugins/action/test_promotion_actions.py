# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S9: the actions that promote and that look for a promotion tell all reasons at once, and keep nothing bad."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.plugins.action import ActionBase
from promotion_acts import (
    NOW,
    Act,
    looking,
    promoting,
    put,
    refused,
    tree,
)

from ansible_collections.rampart.ollama.plugins.doc_fragments.attestation import ModuleDocFragment
from promotion_rig import DAY, Company, hexes, lock

pytestmark = [pytest.mark.row("S9"), pytest.mark.row("T2")]


class TestPromotionGate:
    def test_keeps_the_promotion_once(self, act: Act, company: Company) -> None:
        company.run("dev")
        put(company, company.signed(company.payload("dev"), "dev", "reviewer"))
        assert act("promotion_gate", promoting(company), check=True)["changed"]
        assert not company.promotions.exists()
        first = act("promotion_gate", promoting(company))
        assert first["changed"] and Path(first["path"]).parent == company.promotions / "staging"
        before = tree(company.root)
        assert not act("promotion_gate", promoting(company))["changed"]
        assert tree(company.root) == before

    def test_tells_every_reason_at_once_and_keeps_nothing(self, act: Act, company: Company) -> None:
        company.run("dev", at=NOW - 20 * DAY, failed=["attack-mount"])
        put(company, company.signed(company.payload("dev"), "dev"))
        company.images.write_text(json.dumps(lock(gateway="9")), encoding="utf-8")
        result = act("promotion_gate", promoting(company))
        assert result["failed"]
        codes = {item["code"] for item in result["findings"]}
        assert codes == {
            "PROMOTION-CONTROLS",
            "PROMOTION-DIGEST",
            "PROMOTION-PHASES",
            "PROMOTION-STALE",
            "PROMOTION-TESTS",
            "PROMOTION-UNAPPROVED",
        }
        assert all(code in result["msg"] for code in codes)
        assert not company.promotions.exists()

    def test_prod_needs_the_officer(self, act: Act, company: Company) -> None:
        put(company, company.staging_to_prod("staging"))
        assert act("promotion_gate", promoting(company, "prod"))["failed"]
        put(company, company.staging_to_prod("staging", "officer"))
        assert act("promotion_gate", promoting(company, "prod"))["changed"]

    @pytest.mark.parametrize(
        ("code", "target", "changes"),
        [
            ("PROMOTION-BACKWARD", "dev", {}),
            ("PROMOTION-BACKWARD", "demo", {}),
            ("PROMOTION-INVENTORY", "staging", {"environment": "prod"}),
            ("ATTESTATION-READ", "staging", {"envelope": "/nonexistent"}),
            ("ATTESTATION-READ", "staging", {"trusted_keys": "/nonexistent"}),
            ("APPROVAL-FILE-MISSING", "staging", {"approvals": "/nonexistent"}),
            ("IMAGES-NOT-BUILT", "staging", {"images": "/nonexistent"}),
            ("CATALOGUE-INVALID", "staging", {"catalogue": "/nonexistent"}),
        ],
    )
    def test_one_reason_each(self, act: Act, company: Company, code: str, target: str, changes: dict[str, Any]) -> None:
        put(company, company.dev_to_staging())
        refused(code, lambda: act("promotion_gate", promoting(company, target, **changes)))


class TestPromotionCheck:
    def test_passes_what_was_promoted(self, act: Act, company: Company) -> None:
        envelope = company.dev_to_staging()
        before = tree(company.root)
        result = act("promotion_check", looking(company), host="h1", transport="ssh")
        assert result["id"] == envelope.id and result["findings"] == [] and not result["changed"]
        assert [item["status"] for item in result["checks"]] == ["passed", "passed"]
        assert tree(company.root) == before

    def test_names_what_was_not(self, act: Act, company: Company) -> None:
        result = act("promotion_check", looking(company))
        assert [item["code"] for item in result["findings"]] == ["PROMOTION-MISSING"]
        assert result["id"] == "" and result["signers"] == []
        company.dev_to_staging()
        company.now += 100 * DAY
        result = act("promotion_check", looking(company))
        assert [item["code"] for item in result["findings"]] == ["PROMOTION-STALE"]

    def test_a_model_nobody_approved_is_refused_first(self, act: Act, company: Company) -> None:
        company.dev_to_staging()
        refused("APPROVAL-MISSING", lambda: act("promotion_check", looking(company, models=["llama3:8b"])))
        refused("PROMOTION-BACKWARD", lambda: act("promotion_check", looking(company, "dev")))

    def test_what_was_replaced_needs_leave_and_a_reason(self, act: Act, company: Company) -> None:
        older, first = company.dev_to_staging(), company.model
        company.now += DAY
        company.model = hexes("9")
        company.dev_to_staging()
        company.approve(first)
        asked = looking(company)
        assert [item["code"] for item in act("promotion_check", asked)["findings"]] == ["PROMOTION-SUPERSEDED"]
        allowed = {**asked, "allow_rollback": older.id, "rollback_reason": "the new one refuses French"}
        result = act("promotion_check", allowed)
        assert (result["id"], result["findings"]) == (older.id, [])
        assert "rolled back from" in result["checks"][0]["evidence"]


class AskedError(Exception):
    """Stops an action at its arguments."""


@pytest.mark.parametrize(
    "name",
    [
        "attestation_evidence",
        "attestation_key",
        "attestation_sign",
        "attestation_verify",
        "promotion_check",
        "promotion_gate",
    ],
)
def test_the_documentation_names_the_arguments_there_are(
    act: Act, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The stub's own options and those of the fragments it extends, with their types, defaults and choices."""
    specs: list[dict[str, dict[str, Any]]] = []

    def taken(_self: Any, argument_spec: dict[str, Any], **_more: Any) -> None:
        specs.append(argument_spec)
        raise AskedError

    monkeypatch.setattr(ActionBase, "validate_argument_spec", taken)
    with pytest.raises(AskedError):
        act(name, {})
    stub = importlib.import_module("ansible_collections.rampart.ollama.plugins.modules." + name)
    text = yaml.safe_load(stub.DOCUMENTATION)
    documented = dict(text.get("options", {}))
    for fragment in text.get("extends_documentation_fragment", []):
        part = fragment.removeprefix("rampart.ollama.attestation").lstrip(".").upper() or "DOCUMENTATION"
        documented.update(yaml.safe_load(getattr(ModuleDocFragment, part)).get("options", {}))
    assert set(documented) == set(specs[0])
    for key, spec in specs[0].items():
        for what in ("type", "elements", "default", "choices", "required"):
            assert documented[key].get(what) == spec.get(what), (key, what)
