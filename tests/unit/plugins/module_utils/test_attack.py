# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row I6: attacks run where and as whom they should, and they get through where nothing holds them back."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import attack_attempts, attack_files, attack_functions
from ansible_collections.rampart.ollama.plugins.module_utils.attack import (
    CHECK_PREFIX,
    ORIGINS,
    Attack,
    as_expected,
    attacks_for,
    judge,
    parameters_for,
    seen_check,
    table,
)
from ansible_collections.rampart.ollama.plugins.module_utils.attack_places import Inside, Place, own_addresses
from ansible_collections.rampart.ollama.plugins.module_utils.attack_run import run_attacks
from ansible_collections.rampart.ollama.plugins.module_utils.nsenter import (
    NAMESPACES,
    EnterError,
    Privileges,
    in_child,
    interface_flags,
)
from ansible_collections.rampart.ollama.plugins.module_utils.procfs import ProcFS, Status
from ansible_collections.rampart.ollama.plugins.plugin_utils.attack_catalogue import DEFAULT_DIRECTORY, load_attacks

ATTACKS = [Attack.from_dict(data) for data in load_attacks(DEFAULT_DIRECTORY)]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="joining and making namespaces takes root")


@contextlib.contextmanager
def sandbox(*flags: str, program: str = "import time; time.sleep(60)") -> Iterator[int]:
    """Yield the process id of a Python that runs in namespaces of its own and has printed its first line."""
    code = "print('up', flush=True); " + program
    command = ["unshare", *flags, sys.executable, "-c", code]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield int(children[0]) if "--fork" in flags and children else process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


DROPPED = (
    "import ctypes, os; libc = ctypes.CDLL(None); [libc.prctl(24, n, 0, 0, 0) for n in range(64)];"
    "os.setgroups([]); os.setresgid(10001, 10001, 10001); os.setresuid(10001, 10001, 10001);"
    "libc.prctl(38, 1, 0, 0, 0); print('dropped', flush=True); import time; time.sleep(60)"
)


def outcome_of(pid: int, *names: str, **targets: Any) -> dict[str, tuple[str, str]]:
    with Inside(pid) as place:
        results = run_attacks("server", attacks_for("server", ATTACKS, names), targets, 2.0, place)
    return {item["id"]: (item["outcome"], item["evidence"]) for item in results}


# --- as data ------------------------------------------------------------------------------------------------
def named(name: str) -> Attack:
    return next(attack for attack in ATTACKS if attack.id == name)


def test_the_files_are_sound() -> None:
    ids = [(attack.id, origin) for attack in ATTACKS for origin in attack.origins]
    assert len(ids) == len(set(ids))
    assert len(attacks_for("server", ATTACKS)) >= 22
    for origin in ORIGINS:
        assert attacks_for(origin, ATTACKS), origin
    for attack in ATTACKS:
        assert {"ipv4": 4, "ipv6": 6}.get(attack.id.rsplit("-", 1)[-1], attack.family) == attack.family or (
            attack.origins == ("fetcher",)
        )


def test_an_unknown_attack_is_refused() -> None:
    with pytest.raises(ValueError, match="fly cannot be run from server"):
        attacks_for("server", ATTACKS, ["fly"])
    with pytest.raises(ValueError, match="ollama-ipv4"):
        attacks_for("server", ATTACKS, ["ollama-ipv4"])


def test_addresses_are_picked_by_family_and_expected_ports_left_out() -> None:
    six = named("edge-ipv6")
    targets = {"host_addresses": ["192.0.2.1", "2001:db8::1", "x"], "edge_ports": [8443, 443], "expected_ports": [8443]}
    found = parameters_for(six, "host", targets, 1)
    assert (found["addresses"], found["ports"], found["left_counts"]) == (["2001:db8::1"], [443], False)
    four = named("egress-ipv4")
    assert parameters_for(four, "server", {}, 1)["ports"] == [443]


def result_of(name: str, outcome: str = "refused", seen: str = "not observable") -> dict[str, Any]:
    told = {"id": name, "tried": "t", "expected": "refused", "outcome": outcome, "evidence": "e"}
    return {**told, "seen": seen, "trace": "x", "seen_by": ["kernel:OutNoRoutes"] if name == "a-b" else []}


