# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S9, T2: the actions write whole files or none, none in check mode, and hold keys on the controller alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from promotion_acts import (
    KEY_ACTIONS,
    NOW,
    PASSPHRASE,
    Act,
    countersigning,
    key_file,
    making,
    put,
    refused,
    signing,
    tree,
)

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.plugin_utils import (
    attestation,
    controller,
    signing_keys,
    trust,
)
from promotion_rig import DAY, Company, envelope_json, hexes

pytestmark = [pytest.mark.row("S9"), pytest.mark.row("T2")]


class TestKeysStayOnTheController:
    @pytest.mark.parametrize(
        ("host", "transport"), [("h1", "ssh"), ("localhost", "ssh"), ("h1", "local"), ("", "local")]
    )
    @pytest.mark.parametrize("name", KEY_ACTIONS)
    def test_elsewhere_nothing_is_made_or_signed(
        self, act: Act, company: Company, name: str, host: str, transport: str
    ) -> None:
        company.run("dev")
        put(company, company.signed(company.payload("dev"), "dev"))
        makers = {"attestation_key": making, "attestation_evidence": signing, "attestation_sign": countersigning}
        arguments = makers[name](company)
        before = tree(company.root)
        refused("ATTESTATION-NOT-LOCAL", lambda: act(name, arguments, host=host, transport=transport))
        assert tree(company.root) == before

    def test_a_passphrase_on_the_command_line_is_refused(
        self, act: Act, company: Company, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        company.run("dev")
        put(company, company.signed(company.payload("dev"), "dev"))
        monkeypatch.setattr(sys, "argv", ["ansible-playbook", "-e", f"promotion_passphrase={PASSPHRASE}"])
        for name, arguments in (
            ("attestation_key", making(company)),
            ("attestation_evidence", signing(company)),
            ("attestation_sign", countersigning(company)),
        ):
            before = tree(company.root)
            with pytest.raises(AnsibleActionFail, match="ATTESTATION-PASSPHRASE-ARGV"):
                act(name, arguments)
            assert tree(company.root) == before


class TestAttestationKey:
    def test_makes_a_key_and_trusts_it(self, act: Act, company: Company) -> None:
        result = act("attestation_key", making(company, valid_days=7), diff=True)
        assert result["changed"]
        key = company.trusted[result["keyid"]]
        assert (key.role, key.holder, key.environments) == ("reviewer", "eve@example.org", ("staging",))
        assert (key.valid_from, key.valid_until) == (NOW, NOW + 7 * DAY)
        private = signing_keys.load_private(company.root / "keys/new.pem", PASSPHRASE)
        assert attestation.keyid_of(private.public_key()) == result["keyid"]
        assert (company.root / "keys/new.pem.pub").read_text(encoding="ascii") == result["public_key"]
        assert "PRIVATE" not in json.dumps(result)
        assert result["diff"]["after"] == company.trusted_keys.read_text(encoding="utf-8")

    def test_check_mode_makes_nothing(self, act: Act, company: Company) -> None:
        before = tree(company.root)
        assert act("attestation_key", making(company), check=True)["changed"]
        refused("TRUST-INVALID", lambda: act("attestation_key", making(company, holder="eve"), check=True))
        assert tree(company.root) == before

    @pytest.mark.parametrize(
        ("code", "changes"),
        [
            ("TRUST-INVALID", {"holder": "everybody"}),
            ("TRUST-INVALID", {"role": "evidence", "environments": ["dev", "prod"]}),
            ("TRUST-INVALID", {"environments": ["moon"]}),
            ("TRUST-INVALID", {"valid_days": 0}),
            ("ATTESTATION-PASSPHRASE", {"passphrase": "short"}),
        ],
    )
    def test_what_cannot_be_trusted_leaves_no_key(
        self, act: Act, company: Company, code: str, changes: dict[str, Any]
    ) -> None:
        before = tree(company.root)
        refused(code, lambda: act("attestation_key", making(company, **changes)))
        assert tree(company.root) == before

    def test_a_broken_list_of_keys_is_not_written_over(self, act: Act, company: Company) -> None:
        company.trusted_keys.write_text("keys: [", encoding="utf-8")
        before = tree(company.root)
        refused("TRUST-INVALID", lambda: act("attestation_key", making(company)))
        assert tree(company.root) == before

    def test_a_key_is_never_overwritten(self, act: Act, company: Company) -> None:
        act("attestation_key", making(company))
        before = tree(company.root)
        refused("ATTESTATION-KEY-EXISTS", lambda: act("attestation_key", making(company)))
        assert tree(company.root) == before

    def test_a_public_key_is_trusted_once(self, act: Act, company: Company) -> None:
        act("attestation_key", making(company))
        public = {"private_key": None, "passphrase": None, "public_key": str(company.root / "keys/new.pem.pub")}
        arguments = {name: value for name, value in making(company, **public).items() if value is not None}
        assert not act("attestation_key", arguments)["changed"]
        refused("TRUST-INVALID", lambda: act("attestation_key", {**arguments, "role": "security_officer"}))
        (company.root / "keys/new.pem.pub").write_bytes(b"\xff\xfe nothing")
        refused("ATTESTATION-KEY-UNREADABLE", lambda: act("attestation_key", arguments))


class TestAttestationEvidence:
    def test_signs_and_signs_once(self, act: Act, company: Company) -> None:
        company.run("dev")
        first = act("attestation_evidence", signing(company))
        path = Path(first["path"])
        assert first["changed"] and trust.signers(attestation.read_envelope(path), company.trusted, NOW)
        before = path.read_bytes()
        company.now += DAY
        again = act("attestation_evidence", signing(company))
        assert not again["changed"] and again["id"] == first["id"] and path.read_bytes() == before

    def test_keeps_a_reviewer_s_signature_while_the_evidence_is_the_same(self, act: Act, company: Company) -> None:
        company.run("dev")
        act("attestation_evidence", signing(company))
        act("attestation_sign", countersigning(company))
        assert not act("attestation_evidence", signing(company))["changed"]
        assert len(attestation.read_envelope(signing(company)["dest"]).signatures) == 2
        company.write("dev", "h1", 5, at=company.now - DAY / 2)
        assert act("attestation_evidence", signing(company))["changed"]
        assert len(attestation.read_envelope(signing(company)["dest"]).signatures) == 1

    def test_replaces_what_does_not_count_any_more(self, act: Act, company: Company) -> None:
        company.run("dev")
        for content in (b"", b"nonsense"):
            Path(signing(company)["dest"]).write_bytes(content)
            assert act("attestation_evidence", signing(company))["changed"]

    def test_check_mode_writes_nothing(self, act: Act, company: Company) -> None:
        company.run("dev")
        arguments = signing(company)
        before = tree(company.root)
        assert act("attestation_evidence", arguments, check=True)["changed"]
        assert tree(company.root) == before

    @pytest.mark.parametrize("name", ["reviewer", "staging", "release"])
    def test_signs_with_the_environment_s_evidence_key_alone(self, act: Act, company: Company, name: str) -> None:
        company.run("dev")
        arguments = signing(company, private_key=key_file(company, name))
        refused("ATTESTATION-ROLE", lambda: act("attestation_evidence", arguments))
        assert not Path(arguments["dest"]).exists()

    def test_does_not_sign_with_a_key_that_would_not_count(self, act: Act, company: Company) -> None:
        company.run("dev")
        company.revoke("dev")
        refused("ATTESTATION-KEY-REVOKED", lambda: act("attestation_evidence", signing(company)))
        document = yaml.safe_load(company.trusted_keys.read_text(encoding="utf-8"))
        document["keys"] = [entry for entry in document["keys"] if entry["keyid"] != company.keyid("dev")]
        company.trusted_keys.write_text(yaml.safe_dump(document), encoding="utf-8")
        refused("ATTESTATION-KEY-UNKNOWN", lambda: act("attestation_evidence", signing(company)))

    def test_staging_carries_its_promotion_or_signs_nothing(self, act: Act, company: Company) -> None:
        company.run("staging")
        key = key_file(company, "staging")
        arguments = signing(company, environment="staging", private_key=key)
        refused("PROMOTION-MISSING", lambda: act("attestation_evidence", arguments))
        company.dev_to_staging()
        act("attestation_evidence", arguments)
        payload = attestation.read_envelope(arguments["dest"]).payload
        assert json.loads(payload)["predicate"]["promotion"]["payload"]

    def test_prod_s_evidence_is_signed_and_goes_nowhere(self, act: Act, company: Company) -> None:
        company.run("prod")
        act("attestation_evidence", signing(company, environment="prod", private_key=key_file(company, "prod")))
        payload = attestation.read_envelope(signing(company)["dest"]).payload
        assert json.loads(payload)["predicate"]["promotes_to"] == ""


class TestAttestationSign:
    def test_adds_a_signature_once(self, act: Act, company: Company) -> None:
        company.run("dev")
        path = put(company, company.signed(company.payload("dev"), "dev"))
        result = act("attestation_sign", countersigning(company))
        assert result["changed"] and result["keyid"] == company.keyid("reviewer")
        assert {item["holder"] for item in result["signers"]} == {"alice@example.org", "bob@example.org"}
        before = path.read_bytes()
        assert not act("attestation_sign", countersigning(company))["changed"]
        assert path.read_bytes() == before

    def test_what_was_replaced_since_it_was_shown_is_not_signed(self, act: Act, company: Company) -> None:
        company.run("dev")
        path = put(company, company.signed(company.payload("dev"), "dev"))
        before = path.read_bytes()
        with pytest.raises(AnsibleActionFail, match="ATTESTATION-CHANGED"):
            act("attestation_sign", {**countersigning(company), "id": "sha256:" + "0" * 64})
        assert path.read_bytes() == before
        trusted = countersigning(company)["trusted_keys"]
        shown = act("attestation_verify", {"envelope": str(path), "trusted_keys": trusted})
        assert act("attestation_sign", {**countersigning(company), "id": shown["id"]})["changed"]

    def test_check_mode_writes_nothing(self, act: Act, company: Company) -> None:
        company.run("dev")
        put(company, company.signed(company.payload("dev"), "dev"))
        arguments = countersigning(company)
        before = tree(company.root)
        assert act("attestation_sign", arguments, check=True)["changed"]
        assert tree(company.root) == before

    def test_nothing_is_put_under_what_was_changed(self, act: Act, company: Company) -> None:
        company.run("dev")
        envelope = company.signed(company.payload("dev"), "dev")
        path = put(company, attestation.Envelope(envelope.payload + b" ", envelope.signatures))
        before = path.read_bytes()
        refused("ATTESTATION-SIGNATURE-INVALID", lambda: act("attestation_sign", countersigning(company)))
        put(company, attestation.Envelope(envelope.payload))
        refused("ATTESTATION-UNSIGNED", lambda: act("attestation_sign", countersigning(company)))
        put(company, company.signed(b"{}", "dev"))
        refused("ATTESTATION-INVALID", lambda: act("attestation_sign", countersigning(company)))
        assert before

    def test_the_author_does_not_sign_a_second_time(self, act: Act, company: Company) -> None:
        company.run("dev")
        path = put(company, company.signed(company.payload("dev"), "dev"))
        company.hire("alice again", "reviewer", "alice@example.org", ["staging"])
        before = path.read_bytes()
        arguments = countersigning(company, private_key=key_file(company, "alice again"))
        refused("PROMOTION-SAME-PERSON", lambda: act("attestation_sign", arguments))
        assert path.read_bytes() == before

    def test_the_bytes_go_out_and_the_signature_comes_in(self, act: Act, company: Company) -> None:
        company.run("dev")
        path = put(company, company.signed(company.payload("dev"), "dev"))
        base = {"envelope": str(path), "trusted_keys": str(company.trusted_keys)}
        pae, signature = company.root / "out.pae", company.root / "in.sig"
        assert act("attestation_sign", {**base, "pae": str(pae)})["changed"]
        assert not act("attestation_sign", {**base, "pae": str(pae)})["changed"]
        signature.write_bytes(company.keys["reviewer"].sign(pae.read_bytes()))
        bring = {**base, "signature": str(signature), "keyid": company.keyid("reviewer")}
        assert act("attestation_sign", bring)["changed"]
        assert not act("attestation_sign", bring)["changed"]
        assert len(attestation.read_envelope(path).signatures) == 2

    @pytest.mark.parametrize("content", [b"", b"x" * 64, b"x" * 63, b"x" * 10_000])
    def test_a_signature_that_is_none_is_not_attached(self, act: Act, company: Company, content: bytes) -> None:
        company.run("dev")
        path = put(company, company.signed(company.payload("dev"), "dev"))
        before = path.read_bytes()
        (company.root / "in.sig").write_bytes(content)
        bring = {
            "envelope": str(path),
            "trusted_keys": str(company.trusted_keys),
            "signature": str(company.root / "in.sig"),
            "keyid": company.keyid("reviewer"),
        }
        refused("ATTESTATION-SIGNATURE-INVALID", lambda: act("attestation_sign", bring))
        refused("ATTESTATION-KEY-UNKNOWN", lambda: act("attestation_sign", {**bring, "keyid": "0" * 64}))
        assert path.read_bytes() == before


class TestAttestationVerify:
    def test_says_who_signed_what(self, act: Act, company: Company) -> None:
        path = put(company, company.dev_to_staging())
        arguments = {"envelope": str(path), "trusted_keys": str(company.trusted_keys)}
        # Needs no key, so it may run anywhere in a play.
        result = act("attestation_verify", arguments, host="h1", transport="ssh")
        assert not result["changed"] and result["promotes_to"] == "staging"
        assert {item["role"] for item in result["signers"]} == {"evidence", "reviewer"}
        assert result["subjects"] == company.wanted("dev")

    def test_says_nothing_of_what_does_not_verify(self, act: Act, company: Company) -> None:
        path = put(company, company.dev_to_staging())
        arguments = {"envelope": str(path), "trusted_keys": str(company.trusted_keys)}
        document = envelope_json(attestation.read_envelope(path))
        document["signatures"][0]["keyid"] = hexes("0")
        path.write_text(json.dumps(document), encoding="utf-8")
        refused("ATTESTATION-KEY-UNKNOWN", lambda: act("attestation_verify", arguments))


def test_only_what_is_long_enough_to_be_a_secret_is_looked_for_in_argv(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key may have an old, short passphrase that is a word of the command line by chance."""
    monkeypatch.setattr(sys, "argv", ["ansible-playbook", "-i", "inventories/staging"])
    controller.refuse_argv("staging")
    with pytest.raises(FindingError, match="ATTESTATION-PASSPHRASE-ARGV"):
        controller.refuse_argv("inventories/staging")
