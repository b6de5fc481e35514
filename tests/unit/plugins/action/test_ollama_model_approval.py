# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S6, T2: the actions ollama_model_approval and ollama_model_approval_info, run as Ansible runs them."""

from __future__ import annotations

import importlib
import os
import stat
from typing import Any

import pytest
import yaml
from approval_place import ALICE, BOB, FULL, RAW, REFERENCE, Place, refused

from approval_rig import CDN, GUIDE, GUIDE_AS_PRINTED, Registry, digest_of, manifest

pytestmark = pytest.mark.row("S6")


@pytest.mark.parametrize("name", ["ollama_model_approval", "ollama_model_approval_info"])
def test_s6_the_documentation_names_the_arguments_there_are(name: str) -> None:
    package = "ansible_collections.rampart.ollama.plugins."
    documented = yaml.safe_load(importlib.import_module(package + "modules." + name).DOCUMENTATION)["options"]
    arguments = importlib.import_module(package + "action." + name).ARGUMENTS
    assert set(documented) == set(arguments)
    for key, spec in arguments.items():
        for part in ("type", "elements", "default", "choices", "required"):
            assert documented[key].get(part) == spec.get(part), (key, part)


# --- adding and updating


def test_s6_an_entry_is_added_once(place: Place) -> None:
    before = place.file.read_text()
    first = place.approve(diff=True)
    assert first["changed"]
    assert place.file.read_text().startswith(before.replace("models: []", "models:"))
    entry = place.entries()[0]
    assert (entry["reference"], entry["digest"]) == (FULL, digest_of(RAW))
    assert entry == first["entry"]
    assert first["diff"]["before"] == before
    assert first["diff"]["after"] == place.file.read_text()
    again = place.approve()
    assert not again["changed"]
    assert again["changes"] == []


def test_s6_check_mode_shows_all_and_writes_nothing(place: Place) -> None:
    before, inode = place.file.read_text(), place.file.stat().st_ino
    head = place.repository.head()
    shown = place.approve(check=True, diff=True, commit=True, signer=BOB, key=str(place.keys.path("bob")))
    assert shown["changed"]
    assert shown["due"]
    assert shown["entry"]["digest"] == digest_of(RAW)
    assert "signatures" not in shown["entry"]
    assert (place.file.read_text(), place.file.stat().st_ino) == (before, inode)
    assert place.repository.head() == head
    assert sorted(os.listdir(place.file.parent)) == ["allowed_signers", "hosts.yml", "models_registry.yaml"]


def test_s6_the_registry_is_asked_and_what_was_shown_is_what_is_written(place: Place, registry: Registry) -> None:
    shown = place.approve(check=True, manifest=None, fetch=True, config=True, ca_bundle=str(registry.ca))
    assert shown["config"]["model_type"] == "7.2B"
    assert "file_type: Q4_K_M" in shown["summary"]
    assert [host for host, _path in registry.asked] == ["registry.ollama.ai", "registry.ollama.ai", CDN]
    # The tag moves between the look and the yes.
    registry.manifest = manifest(b"others")
    written = place.approve(manifest=shown["manifest"])
    assert written["entry"] == shown["entry"]
    assert place.entries()[0]["digest"] == digest_of(RAW)


def test_s6_a_tag_that_moved_is_not_taken_for_what_was_expected(place: Place, registry: Registry) -> None:
    registry.manifest = manifest(b"others")
    result = place.approve(manifest=None, fetch=True, digest=digest_of(RAW), ca_bundle=str(registry.ca))
    assert refused(result) == "APPROVAL-SOURCE"
    assert place.entries() == []