def test_what_proved_nothing_is_unknown_and_what_got_through_is_critical() -> None:
    results = [
        result_of(name, outcome) for name, outcome in (("a-b", "refused"), ("c-d", "succeeded"), ("e-f", "error"))
    ]
    findings, checks = judge("gateway", results, "x")
    assert [(item.id, item.status) for item in checks] == [
        ("attack-gateway-a-b", "passed"),
        ("attack-gateway-c-d", "failed"),
        ("attack-gateway-e-f", "unknown"),
        ("attack-gateway-seen", "unknown"),
    ]
    assert "attack-user-seen" not in [item.id for item in judge("user", results[1:], "x")[1]]
    assert [(item.code, item.severity.value) for item in findings] == [
        ("ATTACK-SUCCEEDED", "critical"),
        ("ATTACK-NOT-RUN", "medium"),
    ]
    assert set(CHECK_PREFIX) == set(ORIGINS)
    assert [line.split()[1] for line in table("gateway", results)] == ["a-b", "c-d", "e-f"]


@pytest.mark.parametrize(
    ("seen", "status"),
    [("seen", "passed"), ("not seen", "failed"), ("unknown", "unknown"), ("not observable", "passed")],
)
def test_what_leaves_a_trace_has_to_be_seen(seen: str, status: str) -> None:
    """I6: an attack with a trace that nobody finds fails the check, a trace that cannot be read leaves it open."""
    assert seen_check("server", [result_of("a-b", seen="seen"), result_of("c-d", seen=seen)]).status == status
    assert seen_check("server", []).status == "unknown"
    # What was not tried could not be seen, and has a check of its own.
    results = [result_of("a-b", seen="seen"), result_of("c-d", "error", "unknown")]
    assert seen_check("server", results).status == "passed"


def test_a_refusal_for_another_reason_proves_nothing() -> None:
    """I6: a family that is not there, a directory that is missing, a page of another kind are no refusals."""
    attack = named("gain-root")
    assert as_expected(attack, "refused", "setresuid(0): EPERM")[0] == "refused"
    assert as_expected(attack, "refused", "setresuid(0): EINVAL")[0] == "error"
    assert as_expected(attack, "refused", "nothing happened")[0] == "error"
    assert as_expected(attack, "refused", "EPERM, EAFNOSUPPORT")[0] == "error"
    assert as_expected(attack, "succeeded", "became uid 0")[0] == "succeeded"


def test_a_neighbour_without_targets_or_without_a_way_proves_nothing() -> None:
    """I6: a test without the family, or without a route, would pass vacuously."""
    results = run_attacks("host", attacks_for("host", ATTACKS, ["ollama-ipv4"]), {}, 0.5, Place())
    assert [item["outcome"] for item in results] == ["error"]


# --- the child ----------------------------------------------------------------------------------------------
def test_a_child_hands_back_its_result_and_its_error() -> None:
    assert in_child(lambda: {"a": [1, 2]}, 5) == {"a": [1, 2]}
    with pytest.raises(EnterError, match="ValueError: no"):
        in_child(lambda: (_nr for _nr in ()).throw(ValueError("no")), 5)


