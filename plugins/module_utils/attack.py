# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The isolation attacks as data, and how they are run: from inside a container, or from a neighbour host.

Each attack is run in a child process of its own, which joins the container's namespaces and takes the ids,
groups, capabilities and the no-new-privileges bit of its first process. So it can do what that process
could do, but for two things the kernel lets nobody share: its seccomp filter and its AppArmor profile. A
refusal seen here holds without them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Optional

from .attack_attempts import ERROR, FUNCTIONS, REFUSED, SUCCEEDED, Parameters
from .findings import Check, Finding, Severity, check, clean_text
from .nsenter import NAMESPACES, EnterError, Privileges, in_child
from .procfs import ProcError, ProcFS

INSIDE = ("server", "gateway")
# Documentation addresses (RFC 5737, RFC 3849): nobody's, so that a real host disturbs nobody, and a
# laboratory owns them.
DEFAULT_TARGETS: dict[str, Any] = {
    "ipv4": ["198.51.100.66"],
    "ipv6": ["2001:db8:51::66"],
    "dns": ["198.51.100.53"],
    "name": "registry.ollama.ai",
    "metadata": ["169.254.169.254"],
    "port": 443,
    "host_addresses": [],
    "host_ports": [22, 2375, 2376, 8443, 11434],
    "docker_ports": [2375, 2376],
    "ollama_ports": [11434],
    "edge_ports": [8443],
    "expected_ports": [],
    "models": ["/models"],
    "root": ["/", "/etc", "/usr/bin", "/opt", "/var"],
    "temporary": ["/tmp", "/dev/shm", "/home/ollama"],  # noqa: S108 - places to attack, not to use
}
CHECK_PREFIX = {"server": "attack-", "gateway": "attack-gateway-", "host": "attack-neighbour-"}


@dataclass(frozen=True)
class Attack:
    """One attack: `targets` maps a parameter of the function to a key of the targets; `family` (4, 6) picks
    addresses.
    """

    id: str
    what: str
    function: str
    origins: tuple[str, ...]
    targets: tuple[tuple[str, str], ...] = ()
    family: Optional[int] = None


def _to(addresses: str, port: str, name: str = "ports") -> tuple[tuple[str, str], ...]:
    """Return the parameters of an attack on addresses and ports."""
    return (("addresses", addresses), (name, port))


