# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row I6: each place gives an attack what it is to have there, and nothing more."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import attack_files, attack_functions, attack_route
from ansible_collections.rampart.ollama.plugins.module_utils.attack_attempts import endpoint
from ansible_collections.rampart.ollama.plugins.module_utils.attack_places import (
    Fetcher,
    Inside,
    Place,
    User,
    container_addresses,
)
from ansible_collections.rampart.ollama.plugins.module_utils.nsenter import in_child
from ansible_collections.rampart.ollama.plugins.module_utils.procfs import ProcFS

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="taking another uid takes root")


def looks(_parameters: Any) -> tuple[str, str]:
    """What the kernel says of the process that an attack runs in."""
    status = ProcFS().status("self")
    interfaces = ",".join(ProcFS().interfaces("self"))
    ids, bounding = (set(status.uids), set(status.gids), status.groups), status.capabilities["CapBnd"]
    return "refused", "{0} {1} {2} {3} {4} {5}".format(*ids, bounding, status.no_new_privs, interfaces)


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(attack_functions.FUNCTIONS, "look", looks)


@needs_root
@pytest.mark.usefixtures("look")
def test_a_user_has_a_uid_and_nothing_else() -> None:
    with User(64999) as place:
        text = place.attempt("look", {}, 5)[1]
    assert text.startswith("{64999} {64999} () 0 False ")


@needs_root
@pytest.mark.usefixtures("look")
def test_the_fetchers_place_has_no_interface_but_lo() -> None:
    """I2, I6: what reaches something from there went through the proxy's socket, since there is no other way."""
    with Fetcher(10003, 10003) as place:
        text = place.attempt("look", {}, 5)[1]
    assert text == "{10003} {10003} () 0 True lo"
    assert len(ProcFS().interfaces("self")) >= 1


