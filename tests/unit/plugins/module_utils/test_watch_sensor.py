# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the watch looks, whom its findings name, and what a whole sensor makes of hostile answers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.engine import EngineError
from ansible_collections.rampart.ollama.plugins.module_utils.findings import Finding, Severity
from ansible_collections.rampart.ollama.plugins.module_utils.isolation import Expectation
from ansible_collections.rampart.ollama.plugins.module_utils.nsenter import EnterError
from ansible_collections.rampart.ollama.plugins.module_utils.procfs import ProcFS
from ansible_collections.rampart.ollama.plugins.module_utils.watch_config import parse_config
from ansible_collections.rampart.ollama.plugins.module_utils.watch_flags import sysfs_flags
from ansible_collections.rampart.ollama.plugins.module_utils.watch_hear import Hearing
from ansible_collections.rampart.ollama.plugins.module_utils.watch_look import Eyes, Sight
from ansible_collections.rampart.ollama.plugins.module_utils.watch_policy import DEFAULT_POLICY, Observation
from ansible_collections.rampart.ollama.plugins.module_utils.watch_protocol import Answer, Request
from ansible_collections.rampart.ollama.plugins.module_utils.watch_queue import Hint, HintQueue
from ansible_collections.rampart.ollama.plugins.module_utils.watch_self import drops_seen, exec_seen
from ansible_collections.rampart.ollama.plugins.module_utils.watch_sensor import Sensor
from ansible_collections.rampart.ollama.plugins.module_utils.watch_targets import requests_for

pytestmark = pytest.mark.row("I5")
RELAY, OLLAMA, GATEWAY, FOREIGN = 100, 200, 300, 400
IDS = {"rampart-relay": "a" * 64, "rampart-ollama": "b" * 64, "rampart-gateway": "c" * 64, "stray": "d" * 64}
NETWORK = "e" * 64


class Engine:
    """An engine of made-up containers, by name and by id, that can be silent about one of them."""

    def __init__(self, inspector: Any) -> None:
        self.containers_by_name: dict[str, Any] = inspector.containers
        for name, item in inspector.containers.items():
            item["Id"], item["Name"] = IDS[name], "/" + name
        inspector.containers["rampart-ollama"]["HostConfig"]["NetworkMode"] = "container:" + IDS["rampart-relay"]
        self.silent: set[str] = set()
        self.down = False

    def container_or_none(self, name: str) -> Any:
        if self.down:
            raise EngineError("ENGINE-DOWN", "no Docker Engine answers")
        if name in self.silent:
            raise EngineError("ENGINE-ERROR", "did not answer within 2 s", timed_out=True)
        known = {**self.containers_by_name, **{item["Id"]: item for item in self.containers_by_name.values()}}
        return known.get(name)

    def containers(self, all_states: bool = True, labels: Any = None) -> list[dict[str, Any]]:
        if self.down:
            raise EngineError("ENGINE-DOWN", "no Docker Engine answers")
        return [{"Id": item["Id"]} for item in self.containers_by_name.values()]

    def add(self, name: str = "stray", **changes: Any) -> str:
        """Add a container of nobody's."""
        config = {"Privileged": False, "NetworkMode": "none", **changes}
        self.containers_by_name[name] = {
            "Id": IDS["stray"], "Name": "/" + name, "State": {"Running": True, "Pid": FOREIGN}, "HostConfig": config,
            "Mounts": [], "NetworkSettings": {"Networks": {}}, "Config": {},
        }  # fmt: skip
        return IDS["stray"]


@pytest.fixture
def engine(inspector: Any, proc: Any) -> Engine:
    for name, pid in (("rampart-relay", RELAY), ("rampart-ollama", OLLAMA), ("rampart-gateway", GATEWAY)):
        own = "3:memory:/docker/{0}\n2:pids:/docker/{0}\n1:cpu,cpuacct:/docker/{0}\n".format(IDS[name])
        for controller in ("memory", "pids", "cpu"):
            (proc.cgroup / controller / "docker" / str(pid)).rename(proc.cgroup / controller / "docker" / IDS[name])
        proc.write(pid, "cgroup", own)
    namespaces = {"net": 41, "pid": 402, "ipc": 403, "uts": 404, "mnt": 405}
    proc.process(str(FOREIGN), uid=0, namespaces=namespaces, comm="sleep")
    proc.write(FOREIGN, "cgroup", "1:memory:/docker/{0}\n".format(IDS["stray"]))
    return Engine(inspector)


