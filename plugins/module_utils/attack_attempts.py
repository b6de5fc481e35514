# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The attempts to get out of a container or into a host: each tries one thing once and says how it went.

They run in a child process that has already joined the container's namespaces and taken its privileges.
Each returns (outcome, evidence); the outcome is `refused`, `succeeded`, or `error` when nothing was proven.
Nothing is left behind: what an attempt could create it removes again.
"""

from __future__ import annotations

import codecs
import ctypes
import errno
import ipaddress
import mmap
import os
import random
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Optional

from .nsenter import capability_raised

REFUSED, SUCCEEDED, ERROR = "refused", "succeeded", "error"
CAP_NET_ADMIN = 12
CAP_SYS_ADMIN = 21
ENGINE_SOCKETS = (
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/host/run/docker.sock",
    "/host/var/run/docker.sock",
)
# Who is seen in /proc only by somebody who shares the host's PID namespace.
HOST_PROGRAMS = frozenset(["systemd", "dockerd", "containerd", "systemd-journal", "sshd"])

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
    left. Without it (a neighbour before a firewall) only an answered connection is a success.
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
    if not parameters["left_counts"] and not set(seen) - {"ENETUNREACH", "EHOSTUNREACH", "EADDRNOTAVAIL"}:
        return ERROR, "no way leads to the target ({0}): nothing is proven".format(", ".join(sorted(seen)))
    return REFUSED, ", ".join("{0} x {1}".format(word, count) for word, count in sorted(seen.items()))


def _connect(address: str, port: int, seconds: float) -> str:
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as handle:
            handle.settimeout(seconds)
            handle.connect((address, port))
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
            handle.connect((address, port))
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
                handle.sendto(struct.pack(">BBHHH", 128 if six else 8, 0, 0, 0, 1) + b"rampart", (address, 0))
                return SUCCEEDED, "an echo request to {0} left".format(address)
        except OSError as error:
            words.append(name_of(error.errno))
    return _refusals(words)


def engine_socket(_parameters: Parameters) -> Result:
    """Open the control socket of a container engine."""
    words = set()
    for path in ENGINE_SOCKETS:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as handle:
                handle.settimeout(1.0)
                handle.connect(path)
                return SUCCEEDED, "{0} is open".format(path)
        except OSError as error:
            words.add(name_of(error.errno))
    return REFUSED, ", ".join(sorted(words))


def write_file(parameters: Parameters) -> Result:
    """Create a file in each of `directories`; what was created is removed again."""
    words = []
    for directory in parameters["directories"]:
        path = os.path.join(str(directory), ".rampart-attack-{0}".format(os.getpid()))
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            words.append("{0}: {1}".format(directory, name_of(error.errno)))
            continue
        os.close(handle)
        with suppress(OSError):
            os.unlink(path)
        return SUCCEEDED, "a file was created in {0}".format(directory)
    return REFUSED, ", ".join(words)


def execute_temporary(parameters: Parameters) -> Result:
    """Write to a temporary directory and map what was written as code: what noexec forbids."""
    words = []
    for directory in parameters["directories"]:
        path = os.path.join(str(directory), ".rampart-attack-{0}".format(os.getpid()))
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o700)
        except OSError as error:
            words.append("{0}: not writable ({1})".format(directory, name_of(error.errno)))
            continue
        try:
            os.write(handle, b"\xc3" * 16)
            with mmap.mmap(handle, 16, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC):
                return SUCCEEDED, "what was written to {0} can be executed".format(directory)
        except OSError as error:
            words.append("{0}: {1}".format(directory, name_of(error.errno)))
        finally:
            os.close(handle)
            with suppress(OSError):
                os.unlink(path)
    return REFUSED, ", ".join(words)


def gain_root(_parameters: Parameters) -> Result:
    """Become root."""
    if os.geteuid() == 0:
        return SUCCEEDED, "runs as root already"
    try:
        os.setresuid(0, 0, 0)
    except OSError as error:
        return REFUSED, "setresuid(0): {0}".format(name_of(error.errno))
    return SUCCEEDED, "became uid 0"


def gain_capability(_parameters: Parameters) -> Result:
    """Raise a capability that leads out."""
    for number in (CAP_SYS_ADMIN, CAP_NET_ADMIN):
        if capability_raised(number):
            return SUCCEEDED, "raised capability {0}".format(number)
    return REFUSED, "capset: EPERM"


def mount(_parameters: Parameters) -> Result:
    """Mount a file system over a directory."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0:
        libc.umount2(b"/tmp", 2)
        return SUCCEEDED, "a tmpfs was mounted"
    return REFUSED, "mount: {0}".format(name_of(ctypes.get_errno()))


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


def host_processes(parameters: Parameters) -> Result:
    """See the processes of the host."""
    own = "unknown"
    with suppress(OSError):
        own = os.readlink("/proc/self/ns/pid")
    if own == parameters.get("host_pid_namespace"):
        return SUCCEEDED, "shares the host's PID namespace"
    count = 0
    with suppress(OSError):
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            count += 1
            with suppress(OSError, UnicodeDecodeError), open("/proc/{0}/comm".format(name), encoding="utf-8") as stream:
                program = stream.read(64).strip()
                if program in HOST_PROGRAMS:
                    return SUCCEEDED, "sees {0} as process {1}".format(program, name)
    return (REFUSED, "sees {0} processes, none of the host's".format(count)) if count else (ERROR, "/proc is empty")


FUNCTIONS: dict[str, Callable[[Parameters], Result]] = {
    function.__name__: function
    for function in (
        tcp, udp, dns, resolve, icmp, engine_socket, write_file, execute_temporary, gain_root, gain_capability, mount,
        raw_socket, host_processes,
    )
}  # fmt: skip
