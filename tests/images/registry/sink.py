# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""See and answer everything that reaches an address the laboratory owns; one JSON line for each event.

Events, appended to /var/log/sink.jsonl:
  {"time": seconds since the epoch, "event": "packet|accepted", "protocol": "tcp|udp|icmp|icmpv6|<number>",
   "source": address, "destination": address, "source_port": n, "destination_port": n, "query": name,
   "service": "sink|dns|registry"}
For TCP a packet event is the SYN of a connection, answered or not, and accepted is the whole handshake. Ports
only for TCP and UDP, `query` only for DNS.
"""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOG = Path("/var/log/sink.jsonl")
PORT = 9
BANNER = b"laboratory sink\n"
SO_ORIGINAL_DST = 80
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}
ETH_IPV4, ETH_IPV6, ETH_ALL = 0x0800, 0x86DD, 0x0003
PACKET_OUTGOING = 4


@dataclass(frozen=True)
class Packet:
    """What one IP packet says about who wanted what."""

    protocol: str
    source: str
    destination: str
    source_port: int | None = None
    destination_port: int | None = None
    query: str | None = None


def parse_query(payload: bytes) -> str | None:
    """Name asked for in a DNS message, None if it is not one."""
    labels: list[str] = []
    position = 12
    while position < len(payload):
        length = payload[position]
        if length == 0:
            return ".".join(labels) or "."
        if length > 63 or position + 1 + length > len(payload):
            return None
        labels.append(payload[position + 1 : position + 1 + length].decode("ascii", "replace"))
        position += 1 + length
    return None


def parse_packet(kind: int, data: bytes) -> Packet | None:
    """Read an IPv4 or IPv6 packet (`kind` is the EtherType); None for what is not worth a line.

    Left out: TCP segments but the first, ICMP but echo requests, neighbour discovery, broken packets.
    """
    if kind == ETH_IPV4 and len(data) >= 20 and data[0] >> 4 == 4:
        header, number = (data[0] & 15) * 4, data[9]
        source, destination = socket.inet_ntoa(data[12:16]), socket.inet_ntoa(data[16:20])
    elif kind == ETH_IPV6 and len(data) >= 40 and data[0] >> 4 == 6:
        header, number = 40, data[6]
        source = socket.inet_ntop(socket.AF_INET6, data[8:24])
        destination = socket.inet_ntop(socket.AF_INET6, data[24:40])
    else:
        return None
    protocol, rest = PROTOCOLS.get(number, str(number)), data[header:]
    if protocol in ("tcp", "udp"):
        if len(rest) < (14 if protocol == "tcp" else 8):
            return None
        source_port, destination_port = struct.unpack("!HH", rest[:4])
        if protocol == "tcp" and rest[13] & 0x12 != 0x02:
            return None
        query = parse_query(rest[8:]) if protocol == "udp" and destination_port == 53 else None
        return Packet(protocol, source, destination, source_port, destination_port, query)
    echo = {"icmp": 8, "icmpv6": 128}.get(protocol)
    if echo is not None and (not rest or rest[0] != echo):
        return None
    return Packet(protocol, source, destination)


class Sink:
    """Knows which addresses are owned and what serves on them; writes the log."""

    def __init__(self, config: dict[str, Any], log: Path = LOG) -> None:
        self._networks = [ipaddress.ip_network(cidr) for cidr in config["owned_ipv4"] + config["owned_ipv6"]]
        self._services = {config["resolver"]: "dns", **dict.fromkeys(config["names"].values(), "registry")}
        # O_APPEND: the log may be truncated by whoever clears it.
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def owns(self, address: str) -> bool:
        """Whether an address belongs to an attacked network."""
        parsed = ipaddress.ip_address(address)
        return any(parsed in network for network in self._networks if network.version == parsed.version)

    def record(self, event: str, packet: Packet) -> None:
        """Append one line."""
        line: dict[str, Any] = {"time": round(time.time(), 3), "event": event}
        line.update({key: value for key, value in vars(packet).items() if value is not None})
        line["service"] = self._services.get(packet.destination, "sink")
        os.write(self._log, (json.dumps(line) + "\n").encode())

    def watch(self) -> None:
        """Record every packet to an owned address, from the wire: what no listener answers is seen, too."""
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_ALL)) as wire:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            while True:
                data, (interface, kind, direction, *_rest) = wire.recvfrom(2048)
                if direction == PACKET_OUTGOING or interface == "lo":
                    continue
                packet = parse_packet(kind, data)
                if packet is not None and self.owns(packet.destination):
                    self.record("packet", packet)

    def accept(self, family: socket.AddressFamily) -> None:
        """Accept what the redirect rule brings, greet, record, close."""
        with socket.socket(family, socket.SOCK_STREAM) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            server.bind(("", PORT))
            server.listen(128)
            while True:
                connection, peer = server.accept()
                with connection:
                    try:
                        destination, port = original_destination(connection, family)
                        self.record("accepted", Packet("tcp", peer[0], destination, peer[1], port))
                        connection.sendall(BANNER)
                    except OSError:
                        continue  # The client was gone already; its SYN is on record.

    def answer(self, family: socket.AddressFamily) -> None:
        """Answer datagrams that the redirect rule brings (conntrack restores the addresses)."""
        with socket.socket(family, socket.SOCK_DGRAM) as server:
            if family == socket.AF_INET6:
                server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            server.bind(("", PORT))
            while True:
                _data, peer = server.recvfrom(2048)
                try:
                    server.sendto(BANNER, peer)
                except OSError:
                    continue


def original_destination(connection: socket.socket, family: socket.AddressFamily) -> tuple[str, int]:
    """Address and port a redirected connection was meant for."""
    if family == socket.AF_INET:
        raw = connection.getsockopt(socket.IPPROTO_IP, SO_ORIGINAL_DST, 16)
        return socket.inet_ntoa(raw[4:8]), int.from_bytes(raw[2:4], "big")
    raw = connection.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
    return socket.inet_ntop(socket.AF_INET6, raw[8:24]), int.from_bytes(raw[2:4], "big")


def main() -> int:
    """Run all listeners; end when one of them does."""
    sink = Sink(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    ended = threading.Event()

    def guard(target: Any, *arguments: Any) -> None:
        try:
            target(*arguments)
        finally:
            ended.set()

    jobs: list[tuple[Any, ...]] = [(sink.watch,)]
    for family in (socket.AF_INET, socket.AF_INET6):
        jobs += [(sink.accept, family), (sink.answer, family)]
    for job in jobs:
        threading.Thread(target=guard, args=job, daemon=True).start()
    ended.wait()
    return 1


if __name__ == "__main__":
    sys.exit(main())
