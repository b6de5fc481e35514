# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The laboratory itself, while it is up: `pytest tests/lab`. What these say, attack tests rely on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
LAB = [sys.executable, str(CHECKOUT / "tests" / "lab" / "lab.py")]
REACH_MIRROR = "import urllib.request as u; u.urlopen('http://deb.debian.org/debian/dists/stable/Release', timeout=8)"
PROBE = """
import socket, struct
def tcp(address, port):
    with socket.create_connection((address, port), 5) as s:
        assert s.recv(64) == b'laboratory sink\\n'
def udp(family, address):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.sendto(b'x', (address, 4500))
        assert s.recv(64) == b'laboratory sink\\n'
def echo(family, protocol, kind, address):
    with socket.socket(family, socket.SOCK_RAW, protocol) as s:
        s.settimeout(5)
        body = struct.pack('!BBHHH', kind, 0, 0, 0, 0)
        if protocol == 1:
            body = struct.pack('!BBHHH', kind, 0, 0xffff - (kind << 8), 0, 0)
        s.sendto(body, (address, 0))
        s.recv(256)
tcp('169.254.169.254', 80)
tcp('198.51.100.66', 11434)
tcp('2001:db8:51::66', 443)
udp(socket.AF_INET, '198.51.100.66')
udp(socket.AF_INET6, '2001:db8:51::66')
echo(socket.AF_INET, 1, 8, '198.51.100.66')
echo(socket.AF_INET6, 58, 128, '2001:db8:51::66')
"""


def lab(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*LAB, *words], capture_output=True, text=True, check=check, stdin=subprocess.DEVNULL)


def running(name: str) -> bool:
    return bool(json.loads(lab("status").stdout)["containers"][name] == "running")


@pytest.fixture
def uplink() -> Iterator[None]:
    """Whatever a test does to it, the uplink is back afterwards."""
    yield
    lab("uplink")


def on_host(code: str) -> int:
    return lab("exec", "d13", "--", "python3", "-c", code, check=False).returncode


def test_the_uplink_can_be_cut_and_given_back(uplink: None) -> None:
    assert on_host(REACH_MIRROR) == 0
    lab("cut")
    assert on_host(REACH_MIRROR) != 0
    assert json.loads(lab("status").stdout)["uplink"] is False
    # Sinks and registry belong to the laboratory: attacks run while it is cut.
    assert on_host("import socket; socket.create_connection(('registry.ollama.ai', 443), 5)") == 0
    lab("uplink")
    assert on_host(REACH_MIRROR) == 0


def test_every_family_and_protocol_reaches_the_sinks_and_is_seen() -> None:
    lab("sinks", "--clear")
    assert on_host(PROBE) == 0
    time.sleep(0.2)  # The watcher is another process.
    seen = [json.loads(line) for line in lab("sinks").stdout.splitlines()]
    packets = {(line["protocol"], line["destination"]) for line in seen if line["event"] == "packet"}
    assert packets >= {
        ("tcp", "169.254.169.254"),
        ("tcp", "198.51.100.66"),
        ("tcp", "2001:db8:51::66"),
        ("udp", "198.51.100.66"),
        ("udp", "2001:db8:51::66"),
        ("icmp", "198.51.100.66"),
        ("icmpv6", "2001:db8:51::66"),
    }
    accepted = [line for line in seen if line["event"] == "accepted"]
    assert {(line["destination"], line["destination_port"]) for line in accepted} == {
        ("169.254.169.254", 80),
        ("198.51.100.66", 11434),
        ("2001:db8:51::66", 443),
    }
    assert {line["source"] for line in seen} == {"10.77.0.13", "fd77::13"}
    lab("sinks", "--clear")
    assert lab("sinks").stdout == ""


@pytest.mark.parametrize("name", ["d13", "d12", "neighbour"])
def test_a_host_is_like_a_real_machine(name: str) -> None:
    if not running(name):
        pytest.skip(f"{name} is not part of this laboratory")
    ssh = ["ssh", "-F", str(CHECKOUT / ".lab" / "ssh_config"), "-o", "BatchMode=yes", name]
    state = subprocess.run([*ssh, "systemctl is-system-running"], capture_output=True, text=True, check=False)
    assert state.stdout.strip() == "running"
    for command, said in {
        "id -un": "admin",
        "sudo -n id -un": "root",
        "cat /etc/resolv.conf": "nameserver 198.51.100.53",
        "ip -6 -o address show dev eth0 scope global | wc -l": "1",
    }.items():
        done = subprocess.run([*ssh, command], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == said


def test_hosts_see_each_other_over_both_families() -> None:
    code = "import socket; [socket.create_connection((a, 22), 5) for a in ('10.77.0.13', 'fd77::13')]"
    assert lab("exec", "neighbour", "--", "python3", "-c", code).returncode == 0
