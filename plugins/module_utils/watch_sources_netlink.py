# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel tells over netlink: programs that are started, packets that were dropped, rules that go, listeners.

The first three are opened while the sensor still has CAP_NET_ADMIN; reading them later takes no privilege. The last
(sock_diag) needs none at all. Messages are read with fixed bounds per turn, so that a flood costs a known share of the
processor and not a matter of who sends it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Optional, Union

from .procfs import TCP_LISTEN
from .watch_sources import Source, SourceError

NETLINK_SOCK_DIAG, NETLINK_CONNECTOR, NETLINK_NETFILTER = 4, 11, 12
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300
SO_ATTACH_FILTER, SO_RCVBUFFORCE = 26, 33
RECEIVE_BUFFER = 4 * 1024 * 1024
DATAGRAM_BYTES = 256 * 1024
HEADER = struct.Struct("=IHHII")
ANSWER_SECONDS = 1.0
Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


class NetlinkSource(Source):
    """A netlink socket that is opened with privileges and read without them."""

    privileged = True
    protocol = 0
    groups = 0
    # Datagrams that are read in one turn of the loop.
    turn = 64

    def __init__(self, on_lost: Callable[[], None]) -> None:
        super().__init__()
        self.on_lost = on_lost
        self._socket: Optional[socket.socket] = None

    def open(self) -> None:
        """Open, bind and subscribe. Raises OSError or SourceError."""
        handle = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, self.protocol)
        try:
            # Beyond the system's limit if that is allowed: a storm of events shall not be lost.
            with contextlib.suppress(OSError):
                handle.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
            handle.bind((0, self.groups))
            handle.settimeout(ANSWER_SECONDS)
            self.subscribe(handle)
            handle.setblocking(False)
        except BaseException:
            handle.close()
            raise
        self._socket = handle

    def subscribe(self, handle: socket.socket) -> None:
        """Say what is wanted, and read the kernel's answer. Raises OSError or SourceError."""

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        if self._socket is None:
            raise SourceError("not open")
        return self._socket.fileno()

    def read(self) -> None:
        """Read what is there, at most `turn` datagrams."""
        if self._socket is None:
            raise SourceError("not open")
        for _number in range(self.turn):
            try:
                data = self._socket.recv(DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                # The kernel had more to say than there was room for.
                self.on_lost()
                continue
            self.healthy()
            for kind, payload in messages(data):
                self.message(kind, payload)

    def message(self, kind: int, payload: bytes) -> None:
        """Handle one message; one that is cut or strange is to be passed over."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (type, payload) of the netlink messages in a datagram; stops at the first that is cut."""
    position = 0
    while position + HEADER.size <= len(data):
        length, kind, _flags, _sequence, _port = HEADER.unpack_from(data, position)
        if length < HEADER.size or position + length > len(data):
            return
        yield kind, data[position + HEADER.size : position + length]
        position += (length + 3) & ~3


def attributes(data: bytes) -> dict[int, bytes]:
    """Return the attributes in a payload by number; stops at the first that is cut."""
    found: dict[int, bytes] = {}
    position = 0
    while position + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, position)
        if length < 4 or position + length > len(data):
            break
        found[kind & 0x3FFF] = data[position + 4 : position + length]
        position += (length + 3) & ~3
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute as bytes, padded."""
    return struct.pack("=HH", len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)


def message(kind: int, flags: int, payload: bytes, sequence: int = 1) -> bytes:
    """Return one netlink message as bytes."""
    return HEADER.pack(HEADER.size + len(payload), kind, flags, sequence, 0) + payload


def acknowledged(handle: socket.socket, request: bytes) -> None:
    """Send a request and read the kernel's word on it. Raises OSError when it says no."""
    handle.sendall(request)
    for kind, payload in messages(handle.recv(DATAGRAM_BYTES)):
        if kind == NLMSG_ERROR and len(payload) >= 4:
            number = -struct.unpack_from("=i", payload)[0]
            if number:
                raise OSError(number, os.strerror(number))