@pytest.fixture
def eyes(engine: Engine, proc: Any, tmp_path: Path) -> Eyes:
    expected = Expectation(docker_socket=str(tmp_path / "no.sock"))
    return Eyes(expected, engine, allowed=["allowed"], proc=ProcFS(str(proc.root)))  # type: ignore[arg-type]


def codes(sight: Sight) -> set[str]:
    return {item.finding.code for item in sight.observations}


def asked(sight: Sight, eyes: Eyes, code: str, tried: frozenset[str] = frozenset()) -> list[tuple[str, Any]]:
    """What would be asked of the actor about a finding of a look."""
    seen = next(item for item in sight.observations if item.finding.code == code)
    requests = requests_for(seen, DEFAULT_POLICY[code], sight, ProcFS(eyes.root), set(tried))
    return [(item.verb, item.target) for item in requests]


# --- looking ----------------------------------------------------------------------------------------------
def test_a_sound_host_yields_nothing(eyes: Eyes, engine: Engine) -> None:
    engine.add()
    assert codes(eyes.sweep()) == set()
    for identity in IDS.values():
        assert codes(eyes.container(identity)) == set()
    assert codes(eyes.host()) == set()


def test_a_look_at_one_container_sees_what_the_sweep_sees(eyes: Eyes, proc: Any) -> None:
    proc.open_up(GATEWAY)
    proc.write(GATEWAY, "cgroup", "1:memory:/docker/{0}\n".format(IDS["rampart-gateway"]))
    one, all_of_it = eyes.container(IDS["rampart-gateway"]), eyes.sweep()
    about = {item.finding.code for item in all_of_it.observations if item.finding.subject == "rampart-gateway"}
    assert codes(one) == about
    assert {"ISO-ROOT-UID", "ISO-HOST-NET", "ISO-CAPABILITIES"} <= about
    assert one.covered("ISO-ROOT-UID", "rampart-gateway")
    assert not one.covered("ISO-ROOT-UID", "rampart-ollama")


@pytest.mark.parametrize(
    ("change", "kernel", "code"),
    [
        ({"Privileged": True}, None, "ISO-PRIVILEGED"),
        ({}, ("net", 1), "ISO-HOST-NET"),
        ({}, ("pid", 2), "ISO-HOST-PID"),
    ],
)
def test_a_container_of_nobodys_is_judged_by_what_endangers_the_host(
    eyes: Eyes, engine: Engine, proc: Any, change: Any, kernel: Any, code: str
) -> None:
    identity = engine.add(**change)
    if kernel:
        proc.namespace(FOREIGN, *kernel)
    for sight in (eyes.container(identity), eyes.sweep()):
        assert code in codes(sight)
        assert asked(sight, eyes, code) == [("container", {"container": identity})]


def test_a_host_mount_is_told_and_a_volume_of_somebodys_is_not(eyes: Eyes, engine: Engine, proc: Any) -> None:
    identity = engine.add()
    proc.mounts(FOREIGN, "1 0 0:50 / / rw - overlay o rw", "2 1 8:1 /data /data rw - ext4 /dev/sda1 rw")
    assert codes(eyes.container(identity)) == set()
    proc.mounts(FOREIGN, "1 0 0:50 / / rw - overlay o rw", "2 1 8:1 / /h rw - ext4 /dev/sda1 rw")
    engine.containers_by_name["stray"]["Mounts"] = [{"Source": "/", "Destination": "/h", "Type": "bind"}]
    assert codes(eyes.container(identity)) == {"ISO-HOST-MOUNT"}
    # The same behind the name of a volume, of which the engine says no more than its own directory.
    proc.mounts(1, "1 0 8:1 / / rw - ext4 /dev/sda1 rw")
    volume = {"Source": "/var/lib/docker/volumes/v/_data", "Destination": "/h", "Type": "volume"}
    engine.containers_by_name["stray"]["Mounts"] = [volume]
    assert codes(eyes.container(identity)) == {"ISO-HOST-MOUNT"}


def test_an_allowed_container_is_left_alone_unless_it_joins_ours(eyes: Eyes, engine: Engine, proc: Any) -> None:
    identity = engine.add("allowed", Privileged=True)
    assert codes(eyes.container(identity)) == set()
    proc.namespace(FOREIGN, "net", 11)
    assert "ISO-NAMESPACE-STRANGER" in codes(eyes.container(identity))