def test_s6_an_untrusted_registry_approves_nothing(place: Place, registry: Registry) -> None:
    assert refused(place.approve(manifest=None, fetch=True)) == "FETCH-TLS"
    assert place.entries() == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"fetched_by": None}, "APPROVAL-DECISION"),
        ({"approved_uses": None, "risk_level": None}, "APPROVAL-DECISION"),
        ({"manifest": None}, "APPROVAL-SOURCE"),
        ({"manifest": "nonsense!"}, "APPROVAL-SOURCE"),
        ({"fetch": True}, "APPROVAL-SOURCE"),
        ({"reference": "evil.example.org/x/y:1"}, "SOURCE-REFUSED"),
        ({"reference": "x:cloud"}, "NAME-CLOUD"),
        ({"fetched_by": "a b"}, "APPROVAL-INVALID"),
        ({"fetched_by": "a\n"}, "APPROVAL-INVALID"),
        ({"signer": "b ob", "signature": "x"}, "APPROVAL-SIGN-FAILED"),
        ({"verified_date": "yesterday"}, "APPROVAL-INVALID"),
        ({"name": "x" * 300}, "APPROVAL-INVALID"),
        ({"path": "/nonexistent/models_registry.yaml"}, "APPROVAL-FILE-MISSING"),
        ({"verified": {"models": []}}, "APPROVAL-SOURCE"),
    ],
)
def test_s6_what_cannot_be_is_refused_and_the_file_stays(place: Place, changes: dict[str, Any], expected: str) -> None:
    before = place.file.read_text()
    assert refused(place.approve(**changes)) == expected
    assert place.file.read_text() == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("models: &a []\n", "APPROVAL-INVALID"),
        ("models: []\nmodels: []\n", "APPROVAL-INVALID"),
        ("models: [{name: 5}]\n", "APPROVAL-INVALID"),
        (GUIDE_AS_PRINTED, "APPROVAL-INCOMPLETE"),
        ("models: [{name: a}]\n", "APPROVAL-EDIT"),
        ("x" * 10_000_000, "APPROVAL-INVALID"),
    ],
)
def test_s6_a_file_that_cannot_be_trusted_is_not_written_to(place: Place, text: str, expected: str) -> None:
    place.file.write_text(text)
    assert refused(place.approve()) == expected
    assert place.file.read_text() == text


def test_s6_the_guides_example_stays_as_it_is_when_a_model_is_added(place: Place) -> None:
    place.file.write_text(GUIDE)
    assert place.approve()["changed"]
    assert place.file.read_text().startswith(GUIDE)
    assert len(place.entries()) == 2


def test_s6_a_linked_file_is_neither_followed_nor_replaced(place: Place) -> None:
    real = place.file.with_name("real.yaml")
    place.file.rename(real)
    place.file.symlink_to(real.name)
    before = real.read_text()
    assert refused(place.approve()) == "APPROVAL-FILE-UNSAFE"
    assert real.read_text() == before
    assert stat.S_ISLNK(place.file.lstat().st_mode)


def test_s6_a_verified_store_vouches_for_its_manifest(place: Place) -> None:
    report = {"models": [{"name": FULL, "digest": digest_of(RAW)}], "findings": []}
    assert place.approve(verified=report)["changed"]


def test_s6_what_is_revoked_is_not_approved_again(place: Place) -> None:
    place.approve()
    place.do(state="revoked", reason="withdrawn", revoked_by=BOB)
    place.do(state="absent")
    assert refused(place.approve()) == "APPROVAL-REVOKED"
    assert place.entries() == []


def test_s6_an_entry_goes_and_comes_back(place: Place) -> None:
    empty = place.file.read_text()
    place.approve()
    assert place.do(check=True, state="absent")["changed"]
    assert place.do(state="absent")["changed"]
    assert place.file.read_text() == empty
    assert not place.do(state="absent")["changed"]


# --- signing


@pytest.mark.row("T2")
def test_t2_another_person_signs_what_is_there_and_prod_takes_it(place: Place) -> None:
    place.approve()
    assert refused(place.judge()) == "APPROVAL-UNSIGNED"
    signed = place.sign()
    assert signed["changed"]
    assert signed["changes"] == ["signatures: + bob@example.org"]
    judged = place.judge()
    assert not judged.get("failed")
    assert judged["approvals"][0]["digest"] == digest_of(RAW)
    assert {item["status"] for item in judged["checks"]} == {"passed"}
    assert not place.sign()["changed"]


@pytest.mark.row("T2")
@pytest.mark.parametrize(
    ("signer", "key", "expected"),
    [
        (ALICE, "alice", "APPROVAL-SELF-SIGNED"),
        ("ALICE@example.org", "alice", "APPROVAL-SELF-SIGNED"),
        (BOB, "alice", "APPROVAL-SIGNATURE-INVALID"),
        ("mallory@example.org", "mallory", "APPROVAL-SIGNATURE-INVALID"),
    ],
)
def test_t2_a_signature_that_would_not_count_is_never_written(
    place: Place, signer: str, key: str, expected: str
) -> None:
    place.approve()
    before = place.file.read_text()
    assert refused(place.sign(signer, key)) == expected
    assert place.file.read_text() == before


@pytest.mark.row("T2")
def test_t2_whoever_changes_a_signed_entry_loses_its_signatures(place: Place) -> None:
    place.approve()
    place.sign()
    changed = place.do(environments=["dev", "staging", "prod"])
    assert changed["changes"] == ["environments: dev, prod -> dev, staging, prod", "signatures: - bob@example.org"]
    assert refused(place.judge()) == "APPROVAL-UNSIGNED"