class ProcessEvents(NetlinkSource):
    """The process connector: `on_exec` is given the number of each process that has just started a program."""

    name = "process"
    protocol = NETLINK_CONNECTOR
    groups = 1  # CN_IDX_PROC
    turn = 512
    EXEC = 2

    def __init__(self, on_exec: Callable[[int], None], on_lost: Callable[[], None]) -> None:
        super().__init__(on_lost)
        self.on_exec = on_exec

    def subscribe(self, handle: socket.socket) -> None:
        """Ask for events, wait for the kernel's answer, and let the kernel drop all that is no exec."""
        listen = struct.pack("=IIIIHHI", 1, 1, 0, 0, 4, 0, 1)
        handle.sendall(message(NLMSG_DONE, 0, listen))
        try:
            # Whatever comes first (our own answer, or somebody's event) shows that the kernel listens to us.
            handle.recv(DATAGRAM_BYTES)
        except socket.timeout:
            raise SourceError("the kernel does not answer (only the host's own namespaces hear of processes)") from None
        # Classic BPF: keep a message whose fourth word of process data, at 36, is EXEC.
        code = [(0x20, 0, 0, 36), (0x15, 0, 1, socket.htonl(self.EXEC)), (0x06, 0, 0, 0xFFFF), (0x06, 0, 0, 0)]
        program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in code))
        handle.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(code), ctypes.addressof(program)))

    def message(self, kind: int, payload: bytes) -> None:
        """Hand on the process of an exec event."""
        if len(payload) >= 44:
            what = struct.unpack_from("=I", payload, 20)[0]
            thread_group = struct.unpack_from("=I", payload, 40)[0]
            if what == self.EXEC and thread_group > 1:
                self.on_exec(thread_group)


class DropEvents(NetlinkSource):
    """Packets that nftables dropped and logged to a group: `on_drop` is given (prefix, what it was, how many).

    Anybody can send packets. So this source is read a little at a time and hands on nothing but counts and one example.
    """

    name = "nflog"
    protocol = NETLINK_NETFILTER
    turn = 4
    rest = 0.1
    PREFIX, PAYLOAD = 10, 9

    def __init__(self, group: int, on_drop: Callable[[str, str, int], None]) -> None:
        super().__init__(lambda: on_drop("lost", "more than could be read", 1))
        self.group = group
        self.on_drop = on_drop

    def subscribe(self, handle: socket.socket) -> None:
        """Bind to the group; packets come in batches, with their first 64 bytes."""
        settings = (
            attribute(1, struct.pack("=B", 1)),  # bind
            attribute(2, struct.pack(">IBB", 64, 2, 0)),  # copy the packet's head
            attribute(3, struct.pack(">I", 65536)) + attribute(4, struct.pack(">I", 20)) + attribute(5, b"\0\0\0\x64"),
        )
        for setting in settings:
            head = struct.pack(">BBH", 0, 0, self.group)
            acknowledged(handle, message(4 << 8 | 1, NLM_F_REQUEST | NLM_F_ACK, head + setting))

    def read(self) -> None:
        """Read what is there and hand it on as sums by prefix."""
        self._sums: dict[str, list[object]] = {}
        super().read()
        for prefix, (count, example) in self._sums.items():
            self.on_drop(prefix, str(example), int(str(count)))

    def message(self, kind: int, payload: bytes) -> None:
        """Add one packet to the sums of this turn."""
        if kind != 4 << 8:
            return
        found = attributes(payload[4:])
        prefix = found.get(self.PREFIX, b"").rstrip(b"\0").decode("ascii", "replace").strip().rstrip(":")
        if prefix in self._sums:
            self._sums[prefix][0] = int(str(self._sums[prefix][0])) + 1
        elif len(self._sums) < 64:
            self._sums[prefix] = [1, packet_text(found.get(self.PAYLOAD, b""))]


def packet_text(data: bytes) -> str:
    """Return `source -> destination protocol [port]` of a packet's first bytes, or say that it is none."""
    if len(data) >= 20 and data[0] >> 4 == 4:
        source, target = ipaddress.ip_address(data[12:16]), ipaddress.ip_address(data[16:20])
        protocol, rest = data[9], data[(data[0] & 15) * 4 :]
    elif len(data) >= 40 and data[0] >> 4 == 6:
        source, target = ipaddress.ip_address(data[8:24]), ipaddress.ip_address(data[24:40])
        protocol, rest = data[6], data[40:]
    else:
        return "not an IP packet"
    name = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}.get(protocol, "protocol {0}".format(protocol))
    port = " port {0}".format(struct.unpack_from(">H", rest, 2)[0]) if protocol in (6, 17) and len(rest) >= 4 else ""
    return "{0} -> {1} {2}{3}".format(source, target, name, port)


