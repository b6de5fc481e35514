# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S9: what may move from dev to staging and from staging to prod, and everything that may not."""

from __future__ import annotations

import datetime
import random
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.plugin_utils import (
    attestation,
    collection_digest,
    promotion,
    trust,
)
from promotion_rig import CATALOGUE, DAY, Company, altered, envelope_json, hexes

pytestmark = pytest.mark.row("S9")

NOW = datetime.datetime(2026, 11, 24, 12, 0, tzinfo=datetime.UTC)


@pytest.fixture
def company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Company:
    monkeypatch.setattr(collection_digest, "collection_digest", lambda root=None: hexes("d"))
    return Company(tmp_path, NOW)


def judge(company: Company, envelope: attestation.Envelope, target: str, age: int | None = 14) -> promotion.Judgement:
    return promotion.judge(envelope, target, company.trusted, CATALOGUE, company.now, age)


def codes(company: Company, envelope: attestation.Envelope, target: str, age: int | None = 14) -> list[str]:
    found = judge(company, envelope, target, age).findings
    assert all(item.remedy and item.severity.value in ("high", "critical") for item in found)
    return sorted({item.code for item in found})


class TestStaging:
    def test_gets_what_passed_dev_and_was_reviewed(self, company: Company) -> None:
        judged = judge(company, company.dev_to_staging(), "staging")
        assert judged.findings == ()
        assert {key.holder for key in judged.signers} == {"alice@example.org", "bob@example.org"}

    def test_needs_the_reviewers_signature(self, company: Company) -> None:
        company.run("dev")
        assert codes(company, company.signed(company.payload("dev"), "dev"), "staging") == ["PROMOTION-UNAPPROVED"]

    def test_needs_the_evidence_key_s_signature(self, company: Company) -> None:
        company.run("dev")
        assert codes(company, company.signed(company.payload("dev"), "reviewer"), "staging") == ["PROMOTION-UNSIGNED"]

    def test_the_author_is_not_the_reviewer(self, company: Company) -> None:
        company.hire("alice as reviewer", "reviewer", "Alice@example.org", ["staging"])
        company.run("dev")
        envelope = company.signed(company.payload("dev"), "dev", "alice as reviewer")
        assert codes(company, envelope, "staging") == ["PROMOTION-SAME-PERSON"]

    def test_two_reviewers_are_two_reviewers(self, company: Company) -> None:
        company.hire("another", "reviewer", "bea@example.org", ["staging"])
        company.run("dev")
        assert codes(company, company.signed(company.payload("dev"), "dev", "reviewer", "another"), "staging") == []

    def test_one_signature_twice_is_no_second_signature(self, company: Company) -> None:
        company.run("dev")
        envelope = company.signed(company.payload("dev"), "dev")
        doubled = attestation.Envelope(envelope.payload, envelope.signatures * 2)
        assert codes(company, doubled, "staging") == ["PROMOTION-UNAPPROVED"]

    @pytest.mark.parametrize("name", ["officer", "release", "staging", "prod"])
    def test_a_key_of_another_role_or_environment_approves_nothing(self, company: Company, name: str) -> None:
        company.run("dev")
        envelope = company.signed(company.payload("dev"), "dev", name)
        assert codes(company, envelope, "staging") == ["ATTESTATION-ROLE", "PROMOTION-UNAPPROVED"]
        # Nor may it stand beside good ones: nobody knows what it was meant for.
        envelope = company.signed(company.payload("dev"), "dev", "reviewer", name)
        assert codes(company, envelope, "staging") == ["ATTESTATION-ROLE"]

    def test_a_reviewer_for_prod_is_none_for_staging(self, company: Company) -> None:
        company.hire("elsewhere", "reviewer", "ed@example.org", ["prod"])
        company.run("dev")
        envelope = company.signed(company.payload("dev"), "dev", "elsewhere")
        assert "PROMOTION-UNAPPROVED" in codes(company, envelope, "staging")

    def test_needs_every_mandatory_control(self, company: Company) -> None:
        company.run("dev", failed=["firewall-default-deny"])
        envelope = company.signed(company.payload("dev"), "dev", "reviewer")
        found = judge(company, envelope, "staging").findings
        assert [(item.code, item.subject) for item in found if item.code == "PROMOTION-CONTROLS"]
        assert "W2 failed" in next(item.evidence for item in found if item.code == "PROMOTION-CONTROLS")

    def test_needs_it_on_every_host(self, company: Company) -> None:
        company.run("dev", ["h1", "h2"])
        company.run("dev", ["h2"], failed=["attack-mount"])
        envelope = company.signed(company.payload("dev", ["h1", "h2"]), "dev", "reviewer")
        found = judge(company, envelope, "staging").findings
        assert {item.subject for item in found} == {"h2"}
        assert {"PROMOTION-CONTROLS", "PROMOTION-TESTS"} <= {item.code for item in found}

    def test_a_test_that_failed_stops_it_though_it_is_not_mandatory(self, company: Company) -> None:
        """I6.1 (the neighbour) is not mandatory in dev: not tested is let through, tested and failed is not."""
        company.run("dev", failed=["attack-neighbour-docker-ipv4"])
        envelope = company.signed(company.payload("dev"), "dev", "reviewer")
        assert codes(company, envelope, "staging") == ["PROMOTION-TESTS"]
        checks = [item for item in company.record("dev", "h1", 4)["checks"] if "neighbour" not in item["id"]]
        company.run("dev")
        company.write("dev", "h1", 4, checks=checks)
        company.write("dev", "h1", 5)
        assert codes(company, company.signed(company.payload("dev"), "dev", "reviewer"), "staging") == []

    def test_does_not_take_the_statement_s_word_for_what_is_mandatory(self, company: Company) -> None:
        company.run("dev", failed=["attack-mount"])

        def gloss(document: dict[str, Any]) -> None:
            for host in document["predicate"]["hosts"]:
                host["mandatory_open"] = []
                del host["controls"]["I6"]
                for phase in host["phases"]:
                    phase["verdict"] = "passed"

        envelope = company.signed(altered(company.payload("dev"), gloss), "dev", "reviewer")
        assert codes(company, envelope, "staging") == ["PROMOTION-CONTROLS"]

    @pytest.mark.parametrize("phase", [1, 2, 3, 4])
    def test_needs_every_phase(self, company: Company, phase: int) -> None:
        company.run("dev")

        def skip(document: dict[str, Any]) -> None:
            host = document["predicate"]["hosts"][0]
            host["phases"] = [item for item in host["phases"] if item["phase"] != phase]

        envelope = company.signed(altered(company.payload("dev"), skip), "dev", "reviewer")
        assert codes(company, envelope, "staging") == ["PROMOTION-PHASES"]

    def test_takes_no_phase_that_failed(self, company: Company) -> None:
        company.run("dev")
        company.write("dev", "h1", 3, verdict="failed")
        envelope = company.signed(company.payload("dev"), "dev", "reviewer")
        assert codes(company, envelope, "staging") == ["PROMOTION-PHASES"]