_HOST = _to("host_addresses", "host_ports")
_OLLAMA = _to("host_addresses", "ollama_ports")
_DOCKER = _to("host_addresses", "docker_ports")
_EDGE = _to("host_addresses", "edge_ports")
_BESIDE = ("host",)
ATTACKS: tuple[Attack, ...] = (
    Attack("egress-dns", "ask resolvers for a name by UDP", "dns", INSIDE, (("addresses", "dns"), ("name", "name"))),
    Attack("egress-name", "resolve a name as any program does", "resolve", INSIDE, (("name", "name"),)),
    Attack("egress-ipv4", "connect to an IPv4 address", "tcp", INSIDE, _to("ipv4", "port"), 4),
    Attack("egress-ipv6", "connect to an IPv6 address", "tcp", INSIDE, _to("ipv6", "port"), 6),
    Attack("egress-udp-ipv4", "send UDP to an IPv4 address", "udp", INSIDE, _to("ipv4", "port", "port"), 4),
    Attack("egress-udp-ipv6", "send UDP to an IPv6 address", "udp", INSIDE, _to("ipv6", "port", "port"), 6),
    Attack("egress-icmp-ipv4", "ping an IPv4 address", "icmp", INSIDE, (("addresses", "ipv4"),), 4),
    Attack("egress-icmp-ipv6", "ping an IPv6 address", "icmp", INSIDE, (("addresses", "ipv6"),), 6),
    Attack("egress-metadata", "connect to the metadata address", "tcp", INSIDE, _to("metadata", "port")),
    Attack("host-ipv4", "connect to the host over IPv4", "tcp", INSIDE, _HOST, 4),
    Attack("host-ipv6", "connect to the host over IPv6", "tcp", INSIDE, _HOST, 6),
    Attack("docker-socket", "open an engine's socket", "engine_socket", INSIDE),
    Attack("write-models", "write to the models", "write_file", INSIDE, (("directories", "models"),)),
    Attack("write-root", "write to the root file system", "write_file", INSIDE, (("directories", "root"),)),
    Attack("exec-tmp", "execute what was written", "execute_temporary", INSIDE, (("directories", "temporary"),)),
    Attack("gain-root", "become root", "gain_root", INSIDE),
    Attack("gain-capability", "raise a capability", "gain_capability", INSIDE),
    Attack("mount", "mount a file system", "mount", INSIDE),
    Attack("raw-socket", "open a raw socket", "raw_socket", INSIDE),
    Attack("read-host-processes", "see the host's processes", "host_processes", INSIDE),
    Attack("ollama-ipv4", "reach 11434 over IPv4", "tcp", _BESIDE, _OLLAMA, 4),
    Attack("ollama-ipv6", "reach 11434 over IPv6", "tcp", _BESIDE, _OLLAMA, 6),
    Attack("docker-ipv4", "reach Docker over IPv4", "tcp", _BESIDE, _DOCKER, 4),
    Attack("docker-ipv6", "reach Docker over IPv6", "tcp", _BESIDE, _DOCKER, 6),
    Attack("edge-ipv4", "reach the edge over IPv4", "tcp", _BESIDE, _EDGE, 4),
    Attack("edge-ipv6", "reach the edge over IPv6", "tcp", _BESIDE, _EDGE, 6),
)


def attacks_for(origin: str, wanted: Iterable[str] = ()) -> list[Attack]:
    """Return the attacks of an origin, those in `wanted` when it names any. Raises ValueError for an unknown one."""
    known = [attack for attack in ATTACKS if origin in attack.origins]
    names = list(wanted)
    unknown = sorted(set(names) - {attack.id for attack in known})
    if unknown:
        raise ValueError("{0} cannot be run from {1}".format(", ".join(unknown), origin))
    return [attack for attack in known if not names or attack.id in names]


def parameters_for(attack: Attack, origin: str, targets: dict[str, Any], timeout: float) -> Parameters:
    """Return the parameters of one attack: addresses of its family alone, ports as lists without the expected ones."""
    merged = {**DEFAULT_TARGETS, **{key: value for key, value in targets.items() if value is not None}}
    found: Parameters = {"timeout": timeout, "left_counts": origin in INSIDE}
    for name, key in attack.targets:
        value = merged.get(key)
        if name in ("addresses", "ports", "directories") and not isinstance(value, (list, tuple)):
            value = [value]
        if name == "addresses" and attack.family is not None:
            value = [item for item in value or [] if _version(item) == attack.family]
        if name == "ports" and origin == "host":
            expected = {int(port) for port in merged["expected_ports"]}
            value = [int(port) for port in value or [] if int(port) not in expected]
        found[name] = value
    return found


def _version(address: Any) -> int:
    try:
        return ipaddress.ip_address(str(address)).version
    except ValueError:
        return 0


def run_attacks(
    origin: str,
    attacks: list[Attack],
    targets: dict[str, Any],
    timeout: float,
    pid: Optional[int] = None,
    proc: Optional[ProcFS] = None,
) -> list[dict[str, str]]:
    """Run attacks and return {id, tried, expected, outcome, evidence} for each; never raises for what it
    meets.

    From inside, `pid` is the container's first process; `timeout` (seconds) is each attack's own.
    """
    proc = proc or ProcFS()
    results = []
    for attack in attacks:
        parameters = parameters_for(attack, origin, targets, timeout)
        moot = _moot(attack, parameters, targets, origin)
        if moot:
            outcome, evidence = REFUSED, moot
        else:
            outcome, evidence = _run(attack, parameters, timeout, pid if origin in INSIDE else None, proc)
        results.append(
            {
                "id": attack.id,
                "tried": attack.what,
                "expected": REFUSED,
                "outcome": outcome,
                "evidence": clean_text(evidence),
            }
        )
    return results


