# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine of the made-up host with everything a survey asks for, and the survey of that host."""

from __future__ import annotations

import copy
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings

from ansible_collections.rampart.ollama.plugins.module_utils.isolation import Expectation
from ansible_collections.rampart.ollama.plugins.module_utils.isolation_survey import Wishes, survey
from ansible_collections.rampart.ollama.plugins.module_utils.procfs import ProcFS

PROPERTIES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
CONTROLLERS = ("memory", "pids", "cpu")
NETWORKS = ("none", "host", "bridge", "rampart-egress")
DENYING = [
    {"metainfo": {}},
    {"table": {}},
    *({"chain": {"name": name, "hook": name, "policy": "drop"}} for name in ("input", "forward")),
]


def ids(number: int) -> str:
    """Return a container id as the engine makes them."""
    return "{0:064x}".format(number)


class StandIn:
    """Answers as the engine does, from descriptions by name; a test changes these."""

    def __init__(self, described: dict[str, Any]) -> None:
        self.described = described
        self.swarm: Any = "inactive"
        self.asked: list[str] = []
        for name, one in described.items():
            role = name.rpartition("-")[2]
            one["Name"] = "/" + name
            one["Config"]["Labels"] = {"rampart.component": role}
            one["State"]["Health"] = {"Status": "healthy"} if role == "ollama" else None
            one["HostConfig"].update(
                {"RestartPolicy": {"Name": "unless-stopped"}, "CapAdd": None, "CgroupParent": "", "UsernsMode": "",
                 "Ulimits": None}
            )  # fmt: skip

    def add(self, name: str, pid: int, component: str | None, **host_config: Any) -> dict[str, Any]:
        """Add a container like the gateway's, with another name, process and label."""
        one: dict[str, Any] = copy.deepcopy(self.described["rampart-gateway"])
        one.update({"Id": ids(pid), "Name": "/" + name, "State": {"Running": True, "Pid": pid, "Status": "running"}})
        one["Config"]["Labels"] = {"rampart.component": component} if component else {}
        one["HostConfig"].update(host_config)
        self.described[name] = one
        return one

    def rename(self, old: str, new: str) -> dict[str, Any]:
        """Rename a container as `docker rename` does."""
        one: dict[str, Any] = self.described.pop(old)
        one.update({"Name": "/" + new})
        self.described[new] = one
        return one

    def container_or_none(self, name: str) -> Any:
        self.asked.append(name)
        found = self.described.get(name)
        if found is None:
            found = next((one for one in self.described.values() if one and one.get("Id") == name), None)
        return copy.deepcopy(found)

    def containers(self, all_states: bool = True) -> list[dict[str, Any]]:
        assert not all_states
        return [
            {
                "Id": one["Id"],
                "Names": [one["Name"]],
                "ImageID": one["Image"],
                "Labels": one["Config"].get("Labels"),
                "NetworkSettings": {"Networks": one["NetworkSettings"]["Networks"]},
            }
            for one in self.described.values()
            if one and one["State"]["Running"]
        ]

    def networks(self) -> list[dict[str, Any]]:
        return [{"Name": name, "Driver": "bridge", "Internal": False} for name in NETWORKS]

    def info(self) -> dict[str, Any]:
        return {"Swarm": {"LocalNodeState": self.swarm}}


class Rig:
    """A host to survey: `engine` and `proc` are changed by the test, then `look()`."""

    def __init__(self, proc: Any, inspector: Any, directory: Path) -> None:
        self.proc = proc
        self.directory = directory
        self.engine: Any = StandIn(inspector.containers)
        for number, name in enumerate(("rampart-relay", "rampart-ollama", "rampart-gateway")):
            self.engine.described[name]["Id"] = ids(number + 1)
            pid = self.engine.described[name]["State"]["Pid"]
            self.cgroup(pid, number + 1)
        server = self.engine.described["rampart-ollama"]
        server["HostConfig"]["NetworkMode"] = "container:" + ids(1)
        server["Image"] = server["Config"]["Image"] = "sha256:" + "e" * 64
        self.rules: Any = DENYING
        self.nft: tuple[int, str, str] | None = None

    def cgroup(self, pid: int, number: int) -> None:
        """Put a process into the control group of the container with this number."""
        text = "".join(
            f"{index}:{name}:/docker/{ids(number)}\n" for index, name in enumerate(("memory", "pids", "cpu"))
        )
        self.proc.write(pid, "cgroup", text)
        self.proc.limits(ids(number))

    def run(self, command: list[str]) -> tuple[int, str, str]:
        assert command == ["nft", "-j", "list", "table", "inet", "rampart"]
        return self.nft or (0, json.dumps({"nftables": self.rules}), "")

    def look(self, wishes: dict[str, Any] | None = None, **expected: Any) -> dict[str, Any]:
        """Survey the host and return the result with checks by id under `by_id`."""
        expectation = Expectation(docker_socket=str(self.directory / "no.sock"), **expected)
        asked = Wishes(**{"engine_seconds": 5.0, "run": self.run, **(wishes or {})})
        found = survey(
            expectation, self.engine, asked, ProcFS(str(self.proc.root)), lambda _pid, _names: {},
            str(self.directory / "sys"),
        )  # fmt: skip
        found["by_id"] = {item["id"]: item["status"] for item in found["checks"]}
        found["codes"] = {item["code"] for item in found["findings"]}
        return found


@contextmanager
def at_most(megabytes: int) -> Iterator[None]:
    """Let this process grow by so much at most: what needs more raises MemoryError here, and fails the test."""
    with open("/proc/self/statm", encoding="ascii") as stream:
        used = int(stream.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + megabytes * 1024 * 1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def sound(found: dict[str, Any]) -> None:
    """A report that anybody can take: plain JSON that prints, and checks with one of the three statuses."""
    text = json.dumps({key: value for key, value in found.items() if key not in ("by_id", "codes")})
    assert text.encode("ascii")
    for item in found["checks"]:
        assert item["status"] in ("passed", "failed", "unknown")
    assert len(found["cis"]) == 32

    def printable(value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                printable(key)
                printable(inner)
        elif isinstance(value, list):
            for inner in value:
                printable(inner)
        elif isinstance(value, str):
            assert value.isprintable(), value
            assert len(value) <= 4096

    printable({key: value for key, value in found.items() if key not in ("by_id", "codes")})
