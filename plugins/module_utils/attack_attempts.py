# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The attempts over the network: to get out of a container or into a host.

Each attempt tries one thing once, in a child process that is already where it starts and has taken that place's
privileges. It returns (outcome, evidence); the outcome is `refused`, `succeeded`, or `error` when nothing was proven.
"""

from __future__ import annotations

import codecs
import errno
import ipaddress
import random
import socket
import struct
import time
from contextlib import suppress
from typing import Any, Optional

REFUSED, SUCCEEDED, ERROR = "refused", "succeeded", "error"

# getaddrinfo encodes names with this codec; after joining another mount namespace it could not be imported any more.
codecs.lookup("idna")

Result = tuple[str, str]
Parameters = dict[str, Any]


def name_of(number: Optional[int]) -> str:
    """Return the name of an errno ("ENETUNREACH")."""
    return errno.errorcode.get(number or 0, str(number))


def tcp(parameters: Parameters) -> Result:
    """Connect by TCP to each of `addresses` on each of `ports`, all at once, within `timeout` seconds.

    With `left_counts` an attempt that meets no refusal of the kernel counts as got out: the packet has
    left. Without it (a neighbour before a firewall) only an answered connection is a success, and that no way
    leads there proves nothing, unless `no_way` says that it is the "refusal".
    """
    targets = [(str(address), int(port)) for address in parameters["addresses"] for port in parameters["ports"]]
    if not targets:
        return ERROR, "no target was given"
    seconds = float(parameters["timeout"]) / max(1, len(targets))
    seen: dict[str, int] = {}
    for address, port in targets:
        try:
            word = _connect(address, port, max(seconds, 0.05))
        except ValueError:
            return ERROR, "{0} is no address".format(address)
        if word == "connected":
            return SUCCEEDED, "connected to {0} port {1}".format(address, port)
        if parameters["left_counts"] and word in ("ECONNREFUSED", "ECONNRESET"):
            return SUCCEEDED, "{0} port {1} was reached: {2}".format(address, port, word)
        if parameters["left_counts"] and word in ("ETIMEDOUT", "no answer"):
            return SUCCEEDED, "a packet to {0} port {1} left: a route is there ({2})".format(address, port, word)
        if word == "EAFNOSUPPORT":
            return ERROR, "this address family is not there: nothing is proven"
        seen[word] = seen.get(word, 0) + 1
    unproven = not parameters["left_counts"] and parameters.get("no_way") != "refusal"
    if unproven and not set(seen) - {"ENETUNREACH", "EHOSTUNREACH", "EADDRNOTAVAIL"}:
        return ERROR, "no way leads to the target ({0}): nothing is proven".format(", ".join(sorted(seen)))
    return REFUSED, ", ".join("{0} x {1}".format(word, count) for word, count in sorted(seen.items()))


def endpoint(address: str, port: int) -> tuple[Any, ...]:
    """Return what a socket is given for an address, its zone as a number: a zone in the text alone is not used."""
    plain, percent, zone = address.partition("%")
    return (plain, port, 0, socket.if_nametoindex(zone)) if percent else (plain, port)


def _connect(address: str, port: int, seconds: float) -> str:
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as handle:
            handle.settimeout(seconds)
            handle.connect(endpoint(address, port))
            return "connected"
    except socket.timeout:
        return "no answer"
    except OSError as error:
        return name_of(error.errno)


def udp(parameters: Parameters) -> Result:
    """Send one UDP packet to each of `addresses`; that the kernel takes it means that it left: one way is enough."""
    addresses = parameters["addresses"]
    if not addresses:
        return ERROR, "no target was given"
    words = []
    for address in addresses:
        word = _send(str(address), int(parameters["port"]), b"rampart isolation test")
        if word is None:
            return SUCCEEDED, "a packet to {0} left".format(address)
        if word == "ECONNREFUSED" and not ipaddress.ip_address(str(address)).is_loopback:
            return SUCCEEDED, "{0} was reached: it refused the port".format(address)
        words.append(word)
    return _refusals(words)


def _send(address: str, port: int, payload: bytes) -> Optional[str]:
    """Send one datagram; None when the kernel took it, else the errno's name."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as handle:
            handle.connect(endpoint(address, port))
            handle.send(payload)
            # An ICMP refusal of the own machine comes back at the next call: only then it is known to have arrived.
            time.sleep(0.05)
            handle.send(payload)
            return None
    except OSError as error:
        return name_of(error.errno)


