# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row W1: the module looks by default, says every refusal at once, and hands keys to no argument."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from luks_disks import BY_ID, SIZE, seen, system, target

from ansible_collections.rampart.ollama.plugins.module_utils.luks_tools import Answer
from ansible_collections.rampart.ollama.plugins.modules import luks_volume

pytestmark = pytest.mark.row("W1")
CONFIRM = {"by_id": BY_ID, "serial": "S62ANJ0R123456", "size": SIZE}
MODULE = "luks_volume"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A host whose device is what the test says; formatting is noted, not done."""
    state: dict[str, Any] = {"seen": seen(), "formatted": []}

    class Looker:
        def __init__(self, runner: Any) -> None: ...

        def observe(self, *_arguments: Any) -> Any:
            return state["seen"]

    monkeypatch.setattr(luks_volume, "Looker", Looker)
    monkeypatch.setattr(luks_volume, "format_device", lambda *arguments: state["formatted"].append(arguments))
    monkeypatch.setattr(luks_volume.Work, "describe", lambda _self: {"uuid": "x"})
    return state


def present(**changes: Any) -> dict[str, Any]:
    return {"state": "present", "device": BY_ID, "confirm": CONFIRM, "passphrase": "s3cret-key", **changes}


def test_without_a_word_it_only_looks(run_module: Callable[..., Any], host: dict[str, Any]) -> None:
    result = run_module(MODULE, {})
    assert (result["changed"], result["verdict"]) == (False, "none")
    assert {item["id"] for item in result["checks"]} >= {"disk-data-encrypted", "disk-swap-encrypted"}
    assert run_module(MODULE, {"device": BY_ID, "passphrase": "x"})["verdict"] == "refused"
    assert host["formatted"] == []


def test_a_report_names_what_would_have_to_be_confirmed(run_module: Callable[..., Any], host: dict[str, Any]) -> None:
    result = run_module(MODULE, {"device": BY_ID})
    assert result["findings"][0]["code"] == "DISK-NOT-CONFIRMED"
    facts = result["device_facts"]
    assert (facts["serial"], facts["size"], BY_ID in facts["by_id"]) == ("S62ANJ0R123456", SIZE, True)


def test_check_mode_predicts_and_formats_nothing(run_module: Callable[..., Any], host: dict[str, Any]) -> None:
    result = run_module(MODULE, present(), check=True, diff=True)
    assert (result["changed"], result["verdict"], host["formatted"]) == (True, "format", [])
    assert result["diff"] == {"before": "", "after": "a new volume\n"}


def test_a_confirmed_blank_disk_is_formatted(
    run_module: Callable[..., Any], host: dict[str, Any], tmp_path: Path
) -> None:
    result = run_module(MODULE, present(workshop=str(tmp_path / "workshop")))
    assert result["changed"]
    ((observation, wanted, key, recipe, workshop, _looker),) = host["formatted"]
    assert observation is host["seen"]
    assert (wanted.by_id, wanted.serial, wanted.size, key) == (BY_ID, "S62ANJ0R123456", SIZE, b"s3cret-key")
    assert (recipe.pbkdf, recipe.cipher, recipe.key_bits) == ("argon2id", "aes-xts-plain64", 512)
    assert workshop.stat().st_mode & 0o777 == 0o700


def test_every_refusal_is_said_at_once_and_nothing_is_done(
    run_module: Callable[..., Any], host: dict[str, Any]
) -> None:
    host["seen"] = seen(system(), target(serial="OTHER", ro=True), holds="ext4")
    result = run_module(MODULE, present())
    assert result["failed"]
    codes = {item["code"] for item in result["findings"]}
    assert codes == {"DISK-READ-ONLY", "DISK-IDENTITY-MISMATCH", "DISK-HOLDS-SIGNATURE", "DISK-HOLDS-DATA"}
    assert all(code in result["msg"] for code in codes)
    assert (result["changed"], host["formatted"]) == (False, [])


@pytest.mark.parametrize("changes", [{"passphrase": ""}, {"passphrase": None}])
def test_no_volume_without_a_key(run_module: Callable[..., Any], host: dict[str, Any], changes: dict[str, Any]) -> None:
    arguments = {name: value for name, value in present(**changes).items() if value is not None}
    assert run_module(MODULE, arguments)["findings"][0]["code"] == "DISK-KEY-MISSING"
    assert host["formatted"] == []


def test_a_volume_that_is_there_stays(
    run_module: Callable[..., Any], host: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    host["seen"] = seen(holds="luks2-ours")
    monkeypatch.setattr(luks_volume.LuksVolume, "slot_of", lambda _self, key: 0 if key == b"s3cret-key" else None)
    assert run_module(MODULE, present())["changed"] is False
    assert run_module(MODULE, present(passphrase="wrong"))["findings"][0]["code"] == "DISK-KEY-REFUSED"
    assert host["formatted"] == []


def test_each_recovery_key_is_new_and_changes_nothing(run_module: Callable[..., Any]) -> None:
    results = [run_module(MODULE, {"state": "recovery_key"}) for _count in range(3)]
    assert len({item["recovery_key"] for item in results}) == 3
    assert not any(item["changed"] for item in results)


def test_an_enrolment_with_a_pin_types_it_and_shows_it_nowhere(
    run_module: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[list[str], dict[str, Any]]] = []
    tokens: dict[str, Any] = {}

    def runner(command: list[str], **options: Any) -> Answer:
        calls.append((command, options))
        if command[0] == "systemd-cryptenroll":
            tokens["0"] = {"type": "systemd-tpm2", "keyslots": ["1"], "tpm2-pcrs": [7], "tpm2-pin": True}
        return Answer(0, "", "")

    volume = luks_volume.LuksVolume("/dev/x", runner)
    monkeypatch.setattr(luks_volume, "LuksVolume", lambda _path: volume)
    monkeypatch.setattr(volume, "metadata", lambda: {"keyslots": {"0": {}}, "segments": {}, "tokens": tokens})
    monkeypatch.setattr(luks_volume.Work, "describe", lambda _self: {"uuid": "x"})
    arguments = {"state": "tpm2_enrolled", "device": "/dev/x", "tpm2_pcrs": "7", "passphrase": "s3cret-key"}
    assert run_module(MODULE, {**arguments, "tpm2_pin": "a\nb"})["findings"][0]["code"] == "DISK-PIN-INVALID"
    result = run_module(MODULE, {**arguments, "tpm2_pin": "471147"}, diff=True)
    assert result["changed"]
    ((command, options),) = [item for item in calls if item[0][0] == "systemd-cryptenroll"]
    assert options == {"secret": b"s3cret-key", "prompts": [b"471147", b"471147"]}
    assert not [item for call, _options in calls for item in call if "471147" in item or "s3cret" in item]
    assert "--wipe-slot=tpm2" in command
    assert "471147" not in str({name: value for name, value in result.items() if name != "invocation"})
    # The same again: nothing to do, for a PIN cannot be tried; renewed when that is asked for.
    assert run_module(MODULE, {**arguments, "tpm2_pin": "471147"})["changed"] is False
    assert run_module(MODULE, {**arguments, "tpm2_pin": "471147", "tpm2_renew": True}, check=True)["changed"]
