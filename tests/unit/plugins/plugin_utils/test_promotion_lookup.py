# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S9: which promotion allows what a host is about to get, and that an older one is not brought back unseen."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from ansible_collections.rampart.ollama.plugins.plugin_utils import (
    attestation,
    collection_digest,
    promotion_lookup,
)
from promotion_rig import CATALOGUE, DAY, Company, hexes

pytestmark = pytest.mark.row("S9")

NOW = datetime.datetime(2026, 11, 24, 12, 0, tzinfo=datetime.UTC)
NO_LEAVE = promotion_lookup.Rollback()
WHY = "INC-2031: the new weights refuse French"


@pytest.fixture
def company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Company:
    monkeypatch.setattr(collection_digest, "collection_digest", lambda root=None: hexes("d"))
    return Company(tmp_path, NOW)


def look(
    company: Company,
    target: str,
    wanted: dict[str, str] | None = None,
    days: int = 90,
    rollback: promotion_lookup.Rollback | None = NO_LEAVE,
) -> promotion_lookup.Lookup:
    wanted = wanted or company.wanted(target)
    return promotion_lookup.lookup(
        company.promotions, target, wanted, company.trusted, CATALOGUE, company.now, days, rollback
    )


def statuses(looked: promotion_lookup.Lookup) -> list[str]:
    checks = looked.checks()
    assert [item["id"] for item in checks] == ["promotion-signed", "promotion-digests"]
    return [item["status"] for item in checks]