def _refusals(words: list[str]) -> Result:
    if "EAFNOSUPPORT" in words:
        return ERROR, "this address family is not there: nothing is proven"
    return REFUSED, ", ".join(sorted(set(words)))


def dns_query(name: str) -> bytes:
    """Return a DNS question for the A record of `name`."""
    labels = b"".join(bytes([len(label)]) + label.encode("idna") for label in name.strip(".").split("."))
    return (
        struct.pack(">HHHHHH", random.getrandbits(16), 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)
    )


def dns(parameters: Parameters) -> Result:
    """Ask each of `addresses` and the resolvers of the container's resolv.conf for `name`, by UDP."""
    servers = [str(item) for item in parameters["addresses"]]
    with suppress(OSError, UnicodeDecodeError), open("/etc/resolv.conf", encoding="utf-8") as stream:
        servers += [line.split()[1] for line in stream.read(8192).splitlines() if len(line.split()) > 1
                    and line.split()[0] == "nameserver"]  # fmt: skip
    # Docker's own resolver answers inside a namespace; its packets leave from another one.
    servers = sorted({server.partition("%")[0] for server in servers} | {"127.0.0.11"})
    question = dns_query(str(parameters["name"]))
    words = []
    for server in servers:
        word = _ask(server, question, float(parameters["timeout"]) / len(servers))
        if word == "answered":
            return SUCCEEDED, "{0} answered".format(server)
        if word == "no answer":
            return SUCCEEDED, "a question to {0} left: a route is there".format(server)
        if word == "ECONNREFUSED" and not ipaddress.ip_address(server).is_loopback:
            return SUCCEEDED, "{0} was reached: it refused the port".format(server)
        words.append(word)
    return _refusals(words)


def _ask(server: str, question: bytes, seconds: float) -> str:
    try:
        with socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM) as handle:
            handle.settimeout(max(seconds, 0.05))
            handle.connect((server, 53))
            handle.send(question)
            handle.recv(4096)
            return "answered"
    except socket.timeout:
        return "no answer"
    except OSError as error:
        return name_of(error.errno)


def resolve(parameters: Parameters) -> Result:
    """Resolve `name` as any program would, by getaddrinfo."""
    name = str(parameters["name"])
    try:
        found = socket.getaddrinfo(name, 443, proto=socket.IPPROTO_TCP)
    except socket.gaierror as error:
        # "No such name" is an answer: of a resolver that was reached, or of a set-up that asks none.
        outcome = REFUSED if error.errno in (socket.EAI_AGAIN, socket.EAI_FAIL) else ERROR
        return outcome, "{0}: {1}".format(name, error.strerror)
    return SUCCEEDED, "{0} is {1}".format(name, found[0][4][0])


def icmp(parameters: Parameters) -> Result:
    """Send one echo request to each of `addresses`, by the kind of socket that needs no privilege."""
    addresses = [str(item) for item in parameters["addresses"]]
    if not addresses:
        return ERROR, "no target was given"
    words = []
    for address in addresses:
        six = ":" in address
        family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if six else (socket.AF_INET, socket.IPPROTO_ICMP)
        try:
            with socket.socket(family, socket.SOCK_DGRAM, protocol) as handle:
                # Type, code, check sum (the kernel's), identifier (the kernel's), sequence, payload.
                handle.sendto(struct.pack(">BBHHH", 128 if six else 8, 0, 0, 0, 1) + b"rampart", endpoint(address, 0))
                return SUCCEEDED, "an echo request to {0} left".format(address)
        except OSError as error:
            words.append(name_of(error.errno))
    return _refusals(words)


def raw_socket(_parameters: Parameters) -> Result:
    """Open a socket that forges packets."""
    words = set()
    kinds = ((socket.AF_INET, socket.IPPROTO_ICMP), (socket.AF_PACKET, 0))
    for family, protocol in kinds:
        try:
            with socket.socket(family, socket.SOCK_RAW, protocol):
                return SUCCEEDED, "a raw socket was opened (family {0})".format(int(family))
        except OSError as error:
            words.add(name_of(error.errno))
    return REFUSED, ", ".join(sorted(words))