def test_the_engines_word_about_a_process_is_held_against_the_kernels(eyes: Eyes, engine: Engine, proc: Any) -> None:
    """A hostile or confused engine that names process 1 must not have the watch judge, and contain, the host."""
    identity = engine.add()
    engine.containers_by_name["stray"]["State"]["Pid"] = 1
    proc.write(1, "cgroup", "1:memory:/init.scope\n")
    assert codes(eyes.container(identity)) == set()


@pytest.mark.parametrize(
    "answer",
    [
        {}, {"Id": 5}, {"Id": "x", "State": []}, {"Id": "d" * 64, "Name": None, "State": {"Pid": "1"}},
        {"Id": "d" * 64, "Name": "/stray", "State": {"Pid": GATEWAY, "Running": True}, "HostConfig": 7, "Mounts": "x"},
        {"Id": "d" * 64, "Name": ["/stray"], "State": {"Pid": -1}, "NetworkSettings": {"Networks": [1]}},
    ],
)  # fmt: skip
def test_garbage_of_the_engine_is_neither_a_traceback_nor_a_containment(
    eyes: Eyes, engine: Engine, answer: Any
) -> None:
    engine.containers = lambda all_states=True, labels=None: [{"Id": "d" * 64}]  # type: ignore[method-assign,misc]
    former = engine.container_or_none
    engine.container_or_none = (  # type: ignore[method-assign]
        lambda name: answer if name == "d" * 64 or name in IDS else former(name)
    )
    for sight in (eyes.container("d" * 64), eyes.sweep()):
        for seen in sight.observations:
            action = DEFAULT_POLICY.get(seen.finding.code, "log")
            assert requests_for(seen, action, sight, ProcFS(eyes.root), set()) == []


def test_an_engine_that_is_down_is_one_finding_and_closes_nothing(eyes: Eyes, engine: Engine) -> None:
    engine.down = True
    for sight in (eyes.sweep(), eyes.container("d" * 64)):
        assert "ISO-ENGINE-DOWN" in codes(sight)
        assert sight.blind


def test_a_container_the_engine_is_silent_about_is_looked_at_again(eyes: Eyes, engine: Engine) -> None:
    identity = engine.add()
    engine.silent.add(identity)
    sight = eyes.container(identity)
    assert codes(sight) == {"ISO-PROBE-FAILED"}
    assert sight.hint(sight.observations[0]) == Hint("container", identity, urgent=True)


# --- whom a finding names ---------------------------------------------------------------------------------
def test_networks_are_taken_from_the_owner_of_the_namespace_and_then_the_container_is_stopped(
    eyes: Eyes, engine: Engine, proc: Any
) -> None:
    for pid in (RELAY, OLLAMA):
        proc.interfaces(pid, "lo", "eth0")
    networks = {"extra": {"NetworkID": NETWORK}, "none": {"NetworkID": "f" * 64}}
    engine.containers_by_name["rampart-relay"]["NetworkSettings"]["Networks"] = networks
    sight = eyes.sweep()
    wanted = ("network", {"container": IDS["rampart-relay"], "network": NETWORK})
    assert asked(sight, eyes, "ISO-INTERFACE") == [wanted]
    # The interface is still there although the network is gone: somebody put it there by other means.
    after = asked(sight, eyes, "ISO-INTERFACE", frozenset(["network"]))
    assert after == [("container", {"container": IDS["rampart-relay"]})]


def test_a_server_that_waits_for_its_new_relay_is_not_stopped(eyes: Eyes, engine: Engine) -> None:
    """A deployment replaces the relay first; for a moment the server has another mode than expected, and no way out."""
    engine.containers_by_name["rampart-ollama"]["HostConfig"]["NetworkMode"] = "container:" + "9" * 64
    sight = eyes.sweep()
    assert asked(sight, eyes, "ISO-NETWORK-MODE") == []
    assert asked(sight, eyes, "ISO-NETWORK-MODE", frozenset(["network"])) == []


def test_a_connection_that_an_outsider_can_make_names_nobody(eyes: Eyes, proc: Any, line: Any) -> None:
    """Anybody may use 11434 as his source port towards the host's SSH."""
    proc.sockets(1, "tcp", line("10.0.0.2", 22, "198.51.100.7", 11434, 1))
    sight = eyes.sweep()
    assert asked(sight, eyes, "ISO-FOREIGN-CONNECTION") == []
    proc.sockets(GATEWAY, "tcp", line("10.0.0.2", 4000, "198.51.100.7", 443, 1))
    sight = eyes.sweep()
    assert asked(sight, eyes, "ISO-FOREIGN-CONNECTION") == [("container", {"container": IDS["rampart-gateway"]})]


