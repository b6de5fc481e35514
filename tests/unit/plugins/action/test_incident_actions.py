# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row C7: the record of an incident shows every change; archives are signed on the controller or called unsigned."""

from __future__ import annotations

import datetime
import hashlib
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.plugin_utils import (
    attestation,
    controller,
    incident,
    signing_keys,
    trust,
)

pytestmark = pytest.mark.row("C7")

PASSPHRASE = "seven-wet-lemons-argue"
NOW = datetime.datetime(2026, 11, 24, 17, 5, 12, tzinfo=datetime.UTC)
Act = Callable[..., dict[str, Any]]


@pytest.fixture
def act(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Act:
    """Return act(name, arguments, check) -> the task's result for host h1, as Ansible would run it over SSH."""
    monkeypatch.setattr(controller, "now", lambda: NOW)

    def run(name: str, arguments: dict[str, Any], check: bool = False) -> dict[str, Any]:
        module = importlib.import_module("ansible_collections.rampart.ollama.plugins.action." + name)
        place = {"directory": str(tmp_path / "incidents"), "environment": "prod", "host": "h1"}
        task = SimpleNamespace(
            args={**place, **arguments}, check_mode=check, diff=True, async_val=0, action=name, delegate_to=None
        )
        # A connection that would break when it is used: keys and records stay on the controller.
        connection = SimpleNamespace(transport="ssh", _shell=SimpleNamespace(tmpdir="/nonexistent"))
        plugin = module.ActionModule(task, connection, None, None, None, None)
        result: dict[str, Any] = plugin.run(task_vars={"inventory_hostname": "h1"})
        assert PASSPHRASE not in json.dumps(result)
        return result

    return run


def refused(code: str, run: Callable[[], Any]) -> None:
    with pytest.raises(AnsibleActionFail) as failed:
        run()
    assert str(failed.value).startswith(code + ": ")


def opened(act: Act) -> dict[str, Any]:
    found: dict[str, Any] = act("incident_record", {"state": "opened", "reason": "a process nobody knows"})
    return found


def test_an_incident_is_opened_once(act: Act) -> None:
    first = opened(act)
    assert first["changed"]
    assert first["incident"]["id"] == "prod-h1-20261124T170512Z"
    assert first["incident"]["reason"] == "a process nobody knows"
    again = opened(act)
    assert not again["changed"]
    assert again["incident"]["head"] == first["incident"]["head"]


def test_nothing_is_written_in_check_mode(act: Act, tmp_path: Path) -> None:
    assert act("incident_record", {"state": "opened", "reason": "r"}, check=True)["changed"]
    assert act("incident_record", {"state": "added", "action": "isolated"}, check=True)["changed"]
    assert not (tmp_path / "incidents").exists()


def test_no_reason_no_incident(act: Act, tmp_path: Path) -> None:
    refused("INCIDENT-REASON", lambda: act("incident_record", {"state": "opened", "reason": " "}))
    assert not list(tmp_path.rglob("incident.json"))


def test_it_closes_only_under_its_id_and_with_a_cause(act: Act) -> None:
    identity = opened(act)["incident"]["id"]
    close: dict[str, Any] = {"state": "closed", "cause": "a drill, nothing happened"}
    refused("INCIDENT-ID", lambda: act("incident_record", close))
    refused("INCIDENT-ID", lambda: act("incident_record", {**close, "id": identity[:-1]}))
    refused("INCIDENT-CAUSE", lambda: act("incident_record", {**close, "id": identity, "cause": "?"}))
    assert act("incident_record", {})["incident"]["open"]
    closed = act("incident_record", {**close, "id": identity})
    assert not closed["incident"]["open"]
    assert act("incident_record", {})["incident"] == {}
    refused("INCIDENT-NOT-OPEN", lambda: act("incident_record", {"state": "added", "action": "later"}))


def test_a_cause_that_was_recorded_before_counts_and_a_force_is_on_record(act: Act) -> None:
    identity = opened(act)["incident"]["id"]
    forced = act("incident_record", {"state": "closed", "id": identity, "force_reason": "the disk is gone"})
    document = json.loads(Path(forced["incident"]["path"]).read_text())
    assert document["entries"][-1]["force_reason"] == "the disk is gone"
    second = opened(act)["incident"]
    assert second["id"] != identity  # of the same second, and still another one
    act("incident_record", {"state": "added", "action": "analysed", "cause": "a stolen key of an administrator"})
    assert not act("incident_record", {"state": "closed", "id": second["id"]})["incident"]["open"]


@pytest.mark.parametrize("damage", ["edit", "remove", "swap", "insert", "head", "garbage", "after-close"])
def test_a_record_that_was_touched_is_seen_and_stops_no_isolation(act: Act, damage: str) -> None:
    path = Path(opened(act)["incident"]["path"])
    for number in range(3):
        act("incident_record", {"state": "added", "action": f"step-{number}"})
    document = json.loads(path.read_text())
    entries = document["entries"]
    if damage == "edit":
        entries[1]["by"] = "somebody else"
    elif damage == "remove":
        del entries[1]
    elif damage == "swap":
        entries[1], entries[2] = entries[2], entries[1]
    elif damage == "insert":
        entries.insert(1, dict(entries[1]))
    elif damage == "head":
        document["incident"]["host"] = "h2"
    elif damage == "after-close":
        entries[1]["action"] = "closed"
    path.write_text("{" if damage == "garbage" else json.dumps(document))
    looked = act("incident_record", {})
    assert looked["incident"] == {}
    assert [item["code"] for item in looked["findings"]] == ["INCIDENT-RECORD-BROKEN"]
    refused("INCIDENT-RECORD-BROKEN", lambda: act("incident_record", {"state": "added", "action": "x"}))
    touched = path.read_text()
    anew = opened(act)
    assert anew["incident"]["path"] != str(path)
    assert path.read_text() == touched


def test_a_closing_entry_is_the_last_even_in_a_chain_that_fits(act: Act) -> None:
    path = Path(opened(act)["incident"]["path"])
    record = incident.read(path)
    for action in ("closed", "later"):
        # Built beside `added`, which refuses this: the hashes are right, the meaning is not.
        content = {"at": "", "by": "", "action": action, "details": {}, "previous": record.last_hash}
        entry = {**content, "hash": incident._hash(content)}
        record = incident.Incident(path, record.head, (*record.entries, entry))
    incident.write(record)
    assert [item["code"] for item in act("incident_record", {})["findings"]] == ["INCIDENT-RECORD-BROKEN"]


def test_an_entry_in_other_letters_hashes_the_same_when_it_is_read(act: Act) -> None:
    opened(act)
    act("incident_record", {"state": "added", "action": "noted", "details": {"é": ["ü", 1, 2.5, None, True]}})
    assert act("incident_record", {})["incident"]["actions"][-1]["action"] == "noted"


@pytest.mark.parametrize("name", ["../x", "a/b", "", "..", "a" * 200])
def test_a_name_never_leaves_the_directory(name: str, tmp_path: Path) -> None:
    with pytest.raises(FindingError) as failed:
        incident.host_directory(tmp_path, "prod", name)
    assert failed.value.finding.code == "INCIDENT-NAME"


# --- signing
@pytest.fixture
def archive(act: Act) -> dict[str, Any]:
    place = Path(opened(act)["incident"]["directory"])
    path = place / "e1.tar.gz"
    path.write_bytes(b"evidence")
    return {"archive": str(path), "sha256": hashlib.sha256(b"evidence").hexdigest()}


def keys(tmp_path: Path, role: str = "evidence", environment: str = "prod") -> dict[str, Any]:
    path = tmp_path / "keys/key.pem"
    public = signing_keys.make_key(path, PASSPHRASE)
    since, until = NOW - datetime.timedelta(days=1), NOW + datetime.timedelta(days=30)
    text = trust.add_key("", public, role, "eve@example.org", [environment], since, until)
    (tmp_path / "trusted.yaml").write_text(text)
    return {"private_key": str(path), "passphrase": PASSPHRASE, "trusted_keys": str(tmp_path / "trusted.yaml")}


def test_an_archive_is_signed_with_the_head_of_the_record(act: Act, archive: dict[str, Any], tmp_path: Path) -> None:
    with_key = {**archive, **keys(tmp_path)}
    head = act("incident_record", {})["incident"]["head"]
    predicted = act("incident_sign", with_key, check=True)
    assert predicted["changed"] and not Path(predicted["path"]).exists()
    signed = act("incident_sign", with_key)
    assert signed["changed"] and signed["signed"] and not signed["findings"]
    envelope = attestation.read_envelope(signed["path"])
    trusted = trust.load_trust(with_key["trusted_keys"])
    assert [key.holder for key in trust.signers(envelope, trusted, NOW)] == ["eve@example.org"]
    module = importlib.import_module("ansible_collections.rampart.ollama.plugins.action.incident_sign")
    about, predicate = attestation.parse_statement(envelope.payload, module.PREDICATE_TYPE, "e")
    assert about == {"e1.tar.gz": archive["sha256"]}
    assert predicate["record"]["head"] == head
    assert not act("incident_sign", with_key)["changed"]


@pytest.mark.parametrize("missing", ["private_key", "passphrase", "file"])
def test_without_a_key_the_archive_stays_and_is_called_unsigned(
    act: Act, archive: dict[str, Any], tmp_path: Path, missing: str
) -> None:
    with_key = {**archive, **keys(tmp_path)}
    if missing == "file":
        Path(with_key["private_key"]).unlink()
    else:
        with_key[missing] = ""
    answer = act("incident_sign", with_key)
    assert [item["code"] for item in answer["findings"]] == ["INCIDENT-UNSIGNED"]
    assert not answer["signed"] and not answer["changed"]
    assert Path(archive["archive"]).exists() and not Path(answer["path"]).exists()


def test_an_archive_that_changed_on_the_way_is_not_signed(act: Act, archive: dict[str, Any], tmp_path: Path) -> None:
    with_key = {**archive, **keys(tmp_path)}
    Path(archive["archive"]).write_bytes(b"evidenc3")
    refused("INCIDENT-ARCHIVE-CHANGED", lambda: act("incident_sign", with_key))
    assert not Path(archive["archive"] + ".dsse.json").exists()


@pytest.mark.parametrize(("role", "environment"), [("reviewer", "prod"), ("evidence", "dev")])
def test_only_the_environments_evidence_key_signs(
    act: Act, archive: dict[str, Any], tmp_path: Path, role: str, environment: str
) -> None:
    with_key = {**archive, **keys(tmp_path, role, environment)}
    refused("ATTESTATION-ROLE", lambda: act("incident_sign", with_key))


def test_an_envelope_about_other_bytes_does_not_count(act: Act, archive: dict[str, Any], tmp_path: Path) -> None:
    with_key = {**archive, **keys(tmp_path)}
    envelope = Path(act("incident_sign", with_key)["path"])
    Path(archive["archive"]).write_bytes(b"more evidence")
    changed = {**with_key, "sha256": hashlib.sha256(b"more evidence").hexdigest()}
    before = envelope.read_bytes()
    assert act("incident_sign", changed)["changed"]
    assert envelope.read_bytes() != before
