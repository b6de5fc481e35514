# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S6, T2: the actions ollama_model_approval and ollama_model_approval_info, run as Ansible runs them."""

from __future__ import annotations

import importlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import yaml

from ansible_collections.rampart.ollama.plugins.plugin_utils import approval_sign
from approval_rig import CDN, GUIDE, GUIDE_AS_PRINTED, Keys, Registry, Repository, digest_of, manifest

pytestmark = pytest.mark.row("S6")

ALICE, BOB = "alice@example.org", "bob@example.org"
REFERENCE = "mistral:7b"
FULL = "registry.ollama.ai/library/mistral:7b"
RAW = manifest()
DECIDED = {
    "risk_level": "LOW",
    "approved_uses": ["internal_chatbot"],
    "environments": ["dev", "prod"],
    "verified_by": ALICE,
    "fetched_by": ALICE,
}


def act(name: str, arguments: dict[str, Any], check: bool = False, diff: bool = False) -> dict[str, Any]:
    """Run an action plugin and return its result."""
    module = importlib.import_module("ansible_collections.rampart.ollama.plugins.action." + name)
    task = SimpleNamespace(
        args=arguments, action=name, resolved_action=name, check_mode=check, diff=diff, async_val=0, delegate_to=None
    )
    connection = mock.MagicMock(transport="local")
    plugin = module.ActionModule(task, connection, None, None, None, None)
    result: dict[str, Any] = plugin.run(None, {"inventory_hostname": "localhost"})
    assert "Traceback" not in str(result)
    assert not connection.method_calls
    return result


