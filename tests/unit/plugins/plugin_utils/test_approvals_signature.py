# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S6, T2: an approval counts in staging and prod when an allowed signer who did not fetch it has signed it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from approval_desk import ALICE, BOB, CAROL, USES, Desk

from ansible_collections.rampart.ollama.plugins.plugin_utils import approval_signature
from ansible_collections.rampart.ollama.plugins.plugin_utils.approval_signers import read_signers
from approval_rig import Keys, payload

pytestmark = pytest.mark.row("T2")


@pytest.mark.parametrize("environment", ["staging", "prod"])
def test_t2_signed_by_another_than_the_fetcher_it_counts(desk: Desk, environment: str) -> None:
    assert desk.ask(environment) == "APPROVAL-UNSIGNED"
    desk.sign(BOB, "bob")
    assert desk.ask(environment) == ""


@pytest.mark.parametrize("environment", ["dev", "demo"])
def test_t2_dev_and_demo_tell_of_it_and_go_on(desk: Desk, environment: str) -> None:
    assert desk.findings(environment) == [("APPROVAL-UNSIGNED", "low")]
    desk.sign(CAROL, "carol")
    assert desk.findings(environment) == [("APPROVAL-SIGNATURE-INVALID", "medium")]
    desk.sign(BOB, "bob")
    assert desk.findings(environment) == []


def test_t2_the_inventory_may_ask_for_more_or_for_less(desk: Desk) -> None:
    assert desk.ask("dev", signature_required=True) == "APPROVAL-UNSIGNED"
    assert desk.findings("prod", signature_required=False) == [("APPROVAL-UNSIGNED", "low")]


def test_t2_the_one_who_fetched_cannot_sign(desk: Desk) -> None:
    desk.sign(ALICE, "alice")
    assert desk.ask() == "APPROVAL-SELF-SIGNED"
    assert "fetched and signed it" in desk.said


def test_t2_another_spelling_of_a_name_is_the_same_person(desk: Desk) -> None:
    desk.entry["fetched_by"] = "Alice@Example.ORG"
    desk.sign(ALICE, "alice")
    assert desk.ask() == "APPROVAL-SELF-SIGNED"


@pytest.mark.parametrize("pattern", [BOB, "*", "*@example.org,!carol@example.org", "nobody@example.org,bob@*", "BOB@*"])
def test_t2_one_key_under_two_names_is_one_person(desk: Desk, pattern: str) -> None:
    # Alice's key is listed for Bob too, or for everybody; she signs as Bob.
    desk.allow(desk.keys.line(pattern, "alice"), desk.keys.line(BOB, "alice"))
    desk.sign(BOB, "alice")
    assert desk.ask() == "APPROVAL-SELF-SIGNED"


def test_t2_another_spelling_in_the_list_is_the_same_person(desk: Desk) -> None:
    desk.allow_only(desk.keys.line("ALICE@Example.org", "alice"), desk.keys.line(BOB, "alice"))
    desk.sign(BOB, "alice")
    assert desk.ask() == "APPROVAL-SELF-SIGNED"


def test_t2_a_key_that_is_for_everybody_is_the_fetchers_too(desk: Desk) -> None:
    desk.allow(desk.keys.line("*@example.org", "bob"))
    desk.sign(BOB, "bob")
    assert desk.ask() == "APPROVAL-SELF-SIGNED"
    desk.allow(desk.keys.line("!alice@example.org,*@example.org", "bob"))
    assert desk.ask() == ""


def test_t2_without_a_fetcher_nobody_can_be_told_from_it(desk: Desk) -> None:
    del desk.entry["fetched_by"]
    desk.sign(BOB, "bob")
    assert desk.ask() == "APPROVAL-INCOMPLETE"
    assert "fetched_by" in desk.said


