# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of a host share. They look at the host over SSH, from outside, with the kernel's own words.

`molecule verify` runs them; by hand:

    pytest tests/integration/host --hosts=ssh://d13 --ssh-config=.lab/ssh_config --sudo
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True)
class Process:
    """A container's first process as the host's kernel sees it."""

    host: Any
    name: str
    pid: int

    def proc(self, path: str) -> str:
        """Read /proc/PID/<path>."""
        return str(self.host.check_output(f"cat /proc/{self.pid}/{path}"))

    def status(self) -> dict[str, str]:
        """The fields of /proc/PID/status."""
        lines = (line.partition(":") for line in self.proc("status").splitlines())
        return {name: value.strip() for name, _separator, value in lines}

    def interfaces(self) -> set[str]:
        """The names of all network interfaces in the process's network namespace."""
        return {line.split(":")[0].strip() for line in self.proc("net/dev").splitlines()[2:]}

    def mount_options(self, target: str) -> set[str]:
        """The options of the mount that lies on top of `target` in the process's view."""
        options: set[str] = set()
        for line in self.proc("mountinfo").splitlines():
            fields = line.split()
            if fields[4] == target:
                options = set(fields[5].split(","))
        assert options, f"{self.name} has no mount on {target}"
        return options


def inspect(host: Any, name: str) -> dict[str, Any]:
    """Docker's description of a container; the test fails when there is none."""
    described: list[dict[str, Any]] = json.loads(host.check_output(f"docker inspect {name}"))
    return described[0]


@pytest.fixture(params=["rampart-relay", "rampart-ollama", "rampart-gateway"])
def container(request: pytest.FixtureRequest, host: Any) -> Process:
    """Each of the three containers that serve."""
    return Process(host, request.param, inspect(host, request.param)["State"]["Pid"])


@pytest.fixture
def server(host: Any) -> Process:
    """The container that Ollama runs in."""
    return Process(host, "rampart-ollama", inspect(host, "rampart-ollama")["State"]["Pid"])
