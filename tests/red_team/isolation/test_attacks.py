# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row I6: every attack gets through where nothing holds it back, and is refused by what the roles make.

An attack that always said "refused" would be worthless, so each file is run against a deployment that is open on
purpose, and what it sends has to reach the laboratory's sinks. The same file is then run against a hardened one.
"""

from __future__ import annotations

import contextlib
import copy
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import trustme
from attack_lab import (
    CATALOGUE,
    OPEN_SQUID,
    REGISTRY,
    Everybody,
    Lab,
    OnTheLink,
    Proxy,
    attempt,
    hardened_squid,
)

from ansible_collections.rampart.ollama.plugins.module_utils import attack_files, attack_functions
from ansible_collections.rampart.ollama.plugins.module_utils.attack_clone import Clone
from ansible_collections.rampart.ollama.plugins.module_utils.attack_places import (
    Fetcher,
    InClone,
    Inside,
    Place,
    Stranger,
    User,
)

Rows = list[tuple[str, str, str, str]]
HOST_TARGETS: dict[str, Any] = {"host_addresses": ["198.51.100.67", "2001:db8:51::67"], "root": ["/", "/etc"]}
# What has to be on record at the sinks: (protocol, destination).
REACHES = {
    "egress-dns": ("udp", "198.51.100.53"),
    "egress-ipv4": ("tcp", "198.51.100.66"),
    "egress-ipv6": ("tcp", "2001:db8:51::66"),
    "egress-udp-ipv4": ("udp", "198.51.100.66"),
    "egress-udp-ipv6": ("udp", "2001:db8:51::66"),
    "egress-icmp-ipv4": ("icmp", "198.51.100.66"),
    "egress-icmp-ipv6": ("icmpv6", "2001:db8:51::66"),
    "egress-metadata": ("tcp", "169.254.169.254"),
    "host-ipv4": ("tcp", "198.51.100.67"),
    "host-ipv6": ("tcp", "2001:db8:51::67"),
}


def ids(origin: str, kind: str = "succeeds") -> list[str]:
    """Ids of the attacks that start at `origin` and succeed (or cannot) on an open deployment."""
    found = [data["id"] for data in CATALOGUE.values() if origin in data["origins"]]
    return [name for name in found if (CATALOGUE[name]["open"] == "succeeds") == (kind == "succeeds")]


def note(rows: Rows, deployment: str, result: dict[str, Any]) -> None:
    rows.append((deployment, result["id"], result["outcome"], result["evidence"]))


# --- from inside --------------------------------------------------------------------------------------------------
@pytest.mark.row("I6")
@pytest.mark.parametrize("attack", ids("server") + ["replace-socket"])
def test_from_an_open_container_it_gets_through(lab: Lab, open_server: int, attack: str, rows: Rows) -> None:
    origin = "server" if "server" in CATALOGUE[attack]["origins"] else "gateway"
    started = time.time()
    # The canary listens in this machine's network namespace: "the host" of an open container that shares it.
    place = Inside(os.getpid()) if attack == "abstract-socket" else Inside(open_server)
    result = attempt(attack, origin, place, HOST_TARGETS)
    note(rows, "open, " + origin, result)
    assert result["outcome"] == "succeeded", result
    if attack in REACHES:
        sources = {lab.address("attack-open"), lab.address("attack-open", "GlobalIPv6Address")}
        seen = {(item["protocol"], item["destination"]) for item in lab.arrived(sources, started)}
        assert REACHES[attack] in seen, seen


@pytest.mark.row("I6")
@pytest.mark.parametrize("attack", ids("server") + ["replace-socket"])
def test_from_a_hardened_container_it_is_refused(lab: Lab, hardened_server: int, attack: str, rows: Rows) -> None:
    origin = "server" if "server" in CATALOGUE[attack]["origins"] else "gateway"
    result = attempt(attack, origin, Inside(hardened_server), HOST_TARGETS)
    note(rows, "hardened, " + origin, result)
    assert result["outcome"] == "refused", result


# --- in a clone ---------------------------------------------------------------------------------------------------
PROXIED = [name for name in ids("fetcher") if name != "upload"]


def clone_of(lab: Lab, name: str, user: str = "") -> Clone:
    inspect = copy.deepcopy(lab.engine.inspect_container(name))
    if user:
        inspect["Config"]["User"] = user
    return Clone(lab.engine, inspect, str(lab.directory))


@pytest.mark.row("I6")
@pytest.mark.parametrize("attack", ids("clone"))
def test_in_a_clone_of_an_open_container_it_gets_through(lab: Lab, open_server: int, attack: str, rows: Rows) -> None:
    # Somebody who is root already gains nothing by a set-uid program.
    user = "10001:10001" if attack == "set-uid" else ""
    result = attempt(attack, "clone", InClone(clone_of(lab, "attack-open", user)), {"clone_memory": 33554432})
    note(rows, "open, clone", result)
    assert result["outcome"] == "succeeded", result
    assert lab.engine.container_or_none("rampart-attack-clone") is None
    assert list(lab.directory.glob(".attack-*")) == []


@pytest.mark.row("I6")
@pytest.mark.parametrize("attack", ids("clone") + ids("clone", "cannot"))
def test_in_a_clone_of_a_hardened_container_it_is_refused(
    lab: Lab, hardened_server: int, attack: str, rows: Rows
) -> None:
    result = attempt(attack, "clone", InClone(clone_of(lab, "attack-hardened")), {"clone_memory": 33554432})
    note(rows, "hardened, clone", result)
    assert result["outcome"] == "refused", result
    assert lab.engine.container_or_none("rampart-attack-clone") is None


@pytest.mark.row("I6")
def test_a_bomb_leaves_the_original_alone(lab: Lab, hardened_server: int) -> None:
    """I6: bombs burst in the clone only: the original has the same process before and after, and no new event."""
    before = lab.engine.inspect_container("attack-hardened")["State"]
    attempt("memory-bomb", "clone", InClone(clone_of(lab, "attack-hardened")), {"clone_memory": 16777216})
    after = lab.engine.inspect_container("attack-hardened")["State"]
    assert (after["Pid"], after["OOMKilled"], after["StartedAt"]) == (
        before["Pid"], before["OOMKilled"], before["StartedAt"]
    )  # fmt: skip


# --- through the proxy --------------------------------------------------------------------------------------------
NAMES = {
    "registry.ollama.ai": REGISTRY,
    "www.example.org": "198.51.100.70",
    "registry.ollama.ai.localhost": "127.0.0.1",
    "metadata.google.internal": "169.254.169.254",
}
PROXY_REACHES = {
    "connect-ipv4": ("tcp", "198.51.100.66"),
    "connect-ipv6": ("tcp", "2001:db8:51::66"),
    "connect-unlisted": ("tcp", "198.51.100.70"),
    "domain-fronting": ("tcp", REGISTRY),
    "plain-http-metadata": ("tcp", "169.254.169.254"),
}


@pytest.fixture(scope="module")
def open_proxy(lab: Lab) -> Proxy:
    return Proxy(lab, "open", OPEN_SQUID, NAMES)


@pytest.fixture(scope="module")
def closed_proxy(lab: Lab) -> Proxy:
    return Proxy(lab, "closed", hardened_squid(), NAMES)


@pytest.mark.row("I6")
@pytest.mark.parametrize("attack", PROXIED)
def test_through_an_open_proxy_it_gets_through(lab: Lab, open_proxy: Proxy, attack: str, rows: Rows) -> None:
    started = time.time()
    result = attempt(attack, "fetcher", Fetcher(10003, 10003), {"proxy_socket": str(open_proxy.socket)}, 10.0)
    note(rows, "open, fetcher", result)
    assert result["outcome"] == "succeeded", result
    if attack in PROXY_REACHES:
        seen = {(item["protocol"], item["destination"]) for item in lab.arrived(open_proxy.source(), started)}
        assert PROXY_REACHES[attack] in seen, seen


@pytest.mark.row("I6")
@pytest.mark.parametrize("attack", PROXIED)
def test_through_the_hardened_proxy_it_is_refused(lab: Lab, closed_proxy: Proxy, attack: str, rows: Rows) -> None:
    started = time.time()
    result = attempt(attack, "fetcher", Fetcher(10003, 10003), {"proxy_socket": str(closed_proxy.socket)}, 10.0)
    note(rows, "hardened, fetcher", result)
    assert result["outcome"] == "refused", result
    assert lab.arrived(closed_proxy.source(), started, services=False) == []


@pytest.mark.row("I6")
@pytest.mark.parametrize("address", ["127.0.0.1", "10.77.0.5", "169.254.169.254", "::1", "fd77::5"])
def test_a_listed_name_that_resolves_to_a_private_range_is_refused(lab: Lab, address: str, rows: Rows) -> None:
    """I2, I6: who controls the answer of DNS does not control where the proxy goes."""
    for kind, configuration, expected in (("open", OPEN_SQUID, "succeeded"), ("closed", hardened_squid(), "refused")):
        proxy = Proxy(lab, kind + "-rebound", configuration, {"registry.ollama.ai": address})
        started = time.time()
        targets = {"proxy_socket": str(proxy.socket), "private_names": ["registry.ollama.ai"]}
        result = attempt("connect-private-name", "fetcher", Fetcher(10003, 10003), targets, 6.0)
        note(rows, f"{kind}, {address}", result)
        assert result["outcome"] == expected, (kind, result)
        if kind == "closed":
            assert lab.arrived(proxy.source(), started, services=False) == []


@pytest.fixture(scope="module")
def listener(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with an address that is nobody's, which reads whatever it is sent; yields its own address."""
    pid = lab.start("attack-listener", {"NetworkMode": "lab", "CapAdd": ["NET_ADMIN"]})
    lab.within(pid, "ip", "address", "add", "198.51.100.99/32", "dev", "lo")
    pem = tmp_path_factory.mktemp("listener") / "pem"
    authority = trustme.CA()
    authority.issue_cert("registry.ollama.ai").private_key_and_cert_chain_pem.write_to_path(pem)
    process = subprocess.Popen(
        ["nsenter", "-t", str(pid), "-n", sys.executable, "-c", LISTENER, str(pem)], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield lab.address("attack-listener")
    finally:
        process.kill()
        process.communicate()


LISTENER = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1])
server = socket.create_server(("0.0.0.0", 443))
print("up", flush=True)
while True:
    raw, _peer = server.accept()
    try:
        with context.wrap_socket(raw, server_side=True) as connection:
            while connection.recv(65536):
                pass
    except OSError:
        pass
