# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows T2, S9: who may sign what; a key that is unknown, revoked or out of its time signs nothing."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.plugin_utils import attestation, signing_keys, trust
from promotion_rig import DAY, Company

pytestmark = [pytest.mark.row("T2"), pytest.mark.row("S9")]

NOW = datetime.datetime(2026, 11, 24, 12, 0, tzinfo=datetime.UTC)


@pytest.fixture
def company(tmp_path: Path) -> Company:
    return Company(tmp_path, NOW)


def code_of(run: Callable[[], Any]) -> str:
    with pytest.raises(FindingError) as refused:
        run()
    assert refused.value.finding.remedy
    return refused.value.finding.code


def signed(company: Company, *names: str) -> attestation.Envelope:
    return company.signed(b"payload", *names)


class TestSignatures:
    def test_of_trusted_keys_name_their_holders(self, company: Company) -> None:
        found = trust.signers(signed(company, "dev", "reviewer"), company.trusted, NOW)
        assert {(key.holder, key.role) for key in found} == {
            ("alice@example.org", "evidence"),
            ("bob@example.org", "reviewer"),
        }

    def test_by_one_key_are_counted_once(self, company: Company) -> None:
        envelope = signed(company, "dev")
        doubled = attestation.Envelope(envelope.payload, envelope.signatures * 5)
        assert len(trust.signers(doubled, company.trusted, NOW)) == 1

    def test_none_is_refused(self, company: Company) -> None:
        assert code_of(lambda: trust.signers(signed(company), company.trusted, NOW)) == "ATTESTATION-UNSIGNED"

    def test_an_unknown_key_spoils_the_envelope(self, company: Company) -> None:
        stranger = attestation.sign(signed(company, "dev"), Ed25519PrivateKey.generate())
        assert code_of(lambda: trust.signers(stranger, company.trusted, NOW)) == "ATTESTATION-KEY-UNKNOWN"

    @pytest.mark.parametrize("keyid", ["", "x", "0" * 64, "\x1b[31m" * 20])
    def test_a_keyid_is_no_proof_of_anything(self, company: Company, keyid: str) -> None:
        value = signed(company, "dev").signatures[0].value
        envelope = attestation.Envelope(b"payload", (attestation.Signature(keyid, value),))
        assert code_of(lambda: trust.signers(envelope, company.trusted, NOW)) == "ATTESTATION-KEY-UNKNOWN"

    def test_under_another_persons_keyid_is_refused(self, company: Company) -> None:
        value = signed(company, "dev").signatures[0].value
        envelope = attestation.Envelope(b"payload", (attestation.Signature(company.keyid("officer"), value),))
        assert code_of(lambda: trust.signers(envelope, company.trusted, NOW)) == "ATTESTATION-SIGNATURE-INVALID"

    def test_one_bad_signature_among_good_ones_is_refused(self, company: Company) -> None:
        envelope = signed(company, "dev", "reviewer")
        broken = attestation.Signature(envelope.signatures[1].keyid, bytes(64))
        forged = attestation.Envelope(envelope.payload, (*envelope.signatures, broken))
        assert code_of(lambda: trust.signers(forged, company.trusted, NOW)) == "ATTESTATION-SIGNATURE-INVALID"

    @pytest.mark.parametrize("length", [0, 1, 63, 65, 4096])
    def test_of_another_length_are_refused(self, company: Company, length: int) -> None:
        short = attestation.Signature(company.keyid("dev"), bytes(length))
        envelope = attestation.Envelope(b"payload", (short,))
        assert code_of(lambda: trust.signers(envelope, company.trusted, NOW)) == "ATTESTATION-SIGNATURE-INVALID"

    def test_by_a_revoked_key_never_count(self, company: Company) -> None:
        """Also those it may have made before: nothing proves when a signature was made."""
        envelope = signed(company, "dev")
        company.revoke("dev")
        with pytest.raises(FindingError, match="laptop stolen") as refused:
            trust.signers(envelope, company.trusted, NOW)
        assert refused.value.finding.code == "ATTESTATION-KEY-REVOKED"
        company.edit_key("dev", revoked_at=trust.format_time(NOW + 90 * DAY))
        assert code_of(lambda: trust.signers(envelope, company.trusted, NOW)) == "ATTESTATION-KEY-REVOKED"

    def test_outside_of_a_keys_time_do_not_count(self, company: Company) -> None:
        envelope, trusted = signed(company, "dev"), company.trusted
        since, until = NOW - 30 * DAY, NOW + 335 * DAY
        second = datetime.timedelta(seconds=1)
        assert trust.signers(envelope, trusted, until)
        assert code_of(lambda: trust.signers(envelope, trusted, until + second)) == "ATTESTATION-KEY-EXPIRED"
        assert trust.signers(envelope, trusted, since - trust.CLOCK_SKEW)
        early = since - trust.CLOCK_SKEW - second
        assert code_of(lambda: trust.signers(envelope, trusted, early)) == "ATTESTATION-KEY-EARLY"


