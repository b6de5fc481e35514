# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows W2, W7: the SSH connection is found under sudo, and a rule set is judged by whether it admits it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.procfs import ProcFS
from ansible_collections.rampart.ollama.plugins.module_utils.ssh_peer import admits, find_connection, parse_connection

FROM_LAN = {"peer": "192.0.2.10", "server_port": 22}
FROM_SIX = {"peer": "2001:db8::5", "server_port": 22}


@pytest.mark.parametrize(
    ("rules", "connection", "admitted"),
    [
        ([{"sources": [], "ports": [22]}], FROM_LAN, True),
        ([{"ports": [22]}], FROM_LAN, True),
        ([{"sources": ["192.0.2.0/24"], "ports": [22]}], FROM_LAN, True),
        ([{"sources": ["192.0.2.10"], "ports": [22]}], FROM_LAN, True),
        ([{"sources": ["192.0.2.77/24"], "ports": ["22"]}], FROM_LAN, True),
        (
            [{"sources": ["198.51.100.0/24"], "ports": [22]}, {"sources": ["192.0.2.0/25"], "ports": [22]}],
            FROM_LAN,
            True,
        ),
        ([{"sources": ["2001:db8::/32"], "ports": [22]}], FROM_SIX, True),
        ([{"sources": ["192.0.2.0/24"], "ports": [22]}], {"peer": "::ffff:192.0.2.10", "server_port": 22}, True),
        ([{"sources": ["::ffff:192.0.2.0/120"], "ports": [22]}], FROM_LAN, True),
        ([{"sources": ["fe80::/10"], "ports": [22]}], {"peer": "fe80::1%eth0", "server_port": 22}, True),
        ([{"sources": ["fe80::1%eth0"], "ports": [22]}], {"peer": "fe80::1%eth0", "server_port": "22"}, True),
        ([{"sources": ["rubbish", "192.0.2.0/24"], "ports": ["x", 22]}], FROM_LAN, True),
        # refused
        ([], FROM_LAN, False),
        ([{"sources": ["192.0.2.0/24"], "ports": [2222]}], FROM_LAN, False),
        ([{"sources": [], "ports": []}], FROM_LAN, False),
        ([{"sources": []}], FROM_LAN, False),
        ([{"sources": ["198.51.100.0/24"], "ports": [22]}], FROM_LAN, False),
        ([{"sources": ["2001:db8::/32"], "ports": [22]}], FROM_LAN, False),
        ([{"sources": ["0.0.0.0/0"], "ports": [22]}], FROM_SIX, False),
        ([{"sources": ["::ffff:0:0/64"], "ports": [22]}], FROM_LAN, False),
        ([{"sources": ["rubbish"], "ports": [22]}], FROM_LAN, False),
        ([{"sources": "192.0.2.0/24", "ports": [22]}], FROM_LAN, False),
        ([{"sources": {}, "ports": [22]}], FROM_LAN, False),
        ([{"sources": [], "ports": [True]}], {"peer": "192.0.2.10", "server_port": 1}, False),
        ([{"sources": [], "ports": "22"}], FROM_LAN, False),
        (["rubbish", None, 7], FROM_LAN, False),
        ("rubbish", FROM_LAN, False),
        (None, FROM_LAN, False),
        ({"sources": [], "ports": [22]}, FROM_LAN, False),
        ([{"sources": [], "ports": [22]}], None, False),
        ([{"sources": [], "ports": [22]}], {}, False),
        ([{"sources": [], "ports": [22]}], {"peer": "rubbish", "server_port": 22}, False),
        ([{"sources": [], "ports": [22]}], {"peer": "192.0.2.10"}, False),
        ([{"sources": [], "ports": [22]}], {"peer": "192.0.2.10", "server_port": 99999}, False),
        ([{"sources": [], "ports": [22]}], {"peer": 7, "server_port": 22}, False),
    ],
)
def test_a_rule_set_admits_a_connection_or_not(rules: Any, connection: Any, admitted: bool) -> None:
    assert admits(rules, connection) is admitted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1 50000 192.0.2.2 22", ("192.0.2.1", 22)),
        ("::ffff:192.0.2.1 50000 ::ffff:192.0.2.2 22", ("192.0.2.1", 22)),
        ("fe80::1%eth0 50000 fe80::2%eth0 2222", ("fe80::1", 2222)),
        ("", None),
        ("192.0.2.1 50000 192.0.2.2", None),
        ("192.0.2.1 x 192.0.2.2 22", None),
        ("192.0.2.1 50000 nobody 22", None),
        ("192.0.2.1 0 192.0.2.2 22", None),
        ("192.0.2.1 50000 192.0.2.2 22222222222", None),
    ],
)
def test_ssh_connection_is_parsed_or_refused(text: str, expected: Any) -> None:
    found = parse_connection(text)
    assert (None if found is None else (found["peer"], found["server_port"])) == expected


def test_the_connection_is_found_in_an_ancestor(proc: Any) -> None:
    """W7: sudo empties the environment; the session's process still has it."""
    proc.status(GATEWAY, parent=RELAY)
    proc.status(RELAY, parent=1)
    assert find_connection(ProcFS(str(proc.root)), GATEWAY) is None
    proc.write(RELAY, "environ", "A=b\0SSH_CONNECTION=2001:db8::5 4711 2001:db8::1 22\0")
    found = find_connection(ProcFS(str(proc.root)), GATEWAY)
    assert found == {"peer": "2001:db8::5", "peer_port": 4711, "server": "2001:db8::1", "server_port": 22}


def test_a_loop_or_a_gap_in_the_ancestors_ends(proc: Any) -> None:
    proc.status(GATEWAY, parent=RELAY)
    proc.status(RELAY, parent=GATEWAY)
    assert find_connection(ProcFS(str(proc.root)), GATEWAY) is None
    proc.status(GATEWAY, parent=9999)
    assert find_connection(ProcFS(str(proc.root)), GATEWAY) is None


RELAY, GATEWAY = 100, 300


def test_the_real_proc_shows_it_through_a_clean_environment() -> None:
    """W7: a real chain of processes: the outer one has the variable, the inner one (as under sudo) does not."""
    inner = (
        "import os, sys; sys.path[:0] = {0!r};"
        "from ansible_collections.rampart.ollama.plugins.module_utils import procfs, ssh_peer;"
        "print(ssh_peer.find_connection(procfs.ProcFS(), os.getpid()))"
    ).format(sys.path)
    outer = "import subprocess, sys; print(subprocess.run([sys.executable, '-c', sys.argv[1]], env={}).returncode)"
    environment = {**os.environ, "SSH_CONNECTION": "192.0.2.10 50000 192.0.2.20 2222"}
    done = subprocess.run(
        [sys.executable, "-c", outer, inner], env=environment, capture_output=True, text=True, check=True
    )
    assert "'peer': '192.0.2.10'" in done.stdout
    assert "'server_port': 2222" in done.stdout
