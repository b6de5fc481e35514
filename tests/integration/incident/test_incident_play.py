# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows C7, I5: a host is cut off by one command, its evidence is kept, and it comes back only when it may.

Needs the hosts of molecule's default scenario, converged (make molecule, or molecule converge); d13 is isolated and
released again.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from playbook_runs import ROOT, Run, fingerprint, on

pytestmark = [pytest.mark.row("C7"), pytest.mark.row("I5")]

HOST = "d13"
TRY = """
import socket
for address, port in {targets!r}:
    try:
        socket.create_connection((address, port), 2).close()
        print("open", address, port)
    except OSError:
        print("closed", address, port)
"""
LISTEN = """
import selectors, socket
chosen = selectors.DefaultSelector()
for address, family in {addresses!r}:
    chosen.register(socket.create_server((address, 8443), family=family), selectors.EVENT_READ)
while True:
    for key, _events in chosen.select():
        key.fileobj.accept()[0].close()
"""


def root(host: str, script: str, *command: str) -> str:
    """Run a script from standard input on a host as root; return its output."""
    done = subprocess.run(
        ["ssh", "-F", ".lab/ssh_config", host, "sudo", *command],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        input=script,
    )
    return done.stdout


def addresses(host: str) -> list[str]:
    shown = json.loads(on(host, "ip -json address show dev eth0"))
    return [item["local"] for item in shown[0]["addr_info"] if item["scope"] == "global"]


def seen_from(neighbour: str, targets: list[tuple[str, int]]) -> list[str]:
    return root(neighbour, TRY.format(targets=targets), "python3", "-").splitlines()


@pytest.fixture
def listener() -> Iterator[list[tuple[str, int]]]:
    """SSH, and a listener on 8443 that the host's own firewall admits: what closes them is the quarantine alone."""
    own = addresses(HOST)
    families = [(address, 10 if ":" in address else 2) for address in own]
    root(HOST, LISTEN.format(addresses=families), "tee", "/run/incident-test.py")
    on(HOST, "nft insert rule inet rampart input tcp dport 8443 accept comment incident-test")
    on(HOST, "systemd-run --quiet --collect --unit=incident-test python3 /run/incident-test.py")
    try:
        yield [(address, port) for address in own for port in (22, 8443)]
    finally:
        on(HOST, "systemctl stop incident-test; rm -f /run/incident-test.py")
        handle = on(HOST, "nft --handle list chain inet rampart input")
        for number in [line.rsplit(" ", 1)[1] for line in handle.splitlines() if "incident-test" in line]:
            on(HOST, f"nft delete rule inet rampart input handle {number}")


def play(action: str, directory: Path, **variables: Any) -> Run:
    given = {"incident_dir": str(directory), "incident_action": action, **variables}
    return Run("playbooks/incident.yml", "--limit", HOST, "--extra-vars", json.dumps(given))


@pytest.fixture
def incidents(tmp_path: Path) -> Iterator[Path]:
    """The directory of records; whatever happens, the host is released and its archives go."""
    yield tmp_path
    tables = on(HOST, "nft list tables")
    if "rampart_quarantine" in tables:
        found = sorted(tmp_path.glob(f"demo/{HOST}/*/incident.json"))
        identity = json.loads(found[-1].read_text())["incident"]["id"]
        play(
            "release",
            tmp_path,
            incident_id=identity,
            incident_force_reason="the end of a test",
            incident_start_seconds=5,
        )
    on(HOST, "rm -rf /srv/rampart/incidents")