@pytest.mark.parametrize("environment", ["staging", "prod"])
def test_t2_a_fetcher_whom_nobody_lists_may_be_the_signer_too(desk: Desk, environment: str) -> None:
    desk.allow_only(desk.keys.line(BOB, "bob"))
    desk.sign(BOB, "bob")
    assert desk.ask(environment) == "APPROVAL-FETCHER-UNKNOWN"
    assert ALICE in desk.said
    desk.allow(desk.keys.line(BOB, "bob"))
    assert desk.ask(environment) == ""
    desk.allow_only(desk.keys.line(BOB, "bob"))
    assert desk.findings("dev") == [("APPROVAL-FETCHER-UNKNOWN", "low")]


@pytest.mark.parametrize("pattern", ["*", "*@example.org", "alic?@example.org", "!alice@example.org,*", "alice"])
def test_t2_a_pattern_that_fits_any_name_lists_nobody(desk: Desk, pattern: str) -> None:
    # Bob signs what he says somebody else fetched: Carol's pattern would fit whatever name he writes.
    desk.allow_only(desk.keys.line(BOB, "bob"), desk.keys.line(pattern, "carol"))
    desk.sign(BOB, "bob")
    assert desk.ask() == "APPROVAL-FETCHER-UNKNOWN"


def test_t2_a_fetcher_needs_no_right_to_sign_and_may_have_left(desk: Desk) -> None:
    fetcher = desk.keys.line("Alice@EXAMPLE.org", "alice", 'namespaces="git",valid-before="20200101"')
    desk.allow_only(desk.keys.line(BOB, "bob"), fetcher)
    desk.sign(BOB, "bob")
    assert desk.ask() == ""


@pytest.mark.parametrize(
    "change",
    [
        {"environments": ["dev", "staging", "prod"]},
        {"risk_level": "MEDIUM"},
        {"approved_uses": [*USES, "external_api"]},
        {"fetched_by": CAROL},
        {"verified_by": "somebody else"},
        {"licence": "MIT"},
    ],
)
def test_t2_nothing_of_a_signed_entry_can_change(desk: Desk, change: dict[str, Any]) -> None:
    desk.sign(BOB, "bob")
    desk.entry.update(change)
    assert desk.ask() == "APPROVAL-SIGNATURE-INVALID"


def test_t2_a_signature_of_another_entry_pasted_in_does_not_hold(desk: Desk, model: Callable[..., Any]) -> None:
    desk.sign(BOB, "bob", entry={**model("other:1", b"x").entry(), "fetched_by": ALICE})
    assert desk.ask() == "APPROVAL-SIGNATURE-INVALID"


def test_t2_a_signature_for_another_purpose_does_not_count(desk: Desk) -> None:
    desk.sign(BOB, "bob", namespace="git")
    assert desk.ask() == "APPROVAL-SIGNATURE-INVALID"


def test_t2_a_signature_of_somebody_else_under_an_allowed_name_does_not_count(desk: Desk) -> None:
    desk.sign(BOB, "carol")
    assert desk.ask() == "APPROVAL-SIGNATURE-INVALID"
    desk.entry["signatures"] = []
    desk.sign(CAROL, "carol")
    assert desk.ask() == "APPROVAL-SIGNATURE-INVALID"


def test_t2_one_good_signature_is_enough_beside_one_that_does_not_count(desk: Desk) -> None:
    desk.sign(ALICE, "alice")
    desk.sign(CAROL, "carol")
    assert desk.ask() == "APPROVAL-SIGNATURE-INVALID"
    desk.sign(BOB, "bob")
    assert desk.ask() == ""


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        ('valid-before="20300101"', True),
        ('valid-before="20200101"', False),
        ('valid-after="20300101"', False),
        ('valid-after="20200101",valid-before="20300101",namespaces="rampart-approval@v1"', True),
        ('namespaces="git,file"', False),
        ('namespaces="git,rampart-approval@v1"', True),
        ('namespaces="rampart-*"', True),
    ],
)
def test_t2_what_allowed_signers_says_of_a_key_is_kept_to(desk: Desk, options: str, counts: bool) -> None:
    desk.allow(desk.keys.line(BOB, "bob", options))
    desk.sign(BOB, "bob")
    assert (desk.ask() == "") is counts
    if not counts:
        assert desk.ask() == "APPROVAL-SIGNATURE-INVALID"
        assert "rampart-" not in desk.said.replace("rampart-approval@v1", "")  # no path of ours


