"""Runs on a laboratory host, in namespaces of its own: packets through role firewall's rule set, in both families.

Arguments: the rules in base64, and the questions to ask (comma-separated; all where there are none). Prints one JSON
object {question: answer}; nothing of the host is changed, and everything is gone when it ends.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import subprocess
import sys
import threading
import time

BRIDGE = "br-rampart-eg"
SERVE = """
import socket, threading, sys
def tcp(family, port):
    s = socket.socket(family, socket.SOCK_STREAM); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port)); s.listen(8)
    def one(c):
        total = 0
        try:
            while True:
                data = c.recv(65536)
                if not data: break
                total += len(data)
        except OSError: pass
    while True:
        c, _ = s.accept(); c.sendall(b"hello"); threading.Thread(target=one, args=(c,), daemon=True).start()
def udp(family, port):
    s = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
    while True:
        d, a = s.recvfrom(2048); s.sendto(d, a)
for f in (socket.AF_INET, socket.AF_INET6):
    for p in (443, 80, 53, 8443): threading.Thread(target=tcp, args=(f, p), daemon=True).start()
    for p in (53, 123, 443): threading.Thread(target=udp, args=(f, p), daemon=True).start()
print("ready", flush=True)
threading.Event().wait(120)
"""
ASK = """
import socket, sys
kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM); s.settimeout(0.4)
try:
    if kind == "udp":
        s.sendto(b"q", (host, port)); s.recvfrom(10)
    else:
        s.connect((host, port)); s.recv(5)
    if kind == "upload":
        s.settimeout(3); sent = 0
        try:
            while sent < 64 << 20: sent += s.send(b"x" * 65536)
        except OSError: pass
        print("bounded" if sent < 40 << 20 else "open"); sys.exit()
    print("open")