@pytest.mark.row("T2")
def test_t2_a_payload_is_signed_on_another_machine(place: Place) -> None:
    place.approve()
    payload = place.do(check=True)["payload"]
    signature = place.keys.sign(payload.encode(), "bob")
    assert place.do(signer=BOB, signature=signature, signers_file=str(place.signers))["changed"]
    assert not place.judge().get("failed")
    assert refused(place.do(signer=BOB, signature=place.keys.sign(b"x", "bob"))) == "APPROVAL-SIGN-FAILED"


@pytest.mark.row("T2")
def test_t2_a_signing_that_fails_writes_nothing(place: Place) -> None:
    before = place.file.read_text()
    assert refused(place.approve(signer=BOB, key="/nonexistent/key", commit=True)) == "APPROVAL-SIGN-FAILED"
    assert place.file.read_text() == before


# --- revoking


@pytest.mark.row("T2")
def test_t2_a_revocation_is_added_once_and_ends_the_approval(place: Place) -> None:
    place.approve()
    place.sign()
    shown = place.do(check=True, state="revoked", reason="withdrawn", revoked_by=BOB)
    assert shown["changed"]
    assert "revocations" not in place.file.read_text()
    revoked = place.do(state="revoked", reason="withdrawn", revoked_by=BOB)
    assert revoked["revocation"]["digest"] == digest_of(RAW)
    assert not place.do(state="revoked", reason="in other words", revoked_by=ALICE)["changed"]
    assert "in other words" not in place.file.read_text()
    assert refused(place.judge()) == "APPROVAL-REVOKED"
    assert len(place.entries()) == 1
    read = place.judge(models=[])
    assert [item["digest"] for item in read["revocations"]] == [digest_of(RAW)]


@pytest.mark.row("T2")
def test_t2_a_revoked_blob_ends_every_approval_that_has_it(place: Place) -> None:
    place.approve()
    place.sign()
    place.do(reference=None, state="revoked", blob=digest_of(b"weights"), reason="poisoned", revoked_by=BOB)
    assert refused(place.judge()) == "APPROVAL-REVOKED"


@pytest.mark.row("T2")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"reference": "unknown:1"}, "APPROVAL-MISSING"),
        ({"digest": "sha256:x"}, "REVOCATION-INVALID"),
        ({"digest": digest_of(b"x"), "revoked_by": "a b"}, "REVOCATION-INVALID"),
        ({"digest": digest_of(b"x"), "reason": " "}, "REVOCATION-INVALID"),
        ({"digest": digest_of(b"x"), "revoked_date": "soon"}, "REVOCATION-INVALID"),
    ],
)
def test_t2_a_revocation_of_nothing_is_refused(place: Place, arguments: dict[str, Any], expected: str) -> None:
    before = place.file.read_text()
    asked = {"state": "revoked", "reason": "r", "revoked_by": BOB, **arguments}
    assert refused(place.do(**asked)) == expected
    assert place.file.read_text() == before


@pytest.mark.row("T2")
def test_t2_what_hosts_remember_counts(place: Place) -> None:
    place.approve()
    place.sign()
    remembered = {"digest": digest_of(RAW), "reason": "r", "revoked_date": "2026-01-01", "revoked_by": BOB}
    assert refused(place.judge(revocations=[remembered])) == "APPROVAL-REVOKED"
    assert refused(place.judge(revocations=[{"digest": "x"}])) == "REVOCATION-INVALID"


# --- judging


def test_s6_every_refusal_is_told_and_a_report_fails_nothing(place: Place) -> None:
    place.approve()
    result = place.judge(models=[REFERENCE, "other:1"])
    assert [item["code"] for item in result["findings"]] == ["APPROVAL-UNSIGNED", "APPROVAL-MISSING"]
    assert "APPROVAL-MISSING" in result["msg"]
    reported = place.judge(models=[REFERENCE, "other:1"], on_failure="report")
    assert not reported.get("failed")
    assert [item["code"] for item in reported["refused"]] == ["APPROVAL-UNSIGNED", "APPROVAL-MISSING"]


def test_s6_dev_goes_on_with_findings(place: Place) -> None:
    place.approve()
    result = place.judge(environment="dev", use=[])
    assert not result.get("failed")
    assert [(item["code"], item["severity"]) for item in result["findings"]] == [
        ("APPROVAL-USE", "info"),
        ("APPROVAL-UNSIGNED", "low"),
    ]
