# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Isolation attacks as data, and what follows from how they went.

Each attack is one YAML file below roles/security_tests/files/attacks, read and checked on the controller and handed
over as a dictionary: managed hosts read no YAML. What an attack does is a function of `attack_functions`, where it
starts is a place of `attack_places`, and what it leaves behind is read by `attack_traces`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from .attack_attempts import ERROR, REFUSED, SUCCEEDED, Parameters
from .findings import Check, Finding, Severity, check

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
    "loopback": ["127.0.0.1"],
    "host_ports": [22, 2375, 2376, 8443, 11434],
    "docker_ports": [2375, 2376],
    "ollama_ports": [11434],
    "edge_ports": [8443],
    "expected_ports": [],
    "container_addresses": [],
    "models": ["/models"],
    "root": ["/", "/etc", "/usr/bin", "/opt", "/var"],
    "temporary": ["/tmp", "/dev/shm", "/home/ollama"],  # noqa: S108 - places to attack, not to use
    "inner_socket_directories": ["/run/ollama"],
    "proxy_socket": "/run/rampart/egress/egress.sock",
    "listed_name": "registry.ollama.ai",
    "unlisted_names": ["www.example.org"],
    "private_names": ["localhost", "registry.ollama.ai.localhost", "metadata.google.internal"],
    "private_ipv4": ["127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254"],
    "private_ipv6": ["::1", "fe80::1", "fc00::1", "::ffff:127.0.0.1"],
    "unlisted_ports": [22, 80, 8443, 11434],
    "upload_name": "",
    "upload_bytes": 67108864,
    "sockets": ["/run/rampart/ollama/*.sock", "/run/rampart/gateway/*.sock", "/run/rampart/egress/*.sock"],
    "watch_sockets": ["/run/rampart/watch/*", "/run/rampart/watch/*/*"],
    "socket_directories": ["/run/rampart", "/run/rampart/ollama", "/run/rampart/gateway", "/run/rampart/egress"],
    "closed_directories": [
        "/run/rampart/ollama",
        "/run/rampart/gateway",
        "/run/rampart/egress",
        "/etc/rampart/gateway",
    ],
    "quarantine": ["/srv/rampart/quarantine", "/srv/rampart/scan"],
    "served": ["/srv/rampart/store", "/srv/rampart/store/blobs", "/srv/rampart/store/manifests", "/srv/rampart"],
    "configuration": ["/etc/rampart", "/etc/rampart/*", "/var/lib/rampart", "/srv/rampart/log"],
    "secrets": [
        "/etc/rampart/gateway/*",
        "/etc/rampart/edge/*.key",
        "/etc/rampart/egress/squid.conf",
        "/var/lib/rampart/undo/*",
        "/var/lib/rampart/store-record.json",
    ],
    "clone_memory": 67108864,
}
CHECK_PREFIX = {
    "server": "attack-",
    "gateway": "attack-gateway-",
    "fetcher": "attack-fetcher-",
    "clone": "attack-clone-",
    "user": "attack-user-",
    "neighbour-container": "attack-container-",
    "host": "attack-neighbour-",
}
ORIGINS = tuple(CHECK_PREFIX)
SEEN, NOT_SEEN, NOT_OBSERVABLE, UNKNOWN = "seen", "not seen", "not observable", "unknown"
_ID = re.compile(r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")
_ERRNO = re.compile(r"\bE(?:[A-Z]{3,}|2BIG)\b")
_LISTS = ("addresses", "ports", "directories", "paths", "names")


@dataclass(frozen=True)
class Attack:
    """One attack, as its file describes it.

    `targets` maps a parameter of the function to a key of the targets, `parameters` are given as they are; `family`
    (4, 6) picks addresses. `refusal` lists the words a refusal may give as its reason: another one proves nothing.
    `seen_by` lists traces (kind, what), any of which shows that it was seen; without one `not_observable` says why.
    `not_observable_if` maps words of a refusal that leaves no trace to the reason.
    """

    id: str
    tries: str
    function: str
    origins: tuple[str, ...]
    refusal: tuple[str, ...]
    targets: tuple[tuple[str, str], ...] = ()
    parameters: tuple[tuple[str, Any], ...] = ()
    family: Optional[int] = None
    seen_by: tuple[tuple[str, str], ...] = ()
    not_observable: str = ""
    not_observable_if: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Attack:
        """Build an attack from its file's content. Raises ValueError for what has not the shape that a host needs."""
        try:
            attack = cls(
                id=str(data["id"]),
                tries=str(data["tries"]),
                function=str(data["function"]),
                origins=tuple(data["origins"]),
                refusal=tuple(str(word) for word in data["refusal"]),
                targets=tuple(sorted(data.get("targets", {}).items())),
                parameters=tuple(sorted(data.get("parameters", {}).items())),
                family=data.get("family"),
                seen_by=tuple((kind, str(what)) for item in data.get("seen_by", []) for kind, what in item.items()),
                not_observable=str(data.get("not_observable", "")),
                not_observable_if=tuple(sorted(data.get("not_observable_if", {}).items())),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("not an attack: {0}".format(error)) from None
        if not _ID.match(attack.id) or not set(attack.origins) <= set(ORIGINS) or attack.family not in (None, 4, 6):
            raise ValueError("not an attack: {0!r}".format(attack.id[:80]))
        if any(key not in DEFAULT_TARGETS for _name, key in attack.targets):
            raise ValueError("{0} names a target that is not known".format(attack.id))
        return attack


def attacks_for(origin: str, known: Iterable[Attack], wanted: Iterable[str] = ()) -> list[Attack]:
    """Return the attacks of an origin, those in `wanted` when it names any. Raises ValueError for an unknown one."""
    here = [attack for attack in known if origin in attack.origins]
    names = list(wanted)
    unknown = sorted(set(names) - {attack.id for attack in here})
    if unknown:
        raise ValueError("{0} cannot be run from {1}".format(", ".join(unknown), origin))
    return [attack for attack in here if not names or attack.id in names]


def parameters_for(attack: Attack, origin: str, targets: Mapping[str, Any], timeout: float) -> Parameters:
    """Return the parameters of one attack: addresses of its family alone, ports as lists without the expected ones."""
    merged = {**DEFAULT_TARGETS, **{key: value for key, value in targets.items() if value is not None}}
    found: Parameters = {"timeout": timeout, "left_counts": origin in INSIDE, **dict(attack.parameters)}
    for name, key in attack.targets:
        value = merged.get(key)
        if name in _LISTS and not isinstance(value, (list, tuple)):
            value = [value]
        if name == "addresses" and attack.family is not None:
            value = [item for item in value or [] if version_of(item) == attack.family]
        if name == "ports" and origin == "host":
            expected = {int(port) for port in merged["expected_ports"]}
            value = [int(port) for port in value or [] if int(port) not in expected]
        found[name] = value
    return found


def version_of(address: Any) -> int:
    """Return 4 or 6, or 0 for what is no address; a zone ("fe80::1%eth0") is allowed."""
    try:
        return ipaddress.ip_address(str(address)).version
    except ValueError:
        return 0


def moot(attack: Attack, parameters: Parameters, targets: Mapping[str, Any], origin: str) -> str:
    """Return why an attack has nothing to attack, or an empty text.

    Only where that is known: with no address of the host at all nothing was seen, and nothing is proven. For a
    neighbour it is known when whoever asks says that he named all addresses, link-local ones included
    (`all_addresses`).
    """
    if attack.function != "tcp":
        return ""
    if not parameters["ports"]:
        return "every port of this attack is expected to be open"
    own = dict(attack.targets).get("addresses") == "host_addresses"
    told = origin in INSIDE or bool(targets.get("all_addresses"))
    if own and told and targets.get("host_addresses") and not parameters["addresses"]:
        return "the host has no IPv{0} address that could be attacked".format(attack.family)
    return ""


def as_expected(attack: Attack, outcome: str, evidence: str) -> tuple[str, str]:
    """Return outcome and evidence; a refusal for another reason than the attack's file names becomes an error."""
    if outcome != REFUSED:
        return outcome, evidence
    strange = sorted(set(_ERRNO.findall(evidence)) - set(attack.refusal))
    if strange:
        return ERROR, "{0}; {1} is no refusal that was expected".format(evidence, ", ".join(strange))
    if not any(word in evidence for word in attack.refusal):
        return ERROR, "{0}; expected was one of {1}".format(evidence, ", ".join(attack.refusal))
    return outcome, evidence


def judge(origin: str, results: list[dict[str, Any]], subject: str) -> tuple[list[Finding], list[Check]]:
    """Return findings and checks for the results: what got through is critical, what proved nothing is unknown.

    Where there are attacks with a trace, the last check says whether they were seen.
    """
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
    # What a neighbour leaves behind is judged by whoever reads the traces, on the attacked host.
    if origin != "host" and any(item["seen_by"] for item in results):
        checks.append(seen_check(origin, results))
    return findings, checks


def seen_check(origin: str, results: list[dict[str, Any]]) -> Check:
    """Return the check that every attack with a trace was seen: unknown when a trace could not be read.

    What was not tried counts for nothing here; it has a check of its own.
    """
    observable = [item for item in results if item["seen"] != NOT_OBSERVABLE and item["outcome"] != ERROR]
    unseen = [item["id"] for item in observable if item["seen"] == NOT_SEEN]
    unknown = [item["id"] for item in observable if item["seen"] == UNKNOWN]
    words = "{0} of {1} attacks with a trace were seen".format(
        sum(item["seen"] == SEEN for item in observable), len(observable)
    )
    if unseen:
        words += "; left no trace: " + ", ".join(unseen)
    if unknown:
        words += "; trace not read: " + ", ".join(unknown)
    holds = False if unseen else (None if unknown or not observable else True)
    return check(CHECK_PREFIX[origin] + "seen", holds, words)


def table(origin: str, results: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return one line for each attack: where from, what, refused or not, seen or why not."""
    return [
        "{0:19} {1:24} {2:9} {3}: {4}".format(
            origin, item["id"], item["outcome"], item["seen"], item["trace"] or item["evidence"]
        )
        for item in results
    ]


def measure(origin: str, results: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the counts that evidence keeps of one origin's attacks."""
    rows = list(results)
    return {
        "name": "attacks-" + origin,
        "unit": "attacks",
        "value": len(rows),
        "refused": sum(item["outcome"] == REFUSED for item in rows),
        "succeeded": sum(item["outcome"] == SUCCEEDED for item in rows),
        "not_run": sum(item["outcome"] == ERROR for item in rows),
        "seen": sum(item["seen"] == SEEN for item in rows),
        "not_observable": sum(item["seen"] == NOT_OBSERVABLE for item in rows),
    }