@pytest.mark.parametrize("as_list", [False, True])
def test_t2_a_revoked_key_does_not_count(desk: Desk, as_list: bool) -> None:
    desk.sign(BOB, "bob")
    desk.krl.write_bytes(desk.keys.public("bob").encode() if as_list else desk.keys.krl("bob"))
    assert desk.ask(revoked_keys=str(desk.krl)) == "APPROVAL-SIGNATURE-INVALID"
    desk.krl.write_bytes(desk.keys.krl("carol"))
    assert desk.ask(revoked_keys=str(desk.krl)) == ""


def test_t2_a_list_of_revoked_keys_that_is_named_has_to_be_there(desk: Desk) -> None:
    desk.sign(BOB, "bob")
    assert desk.ask(revoked_keys=str(desk.krl)) == "APPROVAL-REVOKED-KEYS"


def test_t2_without_signers_no_signature_counts(desk: Desk) -> None:
    desk.sign(BOB, "bob")
    desk.signers.unlink()
    assert desk.ask() == "APPROVAL-SIGNERS-MISSING"
    assert desk.ask(signers="") == "APPROVAL-SIGNERS-MISSING"
    desk.signers.symlink_to("/etc/hostname")
    assert desk.ask() == "APPROVAL-SIGNERS-MISSING"
    desk.signers.unlink()
    desk.signers.write_text("")
    assert desk.ask() == "APPROVAL-SIGNATURE-INVALID"


BROKEN = [
    lambda keys: keys.line(BOB, "bob").replace("\n", "\r\n"),
    lambda keys: keys.line(BOB, "bob").rstrip() + " a comment\r\n",
    lambda keys: keys.line(BOB, "bob") + "bob@example.org\0 x y\n",
    lambda keys: keys.line(BOB, "bob").rstrip() + " a comment\0\n",
    lambda keys: "{0} {1}\n".format(BOB, keys.certificate("bob", "authority")),
    lambda keys: keys.line('"bob smith"', "bob"),
    lambda keys: keys.line(BOB, "bob", "cert-authority"),
    lambda keys: keys.line(BOB, "bob", 'namespaces="x",cert-authority'),
    lambda keys: keys.line(BOB, "bob", 'cert-authority,namespaces="x"'),
    lambda keys: keys.line(BOB, "bob", "colour=red"),
    lambda keys: keys.line(BOB, "bob", "valid-before=20300101"),
    lambda keys: keys.line(BOB, "bob", 'namespaces="x'),
    lambda keys: BOB + "\n",
    lambda keys: BOB + " ssh-ed25519\n",
    lambda keys: BOB + " ssh-ed25519 !!!!\n",
    lambda keys: BOB + " ssh-rsa " + keys.public("bob").split()[1] + "\n",
    lambda keys: BOB + " ssh-ed25519-cert-v01@openssh.com " + keys.public("bob").split()[1] + "\n",
    lambda keys: "bob@example.org \udcff",
    lambda keys: "x" * (1024 * 1024 + 1),
]


@pytest.mark.parametrize("broken", BROKEN)
def test_t2_signers_that_two_readers_could_read_differently_are_refused(
    desk: Desk, broken: Callable[[Keys], str]
) -> None:
    desk.sign(BOB, "bob")
    desk.signers.write_bytes((desk.keys.line(BOB, "bob") + broken(desk.keys)).encode("utf-8", "surrogateescape"))
    assert desk.ask() == "APPROVAL-SIGNERS-INVALID"