class TestTheFile:
    def entry(self, company: Company, **changes: Any) -> dict[str, Any]:
        text = company.trusted_keys.read_text(encoding="utf-8")
        entry: dict[str, Any] = yaml.safe_load(text)["keys"][0]
        return {**entry, **changes}

    @pytest.mark.parametrize(
        "change",
        [
            {"role": "admin"},
            {"role": ["evidence", "reviewer"]},
            {"holder": "the whole team"},
            {"holder": ""},
            {"holder": ["a@example.org", "b@example.org"]},
            {"environments": "dev"},
            {"environments": ["everywhere"]},
            {"environments": ["dev", "prod"]},
            {"environments": []},
            {"public_key": "ssh-ed25519 AAAA"},
            {"keyid": "0" * 64},
            {"valid_from": "yesterday"},
            {"valid_from": "2026-01-01"},
            {"valid_until": "2020-01-01T00:00:00Z"},
            {"valid_until": "2026-02-30T00:00:00Z"},
            {"revoked_at": "2026-01-01T00:00:00Z"},
            {"revoked_reason": "because"},
            {"revoked_at": None, "revoked_reason": "because"},
            {"colour": "blue"},
        ],
    )
    def test_with_a_wrong_entry_is_refused(self, company: Company, change: dict[str, Any]) -> None:
        text = yaml.safe_dump({"version": 1, "keys": [self.entry(company, **change)]})
        assert code_of(lambda: trust.parse_trust(text)) == "TRUST-INVALID"

    def test_an_entry_needs_every_part(self, company: Company) -> None:
        whole = self.entry(company)
        trust.parse_trust(yaml.safe_dump({"version": 1, "keys": [whole]}))
        for name in whole:
            entry = {key: value for key, value in whole.items() if key != name}
            text = yaml.safe_dump({"version": 1, "keys": [entry]})
            with pytest.raises(FindingError, match="TRUST-INVALID"):
                trust.parse_trust(text)

    def test_one_key_in_two_roles_is_refused(self, company: Company) -> None:
        both = [self.entry(company), self.entry(company, role="reviewer", holder="mallory@example.org")]
        assert code_of(lambda: trust.parse_trust(yaml.safe_dump({"version": 1, "keys": both}))) == "TRUST-INVALID"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "keys: []",
            "version: 2\nkeys: []",
            "version: 1\nkeys: {}",
            "version: 1\nkeys: [1]",
            "version: 1\nkeys: []\nkeys: []",
            "version: 1\nkeys: &a []\nmore: *a",
            "version: 1\nkeys: !!python/object/apply:os.system [id]",
            "version: 1\nkeys: " + "[" * 5000,
            "version: 1\nkeys: [" + "1, " * 501 + "]",
            "\x00",
        ],
    )
    def test_of_another_shape_is_refused(self, text: str) -> None:
        assert code_of(lambda: trust.parse_trust(text)) == "TRUST-INVALID"

    def test_that_is_huge_is_not_read(self, tmp_path: Path) -> None:
        with (tmp_path / "trusted_keys.yaml").open("wb") as stream:
            stream.truncate(20 * 1024**3)
        assert code_of(lambda: trust.load_trust(tmp_path / "trusted_keys.yaml")) == "TRUST-INVALID"
        assert code_of(lambda: trust.load_trust(tmp_path / "none.yaml")) == "ATTESTATION-READ"

    def test_an_ecdsa_key_is_no_key_of_ours(self, company: Company) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        public = ec.generate_private_key(ec.SECP256R1()).public_key()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        text = yaml.safe_dump({"version": 1, "keys": [self.entry(company, public_key=pem)]})
        assert code_of(lambda: trust.parse_trust(text)) == "TRUST-INVALID"

    def test_two_spellings_are_one_person(self, company: Company) -> None:
        key = company.hire("again", "reviewer", "\uff21lice@Example.ORG", ["staging"])
        people = {entry.keyid: entry.person for entry in company.trusted.values()}
        assert people[attestation.keyid_of(key.public_key())] == people[company.keyid("dev")]


