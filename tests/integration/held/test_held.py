# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row I2: the isolation does not hang on rules or on the engine: both are taken away, and it holds.

Needs the hosts of molecule's default scenario, converged. What is flushed or stopped is put back at the end.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from playbook_runs import ROOT, Run, on

pytestmark = pytest.mark.row("I2")
HOST, NEIGHBOUR, ADDRESS = "d13", "neighbour", ("10.77.0.13", "fd77::13")
FLUSH = (
    "for tool in iptables ip6tables; do for table in filter nat mangle raw; do "
    "$tool -t $table -F; $tool -t $table -X; done; done"
)
ASK = (
    'python3 -c "import socket; s = socket.socket(socket.AF_UNIX); s.settimeout(20); '
    's.connect(\\"/run/rampart/ollama/ollama.sock\\"); '
    's.sendall(b\\"GET /api/version HTTP/1.0\\r\\n\\r\\n\\"); print(s.makefile().read())"'
)
INTERFACES = (
    'for name in rampart-relay rampart-ollama rampart-gateway; do pid=$(docker inspect -f "{{.State.Pid}}" $name); '
    "echo $name $(tail -n +3 /proc/$pid/net/dev | cut -d: -f1); done"
)
SERVING = "rampart-relay lo\nrampart-ollama lo\nrampart-gateway lo\n"


def facts() -> dict[str, Any]:
    """What ollama_isolation_facts says of the host."""
    done = subprocess.run(
        ["ansible", "-i", "inventories/demo", HOST, "-m", "rampart.ollama.ollama_isolation_facts"],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
        capture_output=True,
        text=True,
        check=False,
    )
    said: dict[str, Any] = json.loads(done.stdout.partition(" => ")[2])
    isolation: dict[str, Any] = said["ansible_facts"]["ollama_isolation"]
    return isolation


def failed(isolation: dict[str, Any]) -> set[str]:
    """Ids of what is not as it should be, but for what this kernel or these defaults leave unknown."""
    return {item["id"] for item in isolation["checks"] if item["status"] == "failed"}


def closed_to_the_neighbour(port: int) -> bool:
    """Whether a neighbour host gets no connection to that port, over IPv4 and IPv6."""
    tries = "; ".join(f"timeout 2 bash -c \\\"</dev/tcp/{address}/{port}\\\" 2>&1 && echo open" for address in ADDRESS)
    return "open" not in on(NEIGHBOUR, f'bash -c "{tries}; true"')


def until_it_answers(seconds: float = 60) -> str:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return on(HOST, ASK)
        except subprocess.CalledProcessError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


@pytest.fixture(scope="module")
def before() -> Iterator[dict[str, Any]]:
    isolation = facts()
    assert isolation["verdict"] != "failed", isolation["findings"]
    yield isolation
    on(HOST, "systemctl restart docker")
    until_it_answers()
    # What the watch contained meanwhile stays open until somebody says that it is over.
    decided = ["-e", "watch_release_by=test", "-e", "watch_release_confirm=yes"]
    released = Run("playbooks/watch_release.yml", "--limit", HOST, *decided)
    assert released.status == 0, released.output[-3000:]


def test_without_one_rule_of_iptables_nothing_is_lost(before: dict[str, Any]) -> None:
    """`iptables -F` on an internal network opens it. Here there is no rule that isolation hangs on."""
    rules = on(HOST, "nft --stateless list table inet rampart")
    on(HOST, FLUSH)
    assert on(HOST, "iptables -S; ip6tables -S; iptables -t nat -S").count("-A ") == 0
    assert on(HOST, INTERFACES) == SERVING
    assert on(HOST, "nft --stateless list table inet rampart") == rules
    assert failed(facts()) == failed(before)
    assert closed_to_the_neighbour(11434)
    assert "200" in on(HOST, ASK).split("\n")[0]


def test_a_restart_of_the_engine_changes_nothing(before: dict[str, Any]) -> None:
    """As an upgrade of the engine does it; the containers come back, or stayed, without an interface."""
    on(HOST, "systemctl restart docker.socket docker.service")
    assert "200" in until_it_answers().split("\n")[0]
    assert on(HOST, INTERFACES) == SERVING
    assert failed(facts()) == failed(before)


def test_a_network_that_is_connected_by_hand_is_refused_or_taken_away(before: dict[str, Any]) -> None:
    """Docker itself refuses it for a container without networks; once that is got round, the watch takes it away."""
    with pytest.raises(subprocess.CalledProcessError) as refused:
        on(HOST, "docker network connect bridge rampart-relay")
    assert "multiple networks" in refused.value.stderr
    on(HOST, "docker network disconnect none rampart-relay && docker network connect bridge rampart-relay")
    deadline = time.monotonic() + 20
    while "eth" in on(HOST, INTERFACES) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert "eth" not in on(HOST, INTERFACES)
    on(HOST, "docker network connect none rampart-relay")
    assert failed(facts()) <= failed(before)
    assert "200" in until_it_answers().split("\n")[0]


def test_a_container_that_joins_the_servers_namespace_is_stopped(before: dict[str, Any]) -> None:
    """The only way in that Docker offers beside a network."""
    image = on(HOST, 'docker inspect -f "{{.Image}}" rampart-relay').strip()
    try:
        on(HOST, f"docker run -d --name joined --network container:rampart-relay --entrypoint sleep {image} 60")
        deadline = time.monotonic() + 20
        state = 'docker inspect -f "{{.State.Running}}" joined'
        while on(HOST, state).strip() == "true" and time.monotonic() < deadline:
            time.sleep(0.2)
        assert on(HOST, state).strip() == "false"
    finally:
        on(HOST, "docker ps --all --quiet --filter name=joined | xargs --no-run-if-empty docker rm --force")
    assert failed(facts()) == failed(before)
