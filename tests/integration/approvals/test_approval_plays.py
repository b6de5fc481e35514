# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S6, T2: approve_model.yml and revoke_model.yml as people run them, against files and a registry of the test.

No laboratory: the plays run on localhost and touch nothing but a repository below the test's directory.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from approval_rig import Keys, Registry, Repository, digest_of, manifest

pytestmark = pytest.mark.row("S6")

ROOT = Path(__file__).resolve().parents[3]
ALICE, BOB = "alice@example.org", "bob@example.org"
FULL = "registry.ollama.ai/library/mistral:7b"
DECISIONS: dict[str, Any] = {
    "approve_model_reference": "mistral:7b",
    "approve_model_risk_level": "LOW",
    "approve_model_uses": ["internal_chatbot"],
    "approve_model_environments": ["dev", "prod"],
    "approve_model_verified_by": ALICE,
    "approve_model_fetched_by": ALICE,
}
# The role's task files alone: a role by its name would bring its dependencies, which make accounts on the machine.
ROLE = """\
- hosts: h1
  gather_facts: false
  connection: local
  vars_files: ["{root}/roles/model_store/defaults/main.yml"]
  vars:
    rampart_environment: prod
    rampart_models: [mistral:7b]
    layout_root: "{{{{ inventory_dir }}}}/../host/root"
    layout_state: "{{{{ inventory_dir }}}}/../host/state"
  tasks:
    - ansible.builtin.include_tasks: "{root}/roles/model_store/tasks/{{{{ item }}}}"
      loop: [revoke.yml, approvals.yml]
    - ansible.builtin.debug:
        msg: "approved {{{{ model_store_approvals | map(attribute='digest') | join(' ') }}}}"
"""

USE = {"model_store_use": ["internal_chatbot"]}


