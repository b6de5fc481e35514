"""Row I5: planted breaches are contained; what is no breach, and what outsiders do, is not.

Needs the laboratory's engine and root. Nothing but this test's own containers and processes can be touched (fence.py).
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from planted import KINDS, PREFIX, UID, Caught, Rig

pytestmark = pytest.mark.row("I5")

CODES = {
    "network-connect": {"ISO-INTERFACE", "ISO-NETWORK-MODE"},
    "interface-by-hand": {"ISO-INTERFACE"},
    "capabilities": {"ISO-CAPABILITIES", "ISO-ROOT-UID"},
    "exec-root": {"ISO-ROOT-UID"},
    "host-network": {"ISO-HOST-NET"},
    "host-pid": {"ISO-HOST-PID"},
    "host-mount": {"ISO-HOST-MOUNT", "ISO-DOCKER-SOCKET"},
    "host-volume": {"ISO-HOST-MOUNT", "ISO-DOCKER-SOCKET"},
    "docker-socket": {"ISO-DOCKER-SOCKET"},
    "stranger": {"ISO-NAMESPACE-STRANGER"},
    "native-server": {"ISO-NATIVE-OLLAMA"},
    "listener": {"ISO-LISTENER"},
}


def ours(rig: Rig) -> set[str]:
    """Codes of the findings about this test's own containers that were opened so far."""
    return {
        line["rule"]["name"]
        for line in rig.log()
        if line["event"]["action"] == "finding-opened" and line["rampart"]["finding"]["subject"].startswith(PREFIX)
    }


def test_sound_containers_are_left_alone(rig: Rig) -> None:
    """Hardened containers, and visits by their own user as a health check makes them, are nobody's concern."""
    for _number in range(5):
        rig.engine.exec(rig.names["ollama"], "10001", ["true"])
        time.sleep(0.2)
    time.sleep(1.5)
    assert list(rig.requests()) == []
    assert ours(rig) <= {"WATCH-EXEC"}


def test_the_sensor_keeps_two_capabilities_and_nothing_else(rig: Rig) -> None:
    """A hole in what parses hostile input is not root."""
    text = Path(f"/proc/{rig.processes['sensor'].pid}/status").read_text()
    fields = {line.partition(":")[0]: line.partition(":")[2].split() for line in text.splitlines()}
    assert set(fields["Uid"] + fields["Gid"]) == {str(UID)}
    assert fields["Groups"] == []
    assert fields["NoNewPrivs"] == ["1"]
    kept = 1 << 2 | 1 << 19
    assert {int(fields[name][0], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {kept}
    assert {int(fields[name][0], 16) for name in ("CapInh", "CapAmb")} == {0}


def test_every_kind_has_its_codes() -> None:
    """A breach that no finding is expected of would prove nothing."""
    assert set(CODES) == set(KINDS)
    assert len(KINDS) >= 10


@pytest.mark.parametrize("kind", KINDS)
def test_a_breach_is_contained(rig: Rig, table: list[Caught], kind: str) -> None:
    """The right thing is asked of the actor, which does it; the table shows how long that took."""
    rig.tidy()
    try:
        caught = rig.catch(rig.plant(kind))
        table.append(caught)
        assert caught.seconds is not None
        assert caught.code in CODES[kind]
    finally:
        rig.tidy()


def test_a_restarted_sensor_finds_what_began_without_it(rig: Rig, table: list[Caught]) -> None:
    """Events that nobody heard are no way past the watch: it begins with a sweep."""
    sensor = rig.processes.pop("sensor")
    sensor.terminate()
    assert sensor.wait(10) == 0
    assert rig.log()[-1]["event"]["action"] == "watch-stopped"
    try:
        planted = rig.plant("host-pid")
        rig.start_sensor()
        caught = rig.catch(planted)
        assert caught.seconds is not None
    finally:
        rig.tidy()


def test_a_gate_that_comes_back_is_found_again(rig: Rig) -> None:
    """A restart of Docker ends the stream of events; the sensor says so, and listens again by itself."""
    gate = rig.processes.pop("gate")
    gate.terminate()
    gate.wait(10)
    time.sleep(2.5)
    down = [line for line in rig.log() if line.get("rule", {}).get("name") == "WATCH-SOURCE-DOWN"]
    assert [line["event"]["action"] for line in down][-1] == "finding-opened"
    engine, path = rig.engine.socket_path, str(rig.directory / "sockets" / "gate.sock")
    rig._run("gate", "watch_gate", "--socket", path, "--engine", engine, "--uid", str(UID))
    time.sleep(7.0)
    down = [line for line in rig.log() if line.get("rule", {}).get("name") == "WATCH-SOURCE-DOWN"]
    assert [line["event"]["action"] for line in down][-1] == "finding-closed"
    try:
        assert rig.catch(rig.plant("docker-socket")).seconds is not None
    finally:
        rig.tidy()


def test_a_change_of_the_store_is_seen_and_the_publishers_is_not(rig: Rig) -> None:
    """Law 7 of the store: one writer. Whoever else writes is named."""
    blobs = rig.directory / "store" / "blobs"
    from ansible_collections.rampart.ollama.plugins.module_utils.publish import store_lock
    from ansible_collections.rampart.ollama.plugins.module_utils.store import ModelStore

    with store_lock(ModelStore(rig.directory / "store")):
        (blobs / "sha256-published").write_text("x")
    time.sleep(0.5)
    (blobs / "sha256-tampered").write_text("x")
    time.sleep(1.0)
    subjects = [
        line["rampart"]["finding"]["subject"]
        for line in rig.log()
        if line.get("rule", {}).get("name") == "WATCH-STORE-CHANGED"
    ]
    assert subjects == [str(blobs / "sha256-tampered")]


def test_no_line_of_the_log_is_broken(rig: Rig) -> None:
    """Each line is an object with the fields that rules match on."""
    for line in rig.log():
        assert {"@timestamp", "ecs", "event", "log", "message"} <= set(line)
        assert {"kind", "category", "action", "dataset"} <= set(line["event"])
        assert len(json.dumps(line)) < 8192