def test_t2_a_certificate_authority_is_told_to_be_none_of_ours(desk: Desk) -> None:
    desk.sign(BOB, "bob")
    desk.allow(desk.keys.line("*@example.org", "authority", "cert-authority"))
    assert desk.ask() == "APPROVAL-SIGNERS-INVALID"
    assert "one person from another" in desk.said


def test_t2_an_option_with_a_space_in_it_and_a_comment_behind_the_key_are_read(desk: Desk) -> None:
    line = desk.keys.line(BOB, "bob", 'namespaces="a b,rampart-approval@v1"').rstrip() + " Bob's own key\n"
    desk.allow("\t" + line)
    assert len(read_signers(desk.signers).signers) == 2
    desk.sign(BOB, "bob")
    assert desk.ask() == ""


ARMOR = "-----BEGIN SSH SIGNATURE-----\n{0}\n-----END SSH SIGNATURE-----\n"


@pytest.mark.parametrize(
    "text",
    [
        "x",
        " ",
        "/etc/passwd",
        ARMOR.format("!!!!"),
        ARMOR.format(base64.b64encode(b"SSHSIG").decode()),
        ARMOR.format(base64.b64encode(b"SSHSIG\0\0\0\1\xff\xff\xff\xffx").decode()),
        ARMOR.format(base64.b64encode(b"SSHSIG\0\0\0\1\0\0\0\0").decode()),
        ARMOR.format("A" * 16_100),
        "-----BEGIN PGP SIGNATURE-----\nAAAA\n-----END PGP SIGNATURE-----\n",
    ],
)
def test_t2_what_is_no_signature_is_told_to_be_none(desk: Desk, text: str) -> None:
    desk.entry["signatures"] = [{"signer": BOB, "signature": text}]
    assert desk.ask() == "APPROVAL-SIGNATURE-INVALID"


def test_t2_two_signatures_in_one_are_none(desk: Desk) -> None:
    desk.sign(BOB, "bob")
    one = desk.entry["signatures"][0]
    one["signature"] += desk.keys.sign(payload(desk.entry), "alice")
    assert desk.ask() == "APPROVAL-SIGNATURE-INVALID"


def test_t2_a_signature_survives_what_yaml_and_windows_do_to_its_lines(desk: Desk) -> None:
    desk.sign(BOB, "bob")
    desk.entry["signatures"][0]["signature"] = "\n" + desk.entry["signatures"][0]["signature"].rstrip()
    assert desk.ask() == ""
    # Line ends of Windows are no part of a base64 text that both would read the same way.
    desk.entry["signatures"][0]["signature"] = desk.entry["signatures"][0]["signature"].replace("\n", "\r\n")
    assert desk.ask() == "APPROVAL-SIGNATURE-INVALID"


def test_t2_without_ssh_keygen_there_is_one_clear_error(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.sign(BOB, "bob")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert desk.ask() == "APPROVAL-SSH-KEYGEN"
    assert desk.findings("dev") == [("APPROVAL-SSH-KEYGEN", "low")]


def test_t2_nothing_unsigned_needs_ssh_keygen_in_dev(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert desk.findings("dev") == [("APPROVAL-UNSIGNED", "low")]


def test_t2_what_is_signed_is_the_canonical_json_without_the_signatures(desk: Desk) -> None:
    desk.entry["verified_by"] = "Zoé\u2028 <x>"
    desk.entry["signatures"] = [{"signer": BOB, "signature": "x"}]
    assert approval_signature.payload(desk.entry) == payload(desk.entry)
    assert "Zoé".encode() in payload(desk.entry)
    with pytest.raises(ValueError, match="Out of range"):
        approval_signature.payload({"a": float("nan")})


def test_t2_comments_order_and_quoting_of_the_yaml_are_not_signed(desk: Desk) -> None:
    desk.sign(BOB, "bob")
    desk.entry = dict(reversed(list(desk.entry.items())))
    assert desk.ask() == ""