@needs_root
def test_a_user_is_pointed_to_what_he_cannot_find(tmp_path: Path) -> None:
    """I6: a directory that cannot be entered is attacked by the names root sees in it: no vacuous refusal."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "secret").write_text("x")
    (closed / "directory").mkdir()
    with socket.socket(socket.AF_UNIX) as listener, User(64999) as place:
        listener.bind(str(closed / "a.sock"))
        listener.listen()
        given = {"paths": [f"{closed}/*"]}
        place.prepare("read_files", given)
        assert given["paths"] == [f"{closed}/secret"]
        assert place.attempt("read_files", given, 5)[0] == "refused"
        given = {"paths": [f"{closed}/*.sock"]}
        place.prepare("unix_sockets", given)
        assert place.attempt("unix_sockets", given, 5) == ["refused", "EACCES x 1"]
        given = {"directories": [f"{closed}/*", "/none"]}
        place.prepare("list_directories", given)
        assert given["directories"] == [f"{closed}/directory"]


@pytest.mark.parametrize("function", ["unix_sockets", "read_files", "hard_links"])
def test_nothing_there_proves_nothing(function: str) -> None:
    assert attack_functions.FUNCTIONS[function]({"paths": []})[0] == "error"


@pytest.mark.parametrize("function", ["list_directories", "replace_sockets", "write_file", "execute_temporary"])
def test_no_directory_proves_nothing(function: str) -> None:
    assert attack_functions.FUNCTIONS[function]({"directories": []})[0] == "error"


def test_what_an_attack_could_make_is_gone_again(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("x")
    assert attack_files.replace_sockets({"directories": [str(tmp_path)]})[0] == "succeeded"
    assert attack_files.write_file({"directories": [str(tmp_path)]})[0] == "succeeded"
    assert attack_files.list_directories({"directories": [str(tmp_path)]})[0] == "succeeded"
    assert attack_files.hard_links({"paths": [str(target)]})[0] in ("succeeded", "refused")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert target.stat().st_nlink == 1


@needs_root
def test_the_hosts_abstract_socket_and_process_end_with_the_place() -> None:
    """I6: reached from the same namespace, not from an empty one; gone afterwards."""
    with Place() as place:
        given: dict[str, Any] = {}
        place.prepare("abstract_socket", given)
        place.prepare("trace_process", given)
        victim = given["victim"]
        assert place.attempt("abstract_socket", given, 5)[0] == "succeeded"
        assert place.attempt("trace_process", given, 5)[0] == "succeeded"
        with User(64999) as other:
            assert other.attempt("trace_process", given, 5)[0] == "refused"
        with Fetcher(10003, 10003) as empty:
            assert empty.attempt("abstract_socket", given, 5)[0] == "refused"
    assert not Path(f"/proc/{victim}").exists()
    assert attack_files.abstract_socket(given)[0] == "refused"
    for function in ("abstract_socket", "trace_process"):
        assert attack_functions.FUNCTIONS[function]({})[0] == "error"


# --- on the link ----------------------------------------------------------------------------------------------------
PAIR = (
    "ip link set lo up; ip link add va type veth peer name vb; ip link set va up; ip link set vb netns {0};"
    "nsenter -t {0} -n ip link set vb up; nsenter -t {0} -n ip link set lo up;"
    "ip address add 192.0.2.1/24 dev va; nsenter -t {0} -n ip address add 192.0.2.2/24 dev vb;"
    "nsenter -t {0} -n ip address add 203.0.113.9/32 dev lo"
)
SERVER = (
    "import socket, time; s = socket.create_server(('::', 11434), family=socket.AF_INET6, dualstack_ipv6=True);"
    "print('up', flush=True); time.sleep(60)"
)


@needs_root
def test_a_link_local_address_gets_its_zone_and_a_way_is_found_without_a_route() -> None:
    """I6: in namespaces of our own: `fe80::` is found on the interface that leads there, and a packet by the host's
    link address reaches an address behind it, although no route says so.
    """
    sleeper = ["unshare", "--net", "sleep", "60"]
    with subprocess.Popen(sleeper) as host, subprocess.Popen(sleeper) as beside:
        try:
            wait_for_namespace(host.pid)
            wait_for_namespace(beside.pid)
            subprocess.run(
                ["nsenter", "-t", str(beside.pid), "-n", "sh", "-ec", PAIR.format(host.pid)], check=True, timeout=20
            )
            server = subprocess.Popen(
                ["nsenter", "-t", str(host.pid), "-n", sys.executable, "-c", SERVER], stdout=subprocess.PIPE
            )
            try:
                assert server.stdout is not None
                assert server.stdout.readline() == b"up\n"
                local = link_local(host.pid)
                attacker = Inside(beside.pid)
                given = {"addresses": [local, "fe80::dead", "192.0.2.2", "x"], "ports": [11434], "timeout": 2}
                found = inside(beside.pid, lambda: attack_route.zoned(given["addresses"], seconds=3))
                assert found == ["192.0.2.2", f"{local}%va"]
                reach = {**given, "addresses": [f"{local}%va"], "left_counts": False}
                assert attacker.attempt("tcp", reach, 10)[0] == "succeeded"
                routed = {"addresses": ["203.0.113.9"], "ports": [11434], "via": ["192.0.2.2"], "timeout": 2}
                assert attacker.attempt("routed", routed, 10)[0] == "succeeded"
                assert attacker.attempt("routed", {**routed, "ports": [4]}, 10)[0] == "succeeded"
                nowhere = {**routed, "addresses": ["203.0.113.10"], "timeout": 0.5}
                assert attacker.attempt("routed", nowhere, 10)[0] == "refused"
                assert attacker.attempt("routed", {**routed, "via": ["192.0.2.77"]}, 10)[0] == "error"
                assert attacker.attempt("routed", {**routed, "via": []}, 10)[0] == "error"
            finally:
                server.kill()
                server.communicate()
        finally:
            host.kill()
            beside.kill()


def inside(pid: int, function: Any) -> Any:
    return in_child(function, 10, pid, ("net",))


def wait_for_namespace(pid: int) -> None:
    for _try in range(200):
        if os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net"):
            return
        time.sleep(0.01)
    pytest.fail("no namespace was made")


def link_local(pid: int) -> str:
    command = ["nsenter", "-t", str(pid), "-n", "ip", "-6", "-o", "address", "show", "dev", "vb", "scope", "link"]
    for _try in range(100):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        if done.stdout.strip() and "tentative" not in done.stdout:
            return done.stdout.split()[3].partition("/")[0]
        time.sleep(0.05)
    pytest.fail("no link-local address")


def test_addresses_without_a_zone_to_find_are_left_as_they_are(proc: Any) -> None:
    proc.write("self", "net/if_inet6", "fe80000000000000000000000000aaaa 02 40 20 80 eth9\nrubbish\n")
    assert attack_route.zoned(["192.0.2.1", "2001:db8::1", "x"]) == ["192.0.2.1", "2001:db8::1"]
    assert attack_route.link_local_interfaces(ProcFS(str(proc.root))) == {"eth9": 2}
    assert attack_route.zoned(["fe80::1%lo"]) == ["fe80::1%lo"]


def test_a_zone_reaches_the_socket_as_a_number() -> None:
    assert endpoint("fe80::1%lo", 9) == ("fe80::1", 9, 0, socket.if_nametoindex("lo"))
    assert endpoint("192.0.2.1", 9) == ("192.0.2.1", 9)


@pytest.mark.parametrize(
    "body", [b"\0" * 12, b"\0" * 12 + b"\xff\xff\1\0", b"\0" * 12 + b"\0\0\1\0", b"\0" * 11 + b"x" * 90]
)
def test_a_broken_entry_of_the_kernels_table_is_left_out(body: bytes) -> None:
    assert attack_route._neighbour(body) is None


def test_a_first_packet_has_right_sums() -> None:
    packet = attack_route.syn("192.0.2.1", "203.0.113.9", 40000, 11434)
    assert attack_route._sum(packet[:20]) == 0
    pseudo = packet[12:20] + struct.pack(">BBH", 0, 6, 20)
    assert attack_route._sum(pseudo + packet[20:]) == 0
    assert packet[33] == 2


def test_addresses_behind_the_host_come_from_the_engine() -> None:
    class Engine:
        def networks(self) -> list[dict[str, Any]]:
            return [{"Id": "a", "Driver": "bridge"}, {"Id": "b", "Driver": "host"}, {"Id": "c", "Driver": "bridge"}]

        def inspect_network(self, name: str) -> dict[str, Any]:
            if name == "c":
                return {"IPAM": None, "Containers": "x"}
            config = [{"Gateway": "172.17.0.1"}, {"Gateway": "fd00::1"}, "x", {}]
            return {"IPAM": {"Config": config}, "Containers": {"1": {"IPv4Address": "172.17.0.2/16"}, "2": {}}}

    assert container_addresses(Engine()) == ["172.17.0.1", "172.17.0.2"]  # type: ignore[arg-type]