class TestProd:
    def test_gets_what_passed_staging_s_audit_and_the_officer_signed(self, company: Company) -> None:
        judged = judge(company, company.staging_to_prod(), "prod")
        assert judged.findings == ()
        assert {key.holder for key in judged.signers} == {"alan@example.org", "carol@example.org"}

    def test_the_gate_closes_opens_and_closes(self, company: Company) -> None:
        """Without the second signature it fails, with it it passes, after one changed byte it fails."""
        unsigned = company.staging_to_prod("staging")
        assert codes(company, unsigned, "prod") == ["PROMOTION-UNAPPROVED"]
        signed = attestation.sign(unsigned, company.keys["officer"])
        assert codes(company, signed, "prod") == []
        random.seed(9)
        for position in random.sample(range(len(signed.payload)), 60):
            changed = bytearray(signed.payload)
            changed[position] ^= 1
            forged = attestation.Envelope(bytes(changed), signed.signatures)
            assert codes(company, forged, "prod") == ["ATTESTATION-SIGNATURE-INVALID"]
        for number, signature in enumerate(signed.signatures):
            for position in range(64):
                value = bytearray(signature.value)
                value[position] ^= 1
                others = [item for index, item in enumerate(signed.signatures) if index != number]
                forged = attestation.Envelope(
                    signed.payload, (*others, attestation.Signature(signature.keyid, bytes(value)))
                )
                assert codes(company, forged, "prod") == ["ATTESTATION-SIGNATURE-INVALID"]

    def test_the_reviewer_is_not_the_officer(self, company: Company) -> None:
        """Bob reviewed for staging; whoever approved there does not approve for prod."""
        company.hire("bob as officer", "security_officer", "bob@example.org", ["prod"])
        envelope = company.staging_to_prod("staging", "bob as officer")
        assert codes(company, envelope, "prod") == ["PROMOTION-SAME-PERSON"]

    def test_the_author_is_not_the_officer(self, company: Company) -> None:
        company.hire("alice as officer", "security_officer", "alice@example.org", ["prod"])
        envelope = company.staging_to_prod("staging", "alice as officer")
        assert codes(company, envelope, "prod") == ["PROMOTION-SAME-PERSON"]

    def test_needs_what_is_mandatory_in_prod_though_not_in_staging(self, company: Company) -> None:
        envelope = company.staging_to_prod(failed=["host-tpm", "ollama-apparmor"])
        found = judge(company, envelope, "prod").findings
        assert [item.code for item in found] == ["PROMOTION-CONTROLS"]
        assert "W7.1 failed" in found[0].evidence and "I1.1 failed" in found[0].evidence

    def test_needs_what_is_mandatory_in_staging_alone(self, company: Company) -> None:
        catalogue = [*CATALOGUE, type(CATALOGUE[0])("X1", {"en": "x", "fr": "x"}, 3, ("staging",), ("x",))]
        envelope = company.staging_to_prod()
        found = promotion.judge(envelope, "prod", company.trusted, catalogue, NOW, 14).findings
        assert [item.code for item in found] == ["PROMOTION-CONTROLS"]

    def test_a_mandatory_control_that_nothing_covers_is_not_passed(self, company: Company) -> None:
        catalogue = [*CATALOGUE, type(CATALOGUE[0])("X1", {"en": "x", "fr": "x"}, 3, ("prod",), ())]
        envelope = company.staging_to_prod()
        assert promotion.judge(envelope, "prod", company.trusted, catalogue, NOW, 14).findings

    def test_needs_phase_five(self, company: Company) -> None:
        company.dev_to_staging()
        company.run("staging")

        def skip(document: dict[str, Any]) -> None:
            document["predicate"]["hosts"][0]["phases"].pop()

        envelope = company.signed(altered(company.payload("staging"), skip), "staging", "officer")
        assert codes(company, envelope, "prod") == ["PROMOTION-PHASES"]

    def test_needs_the_way_through_staging(self, company: Company) -> None:
        """Staging installed something without a promotion: its evidence carries none."""
        company.run("staging")
        envelope = company.signed(company.payload("staging"), "staging", "officer")
        assert codes(company, envelope, "prod") == ["PROMOTION-CHAIN"]

    @pytest.mark.parametrize("names", [("dev",), ("reviewer",), ("dev", "officer")])
    def test_staging_s_own_promotion_has_to_hold(self, company: Company, names: tuple[str, ...]) -> None:
        company.run("dev")
        before = company.signed(company.payload("dev"), *names)
        company.run("staging")

        def carry(document: dict[str, Any]) -> None:
            document["predicate"]["promotion"] = envelope_json(before)

        envelope = company.signed(altered(company.payload("staging"), carry), "staging", "officer")
        assert set(codes(company, envelope, "prod")) <= {"PROMOTION-CHAIN", "PROMOTION-SAME-PERSON"}
        assert "PROMOTION-CHAIN" in codes(company, envelope, "prod")

    def test_staging_s_own_promotion_has_to_be_of_the_same_bytes(self, company: Company) -> None:
        before = company.dev_to_staging()
        company.model = hexes("9")
        company.run("staging")

        def carry(document: dict[str, Any]) -> None:
            document["predicate"]["promotion"] = envelope_json(before)

        envelope = company.signed(altered(company.payload("staging"), carry), "staging", "officer")
        assert codes(company, envelope, "prod") == ["PROMOTION-DIGEST"]

    def test_a_reviewer_whose_key_was_stolen_takes_the_chain_with_it(self, company: Company) -> None:
        envelope = company.staging_to_prod()
        company.revoke("reviewer")
        assert codes(company, envelope, "prod") == ["PROMOTION-CHAIN"]


