# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is connected: the SSH connection that a process was started through, and whether a rule set admits it.

sudo empties the environment, so SSH_CONNECTION is looked for in the process's ancestors, where root can
read it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any, Optional, Union

from .procfs import ProcError, ProcFS

ANCESTORS_MAX = 64


def parse_connection(text: str) -> Optional[dict[str, Any]]:
    """Parse SSH_CONNECTION ("peer port server port"); None when it is anything else.

    Returns {"peer": address, "peer_port": int, "server": address, "server_port": int}, addresses normalised.
    """
    words = text.split()
    if len(words) != 4:
        return None
    peer, server = plain_address(words[0]), plain_address(words[2])
    ports = [int(word) if word.isascii() and word.isdigit() and len(word) <= 5 else 0 for word in (words[1], words[3])]
    if peer is None or server is None or not all(0 < port < 65536 for port in ports):
        return None
    return {"peer": str(peer), "peer_port": ports[0], "server": str(server), "server_port": ports[1]}


def find_connection(proc: ProcFS, pid: int) -> Optional[dict[str, Any]]:
    """Return the connection `pid` was started through, from the nearest ancestor that names one, or None.

    None is also the answer on a console or with a local connection.
    """
    for _step in range(ANCESTORS_MAX):
        try:
            value = proc.environment(pid).get("SSH_CONNECTION", "")
        except ProcError:
            value = ""
        connection = parse_connection(value)
        if connection is not None:
            return connection
        try:
            pid = proc.status(pid).parent
        except ProcError:
            return None
        if pid <= 0:
            return None
    return None


def plain_address(text: Any) -> Union[ipaddress.IPv4Address, ipaddress.IPv6Address, None]:
    """Return an address without zone, an IPv4 address mapped into IPv6 as IPv4; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        address = ipaddress.ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def plain_network(text: Any) -> Union[ipaddress.IPv4Network, ipaddress.IPv6Network, None]:
    """Return a network from CIDR or a single address; ::ffff:a.b.c.d/n as IPv4; None for anything else."""
    if not isinstance(text, str):
        return None
    base, slash, length = text.strip().partition("/")
    try:
        network = ipaddress.ip_network(base.partition("%")[0] + slash + length, strict=False)
    except ValueError:
        return None
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped is not None:
        if network.prefixlen < 96:
            return None
        return ipaddress.ip_network((network.network_address.ipv4_mapped, network.prefixlen - 96))
    return network


def admits(rules: Iterable[Any], connection: Any) -> bool:
    """Whether one of `rules` lets the given SSH connection in.

    `rules` are {"sources": [CIDR, ...], "ports": [int, ...]}; no sources means from anywhere. `connection` is
    {"peer": address, "server_port": int}. What cannot be understood admits nothing: the answer protects
    from a lock-out.
    """
    if not isinstance(connection, Mapping):
        return False
    peer, port = plain_address(connection.get("peer")), _port(connection.get("server_port"))
    if peer is None or port is None or isinstance(rules, (str, bytes, Mapping)) or not isinstance(rules, Iterable):
        return False
    return any(_rule_admits(rule, peer, port) for rule in rules)


def _rule_admits(rule: Any, peer: Union[ipaddress.IPv4Address, ipaddress.IPv6Address], port: int) -> bool:
    if not isinstance(rule, Mapping):
        return False
    ports, sources = rule.get("ports"), rule.get("sources", [])
    if not isinstance(ports, (list, tuple)) or port not in [_port(item) for item in ports]:
        return False
    # A missing list means "anywhere" as an empty one does; a wrong type is a mistake and must not open anything.
    if sources is None or sources == [] or sources == ():
        return True
    if not isinstance(sources, (list, tuple)):
        return False
    networks = [plain_network(source) for source in sources]
    return any(network is not None and network.version == peer.version and peer in network for network in networks)


def _port(value: Any) -> Optional[int]:
    """Return a port number given as a number or as digits; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 5:
        value = int(value)
    return value if isinstance(value, int) and 0 < value < 65536 else None
