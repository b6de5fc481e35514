# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S6: what the action ollama_model_approval commits and pushes: its own file, and nothing of anybody else."""

from __future__ import annotations

from pathlib import Path

import pytest
from approval_place import FULL, RAW, Place, refused

from approval_rig import Repository, digest_of

pytestmark = pytest.mark.row("S6")


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