def test_a_child_that_hangs_is_killed_with_its_children() -> None:
    started = time.monotonic()
    reader, writer = os.pipe()

    def hang() -> None:
        if os.fork() == 0:
            os.write(writer, str(os.getpid()).encode())
        time.sleep(60)

    with pytest.raises(EnterError, match=r"no result within 0\.3 s"):
        in_child(hang, 0.3)
    assert time.monotonic() - started < 10
    grandchild = int(os.read(reader, 20))
    os.close(reader)
    os.close(writer)
    for _try in range(50):
        try:
            state = Path(f"/proc/{grandchild}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return
        if state in "ZX":
            return
        time.sleep(0.02)
    pytest.fail("the grandchild still runs")


def test_a_child_that_dies_gives_no_result() -> None:
    with pytest.raises(EnterError, match="without a result"):
        in_child(lambda: os.kill(os.getpid(), signal.SIGKILL), 5)


@needs_root
def test_a_child_has_exactly_the_privileges_of_its_target() -> None:
    wanted = Privileges(10001, 10002, (10002, 10003), {"CapBnd": 1 << 10, "CapEff": 0, "CapPrm": 0, "CapInh": 0}, True)

    def look() -> Any:
        status = ProcFS().status("self")
        return [status.uids, status.gids, sorted(status.groups), status.capabilities, status.no_new_privs]

    uids, gids, groups, capabilities, no_new_privs = in_child(look, 5, privileges=wanted)
    assert (set(uids), set(gids), groups, no_new_privs) == ({10001}, {10002}, [10002, 10003], True)
    assert capabilities == {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapBnd": 1 << 10, "CapAmb": 0}


def test_privileges_are_read_from_a_status() -> None:
    status = Status("x", 1, (1, 2, 3, 4), (5, 6, 7, 8), (9,), {"CapEff": 7}, None, 2)
    assert Privileges.of(status) == Privileges(2, 6, (9,), {"CapEff": 7}, False)


@needs_root
def test_a_child_joins_every_namespace_and_leaves_ours_alone() -> None:
    with sandbox("--net", "--ipc", "--uts", "--pid", "--mount", "--fork", "--kill-child") as pid:
        names = ("net", "ipc", "uts")
        ours = [os.readlink(f"/proc/self/ns/{name}") for name in names]
        inside = in_child(
            lambda: [os.readlink(f"/proc/self/ns/{name}") for name in names], 5, pid, ("net", "ipc", "uts")
        )
        assert inside == [os.readlink(f"/proc/{pid}/ns/{name}") for name in names]
        assert not set(inside) & set(ours)
        assert in_child(os.getpid, 5, pid, NAMESPACES) < 20
        assert [os.readlink(f"/proc/self/ns/{name}") for name in names] == ours


@needs_root
def test_a_process_that_is_gone_is_an_error() -> None:
    with pytest.raises(EnterError, match="namespaces of process"):
        in_child(lambda: 1, 5, 4194303, NAMESPACES)


@needs_root
def test_interface_flags_say_up_and_down() -> None:
    with sandbox(
        "--net",
        program="import subprocess, time; subprocess.run(['ip', 'link', 'set', 'lo', 'up']); time.sleep(60)",
    ) as pid:
        for _try in range(100):
            if interface_flags(pid, ["lo"])["lo"] & 1:
                break
            time.sleep(0.02)
        assert interface_flags(pid, ["lo"])["lo"] & 1
    with sandbox("--net") as pid:
        assert interface_flags(pid, ["lo"])["lo"] & 1 == 0


# --- refused and succeeded -----------------------------------------------------------------------------------
@needs_root
def test_from_an_empty_namespace_without_privileges_everything_is_refused() -> None:
    """I2, I6: what the server's container is, made by unshare: each attack ends in the kernel's refusal."""
    with sandbox("--net", "--ipc", "--uts", "--pid", "--mount-proc", "--fork", "--kill-child", program=DROPPED) as pid:
        for _try in range(200):
            if ProcFS().status(pid).no_new_privs:
                break
            time.sleep(0.02)
        names = [
            *(
                "egress-dns egress-name egress-ipv4 egress-ipv6 egress-udp-ipv4 egress-udp-ipv6 egress-icmp-ipv4"
            ).split(),
            *(
                "egress-icmp-ipv6 egress-metadata host-ipv4 host-ipv6 gain-root gain-capability mount raw-socket"
            ).split(),
            *("write-root read-host-processes").split(),
        ]
        results = outcome_of(pid, *names, host_addresses=["192.0.2.1", "2001:db8::1"], root=["/", "/etc", "/usr/bin"])
    assert {name: item for name, item in results.items() if item[0] != "refused"} == {}
    assert len(results) == len(names)
    assert "ENETUNREACH" in results["egress-ipv4"][1]
    assert "EPERM" in results["gain-root"][1]


@needs_root
def test_from_an_open_process_the_same_attacks_get_through(tmp_path: Path) -> None:
    """I6: the suite can succeed: against a namespace with a route and sinks of ours, and a root with all he can do."""
    sinks = (
        "import os, socket, subprocess, time; run = lambda *a: subprocess.run(['ip', *a], check=True);"
        "run('link', 'set', 'lo', 'up'); run('address', 'add', '198.51.100.66/32', 'dev', 'lo');"
        "run('address', 'add', '169.254.169.254/32', 'dev', 'lo');"
        "run('-6', 'address', 'add', '2001:db8:51::66/128', 'dev', 'lo', 'nodad');"
        "s = socket.create_server(('::', 443), family=socket.AF_INET6, dualstack_ipv6=True);"
        "u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); u.bind(('::', 443));"
        "print('sinks', flush=True); time.sleep(60)"
    )
    engine = Path("/run/podman/podman.sock")
    with sandbox("--net", program=sinks) as pid:
        for _try in range(200):
            if "0A" in " ".join(line.split()[3] for line in Path(f"/proc/{pid}/net/tcp6").read_text().splitlines()[1:]):
                break
            time.sleep(0.02)
        results = outcome_of(
            pid,
            *("egress-ipv4 egress-ipv6 egress-udp-ipv4 egress-udp-ipv6 egress-icmp-ipv4 egress-icmp-ipv6").split(),
            *(
                "egress-metadata host-ipv4 host-ipv6 gain-root gain-capability raw-socket write-root write-models"
            ).split(),
            *("exec-tmp read-host-processes egress-dns").split(),
            host_addresses=["198.51.100.66", "2001:db8:51::66"],
            host_ports=[443],
            dns=["198.51.100.66"],
            root=[str(tmp_path)],
            models=[str(tmp_path)],
            temporary=[str(tmp_path)],
        )
    refused = {name: item for name, item in results.items() if item[0] != "succeeded"}
    # Its resolver is the machine's: whether that one answers from an empty namespace is not this test's matter.
    refused.pop("egress-dns", None)
    # ping_group_range may keep root's group out: then the kernel, and not the isolation, has refused.
    refused = {name: item for name, item in refused.items() if not ("icmp" in name and "EACCES" in item[1])}
    assert refused == {}
    assert list(tmp_path.iterdir()) == [], "an attack left something behind"
    assert not engine.exists()


def test_a_neighbour_succeeds_only_when_it_is_answered() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sink:
        port = sink.getsockname()[1]
        targets = {"host_addresses": ["127.0.0.1"], "ollama_ports": [port]}
        attacks = attacks_for("host", ATTACKS, ["ollama-ipv4"])
        assert run_attacks("host", attacks, targets, 1.0, Place())[0]["outcome"] == "succeeded"
    assert run_attacks("host", attacks, targets, 1.0, Place())[0]["outcome"] == "refused"


def test_an_engines_socket_that_answers_is_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "docker.sock"
    monkeypatch.setattr(attack_files, "ENGINE_SOCKETS", (str(path),))
    assert attack_files.engine_socket({})[0] == "refused"
    with socket.socket(socket.AF_UNIX) as sink:
        sink.bind(str(path))
        sink.listen()
        assert attack_files.engine_socket({})[0] == "succeeded"


def test_a_resolver_that_answers_is_a_way_out() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        question = attack_attempts.dns_query("registry.ollama.ai")
        assert b"\x08registry\x06ollama\x02ai\x00" in question

        def answer() -> None:
            data, peer = sink.recvfrom(512)
            sink.sendto(data, peer)

        thread = threading.Thread(target=answer)
        thread.start()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(sink.getsockname())
            client.send(question)
            client.settimeout(2)
            assert client.recv(512) == question
        thread.join()


@pytest.mark.parametrize("word", ["EAI_AGAIN", "EAI_NONAME"])
def test_no_such_name_is_not_taken_for_a_refusal(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: Any, **_keywords: Any) -> None:
        raise socket.gaierror(getattr(socket, word), "x")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    expected = "refused" if word == "EAI_AGAIN" else "error"
    assert attack_attempts.resolve({"name": "example.org"})[0] == expected


def test_a_crashing_attempt_is_an_error_and_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(_parameters: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setitem(attack_functions.FUNCTIONS, "tcp", crash)
    results = run_attacks(
        "host", attacks_for("host", ATTACKS, ["ollama-ipv4"]), {"host_addresses": ["127.0.0.1"]}, 1.0, Place()
    )
    assert results[0]["outcome"] == "error"


def test_own_addresses_are_read_from_the_kernel(proc: Any) -> None:
    trie = (
        "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 192.0.2.7\n        /32 host LOCAL\n"
        "     |-- 127.0.0.1\n        /32 host LOCAL\n"
        "     |-- 192.0.2.255\n        /32 link BROADCAST\n"
    )
    proc.write("self", "net/fib_trie", trie)
    proc.write(
        "self",
        "net/if_inet6",
        "20010db8000000000000000000000007 02 40 00 80 eth0\n"
        "fe800000000000000000000000000001 02 40 20 80 eth0\n00000000000000000000000000000001 01 80 10 80 lo\n",
    )
    assert own_addresses(ProcFS(str(proc.root))) == ["192.0.2.7", "2001:db8::7"]
    proc.write("self", "net/if_inet6", "rubbish\n")
    assert own_addresses(ProcFS(str(proc.root))) == ["192.0.2.7"]


def test_a_family_that_the_host_does_not_have_is_no_hole_and_no_open_question() -> None:
    six = named("host-ipv6")
    (told,) = run_attacks("server", [six], {"host_addresses": ["192.0.2.1"]}, 0.1, Place())
    assert (told["outcome"], told["evidence"]) == ("refused", "the host has no IPv6 address that could be attacked")
    # No address at all: nothing was seen. And a neighbour has link-local addresses to try, which nobody named.
    (told,) = run_attacks("server", [six], {"host_addresses": []}, 0.1, Place())
    assert told["outcome"] == "error"
    beside = named("ollama-ipv6")
    (told,) = run_attacks("host", [beside], {"host_addresses": ["192.0.2.1"]}, 0.1, Place())
    assert told["outcome"] == "error"


def test_a_port_that_is_to_be_open_is_told_and_not_left_out() -> None:
    edge = named("edge-ipv4")
    targets = {"host_addresses": ["192.0.2.1"], "edge_ports": [8443], "expected_ports": [8443]}
    (told,) = run_attacks("host", [edge], targets, 0.1, Place())
    assert told["outcome"] == "refused"
    assert "expected to be open" in told["evidence"]