class TestAddingAKey:
    def add(self, text: str, key: Ed25519PrivateKey, **changes: Any) -> str:
        settings: dict[str, Any] = {"role": "reviewer", "holder": "eve@example.org", "environments": ["staging"]}
        settings.update(changes)
        public = key.public_key()
        return trust.add_key(text, public, valid_from=NOW, valid_until=NOW + 365 * DAY, **settings)

    def test_keeps_every_line_that_was_there(self, company: Company) -> None:
        before = "# Reviewed by dora.\n" + company.trusted_keys.read_text(encoding="utf-8").rstrip("\n")
        key = Ed25519PrivateKey.generate()
        after = self.add(before, key)
        assert after.startswith(before + "\n")
        assert trust.parse_trust(after)[attestation.keyid_of(key.public_key())].holder == "eve@example.org"
        assert self.add(after, key) == after

    def test_makes_the_file_where_there_is_none(self) -> None:
        assert len(trust.parse_trust(self.add("", Ed25519PrivateKey.generate()))) == 1

    @pytest.mark.parametrize(
        "changes",
        [
            {"holder": "eve@example.org\n    role: security_officer"},
            {"holder": "eve"},
            {"holder": 'eve@example.org" #'},
            {"role": "evidence", "environments": ["dev", "prod"]},
            {"environments": ["dev, prod"]},
        ],
    )
    def test_refuses_what_would_not_be_read_as_it_was_meant(self, changes: dict[str, Any]) -> None:
        assert code_of(lambda: self.add("", Ed25519PrivateKey.generate(), **changes)) == "TRUST-INVALID"

    def test_refuses_a_key_that_is_there_for_somebody_else(self) -> None:
        key = Ed25519PrivateKey.generate()
        text = self.add("", key)
        assert code_of(lambda: self.add(text, key, holder="mallory@example.org")) == "TRUST-INVALID"
        assert code_of(lambda: self.add(text, key, role="security_officer")) == "TRUST-INVALID"

    @pytest.mark.parametrize("text", ["version: 1\nkeys: []\n", "keys: []\nversion: 1\n"])
    def test_refuses_a_file_whose_end_is_not_the_list(self, text: str) -> None:
        assert code_of(lambda: self.add(text, Ed25519PrivateKey.generate())) == "TRUST-INVALID"


class TestKeyFiles:
    PASSPHRASE = "correct horse battery"  # of the tests

    def test_are_made_encrypted_and_for_their_owner_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "new/dev-evidence.pem"
        public = signing_keys.make_key(path, self.PASSPHRASE)
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert b"BEGIN ENCRYPTED PRIVATE KEY" in path.read_bytes()
        assert [item.name for item in path.parent.iterdir()] == [path.name]
        assert signing_keys.load_private(path, self.PASSPHRASE).public_key() == public

    def test_are_never_overwritten(self, tmp_path: Path) -> None:
        path = tmp_path / "key.pem"
        signing_keys.make_key(path, self.PASSPHRASE)
        before = path.read_bytes()
        assert code_of(lambda: signing_keys.make_key(path, self.PASSPHRASE)) == "ATTESTATION-KEY-EXISTS"
        assert path.read_bytes() == before
        link = tmp_path / "link.pem"
        link.symlink_to(tmp_path / "nowhere")
        assert code_of(lambda: signing_keys.make_key(link, self.PASSPHRASE)) == "ATTESTATION-KEY-EXISTS"
        assert sorted(item.name for item in tmp_path.iterdir()) == ["key.pem", "link.pem"]

    def test_need_a_passphrase_worth_the_name(self, tmp_path: Path) -> None:
        assert code_of(lambda: signing_keys.make_key(tmp_path / "k", "short")) == "ATTESTATION-PASSPHRASE"
        assert not list(tmp_path.iterdir())

    def test_that_cannot_be_written_leave_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(signing_keys.os, "fsync", full)
        assert code_of(lambda: signing_keys.make_key(tmp_path / "k", self.PASSPHRASE)) == "ATTESTATION-WRITE"
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o700 | 0o001])
    def test_that_others_can_read_are_refused(self, tmp_path: Path, mode: int) -> None:
        path = tmp_path / "key.pem"
        signing_keys.make_key(path, self.PASSPHRASE)
        path.chmod(mode)
        assert code_of(lambda: signing_keys.load_private(path, self.PASSPHRASE)) == "ATTESTATION-KEY-PERMISSIONS"

    def test_the_passphrase_stands_in_no_message(self, tmp_path: Path) -> None:
        path = tmp_path / "key.pem"
        signing_keys.make_key(path, self.PASSPHRASE)
        with pytest.raises(FindingError) as refused:
            signing_keys.load_private(path, "another passphrase")
        assert refused.value.finding.code == "ATTESTATION-KEY-UNREADABLE"
        assert "another passphrase" not in str(refused.value)
        assert refused.value.__cause__ is None

    def test_without_encryption_or_of_another_kind_are_refused(self, tmp_path: Path) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import (
            BestAvailableEncryption,
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        path = tmp_path / "key.pem"
        path.touch(0o600)
        plain = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(self.PASSPHRASE.encode())
        )
        for content in (plain, other, b"", b"\x00" * 100, b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"):
            path.write_bytes(content)
            assert code_of(lambda: signing_keys.load_private(path, self.PASSPHRASE)) == "ATTESTATION-KEY-UNREADABLE"
        assert code_of(lambda: signing_keys.load_private(tmp_path, "x")) == "ATTESTATION-READ"
        assert code_of(lambda: signing_keys.load_private("/dev/null", "x")) in (
            "ATTESTATION-KEY-UNREADABLE",
            "ATTESTATION-KEY-PERMISSIONS",
        )
