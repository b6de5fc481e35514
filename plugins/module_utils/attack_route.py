# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attempts of a neighbour on the link: link-local addresses with their zone, and a way round the routing table.

Only the Linux kernel's own interfaces are used (netlink, packet sockets); the neighbour's routes stay as they are.
"""

from __future__ import annotations

import fcntl
import ipaddress
import random
import socket
import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Optional

from .attack_attempts import ERROR, REFUSED, SUCCEEDED, Parameters, Result, name_of
from .procfs import ProcError, ProcFS

RTM_GETNEIGH, RTM_NEWNEIGH, NLMSG_DONE = 30, 28, 3
NLM_F_REQUEST_DUMP = 0x301
NDA_DST, NDA_LLADDR = 1, 2
NUD_KNOWN = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80  # reachable, stale, delay, probe, noarp, permanent
IFA_LINK = 0x20
SIOCGIFHWADDR = 0x8927
DISCARD = 9
RESOLVE_SECONDS = 1.5


def zoned(addresses: Iterable[str], proc: Optional[ProcFS] = None, seconds: float = RESOLVE_SECONDS) -> list[str]:
    """Return the addresses, the link-local IPv6 ones with the zone on which a neighbour answers to them.

    A packet to each interface makes the kernel ask for the address there; who answered is in its table of neighbours.
    A link-local address that nobody answers to is left out.
    """
    plain: list[str] = []
    local: list[str] = []
    for text in (str(item) for item in addresses):
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        is_local = address.version == 6 and address.is_link_local and "%" not in text
        (local if is_local else plain).append(text)
    if not local:
        return plain
    zones = link_local_interfaces(proc or ProcFS())
    deadline = time.monotonic() + seconds
    found: dict[str, str] = {}
    while zones and len(found) < len(set(local)):
        # Again each time: an address of our own that is new may not be used yet.
        for text, index in ((text, index) for text in local if text not in found for index in zones.values()):
            with suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as handle:
                handle.sendto(b"", (text, DISCARD, 0, index))
        for index, address_text in neighbours():
            if address_text in local and index in zones.values():
                found[address_text] = next(name for name, number in zones.items() if number == index)
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return plain + ["{0}%{1}".format(text, found[text]) for text in local if text in found]


def link_local_interfaces(proc: ProcFS) -> dict[str, int]:
    """Return {name: index} of the interfaces that have a link-local IPv6 address of their own."""
    found = {}
    try:
        for line in proc.read("self", "net", "if_inet6").splitlines():
            words = line.split()
            if len(words) == 6 and int(words[3], 16) == IFA_LINK:
                found[words[5]] = int(words[1], 16)
    except (ProcError, ValueError):
        return {}
    return found


def neighbours() -> list[tuple[int, str]]:
    """Return (interface index, IPv6 address) of each neighbour whose link address is known. Empty where none is."""
    found: list[tuple[int, str]] = []
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as handle:
            handle.settimeout(1.0)
            body = struct.pack("=BBHiHBB", socket.AF_INET6, 0, 0, 0, 0, 0, 0)
            handle.send(struct.pack("=IHHII", 16 + len(body), RTM_GETNEIGH, NLM_F_REQUEST_DUMP, 1, 0) + body)
            while True:
                data = handle.recv(1 << 20)
                while len(data) >= 16:
                    length, kind = struct.unpack("=IH", data[:6])
                    if kind != RTM_NEWNEIGH or not 28 <= length <= len(data):
                        return found
                    entry = _neighbour(data[16:length])
                    if entry:
                        found.append(entry)
                    data = data[(length + 3) & ~3 :]
    except OSError:
        return found


def _neighbour(body: bytes) -> Optional[tuple[int, str]]:
    _family, _pad, _pad2, index, state = struct.unpack("=BBHiH", body[:10])
    attributes, rest = {}, body[12:]
    while len(rest) >= 4:
        length, kind = struct.unpack("=HH", rest[:4])
        if not 4 <= length <= len(rest):
            break
        attributes[kind] = rest[4:length]
        rest = rest[(length + 3) & ~3 :]
    destination = attributes.get(NDA_DST, b"")
    if len(destination) != 16 or NDA_LLADDR not in attributes or not state & NUD_KNOWN:
        return None
    return index, str(ipaddress.IPv6Address(destination))


def routed(parameters: Parameters) -> Result:
    """Send the first packet of a TCP connection to each of `addresses` and `ports` by way of the host under test.

    The packet is put on the wire with the host's link address (of the first IPv4 one among `via`), as a static route
    would do. Any answer of such an address means that a way leads there.
    """
    targets = [(str(item), int(port)) for item in parameters["addresses"] for port in parameters["ports"]]
    gateways = [str(item) for item in parameters["via"] if ":" not in str(item)]
    if not targets or not gateways:
        return ERROR, "no address behind the host is known"
    try:
        device, link_address = _next_hop(gateways[0])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
            handle.connect((gateways[0], DISCARD))
            own = handle.getsockname()[0]
            answer = fcntl.ioctl(handle.fileno(), SIOCGIFHWADDR, struct.pack("16s24x", device.encode()[:15]))
            own_link = answer[18:24]
        # Address 0x0800: IPv4 alone.
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as wire:
            wire.bind((device, 0x0800))
            source = random.randint(32768, 60999)
            for address, port in targets:
                wire.send(link_address + own_link + b"\x08\0" + syn(own, address, source, port))
            return _heard(wire, own, {address for address, _port in targets}, source, float(parameters["timeout"]))
    except OSError as error:
        return ERROR, "a packet could not be sent: {0}".format(name_of(error.errno))
    except ValueError as error:
        return ERROR, str(error)


def _heard(wire: socket.socket, own: str, asked: set[str], port: int, seconds: float) -> Result:
    deadline = time.monotonic() + seconds
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return REFUSED, "no answer"
        wire.settimeout(left)
        try:
            frame = wire.recv(2048)
        except socket.timeout:
            return REFUSED, "no answer"
        packet = frame[14:]
        if len(packet) < 40 or packet[0] >> 4 != 4 or packet[9] != 6:
            continue
        source, destination = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
        answer = packet[(packet[0] & 15) * 4 :]
        if source in asked and destination == own and len(answer) >= 14 and answer[2:4] == struct.pack(">H", port):
            word = "refused the port" if answer[13] & 4 else "answered"
            return SUCCEEDED, "{0} {1}, by way of the host".format(source, word)


def _next_hop(address: str) -> tuple[str, bytes]:
    """Return (device, link address) of a neighbour on the link. Raises ValueError when it is not on the link."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        handle.sendto(b"", (address, DISCARD))
    deadline = time.monotonic() + RESOLVE_SECONDS
    while True:
        with open("/proc/net/arp", encoding="ascii") as stream:
            for line in stream.read().splitlines()[1:]:
                words = line.split()
                if len(words) == 6 and words[0] == address and words[3] != "00:00:00:00:00:00":
                    return words[5], bytes.fromhex(words[3].replace(":", ""))
        if time.monotonic() > deadline:
            raise ValueError("{0} is not on the link of this neighbour".format(address))
        time.sleep(0.05)


def syn(source: str, destination: str, source_port: int, port: int) -> bytes:
    """Return an IPv4 packet that begins a TCP connection."""
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    tcp = struct.pack(">HHIIBBHHH", source_port, port, random.getrandbits(32), 0, 5 << 4, 2, 64240, 0, 0)
    total = _sum(addresses + struct.pack(">BBH", 0, 6, len(tcp)) + tcp)
    tcp = tcp[:16] + struct.pack(">H", total) + tcp[18:]
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), random.getrandbits(16), 0x4000, 64, 6, 0) + addresses
    return head[:10] + struct.pack(">H", _sum(head)) + head[12:] + tcp


def _sum(data: bytes) -> int:
    total = int(sum(struct.unpack(">{0}H".format(len(data) // 2), data)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