def _moot(attack: Attack, parameters: Parameters, targets: dict[str, Any], origin: str) -> str:
    """Return why an attack has nothing to attack, or an empty text.

    Only where that is known: with no address of the host at all nothing was seen, and nothing is proven. A neighbour
    can reach a host by link-local addresses that nobody named, so for it a missing family stays an open question.
    """
    if attack.function != "tcp":
        return ""
    if not parameters["ports"]:
        return "every port of this attack is expected to be open"
    own = origin in INSIDE and dict(attack.targets).get("addresses") == "host_addresses"
    if own and targets.get("host_addresses") and not parameters["addresses"]:
        return "the host has no IPv{0} address that could be attacked".format(attack.family)
    return ""


def _run(attack: Attack, parameters: Parameters, timeout: float, pid: Optional[int], proc: ProcFS) -> tuple[str, str]:
    function = FUNCTIONS[attack.function]
    try:
        privileges = None
        if pid is not None:
            parameters["host_pid_namespace"] = proc.namespace("self", "pid")
            privileges = Privileges.of(proc.status(pid))
        # Twice the time: the attempt ends by itself first, the killing is for what hangs.
        answer = in_child(lambda: function(parameters), 2 * timeout + 1, pid, NAMESPACES, privileges, proc.root)
        outcome, evidence = str(answer[0]), str(answer[1])
    except (EnterError, ProcError, OSError, ValueError, IndexError, TypeError) as error:
        return ERROR, str(error)
    return (outcome if outcome in (REFUSED, SUCCEEDED) else ERROR), evidence


def judge(origin: str, results: list[dict[str, str]], subject: str) -> tuple[list[Finding], list[Check]]:
    """Return findings and checks for the results: what got through is critical, what proved nothing is unknown."""
    findings, checks = [], []
    for item in results:
        outcome, evidence = item["outcome"], "{0}: {1}".format(item["tried"], item["evidence"])
        holds = {REFUSED: True, SUCCEEDED: False}.get(outcome)
        checks.append(check(CHECK_PREFIX[origin] + item["id"], holds, evidence))
        if outcome == SUCCEEDED:
            remedy = (
                "Run phase 3 again and look at what ollama_isolation_facts names; keep users off until it is closed."
            )
            findings.append(Finding("ATTACK-SUCCEEDED", Severity.CRITICAL, subject, evidence, remedy))
        elif outcome == ERROR:
            remedy = "Mend what hindered the attack (targets, root, a running container): nothing was proven."
            findings.append(Finding("ATTACK-NOT-RUN", Severity.MEDIUM, subject, evidence, remedy))
    return findings, checks


def own_addresses(proc: ProcFS) -> list[str]:
    """Return the host's own addresses but loopback and link-local ones: what a container would attack it by.

    IPv4 from fib_trie (`/32 host LOCAL`), IPv6 from if_inet6; a family that cannot be read adds none.
    """
    found: set[str] = set()
    try:
        lines = proc.read("self", "net", "fib_trie").splitlines()
        for previous, line in zip(lines, lines[1:]):
            if "/32 host LOCAL" in line:
                found.add(previous.split("--")[-1].strip())
    except ProcError:
        pass
    try:
        for line in proc.read("self", "net", "if_inet6").splitlines():
            found.add(str(ipaddress.IPv6Address(bytes.fromhex(line.split()[0]))))
    except (ProcError, ValueError, IndexError):
        pass
    usable = []
    for text in sorted(found):
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        if not (address.is_loopback or address.is_link_local):
            usable.append(text)
    return usable