class Place:
    """A repository with an approvals file, keys, and the two actions on them."""

    def __init__(self, root: Path) -> None:
        self.repository = Repository(root / "repository")
        self.file = self.repository.file
        self.keys = Keys(root / "keys")
        self.signers = self.repository.inventory / "allowed_signers"
        self.signers.write_text(self.keys.line(ALICE, "alice") + self.keys.line(BOB, "bob"))

    def do(self, check: bool = False, diff: bool = False, **arguments: Any) -> dict[str, Any]:
        asked = {"path": str(self.file), "reference": REFERENCE, **arguments}
        asked = {key: value for key, value in asked.items() if value is not None}
        return act("ollama_model_approval", asked, check, diff)

    def approve(self, check: bool = False, diff: bool = False, **arguments: Any) -> dict[str, Any]:
        return self.do(check, diff, **{"manifest": RAW.decode(), **DECIDED, **arguments})

    def sign(self, signer: str = BOB, key: str = "bob", **arguments: Any) -> dict[str, Any]:
        return self.do(signer=signer, key=str(self.keys.path(key)), signers_file=str(self.signers), **arguments)

    def judge(self, **arguments: Any) -> dict[str, Any]:
        asked = {
            "path": str(self.file),
            "models": [REFERENCE],
            "environment": "prod",
            "use": ["internal_chatbot"],
            "signers_file": str(self.signers),
        }
        return act("ollama_model_approval_info", {**asked, **arguments})

    def entries(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = yaml.safe_load(self.file.read_text())["models"]
        return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    for name in ("SSH_AUTH_SOCK", "SSH_ASKPASS", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(approval_sign, "_terminal", lambda: "")
    return Place(tmp_path)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    made = Registry(tmp_path)
    monkeypatch.setenv("HTTPS_PROXY", made.proxy)
    for name in ("https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield made
    made.close()


def refused(result: dict[str, Any]) -> str:
    """The code of a refusal that is one clear message."""
    assert result["failed"], result
    assert len(result["findings"]) >= 1
    code: str = result["findings"][0]["code"]
    assert result["msg"].startswith(code + ": ")
    assert result["findings"][0]["remedy"] in result["msg"]
    return code


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


# --- committing


def test_s6_the_file_alone_is_committed_whatever_else_is_staged(place: Place) -> None:
    repository = place.repository
    (repository.root / "secret").write_text("staged by somebody\n")
    repository.git("add", "secret")
    (repository.root / "other").write_text("not staged\n")
    result = place.approve(commit=True)
    assert result["commit"] == repository.head()
    assert repository.touched() == ["inventory/models_registry.yaml"]
    assert repository.git("status", "--porcelain").split("\n")[:2] == ["A  secret", "?? inventory/allowed_signers"]
    message = repository.git("log", "-1", "--format=%B")
    assert message.startswith("Approve " + FULL)
    assert digest_of(RAW) in message
    again = place.approve(commit=True)
    assert (again["changed"], again["commit"]) == (False, "")
    signed = place.sign(commit=True)
    assert repository.git("log", "-1", "--format=%s").startswith("Sign the approval of ")
    assert signed["commit"] == repository.head()


def test_s6_an_uncommitted_change_of_somebody_else_is_not_swept_in(place: Place) -> None:
    place.file.write_text(place.file.read_text().replace("models: []", "models:\n  - name: theirs"))
    before, head = place.file.read_text(), place.repository.head()
    assert refused(place.approve(commit=True)) == "APPROVAL-UNCOMMITTED"
    assert (place.file.read_text(), place.repository.head()) == (before, head)
    assert place.approve(commit=False)["changed"]


def test_s6_what_an_earlier_run_wrote_is_committed_by_the_next(place: Place) -> None:
    place.approve()
    shown = place.approve(check=True, commit=True)
    assert (shown["changed"], shown["changes"]) == (True, [])
    assert place.approve(commit=True)["commit"] == place.repository.head()


def test_s6_a_file_that_git_does_not_know_yet_is_committed(place: Place) -> None:
    place.repository.git("rm", "--cached", "--quiet", "inventory/models_registry.yaml")
    place.repository.git("commit", "--quiet", "--message=forget")
    assert place.approve(commit=True)["commit"] == place.repository.head()
    assert place.repository.touched() == ["inventory/models_registry.yaml"]


def test_s6_a_commit_that_git_refuses_is_told_with_what_was_written(place: Place) -> None:
    hook = place.repository.root / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'the hook says no' >&2\nexit 1\n")
    hook.chmod(0o755)
    head = place.repository.head()
    result = place.approve(commit=True)
    assert refused(result) == "APPROVAL-COMMIT"
    assert "the hook says no" in result["msg"]
    assert result["changed"]
    assert len(place.entries()) == 1
    assert place.repository.head() == head
    hook.unlink()
    assert place.approve(commit=True)["commit"] == place.repository.head() != head


@pytest.mark.parametrize("why", ["no repository", "no git"])
def test_s6_without_git_nothing_is_written_when_a_commit_was_asked_for(
    place: Place, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    if why == "no git":
        monkeypatch.setenv("PATH", "/nonexistent")
    else:
        (place.repository.root / ".git").rename(place.repository.root / "was-git")
    before = place.file.read_text()
    assert refused(place.approve(commit=True)) == "APPROVAL-GIT"
    assert place.file.read_text() == before
    assert place.approve()["changed"]


def test_s6_another_repository_that_the_environment_names_is_left_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = Repository(tmp_path / "other")
    head = other.head()
    monkeypatch.setenv("GIT_DIR", str(other.root / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other.root / ".git/index"))
    place.approve(commit=True)
    monkeypatch.undo()
    assert other.head() == head
    assert place.repository.touched() == ["inventory/models_registry.yaml"]


def test_s6_a_commit_is_signed_when_git_has_a_key(place: Place) -> None:
    key = place.keys.path("alice")
    for name, value in (
        ("gpg.format", "ssh"),
        ("user.signingkey", str(key)),
        ("gpg.ssh.allowedSignersFile", str(place.signers)),
    ):
        place.repository.git("config", name, value)
    place.approve(commit=True)
    assert place.repository.git("log", "-1", "--format=%G?").strip() == "G"


def test_s6_a_push_goes_where_the_branch_goes_and_a_failed_one_is_told(place: Place, tmp_path: Path) -> None:
    remote = tmp_path / "remote.git"
    place.repository.git("init", "--quiet", "--bare", str(remote))
    place.repository.git("remote", "add", "origin", str(remote))
    place.repository.git("push", "--quiet", "--set-upstream", "origin", "main")
    result = place.approve(push=True)
    assert place.repository.git("rev-parse", "origin/main").strip() == result["commit"]
    remote.rename(tmp_path / "gone.git")
    failed = place.do(push=True, environments=["dev"])
    assert refused(failed) == "APPROVAL-PUSH"
    assert failed["commit"] == place.repository.head()


def test_s6_a_strange_name_of_the_file_is_only_a_name(place: Place) -> None:
    # To git, such a name would mean another file.
    strange = place.file.with_name(":(icase)MODELS.yaml")
    place.file.rename(strange)
    other = place.file.with_name("models.yaml")
    other.write_text("models: []\n")
    place.repository.git("add", "--all")
    place.repository.git("commit", "--quiet", "--message=rename")
    other.write_text("models: [] # changed by somebody\n")
    assert place.approve(path=str(strange), commit=True)["commit"] == place.repository.head()
    assert place.repository.touched() == ["inventory/:(icase)MODELS.yaml"]
