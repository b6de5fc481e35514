# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sink reads packets as they are on the wire; a packet it overlooked would let an attack pass."""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path

import pytest
import sink

CONFIG = {
    "owned_ipv4": ["198.51.100.0/24", "169.254.169.254/32"],
    "owned_ipv6": ["2001:db8:51::/64"],
    "resolver": "198.51.100.53",
    "names": {"registry.ollama.ai": "198.51.100.10"},
}
DNS_QUERY = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04leak\x07example\x00\x00\x10\x00\x01"


def ipv4(number: int, payload: bytes, destination: str = "198.51.100.66", options: bytes = b"") -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45 + len(options) // 4, 0, 20 + len(payload), 0, 0, 64, number, 0)
    return head + socket.inet_aton("10.77.0.13") + socket.inet_aton(destination) + options + payload


def ipv6(number: int, payload: bytes) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(payload), number, 64)
    ends = [socket.inet_pton(socket.AF_INET6, text) for text in ("fd77::13", "2001:db8:51::7")]
    return head + b"".join(ends) + payload


def tcp(flags: int) -> bytes:
    return struct.pack("!HHIIBBHHH", 40000, 80, 1, 0, 0x50, flags, 0, 0, 0)


def udp(port: int, payload: bytes = b"x") -> bytes:
    return struct.pack("!HHHH", 40000, port, 8 + len(payload), 0) + payload


@pytest.mark.parametrize("kind", [sink.ETH_IPV4, sink.ETH_IPV6])
def test_the_first_segment_of_a_connection_is_seen(kind: int) -> None:
    data = ipv4(6, tcp(0x02)) if kind == sink.ETH_IPV4 else ipv6(6, tcp(0x02))
    packet = sink.parse_packet(kind, data)
    assert packet is not None
    assert (packet.protocol, packet.source_port, packet.destination_port) == ("tcp", 40000, 80)


@pytest.mark.parametrize("flags", [0x10, 0x12, 0x04, 0x11])
def test_later_segments_are_not_counted_again(flags: int) -> None:
    assert sink.parse_packet(sink.ETH_IPV4, ipv4(6, tcp(flags))) is None


def test_ip_options_do_not_hide_a_connection() -> None:
    packet = sink.parse_packet(sink.ETH_IPV4, ipv4(6, tcp(0x02), options=b"\x01\x01\x01\x01"))
    assert packet is not None
    assert packet.destination_port == 80


def test_the_name_asked_for_is_read() -> None:
    packet = sink.parse_packet(sink.ETH_IPV4, ipv4(17, udp(53, DNS_QUERY), "198.51.100.53"))
    assert packet is not None
    assert packet.query == "leak.example"


@pytest.mark.parametrize(
    ("kind", "data", "protocol"),
    [
        (sink.ETH_IPV4, ipv4(1, b"\x08\x00\x00\x00"), "icmp"),
        (sink.ETH_IPV6, ipv6(58, b"\x80\x00\x00\x00"), "icmpv6"),
        (sink.ETH_IPV4, ipv4(132, b"sctp"), "132"),
        (sink.ETH_IPV6, ipv6(17, udp(999)), "udp"),
    ],
)
def test_other_protocols_are_seen(kind: int, data: bytes, protocol: str) -> None:
    packet = sink.parse_packet(kind, data)
    assert packet is not None
    assert packet.protocol == protocol


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (sink.ETH_IPV4, b""),
        (sink.ETH_IPV4, ipv4(6, b"short")),
        (sink.ETH_IPV4, ipv4(17, b"short")),
        (sink.ETH_IPV4, ipv4(1, b"\x00\x00")),  # an echo reply is not an attack
        (sink.ETH_IPV6, ipv6(58, b"\x87\x00")),  # neighbour solicitation
        (sink.ETH_IPV6, b"\x60" + bytes(10)),
        (0x0806, bytes(28)),
    ],
)
def test_noise_and_broken_packets_are_left_out(kind: int, data: bytes) -> None:
    assert sink.parse_packet(kind, data) is None


@pytest.mark.parametrize("payload", [b"", bytes(12) + b"\xc0\x0c", bytes(12) + b"\x3fshort"])
def test_a_broken_query_is_not_a_name(payload: bytes) -> None:
    assert sink.parse_query(payload) is None


def test_lines_say_what_served_and_survive_clearing(tmp_path: Path) -> None:
    log = tmp_path / "sink.jsonl"
    watcher = sink.Sink(CONFIG, log)
    watcher.record("packet", sink.Packet("udp", "10.77.0.13", "198.51.100.53", 4000, 53, "a.example"))
    assert json.loads(log.read_text())["service"] == "dns"
    log.write_bytes(b"")
    watcher.record("packet", sink.Packet("icmp", "10.77.0.13", "169.254.169.254"))
    line = json.loads(log.read_text())
    assert line["service"] == "sink"
    assert "source_port" not in line


def test_only_attacked_addresses_are_owned(tmp_path: Path) -> None:
    watcher = sink.Sink(CONFIG, tmp_path / "log")
    assert watcher.owns("169.254.169.254")
    assert watcher.owns("2001:db8:51::ffff")
    assert not watcher.owns("10.77.0.5")
    assert not watcher.owns("2001:db8:52::1")