class Office:
    """A repository, a registry behind a proxy, keys, and ansible-playbook."""

    def __init__(self, root: Path, registry: Registry) -> None:
        self.repository = Repository(root / "repository")
        self.registry = registry
        self.keys = Keys(root / "keys")
        self.signers = self.repository.inventory / "allowed_signers"
        self.signers.write_text(self.keys.line(ALICE, "alice") + self.keys.line(BOB, "bob"))
        self.repository.git("add", ".")
        self.repository.git("commit", "--quiet", "--message=signers")
        self.file = self.repository.file
        self.environment = {
            **os.environ,
            "PATH": "{0}:{1}".format(Path(sys.executable).parent, os.environ["PATH"]),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
            "ANSIBLE_INVENTORY_IGNORE_REGEX": r"models_registry\.yaml$,allowed_signers$",
            "ANSIBLE_FORCE_COLOR": "0",
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_SYSTEM": "/dev/null",
            "HTTPS_PROXY": registry.proxy,
            "NO_PROXY": "",
            "no_proxy": "",
        }
        for name in ("SSH_AUTH_SOCK", "SSH_ASKPASS", "DISPLAY", "WAYLAND_DISPLAY", "https_proxy"):
            self.environment.pop(name, None)

    def command(self, playbook: str, variables: dict[str, Any], *arguments: str) -> list[str]:
        given = {"approve_model_ca_bundle": str(self.registry.ca), **variables}
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        return [program, "-i", str(self.repository.inventory), playbook, "-e", json.dumps(given), *arguments]

    def play(self, playbook: str, variables: dict[str, Any], *arguments: str, cwd: Path = ROOT) -> tuple[int, str]:
        """Run a playbook with no terminal; return its status and its output on one line."""
        done = subprocess.run(
            self.command(playbook, variables, *arguments),
            cwd=cwd,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        output = done.stdout + done.stderr
        assert "Traceback" not in output, output
        return done.returncode, " ".join(output.split())

    def approve(self, *arguments: str, **variables: Any) -> tuple[int, str]:
        return self.play("playbooks/approve_model.yml", {**DECISIONS, **variables}, *arguments)

    def revoke(self, *arguments: str, **variables: Any) -> tuple[int, str]:
        return self.play("playbooks/revoke_model.yml", variables, *arguments)

    def at_terminal(self, variables: dict[str, Any], answers: list[tuple[bytes, bytes]]) -> tuple[int, str]:
        """Run approve_model.yml on a terminal on which somebody answers what is asked."""
        terminal, theirs = os.openpty()
        # Its own session with this terminal: only then does Ansible take it for one that somebody sits at.
        running = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *self.command("playbooks/approve_model.yml", variables)],
            cwd=ROOT,
            env=self.environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        try:
            output = self.converse(terminal, list(answers))
            return running.wait(30), output
        finally:
            # A terminal that closes ends what still waits on it; nothing outlives the test.
            os.close(terminal)
            if running.poll() is None:
                running.kill()
                running.wait(10)

    def converse(self, terminal: int, waiting: list[tuple[bytes, bytes]]) -> str:
        """Answer what is asked until the other side has gone; return all that was shown."""
        output = b""
        end = time.monotonic() + 100
        while time.monotonic() < end:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                output += os.read(terminal, 4096)
            except OSError:
                break
            if waiting and waiting[0][0] in output:
                self.wait_for_reader(terminal)
                os.write(terminal, waiting.pop(0)[1])
        assert waiting == [], output
        return output.decode(errors="replace")

    @staticmethod
    def wait_for_reader(terminal: int) -> None:
        """Wait until somebody reads by the key or in silence: what was typed before is thrown away by then."""
        end = time.monotonic() + 20
        while all(termios.tcgetattr(terminal)[3] & flag for flag in (termios.ICANON, termios.ECHO)):
            assert time.monotonic() < end
            time.sleep(0.02)
        time.sleep(0.3)

    def entries(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = yaml.safe_load(self.file.read_text())["models"]
        return found


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    registry = Registry(tmp_path)
    yield Office(tmp_path, registry)
    registry.close()


def test_s6_a_model_is_approved_shown_written_and_committed_once(office: Office) -> None:
    status, output = office.approve(approve_model_confirm="yes", approve_model_config=True)
    assert status == 0, output
    assert "file_type: Q4_K_M" in output
    assert "a new entry" in output
    assert "changed=1 " in output
    assert office.entries()[0]["digest"] == digest_of(manifest())
    assert office.repository.touched() == ["inventory/models_registry.yaml"]
    head, text = office.repository.head(), office.file.read_text()
    status, output = office.approve()
    assert (status, office.repository.head(), office.file.read_text()) == (0, head, text), output
    assert "changed=0 " in output


def test_s6_without_a_terminal_and_a_word_nothing_is_written(office: Office) -> None:
    before, head = office.file.read_text(), office.repository.head()
    status, output = office.approve()
    assert status == 2
    assert "APPROVAL-NO-TTY: " in output
    assert "approve_model_confirm=yes" in output
    assert (office.file.read_text(), office.repository.head()) == (before, head)


def test_s6_check_mode_shows_and_writes_nothing(office: Office) -> None:
    before, head = office.file.read_text(), office.repository.head()
    status, output = office.approve("--check", "--diff")
    assert status == 0, output
    assert "+ - name: mistral" in output
    assert (office.file.read_text(), office.repository.head()) == (before, head)


def test_s6_what_a_person_has_to_decide_is_asked_for_in_one_message(office: Office) -> None:
    status, output = office.play("playbooks/approve_model.yml", {"approve_model_reference": "mistral:7b"})
    assert status == 2
    assert "APPROVAL-DECISION: " in output
    assert "risk_level, approved_uses, environments, verified_by, fetched_by" in output
    status, output = office.play("playbooks/approve_model.yml", {})
    assert status == 2
    assert "APPROVAL-DECISION: approve_model_reference" in output


@pytest.mark.row("T2")
def test_t2_a_second_person_signs_at_a_terminal_with_an_encrypted_key(office: Office) -> None:
    assert office.approve(approve_model_confirm="yes")[0] == 0
    key = office.keys.path("bob-at-desk", passphrase="geheim-genug")
    office.signers.write_text(office.keys.line(ALICE, "alice") + office.keys.line(BOB, "bob-at-desk"))
    variables = {
        "approve_model_reference": "mistral:7b",
        "approve_model_signer": BOB,
        "approve_model_key": str(key),
    }
    status, output = office.at_terminal(variables, [(b"Type yes", b"no\r")])
    assert status == 2
    assert "APPROVAL-DECLINED" in output
    assert "signatures" not in office.entries()[0]
    status, output = office.at_terminal(variables, [(b"Type yes", b"yes\r"), (b"passphrase", b"geheim-genug\r")])
    assert status == 0, output
    assert "geheim" not in output
    assert [item["signer"] for item in office.entries()[0]["signatures"]] == [BOB]
    assert office.repository.touched() == ["inventory/models_registry.yaml"]


@pytest.mark.row("T2")
def test_t2_a_tag_that_moved_is_not_signed_unseen(office: Office) -> None:
    assert office.approve(approve_model_confirm="yes")[0] == 0
    office.registry.manifest = manifest(b"others")
    variables = {
        "approve_model_reference": "mistral:7b",
        "approve_model_signer": BOB,
        "approve_model_key": str(office.keys.path("bob")),
        "approve_model_confirm": "yes",
    }
    status, output = office.play("playbooks/approve_model.yml", variables)
    assert status == 2
    assert "APPROVAL-DECISION: " in output
    assert "these bytes are new" in output
    assert "signatures" not in office.entries()[0]


@pytest.mark.row("T2")
def test_t2_a_payload_goes_to_an_offline_machine_and_its_signature_comes_back(office: Office, tmp_path: Path) -> None:
    assert office.approve(approve_model_confirm="yes")[0] == 0
    carried = tmp_path / "payload"
    status, output = office.approve(approve_model_payload=str(carried))
    assert status == 0, output
    signature = tmp_path / "payload.sig"
    signature.write_text(office.keys.sign(carried.read_bytes(), "bob"))
    status, output = office.approve(
        approve_model_signer=BOB, approve_model_signature=str(signature), approve_model_confirm="yes"
    )
    assert status == 0, output
    assert [item["signer"] for item in office.entries()[0]["signatures"]] == [BOB]


def test_s6_the_plays_are_found_by_their_names_from_anywhere(office: Office, tmp_path: Path) -> None:
    office.environment["ANSIBLE_CONFIG"] = str(tmp_path / "empty.cfg")
    (tmp_path / "empty.cfg").write_text("")
    status, output = office.play(
        "rampart.ollama.approve_model", {**DECISIONS, "approve_model_confirm": "yes"}, cwd=tmp_path
    )
    assert status == 0, output
    revoking = {
        "revoke_model_reference": "mistral:7b",
        "revoke_model_reason": "withdrawn",
        "revoke_model_revoked_by": BOB,
        "revoke_model_confirm": "yes",
    }
    status, output = office.play("rampart.ollama.revoke_model", revoking, cwd=tmp_path)
    assert status == 0, output
    assert "revocations:" in office.file.read_text()


@pytest.mark.row("T2")
def test_t2_a_model_is_revoked_once_and_only_with_reason_and_person(office: Office) -> None:
    assert office.approve(approve_model_confirm="yes")[0] == 0
    status, output = office.revoke(revoke_model_reference="mistral:7b")
    assert status == 2
    assert "APPROVAL-DECISION: revoke_model" in output
    revoking = {
        "revoke_model_reference": "mistral:7b",
        "revoke_model_reason": "its publisher withdrew it",
        "revoke_model_revoked_by": BOB,
    }
    status, output = office.revoke(**revoking)
    assert status == 2
    assert "APPROVAL-NO-TTY: " in output
    assert "revocations" not in office.file.read_text()
    status, output = office.revoke(**revoking, revoke_model_confirm="yes")
    assert status == 0, output
    assert office.repository.git("log", "-1", "--format=%s").startswith("Revoke " + FULL)
    head = office.repository.head()
    status, output = office.revoke(**revoking)
    assert (status, office.repository.head()) == (0, head), output
    assert "changed=0 " in output


@pytest.mark.row("T2")
def test_t2_the_role_takes_signed_entries_and_takes_revoked_models_out(office: Office, tmp_path: Path) -> None:
    root = office.repository.root / "host" / "root"
    state = office.repository.root / "host" / "state"
    (root / "store").mkdir(parents=True)
    state.mkdir()
    play = tmp_path / "role.yml"
    play.write_text(ROLE.format(root=ROOT))
    assert office.approve(approve_model_confirm="yes")[0] == 0

    status, output = office.play(str(play), USE)
    assert status == 2
    assert "APPROVAL-UNSIGNED: " in output, output

    signing = {"approve_model_signer": BOB, "approve_model_key": str(office.keys.path("bob"))}
    assert office.approve(**signing, approve_model_confirm="yes")[0] == 0
    status, output = office.play(str(play), USE)
    assert status == 0, output
    assert "approved " + digest_of(manifest()) in output
    assert "changed=0 " in output

    # Somebody serves it; then it is revoked, and goes although it is still listed.
    served = root / "store/manifests/registry.ollama.ai/library/mistral/7b"
    served.parent.mkdir(parents=True)
    served.write_bytes(manifest())
    revoking = {
        "revoke_model_reference": "mistral:7b",
        "revoke_model_reason": "withdrawn",
        "revoke_model_revoked_by": BOB,
        "revoke_model_confirm": "yes",
    }
    assert office.revoke(**revoking)[0] == 0
    status, output = office.play(str(play), USE, "--check")
    assert status == 2
    assert served.exists()
    assert not (state / "revocations.restart-due").exists()
    assert not (state / "revocations.json").exists()
    status, output = office.play(str(play), USE)
    assert status == 2
    assert "APPROVAL-REVOKED: " in output
    assert not served.exists()
    assert (state / "revocations.json").stat().st_mode & 0o777 == 0o600

    # The revocation is lost from the file; the host still knows.
    office.repository.git("revert", "--no-edit", "HEAD")
    assert "revocations" not in office.file.read_text()
    served.parent.mkdir(parents=True, exist_ok=True)
    served.write_bytes(manifest())
    status, output = office.play(str(play), USE)
    assert status == 2
    assert "APPROVAL-REVOKED: " in output
    assert not served.exists()

    # Nobody can read the file any more: the host enforces what it remembers, and only then the run ends.
    office.file.write_text("models: [")
    served.parent.mkdir(parents=True, exist_ok=True)
    served.write_bytes(manifest())
    status, output = office.play(str(play), USE)
    assert status == 2
    assert "APPROVAL-INVALID: " in output
    assert not served.exists()
    # No engine answered, so whoever holds it in memory was not restarted; that stays due.
    assert (state / "revocations.restart-due").read_text() == digest_of(manifest()) + "\n"
    status, output = office.play(str(play), {**USE, "model_store_server": ""})
    assert status == 2
    assert not (state / "revocations.restart-due").exists()