class FirewallEvents(NetlinkSource):
    """Changes of the table `inet <name>`: `on_change` is given (present or not, whether rules were taken out)."""

    name = "nftables"
    protocol = NETLINK_NETFILTER
    groups = 1 << 6  # NFNLGRP_NFTABLES
    INET = 1
    NEW_TABLE, GET_TABLE, DELETE_TABLE, DELETE_CHAIN, DELETE_RULE, NEW_GENERATION = 0, 1, 2, 5, 8, 15

    def __init__(self, table: str, on_change: Callable[[bool, bool], None], on_lost: Callable[[], None]) -> None:
        super().__init__(on_lost)
        self.table = table.encode()
        self.on_change = on_change
        self.present = False
        self._touched = self._made = self._less = False

    def subscribe(self, handle: socket.socket) -> None:
        """Read once whether the table is there; the subscription came with the address."""
        head = struct.pack(">BBH", self.INET, 0, 0)
        handle.sendall(message(10 << 8 | self.GET_TABLE, NLM_F_REQUEST | NLM_F_DUMP, head))
        self.present = False
        ended = False
        while not ended:
            for kind, payload in messages(handle.recv(DATAGRAM_BYTES)):
                if kind == NLMSG_ERROR:
                    number = -struct.unpack_from("=i", payload)[0]
                    raise OSError(number, os.strerror(number))
                ended = ended or kind == NLMSG_DONE
                self.present = self.present or (kind == 10 << 8 and self._ours(payload))
        self.on_change(self.present, False)

    def message(self, kind: int, payload: bytes) -> None:
        """Follow the changes of one transaction; at its end say what came of them."""
        subject, what = kind >> 8, kind & 0xFF
        if subject != 10:
            return
        if what == self.NEW_GENERATION:
            if self._touched:
                self.on_change(self.present, self._less and not self._made)
            self._touched = self._made = self._less = False
        elif self._ours(payload):
            self._touched = True
            if what in (self.NEW_TABLE, self.DELETE_TABLE):
                self.present = what == self.NEW_TABLE
                self._made = self._made or self.present
            self._less = self._less or what in (self.DELETE_CHAIN, self.DELETE_RULE)

    def _ours(self, payload: bytes) -> bool:
        return payload[:1] == bytes([self.INET]) and attributes(payload[4:]).get(1, b"").rstrip(b"\0") == self.table


def listeners(port: int, timeout: float = ANSWER_SECONDS) -> list[tuple[Address, int]]:
    """Return (address, inode) of each TCP socket that listens on a port in our own network namespace.

    The kernel picks them out, so this costs some fifty microseconds. Raises OSError when it does not answer.
    """
    found: list[tuple[Address, int]] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG) as handle:
        handle.settimeout(timeout)
        for family in (socket.AF_INET, socket.AF_INET6):
            request = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, 1 << TCP_LISTEN)
            request += struct.pack(">HH", port, 0) + b"\0" * 36 + b"\xff" * 8
            handle.sendall(message(20, NLM_F_REQUEST | NLM_F_DUMP, request))
            ended = False
            while not ended:
                for kind, payload in messages(handle.recv(DATAGRAM_BYTES)):
                    if kind == NLMSG_ERROR:
                        number = -struct.unpack_from("=i", payload)[0]
                        raise OSError(number, os.strerror(number))
                    ended = ended or kind == NLMSG_DONE
                    if kind == 20 and len(payload) >= 72 and struct.unpack_from(">H", payload, 4)[0] == port:
                        raw = payload[8:12] if payload[0] == socket.AF_INET else payload[8:24]
                        found.append((ipaddress.ip_address(raw), struct.unpack_from("=I", payload, 68)[0]))
    return found