def test_isolate_preserve_and_release(incidents: Path, listener: list[tuple[str, int]]) -> None:
    before = fingerprint(HOST)
    assert seen_from("neighbour", listener) == [f"open {address} {port}" for address, port in listener]
    assert {":" in address for address, _port in listener} == {True, False}, "a family is missing: it proves nothing"

    predicted = Run(
        "playbooks/incident.yml", "--limit", HOST, "--check", "--diff",
        "-e", "incident_action=isolate", "-e", "incident_reason=test", "-e", f"incident_dir={incidents}",
    )  # fmt: skip
    assert predicted.status == 0, predicted.output[-4000:]
    assert fingerprint(HOST) == before
    assert list(incidents.iterdir()) == []

    run = play("isolate", incidents, incident_reason="a test of the play")
    assert run.status == 0, run.output[-4000:]
    assert "INCIDENT-UNSIGNED" in run.output
    # The run itself went on through the quarantine: the controller gets in, the neighbour does not.
    assert seen_from("neighbour", listener) == [f"closed {address} {port}" for address, port in listener]
    assert "rampart_quarantine" in on(HOST, "nft list tables")
    assert on(HOST, "docker ps --quiet") == ""
    assert on(HOST, "systemctl is-enabled rampart-quarantine.service").strip() == "enabled"

    again = play("isolate", incidents, incident_reason="a test of the play")
    assert again.status == 0, again.output[-4000:]
    assert again.changed[HOST] == 0, again.output

    record = next(incidents.glob(f"demo/{HOST}/*/incident.json"))
    document = json.loads(record.read_text())
    preserved = next(item["details"] for item in document["entries"] if item["action"] == "preserved")
    archive = record.with_name(preserved["file"])
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == preserved["sha256"]
    assert on(HOST, f"sha256sum {preserved['on_host']}").split()[0] == preserved["sha256"]
    assert on(HOST, f"stat -c %U:%a {preserved['on_host']}").strip() == "root:600"
    with tarfile.open(archive) as bundle:
        names = {name.split("/", 1)[1] for name in bundle.getnames()}
    assert {"manifest.json", "processes/processes.json", "store/verification.json", "network/nft.txt"} <= names
    assert any(name.startswith("containers/rampart-ollama-") for name in names)

    identity = document["incident"]["id"]
    cause = "nothing happened, this is a test"
    for given, code in (
        ({"incident_cause": cause}, "INCIDENT-ID"),
        ({"incident_id": identity}, "INCIDENT-CAUSE"),
    ):
        refused = play("release", incidents, **given)
        assert refused.status != 0
        assert code in refused.output
        assert "Traceback" not in refused.output
        assert "rampart_quarantine" in on(HOST, "nft list tables")

    released = play("release", incidents, incident_id=identity, incident_cause=cause)
    assert released.status == 0, released.output[-4000:]
    assert "rampart_quarantine" not in on(HOST, "nft list tables")
    assert seen_from("neighbour", listener) == [f"open {address} {port}" for address, port in listener]
    assert json.loads(record.read_text())["entries"][-1]["action"] == "closed"
    assert fingerprint(HOST) == before


def test_a_store_that_is_not_right_keeps_the_host_in_quarantine(incidents: Path) -> None:
    run = play("isolate", incidents, incident_reason="a test of the play", incident_preserve=False)
    assert run.status == 0, run.output[-4000:]
    identity = json.loads(next(incidents.glob(f"demo/{HOST}/*/incident.json")).read_text())["incident"]["id"]
    stray = "/srv/rampart/store/blobs/sha256-" + "0" * 64
    on(HOST, f"touch {stray}")
    try:
        refused = play("release", incidents, incident_id=identity, incident_cause="nothing, this is a test")
    finally:
        on(HOST, f"rm {stray}")
    assert refused.status != 0
    assert "INCIDENT-RELEASE-REFUSED: the store is not verified" in " ".join(refused.output.split())
    assert "rampart_quarantine" in on(HOST, "nft list tables")
    assert on(HOST, "docker ps --quiet") == ""


def test_a_quarantine_that_nobody_confirms_goes_back(incidents: Path) -> None:
    before = fingerprint(HOST)
    # A rule set for somebody else: no new connection comes through.
    run = play(
        "isolate", incidents, incident_reason="test", incident_keep_sessions=False, incident_rollback_seconds=30,
        _incident_peers=["192.0.2.1"],
    )  # fmt: skip
    assert run.status != 0
    assert "INCIDENT-ROLLED-BACK" in run.output
    assert "Traceback" not in run.output
    assert "rampart_quarantine" not in on(HOST, "nft list tables")
    on(HOST, "rm -rf /etc/rampart/incident /usr/local/sbin/rampart-quarantine-rollback")
    assert fingerprint(HOST) == before


def test_more_hosts_than_meant_are_refused() -> None:
    run = Run("playbooks/incident.yml", "-e", "incident_action=isolate", "-e", "incident_reason=test")
    assert run.status != 0
    assert "INCIDENT-TOO-MANY-HOSTS" in run.output
    assert "rampart_quarantine" not in on(HOST, "nft list tables")