except OSError: print("refused")
"""
children: list[subprocess.Popen] = []


def run(*argv: str) -> str:
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout


def room() -> int:
    """Make a network namespace that lasts as long as we do; return the process that holds it."""
    child = subprocess.Popen(["unshare", "-n", "sleep", "120"])
    children.append(child)
    own = run("readlink", "/proc/self/ns/net")
    while run("readlink", "/proc/{0}/ns/net".format(child.pid)) == own:
        pass
    return child.pid


def inside(pid: int, *argv: str) -> list[str]:
    return ["nsenter", "-t", str(pid), "-n", *argv]


def connect(pid: int, outer: str, bridge: str, number: int) -> None:
    """Give the room an eth0 in network `number`; our end is the bridge, or the veth itself where there is none."""
    run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    end = outer
    if bridge:
        run("ip", "link", "add", bridge, "type", "bridge")
        run("ip", "link", "set", outer, "master", bridge)
        end = bridge
    for name in sorted({outer, end}):
        run("ip", "link", "set", name, "up")
    run("ip", "addr", "add", "10.9.{0}.1/24".format(number), "dev", end)
    run("ip", "addr", "add", "fd09:{0}::1/64".format(number), "dev", end, "nodad")
    for words in (
        ("link", "set", "lo", "up"),
        ("addr", "add", "10.9.{0}.2/24".format(number), "dev", "eth0"),
        ("addr", "add", "fd09:{0}::2/64".format(number), "dev", "eth0", "nodad"),
        ("link", "set", "eth0", "up"),
        ("route", "add", "default", "via", "10.9.{0}.1".format(number)),
        ("-6", "route", "add", "default", "via", "fd09:{0}::1".format(number)),
    ):
        run(*inside(pid, "ip", *words))


def serve(pid: int | None) -> None:
    command = [sys.executable, "-c", SERVE]
    child = subprocess.Popen(inside(pid, *command) if pid else command, stdout=subprocess.PIPE)
    children.append(child)
    child.stdout.readline()


def listen_nflog(seen: set[str]) -> None:
    """Collect the prefixes that NFLOG group 5 is told of (netlink: bind the group, copy packets, read attribute 10)."""
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)

    def tell(attribute: int, body: bytes, group: int, family: int = 0) -> None:
        value = (4 + len(body)).to_bytes(2, "little") + attribute.to_bytes(2, "little") + body
        value += b"\0" * (-len(value) % 4)
        payload = bytes([family, 0]) + group.to_bytes(2, "big") + value
        netlink.send(
            (16 + len(payload)).to_bytes(4, "little") + (0x401).to_bytes(2, "little") + b"\1\0" + b"\0" * 8 + payload
        )

    tell(1, b"\1", 5)
    tell(2, (0xFFFF).to_bytes(4, "big") + b"\2\0", 5)

    def read() -> None:
        while True:
            for found in re.findall(rb"rampart-[a-z]+-refused: ", netlink.recv(1 << 20)):
                seen.add(found.decode())

    threading.Thread(target=read, daemon=True).start()


def main() -> None:
    wanted = [word for word in sys.argv[2].split(",") if word]
    egress, other, internet = room(), room(), room()
    connect(egress, "v-eg", BRIDGE, 1)
    connect(other, "v-other", "br-other", 2)
    connect(internet, "up0", "", 3)
    run("ip", "link", "set", "lo", "up")
    for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        with open("/proc/sys/net/" + path, "w", encoding="ascii") as stream:
            stream.write("1")
    subprocess.run(["nft", "-f", "-"], input=base64.b64decode(sys.argv[1]), check=True)
    seen: set[str] = set()
    listen_nflog(seen)
    for pid in (egress, other, internet, None):
        serve(pid)
    # Links come up, and IPv6 finds its neighbours, in their own time.
    time.sleep(2)
    answers: dict[str, str] = {}
    for family, address in (("4", "10.9.{0}.{1}"), ("6", "fd09:{0}::{1}")):
        for name, source, kind, target, port in (
            ("egress to tls", egress, "tcp", (3, 2), 443),
            ("egress to dns by udp", egress, "udp", (3, 2), 53),
            ("egress to dns by tcp", egress, "tcp", (3, 2), 53),
            ("egress to http", egress, "tcp", (3, 2), 80),
            ("egress to quic", egress, "udp", (3, 2), 443),
            ("egress to ntp", egress, "udp", (3, 2), 123),
            ("egress to another port", egress, "tcp", (3, 2), 8443),
            ("egress to a container", egress, "tcp", (2, 2), 443),
            ("egress to the host", egress, "tcp", (1, 1), 443),
            ("egress to the host by dns", egress, "udp", (1, 1), 53),
            ("egress to the host's other address", egress, "tcp", (3, 1), 443),
            ("outside to egress", internet, "tcp", (1, 2), 443),
            ("container to egress", other, "tcp", (1, 2), 443),
            ("outside to a container", internet, "tcp", (2, 2), 443),
            ("outside to the host", internet, "tcp", (3, 1), 443),
            ("container to http", other, "tcp", (3, 2), 80),
        ):
            if wanted and name not in wanted:
                continue
            words = (sys.executable, "-c", ASK, kind, address.format(*target), str(port))
            answers["{0}, IPv{1}".format(name, family)] = run(*inside(source, *words)).strip()
    for name, uid in (("edge to the outside", 10006), ("another account to the outside", 10007)):
        if wanted and name not in wanted:
            continue
        for family, address in (("4", "10.9.3.2"), ("6", "fd09:3::2")):
            words = ("setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", sys.executable, "-c", ASK)
            answers["{0}, IPv{1}".format(name, family)] = run(*words, "tcp", address, "443").strip()
    if not wanted or "upload" in wanted:
        words = (sys.executable, "-c", ASK, "upload", "10.9.3.2", "443")
        answers["upload"] = run(*inside(egress, *words)).strip()
    answers["told"] = ",".join(sorted(seen))
    print(json.dumps(answers))


try:
    main()
finally:
    for process in children:
        process.kill()