def test_a_stranger_is_stopped_and_not_his_host(eyes: Eyes, engine: Engine, proc: Any) -> None:
    engine.add()
    proc.namespace(FOREIGN, "net", 31)
    sight = eyes.sweep()
    assert asked(sight, eyes, "ISO-NAMESPACE-STRANGER") == [("container", {"container": IDS["stray"]})]
    proc.write(FOREIGN, "cgroup", "1:memory:/user.slice\n")
    sight = eyes.container(IDS["rampart-gateway"])
    assert asked(sight, eyes, "ISO-NAMESPACE-STRANGER") == [("container", {"container": IDS["rampart-gateway"]})]


def test_a_native_server_is_a_process_with_its_start_time(eyes: Eyes, proc: Any) -> None:
    proc.process("500", uid=1000, namespaces={"net": 1, "pid": 2, "ipc": 3, "uts": 4, "mnt": 5}, comm="ollama")
    proc.write(500, "stat", "500 (ol) lama) S " + " ".join(str(number) for number in range(4, 53)))
    sight = eyes.host()
    assert asked(sight, eyes, "ISO-NATIVE-OLLAMA") == [("process", {"pid": 500, "start_time": 22})]


# --- what is heard ----------------------------------------------------------------------------------------
@pytest.fixture
def hearing(proc: Any, engine: Engine, eyes: Eyes) -> Hearing:
    config = parse_config({"schema": 1, "nflog_group": 5, "firewall_table": ""})
    heard = Hearing(config, HintQueue(), ProcFS(str(proc.root)), lambda *_seen: None, lambda *_key: None)
    heard.know(eyes.sweep())
    return heard


def test_a_program_in_one_of_our_containers_is_a_look_and_one_elsewhere_is_none(hearing: Hearing, proc: Any) -> None:
    hearing.on_exec(GATEWAY)
    assert hearing.queue.get(0) == Hint("container", IDS["rampart-gateway"], urgent=True)
    hearing.on_exec(1)
    hearing.on_exec(FOREIGN)
    hearing.on_exec(99999)
    assert hearing.queue.get(0) is None
    proc.write(FOREIGN, "comm", "llama-server\n")
    hearing.on_exec(FOREIGN)
    assert hearing.queue.get(0) == Hint("host", urgent=True)


def test_the_servers_own_program_is_no_native_one(hearing: Hearing, proc: Any) -> None:
    proc.write(OLLAMA, "comm", "ollama\n")
    hearing.on_exec(OLLAMA)
    assert hearing.queue.get(0) == Hint("container", IDS["rampart-ollama"], urgent=True)
    assert hearing.queue.get(0) is None


def test_the_cheap_check_sees_an_interface_and_says_so_once(hearing: Hearing, proc: Any) -> None:
    hearing.cheap_check()
    assert hearing.queue.get(0) is None
    proc.interfaces(GATEWAY, "lo", "eth7")
    hearing.cheap_check()
    assert hearing.queue.get(0) == Hint("container", IDS["rampart-gateway"], urgent=True)
    hearing.cheap_check()
    assert hearing.queue.get(0) is None


def test_the_cheap_check_sees_a_listener_where_a_program_was_started(hearing: Hearing, proc: Any, line: Any) -> None:
    hearing.on_exec(FOREIGN)
    hearing.cheap_check()
    assert hearing.queue.get(0) is None
    proc.write(FOREIGN, "net/sockstat", "sockets: used 1\nTCP: inuse 1 orphan 0\n")
    proc.write(FOREIGN, "net/sockstat6", "TCP6: inuse 0\n")
    proc.sockets(FOREIGN, "tcp", line("0.0.0.0", 11434))
    hearing.cheap_check()
    assert hearing.queue.get(0) == Hint("host", urgent=True)


def test_a_flood_of_drops_is_a_few_counts_and_no_hint(hearing: Hearing) -> None:
    """What outsiders send reaches neither the queue nor the actor, whatever prefixes they could bring about."""
    for number in range(20_000):
        hearing._on_drop("rampart-{0}".format(number % 500), "198.51.100.7 -> 10.0.0.2 tcp port 22", 1)
    hearing._on_drop("ulogd", "x", 1)
    told: list[Observation] = []
    counts = hearing.drops(lambda seen, _seconds: told.append(seen))
    assert sum(counts.values()) == 20_001
    assert len(counts) <= 33
    assert all(seen.outsider and seen.finding.severity == Severity.LOW for seen in told)
    assert len(hearing.queue) == 0
    assert not hearing.queue.wait_for_sweep(0)
    assert hearing.drops(lambda seen, _seconds: told.append(seen)) == {}