class TestLookup:
    def test_finds_the_promotion_that_covers(self, company: Company) -> None:
        envelope = company.dev_to_staging()
        looked = look(company, "staging")
        assert looked.found is not None and looked.found.envelope.id == envelope.id
        assert statuses(looked) == ["passed", "passed"]

    def test_none_is_said(self, company: Company) -> None:
        looked = look(company, "staging")
        assert [item.code for item in looked.findings] == ["PROMOTION-MISSING"]
        assert statuses(looked) == ["failed", "unknown"]

    def test_of_another_environment_is_none(self, company: Company) -> None:
        """Staging's promotion copied to prod's directory."""
        company.promote(company.dev_to_staging(), "prod")
        looked = look(company, "prod")
        assert looked.found is None
        assert statuses(looked)[0] == "failed"

    def test_of_other_bytes_is_none(self, company: Company) -> None:
        company.dev_to_staging()
        company.approve(hexes("9"))
        looked = look(company, "staging")
        assert [item.code for item in looked.findings] == ["PROMOTION-DIGEST"]
        assert statuses(looked) == ["passed", "failed"]

    def test_stale_is_none(self, company: Company) -> None:
        company.dev_to_staging()
        company.now += 100 * DAY
        looked = look(company, "staging")
        assert [item.code for item in looked.findings] == ["PROMOTION-STALE"]
        assert statuses(looked) == ["failed", "unknown"]
        assert look(company, "staging", days=120).found is not None

    def test_revoked_key_takes_its_promotions_with_it(self, company: Company) -> None:
        company.dev_to_staging()
        company.revoke("reviewer")
        assert [item.code for item in look(company, "staging").findings] == ["ATTESTATION-KEY-REVOKED"]

    def test_broken_files_beside_a_good_one_do_not_hide_it(self, company: Company) -> None:
        path = company.promote(company.dev_to_staging(), "staging")
        for number, content in enumerate((b"", b"{}", b"\xff", b"[" * 100_000, path.read_bytes()[:-9])):
            path.with_name(f"{number}.dsse.json").write_bytes(content)
        (path.parent / "directory.dsse.json").mkdir()
        (path.parent / "dangling.dsse.json").symlink_to("nowhere")
        looked = look(company, "staging")
        assert looked.found is not None and looked.looked_at == 8

    def test_broken_files_alone_are_refused(self, company: Company) -> None:
        path = company.promote(company.dev_to_staging(), "staging")
        path.write_bytes(path.read_bytes().replace(b'"sig": "', b'"sig": "A'))
        looked = look(company, "staging")
        assert [item.code for item in looked.findings] == ["ATTESTATION-INVALID"]
        assert statuses(looked) == ["failed", "unknown"]

    def test_the_nearest_refusal_is_told(self, company: Company) -> None:
        """An old promotion of these bytes says more than a new one of others."""
        company.dev_to_staging()
        wanted = company.wanted("staging")
        company.now += 100 * DAY
        company.model = hexes("9")
        company.dev_to_staging()
        looked = look(company, "staging", wanted)
        assert [item.code for item in looked.findings] == ["PROMOTION-STALE"]

    def test_the_newest_of_two_is_taken(self, company: Company) -> None:
        company.dev_to_staging()
        company.now += 2 * DAY
        newer = company.dev_to_staging()
        found = look(company, "staging").found
        assert found is not None and found.envelope.id == newer.id

    def test_the_number_of_files_is_bounded(self, company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(promotion_lookup, "PROMOTIONS_MAX", 3)
        path = company.promote(company.dev_to_staging(), "staging")
        for number in range(3):
            path.with_name(f"{number}.dsse.json").touch()
        assert [item.code for item in look(company, "staging").findings] == ["PROMOTION-MISSING"]


class TestRollback:
    @pytest.fixture
    def older(self, company: Company) -> attestation.Envelope:
        """The first of two promotions to staging, of another model than the second; staging is back at the first."""
        older = company.dev_to_staging()
        first = company.model
        company.now += 2 * DAY
        company.model = hexes("9")
        company.dev_to_staging()
        company.approve(first)
        return older

    def test_what_was_replaced_is_not_installed_again(self, company: Company, older: attestation.Envelope) -> None:
        looked = look(company, "staging")
        assert looked.found is None
        assert [item.code for item in looked.findings] == ["PROMOTION-SUPERSEDED"]
        assert older.id in looked.findings[0].subject
        assert statuses(looked) == ["failed", "unknown"]
        company.approve(hexes("9"))
        assert look(company, "staging").found is not None

    def test_it_is_with_its_id_and_a_reason_that_the_evidence_keeps(
        self, company: Company, older: attestation.Envelope
    ) -> None:
        looked = look(company, "staging", rollback=promotion_lookup.Rollback(older.id, WHY + "\n\x1b[31m"))
        assert looked.found is not None and looked.found.envelope.id == older.id
        assert looked.findings == ()
        assert statuses(looked) == ["passed", "passed"]
        said = looked.checks()[0]["evidence"]
        assert WHY in said and "rolled back from" in said and "\x1b" not in said

    @pytest.mark.parametrize("reason", ["", "  \n  \t       ", "because"])
    def test_not_without_a_reason(self, company: Company, older: attestation.Envelope, reason: str) -> None:
        looked = look(company, "staging", rollback=promotion_lookup.Rollback(older.id, reason))
        assert [item.code for item in looked.findings] == ["PROMOTION-SUPERSEDED"]

    @pytest.mark.parametrize("to", ["", "yes", "*", "0" * 32])
    def test_leave_for_one_promotion_is_leave_for_no_other(
        self, company: Company, older: attestation.Envelope, to: str
    ) -> None:
        assert older.id != to
        assert look(company, "staging", rollback=promotion_lookup.Rollback(to, WHY)).found is None

    def test_leave_to_go_back_lets_nothing_else_off(self, company: Company, older: attestation.Envelope) -> None:
        leave = promotion_lookup.Rollback(older.id, WHY)
        company.now += 100 * DAY
        assert [item.code for item in look(company, "staging", rollback=leave).findings] == ["PROMOTION-STALE"]
        company.now -= 100 * DAY
        company.revoke("reviewer")
        assert [item.code for item in look(company, "staging", rollback=leave).findings] == ["ATTESTATION-KEY-REVOKED"]

    def test_the_same_bytes_promoted_anew_need_no_leave(self, company: Company, older: attestation.Envelope) -> None:
        company.model = hexes("c")
        company.now += DAY
        newest = company.dev_to_staging()
        looked = look(company, "staging")
        assert looked.found is not None and looked.found.envelope.id == newest.id != older.id
        assert looked.note == ""

    def test_age_does_not_bring_back_what_was_replaced(self, company: Company) -> None:
        """The newer evidence has an older first phase: it is stale first, and still the one that replaced."""
        older = company.dev_to_staging()
        company.now += DAY
        company.model = hexes("9")
        company.run("dev", at=company.now - 10 * DAY)
        company.promote(company.signed(company.payload("dev"), "dev", "reviewer"), "staging")
        company.approve(hexes("c"))
        looked = look(company, "staging", days=5)
        assert [(item.code, item.subject) for item in looked.findings] == [("PROMOTION-SUPERSEDED", older.id)]

    @pytest.mark.parametrize("names", [("dev",), ("reviewer",), ("dev", "officer")])
    def test_what_does_not_hold_replaces_nothing(self, company: Company, names: tuple[str, ...]) -> None:
        """Who can write a file there, but lacks a signature, cannot lock everybody out."""
        company.dev_to_staging()
        company.now += DAY
        company.run("dev")
        company.promote(company.signed(company.payload("dev"), *names), "staging")
        assert look(company, "staging").found is not None

    def test_evidence_may_carry_an_older_promotion(self, company: Company, older: attestation.Envelope) -> None:
        """Dev has moved on; what staging tested goes on to prod."""
        looked = look(company, "staging", rollback=None)
        assert looked.found is not None and looked.found.envelope.id == older.id
