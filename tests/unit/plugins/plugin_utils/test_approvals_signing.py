# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row T2: signatures are made by keys in files, agents and terminals, and no secret passes through a program's name."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
from approval_desk import BOB, CAROL, Desk

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.plugin_utils import approval_sign
from approval_rig import payload

pytestmark = pytest.mark.row("T2")


def signed(desk: Desk, signer: str = BOB, key: str = "bob", **more: str) -> list[dict[str, str]]:
    return approval_sign.add_signature(desk.entry, signer, "" if more else str(desk.keys.path(key)), **more)


def test_t2_a_signature_is_made_once(desk: Desk) -> None:
    desk.entry["signatures"] = signed(desk)
    assert desk.ask() == ""
    assert signed(desk) == desk.entry["signatures"]


def test_t2_another_key_of_a_signer_replaces_the_signature(desk: Desk) -> None:
    desk.entry["signatures"] = signed(desk)
    again = signed(desk, key="carol")
    assert [item["signer"] for item in again] == [BOB]
    assert again != desk.entry["signatures"]


def test_t2_what_no_longer_holds_is_left_out_when_somebody_signs(desk: Desk) -> None:
    desk.entry["signatures"] = signed(desk, CAROL, "carol")
    desk.entry["risk_level"] = "MEDIUM"
    assert [item["signer"] for item in signed(desk)] == [BOB]


def test_t2_an_agents_key_signs_without_the_private_file(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    public = desk.keys.directory / "bob.pub"
    with desk.keys.agent("bob") as environment:
        monkeypatch.setenv("SSH_AUTH_SOCK", environment["SSH_AUTH_SOCK"])
        assert not (desk.keys.directory / "bob").exists()
        desk.entry["signatures"] = approval_sign.add_signature(desk.entry, BOB, str(public))
    assert desk.ask() == ""


def test_t2_an_encrypted_key_that_nobody_unlocks_is_one_clear_error(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.keys.path("bob2", passphrase="geheim-genug")
    monkeypatch.setattr(approval_sign, "_terminal", lambda: "")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_ASKPASS", "SSH_AUTH_SOCK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(FindingError) as caught:
        signed(desk, key="bob2")
    assert caught.value.finding.code == "APPROVAL-SIGN-FAILED"
    assert "ssh-agent" in caught.value.finding.remedy


def test_t2_an_encrypted_key_is_asked_for_on_the_terminal(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.keys.path("bob2", passphrase="geheim-genug")
    ours, theirs = os.openpty()
    seen = bytearray()

    def person() -> None:
        while b"passphrase" not in seen:
            seen.extend(os.read(ours, 100))
        os.write(ours, b"geheim-genug\n")

    monkeypatch.setattr(approval_sign, "_terminal", lambda: os.ttyname(theirs))
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_AUTH_SOCK"):
        monkeypatch.delenv(name, raising=False)
    asked = threading.Thread(target=person, daemon=True)
    asked.start()
    made = signed(desk, key="bob2")
    asked.join(10)
    os.set_blocking(ours, False)
    seen.extend(os.read(ours, 1000))
    assert [item["signer"] for item in made] == [BOB]
    # The passphrase is not shown.
    assert b"geheim" not in seen
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("name", ["missing", "bob.pub"])
def test_t2_a_key_that_cannot_sign_is_one_clear_error(desk: Desk, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.keys.path("bob")
    monkeypatch.setattr(approval_sign, "_terminal", lambda: "")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (desk.keys.directory / "bob").rename(desk.keys.directory / "elsewhere")
    with pytest.raises(FindingError, match="APPROVAL-SIGN-FAILED"):
        approval_sign.add_signature(desk.entry, BOB, str(desk.keys.directory / name))


def test_t2_a_signature_made_elsewhere_is_taken_when_it_is_over_this_entry(desk: Desk) -> None:
    desk.entry["signatures"] = signed(desk, made_elsewhere=desk.keys.sign(payload(desk.entry), "bob"))
    assert desk.ask() == ""
    with pytest.raises(FindingError, match="APPROVAL-SIGN-FAILED"):
        signed(desk, made_elsewhere=desk.keys.sign(b"something else", "bob"))
    with pytest.raises(FindingError, match="APPROVAL-SIGN-FAILED"):
        signed(desk, made_elsewhere="no signature")


def test_t2_no_argument_of_a_program_holds_a_secret(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    real = approval_sign.subprocess.run

    def spy(command: list[str], **options: Any) -> Any:
        seen.append(command)
        return real(command, check=options.pop("check", False), **options)

    monkeypatch.setattr(approval_sign.subprocess, "run", spy)
    signed(desk)
    flat = " ".join(part for command in seen for part in command)
    assert seen
    assert "PRIVATE" not in flat
    assert desk.keys.path("bob").read_text().split("\n")[1] not in flat