def test_an_exec_names_the_program_and_no_argument() -> None:
    assert "hunter2" not in exec_seen("rampart-ollama", "mysql --password=hunter2").finding.as_text()


# --- the whole sensor -------------------------------------------------------------------------------------
def sensor_for(tmp_path: Path, **changes: Any) -> Sensor:
    raw = {
        "schema": 1,
        "log_file": str(tmp_path / "watch.json"),
        "actor_socket": str(tmp_path / "actor.sock"),
        "engine_socket": str(tmp_path / "engine.sock"),
        "nflog_group": None,
        "firewall_table": "",
        **changes,
    }
    return Sensor(parse_config(raw))  # fmt: skip


def breach(code: str = "ISO-PRIVILEGED", outsider: bool = False) -> Sight:
    finding = Finding(code, Severity.CRITICAL, "stray", "it is privileged", "Stop it.")
    return Sight([Observation(finding, "container", outsider)], ids={"stray": IDS["stray"]},
                 covered=lambda _code, subject: subject == "stray")  # fmt: skip


def confirmed(sensor: Sensor, sight: Sight) -> None:
    sensor.take(sight)
    time.sleep(sensor.config.confirm_seconds)
    sensor.take(sight)


def log_of(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "watch.json").read_text().splitlines()]


def test_a_breach_is_contained_once_and_then_written_down(tmp_path: Path) -> None:
    sensor = sensor_for(tmp_path)
    requests: list[Request] = []

    def answer(_path: str, request: Request, _timeout: float) -> Answer:
        assert not (tmp_path / "watch.json").exists(), "containment comes before logging"
        requests.append(request)
        return Answer("done", "stopped stray", "20261124T000000Z-container-0.json", 0.1)

    sensor.containment.ask = answer
    confirmed(sensor, breach())
    sensor.take(breach())
    assert [(item.verb, item.target) for item in requests] == [("container", {"container": IDS["stray"]})]
    actions = [line["event"]["action"] for line in log_of(tmp_path)]
    assert actions == ["finding-opened", "containment-container"]
    sensor.take(Sight(covered=lambda _code, subject: subject == "stray"))
    assert log_of(tmp_path)[-1]["event"]["action"] == "finding-closed"


def test_a_full_disk_does_not_hold_up_containment(tmp_path: Path) -> None:
    sensor = sensor_for(tmp_path, log_file=str(tmp_path / "absent" / "watch.json"))
    requests: list[Request] = []
    sensor.containment.ask = lambda _path, request, _timeout: (requests.append(request), Answer("done", "x"))[1]
    confirmed(sensor, breach())
    assert len(requests) == 1
    assert sensor.log.waiting == 2
    (tmp_path / "absent").mkdir()
    assert sensor.log.flush()


def test_nothing_an_outsider_brings_about_reaches_the_actor(tmp_path: Path) -> None:
    policy = dict.fromkeys(DEFAULT_POLICY, "quarantine")
    sensor = sensor_for(tmp_path, policy=policy)
    requests: list[Request] = []
    sensor.containment.ask = lambda _path, request, _timeout: (requests.append(request), Answer("done", "x"))[1]
    for code in DEFAULT_POLICY:
        confirmed(sensor, breach(code, outsider=True))
    for number in range(1000):
        sensor.event(drops_seen("rampart-input", number + 1, "198.51.100.7"), 60.0)
    assert requests == []
    # What an outsider did hides nothing: the same finding, seen by ourselves, is contained.
    confirmed(sensor, breach("ISO-PRIVILEGED", outsider=True))
    confirmed(sensor, breach())
    assert [item.verb for item in requests] == ["host"]


def test_an_actor_that_is_down_is_said_so(tmp_path: Path) -> None:
    sensor = sensor_for(tmp_path)
    confirmed(sensor, breach())
    found = {line.get("rule", {}).get("name") for line in log_of(tmp_path)}
    assert {"ISO-PRIVILEGED", "WATCH-ACTOR-FAILED"} <= found
    assert sensor.metrics.get("rampart_watch_containments_total", verb="container", outcome="unanswered") == 1


