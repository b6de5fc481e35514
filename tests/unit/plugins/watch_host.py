# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host for the actor of the watch: its configuration, and an engine in memory that does what it is told."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from ansible_collections.rampart.ollama.plugins.module_utils.engine import EngineError
from ansible_collections.rampart.ollama.plugins.module_utils.watch_actor_config import ActorConfig, parse

RELAY, OLLAMA, OTHER, EGRESS, NET = "a1" * 32, "b2" * 32, "c3" * 32, "d4" * 32, "e5" * 32
IMAGES = {"relay": "sha256:" + "1" * 64, "ollama": "sha256:" + "2" * 64, "gateway": "sha256:" + "3" * 64}


def document(directory: Path, **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "schema": 1,
        "sensor_uid": 10007,
        "socket": str(directory / "actor.sock"),
        "engine_socket": str(directory / "engine.sock"),
        "engine_timeout": 0.5,
        "state_directory": str(directory / "state"),
        "quarantine_file": str(directory / "quarantine.nft"),
        "nft": "/usr/sbin/nft",
        "server": "rampart-ollama",
        "server_image": IMAGES["ollama"],
        "stop_grace_seconds": 0,
        "protected_paths": ["/srv/rampart/store", "/run/rampart", "/etc/rampart", "/var/lib/docker"],
        "guarded": {
            "rampart-relay": {"networks": [], "mounts": ["/run/rampart/ollama"], "joins": []},
            "rampart-ollama": {"networks": [], "mounts": ["/srv/rampart/store"], "joins": ["rampart-relay"]},
            "rampart-egress": {"networks": ["rampart-egress"], "mounts": ["/etc/rampart/egress"], "joins": []},
        },
        "limits": {verb: {"burst": 3, "per_hour": 60} for verb in ("network", "process", "container", "host")},
        "expected": {
            "containers": {"relay": "rampart-relay", "ollama": "rampart-ollama"},
            "uids": {"relay": 10005, "ollama": 10001},
            "mounts": {},
            "images": dict(IMAGES),
            "devices": [],
            "store": "",
            "socket_directories": [],
        },
    }
    made.update(changes)
    return made


def config(directory: Path, **changes: Any) -> ActorConfig:
    (directory / "state" / "contained").mkdir(parents=True, exist_ok=True)
    return parse(document(directory, **changes))


def container(identity: str, name: str, image: str = "sha256:" + "9" * 64, **host: Any) -> dict[str, Any]:
    return {
        "Id": identity,
        "Name": "/" + name,
        "Image": image,
        "Created": "2026-01-01T00:00:00Z",
        "Config": {"Image": image, "Env": ["SECRET_TOKEN=hunter2", "PATH=/bin"], "Cmd": ["--password", "hunter3"]},
        "State": {"Running": True, "Status": "running", "Pid": 0, "StartedAt": "2026-01-01T00:00:00Z"},
        "HostConfig": {"NetworkMode": "none", "Privileged": False, "RestartPolicy": {"Name": "always"}, **host},
        "Mounts": [],
        "NetworkSettings": {"Networks": {"none": {"NetworkID": "0" * 64}}},
    }


def bind(source: str) -> dict[str, Any]:
    return {"Type": "bind", "Source": source, "Destination": "/x", "RW": True}


class MemoryEngine:
    """Containers by id, and every act that was asked for. `broken` names the calls that fail like a hung engine."""

    def __init__(self, *containers: dict[str, Any]) -> None:
        self.known = {item["Id"]: item for item in containers}
        self.acts: list[tuple[str, ...]] = []
        self.broken: set[str] = set()
        self.stubborn = False

    def _may(self, call: str) -> None:
        if call in self.broken:
            raise EngineError("ENGINE-ERROR", "did not answer within 0.5 s", timed_out=True)

    def container_or_none(self, name: str) -> dict[str, Any] | None:
        self._may("inspect")
        found = self.known.get(name) or next((c for c in self.known.values() if c["Name"] == "/" + name), None)
        return copy.deepcopy(found)

    def stop_container(self, name: str, grace_seconds: int = 10) -> None:
        self._may("stop")
        self.acts.append(("stop", name, str(grace_seconds)))
        if not self.stubborn:
            self.known[name]["State"].update(Running=False, Status="exited")

    def start_container(self, name: str) -> None:
        self._may("start")
        self.acts.append(("start", name))
        self.known[name]["State"].update(Running=True, Status="running")

    def set_restart_policy(self, container: str, policy: dict[str, Any]) -> None:
        self._may("update")
        self.acts.append(("update", container, policy["Name"]))
        self.known[container]["HostConfig"]["RestartPolicy"] = dict(policy)

    def disconnect(self, network: str, container: str) -> None:
        self._may("disconnect")
        self.acts.append(("disconnect", network, container))
        if not self.stubborn:
            networks = self.known[container]["NetworkSettings"]["Networks"]
            for name in [name for name, item in networks.items() if item["NetworkID"] == network]:
                del networks[name]