class TestDirection:
    @pytest.mark.parametrize("target", ["dev", "demo"])
    def test_nothing_is_promoted_down(self, company: Company, target: str) -> None:
        envelope = company.dev_to_staging()
        assert codes(company, envelope, target) == ["PROMOTION-BACKWARD"]
        with pytest.raises(FindingError, match="PROMOTION-BACKWARD"):
            promotion.require_target(target)

    @pytest.mark.parametrize("source", ["staging", "prod"])
    def test_nothing_flows_back_to_staging(self, company: Company, source: str) -> None:
        company.run(source)
        envelope = company.signed(company.payload(source), source, "reviewer")
        assert codes(company, envelope, "staging") == ["PROMOTION-BACKWARD"]

    def test_nothing_skips_staging(self, company: Company) -> None:
        """Dev's envelope, whole and reviewed, is replayed at prod's gate, signed by the officer even."""
        envelope = attestation.sign(company.dev_to_staging(), company.keys["officer"])
        assert codes(company, envelope, "prod") == ["PROMOTION-ENVIRONMENT"]

    def test_evidence_for_one_target_is_none_for_another(self, company: Company) -> None:
        company.run("dev")
        payload = altered(company.payload("dev"), lambda doc: doc["predicate"].update(promotes_to="prod"))
        envelope = company.signed(payload, "dev", "reviewer")
        assert codes(company, envelope, "staging") == ["PROMOTION-ENVIRONMENT"]

    def test_demo_s_evidence_goes_nowhere(self, company: Company) -> None:
        company.hire("demo", "evidence", "dan@example.org", ["demo"])
        company.run("demo")
        envelope = company.signed(company.payload("demo"), "demo", "reviewer")
        assert codes(company, envelope, "staging") == ["PROMOTION-ENVIRONMENT"]