def test_a_look_that_was_blind_is_tried_again_and_not_without_end(tmp_path: Path) -> None:
    sensor = sensor_for(tmp_path)
    blind = Sight([Observation(Finding("ISO-ENGINE-DOWN", Severity.HIGH, "Docker Engine", "silent", "r"))])
    pauses: list[float] = []
    sensor.queue.put_later = lambda hint, seconds: pauses.append(seconds)  # type: ignore[method-assign]
    for urgent in (True, False, False, False, False):
        sensor._look(lambda _key: blind, Hint("container", IDS["stray"], urgent))
    again = [pause for pause in pauses if pause != sensor.config.confirm_seconds]
    assert again == [0.2, 0.4, 0.8, 1.6]


def test_a_look_that_fails_is_written_down_and_ends_nothing(tmp_path: Path) -> None:
    sensor = sensor_for(tmp_path)

    def broken() -> None:
        raise ZeroDivisionError("hostile")

    sensor._safely(broken)
    assert log_of(tmp_path)[-1]["event"]["action"] == "look-failed"


def test_a_sensor_without_anything_around_it_runs_says_so_and_ends(tmp_path: Path, monkeypatch: Any) -> None:
    """No engine, no actor, no store: findings, READY to systemd, and an orderly end; never a traceback."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        systemd.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        sensor = sensor_for(tmp_path, store=str(tmp_path / "absent"), metrics_directory=str(tmp_path))
        thread = threading.Thread(target=sensor.run)
        thread.start()
        try:
            said = {systemd.recv(100), systemd.recv(100)}
        finally:
            time.sleep(1.5)
            sensor.stop()
            thread.join(10)
    assert not thread.is_alive()
    assert said == {b"READY=1", b"WATCHDOG=1"}
    down = {line["rampart"]["finding"]["subject"] for line in log_of(tmp_path) if line["event"]["action"] ==
            "finding-opened" and line["rule"]["name"] == "WATCH-SOURCE-DOWN"}  # fmt: skip
    assert {"docker", "file"} <= down
    assert 'rampart_watch_source_up{source="docker"} 0' in (tmp_path / "rampart_watch.prom").read_text()


def test_as_root_nothing_is_opened_that_does_not_need_root(tmp_path: Path) -> None:
    """The gate answers the unprivileged account alone: root at its door would be refused, and the first sweep late."""
    sensor = sensor_for(tmp_path, store=str(tmp_path))
    tried: list[str] = []
    for source in sensor.hearing.sources:
        source.try_open = lambda _now, name=source.name: tried.append(name) is None  # type: ignore[method-assign,misc]
    sensor.open_sources()
    privileged = {source.name for source in sensor.hearing.sources if source.privileged}
    assert privileged
    assert set(tried) == privileged


# --- privileges and flags ---------------------------------------------------------------------------------
def test_a_sensor_that_would_stay_root_does_not_start(tmp_path: Path) -> None:
    path = tmp_path / "watch.json"
    path.write_text(json.dumps({"schema": 1, "log_file": str(tmp_path / "log.json"), "uid": 0, "gid": 0}))
    module = "ansible_collections.rampart.ollama.plugins.module_utils.watch_sensor_main"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", module, "--config", str(path), *more]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)

    done = run()
    assert done.returncode == 1
    assert "WATCH-PRIVILEGES" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "log.json").exists()
    assert run("--check").returncode == 0
    path.write_text("{}")
    refused = run("--check")
    assert (refused.returncode, "WATCH-CONFIG" in refused.stdout) == (1, True)


def test_flags_are_read_from_sysfs_and_from_nothing_that_looks_like_it(proc: Any, tmp_path: Path) -> None:
    fake = ProcFS(str(proc.root))
    proc.interfaces(GATEWAY, "lo", "tunl0")
    root = tmp_path / "container" / "sys" / "class" / "net" / "tunl0"
    root.mkdir(parents=True)
    (root / "flags").write_text("0x80\n")
    (proc.root / str(GATEWAY) / "root").symlink_to(tmp_path / "container")
    # A container could write such a file anywhere: it does not lie on sysfs.
    with pytest.raises(EnterError, match="sysfs"):
        sysfs_flags(fake, GATEWAY, ["tunl0"])
    for name in ("absent", "../lo"):
        with pytest.raises(EnterError):
            sysfs_flags(fake, GATEWAY, [name])
    assert sysfs_flags(ProcFS(), os.getpid(), ["lo"])["lo"] & 8  # IFF_LOOPBACK