"""


@pytest.mark.row("I6")
def test_what_is_sent_through_the_proxy_is_bounded(lab: Lab, listener: str, rows: Rows) -> None:
    """I2, I6: 16 MiB to a listed host that wants them arrive through an open proxy, and are cut by the hardened one."""
    for kind, configuration, expected in (("open", OPEN_SQUID, "succeeded"), ("closed", hardened_squid(), "refused")):
        proxy = Proxy(lab, kind + "-upload", configuration, {"registry.ollama.ai": "198.51.100.99"})
        pid = lab.engine.inspect_container(f"attack-proxy-{proxy.kind}")["State"]["Pid"]
        lab.within(pid, "ip", "route", "replace", "198.51.100.99/32", "via", listener)
        targets = {"proxy_socket": str(proxy.socket), "upload_name": "registry.ollama.ai", "upload_bytes": 1 << 24}
        result = attempt("upload", "fetcher", Fetcher(10003, 10003), targets, 10.0)
        note(rows, f"{kind}, fetcher", result)
        assert result["outcome"] == expected, (kind, result)


@pytest.mark.row("I6")
def test_an_upload_is_sent_nowhere_by_default() -> None:
    assert attempt("upload", "fetcher", Place(), {})["outcome"] == "error"


# --- from a container made by hand, from a neighbour ----------------------------------------------------------------
@pytest.mark.row("I6")
@pytest.mark.parametrize("attack", [name for name in ids("neighbour-container") if name.startswith("stranger")])
def test_a_container_made_by_hand_reaches_an_open_host(lab: Lab, attack: str, rows: Rows) -> None:
    # "The host" of the laboratory's engine is its own namespace, which answers on the bridge's address.
    listen = ["TCP-LISTEN:11434,fork,reuseaddr", "SYSTEM:true"]
    lab.start("attack-service", {"NetworkMode": "host"}, Entrypoint=["/usr/bin/socat"], Cmd=listen)
    try:
        targets = {"host_addresses": ["10.77.0.1"]}
        stranger = Stranger(lab.engine, lab.relay, ["lab"], str(lab.directory))
        result = attempt(attack, "neighbour-container", stranger, targets, 4.0)
        note(rows, "open, container", result)
        assert result["outcome"] == "succeeded", result
        assert lab.engine.container_or_none("rampart-attack-stranger") is None
    finally:
        lab.engine.remove_container("attack-service")
    result = attempt(
        attack, "neighbour-container", Stranger(lab.engine, lab.relay, ["lab"], str(lab.directory)), targets
    )
    note(rows, "closed, container", result)
    assert result["outcome"] == "refused", result


@pytest.fixture(scope="module")
def open_host(lab: Lab) -> Iterator[tuple[int, dict[str, Any]]]:
    """A host that answers on every attacked port, IPv4, IPv6 and link-local, and has an address behind it."""
    pid = lab.start("attack-host", {"NetworkMode": "lab", "CapAdd": ["NET_ADMIN"]})
    lab.within(pid, "ip", "address", "add", "172.30.77.2/32", "dev", "lo")
    code = (
        "import socket, time\n"
        "held = [socket.create_server(('::', p), family=socket.AF_INET6, dualstack_ipv6=True)"
        " for p in (2375, 2376, 8443, 11434)]\nprint('up', flush=True)\ntime.sleep(600)"
    )
    server = subprocess.Popen(
        ["nsenter", "-t", str(pid), "-n", sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"up\n"
        yield (
            pid,
            {
                "host_addresses": [lab.address("attack-host")],
                "link_local": link_local(lab, pid),
                "container_addresses": ["172.30.77.2"],
            },
        )
    finally:
        server.kill()
        server.communicate()


def link_local(lab: Lab, pid: int) -> str:
    done = subprocess.run(
        ["nsenter", "-t", str(pid), "-n", "ip", "-6", "-o", "address", "show", "dev", "eth0", "scope", "link"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.split()[3].partition("/")[0]


@pytest.mark.row("I6")
@pytest.mark.parametrize("attack", ids("host"))
def test_a_neighbour_reaches_an_open_host(
    lab: Lab, open_host: tuple[int, dict[str, Any]], attack: str, rows: Rows
) -> None:
    """I6: also where the host has no other IPv6 address than a link-local one, whose zone the neighbour finds."""
    pid, targets = open_host
    neighbour = lab.start("attack-neighbour", {"NetworkMode": "lab"})
    for namespace in (pid, neighbour):
        lab.settled(namespace)
    given = dict(targets)
    if attack.endswith("ipv6"):
        given["host_addresses"] = [targets["link_local"]]
    result = attempt(attack, "host", OnTheLink(neighbour), given)
    note(rows, "open, neighbour", result)
    assert result["outcome"] == "succeeded", result
    # The same host with its ports closed: a refusal, and by the same way.
    closed = {**given, "ollama_ports": [4], "docker_ports": [4], "edge_ports": [4]}
    if attack != "routed-container":
        result = attempt(attack, "host", OnTheLink(neighbour), closed)
        note(rows, "closed, neighbour", result)
        assert result["outcome"] == "refused", result


# --- as a user ----------------------------------------------------------------------------------------------------
@pytest.fixture
def files(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Directories, a socket and a secret as a host has them, root's alone."""
    base = lab.directory / "user"
    base.mkdir(mode=0o755)
    closed = base / "closed"
    closed.mkdir(mode=0o700)
    (closed / "secret").write_text("x")
    (closed / "secret").chmod(0o600)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(closed / "a.sock"))
    listener.listen()
    with socket.create_server(("127.0.0.1", 0)) as service:
        yield {
            "sockets": [f"{closed}/*.sock"],
            "watch_sockets": [f"{closed}/*.sock"],
            "socket_directories": [str(closed)],
            "closed_directories": [str(closed)],
            "quarantine": [str(closed)],
            "served": [str(closed)],
            "configuration": [str(closed)],
            "secrets": [f"{closed}/secret"],
            "ollama_ports": [service.getsockname()[1]],
        }
    listener.close()
    for path in closed.iterdir():
        path.unlink()
    closed.rmdir()
    base.rmdir()