class TestTime:
    def test_old_evidence_is_refused_by_its_oldest_phase(self, company: Company) -> None:
        """Signing again does not make it younger, nor does running one phase again."""
        company.run("dev", at=NOW - 15 * DAY)
        company.write("dev", "h1", 5, at=NOW - DAY)
        envelope = company.signed(company.payload("dev"), "dev", "reviewer")
        assert codes(company, envelope, "staging") == ["PROMOTION-STALE"]
        assert codes(company, envelope, "staging", age=16) == []
        assert codes(company, envelope, "staging", age=None) == []

    def test_the_limit_is_exact(self, company: Company) -> None:
        company.run("dev", at=NOW - DAY - datetime.timedelta(minutes=1))
        envelope = company.signed(company.payload("dev"), "dev", "reviewer")
        assert codes(company, envelope, "staging", age=1) == []
        company.now += datetime.timedelta(seconds=1)
        assert codes(company, envelope, "staging", age=1) == ["PROMOTION-STALE"]

    def test_evidence_from_the_future_is_refused(self, company: Company) -> None:
        company.now = NOW + DAY
        company.run("dev", at=NOW + DAY)
        envelope = company.signed(company.payload("dev"), "dev", "reviewer")
        company.now = NOW
        assert codes(company, envelope, "staging") == ["PROMOTION-FUTURE"]

    def test_evidence_younger_than_its_signature_is_refused(self, company: Company) -> None:
        company.run("dev", at=NOW - DAY)
        payload = altered(
            company.payload("dev"),
            lambda doc: doc["predicate"].update(created_at=trust.format_time(NOW - 5 * DAY)),
        )
        assert codes(company, company.signed(payload, "dev", "reviewer"), "staging") == ["PROMOTION-FUTURE"]

    def test_a_key_counts_at_the_claimed_time_and_now(self, company: Company) -> None:
        company.run("dev", at=NOW - 3 * DAY)
        payload = altered(
            company.payload("dev"),
            lambda doc: doc["predicate"].update(created_at=trust.format_time(NOW - 2 * DAY)),
        )
        envelope = company.signed(payload, "dev", "reviewer")
        assert codes(company, envelope, "staging") == []
        company.edit_key("dev", valid_from=trust.format_time(NOW - DAY))
        assert codes(company, envelope, "staging") == ["ATTESTATION-KEY-EARLY"]
        company.edit_key("dev", valid_from=trust.format_time(NOW - 9 * DAY), valid_until=trust.format_time(NOW - DAY))
        assert codes(company, envelope, "staging") == ["ATTESTATION-KEY-EXPIRED"]

    def test_a_reviewer_may_have_been_appointed_since(self, company: Company) -> None:
        envelope = company.dev_to_staging()
        company.edit_key("reviewer", valid_from=trust.format_time(NOW - datetime.timedelta(hours=1)))
        assert codes(company, envelope, "staging") == []


class TestKeys:
    @pytest.mark.parametrize("name", ["dev", "reviewer"])
    def test_revoked_stop_it(self, company: Company, name: str) -> None:
        envelope = company.dev_to_staging()
        company.revoke(name)
        assert codes(company, envelope, "staging") == ["ATTESTATION-KEY-REVOKED"]

    def test_unknown_stop_it(self, company: Company) -> None:
        envelope = attestation.sign(company.dev_to_staging(), Ed25519PrivateKey.generate())
        assert codes(company, envelope, "staging") == ["ATTESTATION-KEY-UNKNOWN"]

    def test_nothing_is_read_of_what_somebody_unknown_signed(
        self, company: Company, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def never(*_arguments: object) -> None:
            raise AssertionError("read before it was verified")

        monkeypatch.setattr(promotion.statements, "parse", never)
        stranger = attestation.sign(attestation.Envelope(b"{" * 1000), Ed25519PrivateKey.generate())
        assert codes(company, stranger, "staging") == ["ATTESTATION-KEY-UNKNOWN"]

    def test_a_trusted_key_s_signature_under_something_else_is_no_evidence(self, company: Company) -> None:
        for payload in (b"", b"{}", b"hello", b"[" * 5000):
            assert codes(company, company.signed(payload, "dev", "reviewer"), "staging") == ["ATTESTATION-INVALID"]