@contextlib.contextmanager
def somebody() -> Iterator[None]:
    """A process of another user, with an environment that is worth reading."""
    process = subprocess.Popen(["setpriv", "--reuid", "10077", "--clear-groups", "sleep", "60"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.row("I6")
@pytest.mark.parametrize("attack", ids("user"))
def test_as_a_user_who_may_everything_it_gets_through(
    lab: Lab, files: dict[str, Any], attack: str, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attack_files, "ENGINE_SOCKETS", (lab.engine.socket_path,))
    with somebody():
        result = attempt(attack, "user", Everybody(), {**files, **expanded(files, attack)})
    note(rows, "open, user", result)
    assert result["outcome"] == "succeeded", result


@pytest.mark.row("I6")
@pytest.mark.parametrize("attack", ids("user"))
def test_as_an_unprivileged_user_it_is_refused(lab: Lab, files: dict[str, Any], attack: str, rows: Rows) -> None:
    targets = {**files, "ollama_ports": [4]}
    before = sorted(path.name for path in (lab.directory / "user" / "closed").iterdir())
    result = attempt(attack, "user", User(64999), targets)
    note(rows, "hardened, user", result)
    assert result["outcome"] == "refused", result
    assert sorted(path.name for path in (lab.directory / "user" / "closed").iterdir()) == before


def expanded(files: dict[str, Any], attack: str) -> dict[str, Any]:
    """Patterns as the place of an unprivileged user would have looked them up."""
    user = User(64999)
    data = CATALOGUE[attack]
    found = {}
    for parameter, key in data.get("targets", {}).items():
        if parameter in ("paths", "directories"):
            parameters = {parameter: list(files[key])}
            user.prepare(data["function"], parameters)
            found[key] = parameters[parameter]
    return found


# --- the suite itself -----------------------------------------------------------------------------------------------
def test_every_attack_is_proven_or_says_why_not() -> None:
    """I6: each file is run against the open deployment by one of the tests above, or carries a reason; they are few."""
    cannot = [name for name, data in CATALOGUE.items() if data["open"] != "succeeds"]
    assert len(cannot) <= 3, cannot
    assert all(len(CATALOGUE[name]["open"]["cannot"]) > 20 for name in cannot)
    proven = {name for origin in ("server", "clone", "fetcher", "host", "user") for name in ids(origin)}
    proven |= {"replace-socket"} | {name for name in ids("neighbour-container") if name.startswith("stranger")}
    assert proven | set(cannot) == set(CATALOGUE)


@pytest.mark.parametrize("function", ["tcp", "gain_root", "write_file"])
def test_an_attack_that_always_says_refused_is_found_out(
    lab: Lab, open_server: int, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I6: the proof by mutation: with a function that only claims a refusal, the test of the open deployment fails."""
    monkeypatch.setitem(attack_functions.FUNCTIONS, function, lambda _parameters: ("refused", "EPERM"))
    attack = {"tcp": "egress-ipv4", "gain_root": "gain-root", "write_file": "write-root"}[function]
    with pytest.raises(AssertionError):
        test_from_an_open_container_it_gets_through(lab, open_server, attack, [])
