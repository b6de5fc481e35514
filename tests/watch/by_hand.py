"""What a person does by hand with the engine, and the three hardened containers to do it to."""

from __future__ import annotations

import copy
import os
import stat
import sys
from pathlib import Path
from typing import Any

from ansible_collections.rampart.ollama.plugins.module_utils.engine import Engine

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "plugins"))
from profile_data import seccomp_text

IMAGE = os.environ.get("RAMPART_WATCH_IMAGE", "debian:13-slim")
# Name below the rig's directory: owner, group, mode.
DIRECTORIES = {
    "store": (0, 0, 0o755),
    "run-ollama": (10005, 10002, 0o2750),
    "run-gateway": (10002, 10006, 0o2750),
    "etc-gateway": (0, 10002, 0o750),
    "log": (10002, 4, 0o750),
}
_USERS = {"relay": "10005:10002", "ollama": "10001:10001", "gateway": "10002:10002"}
_BINDS = {
    "relay": ["run-ollama:/run/ollama"],
    "ollama": ["store:/models:ro"],
    "gateway": [
        "run-ollama:/run/ollama",
        "run-gateway:/run/gateway",
        "etc-gateway:/etc/gateway:ro",
        "log:/var/log/gateway",
    ],
}


def engine_socket() -> Path:
    """The engine's socket: DOCKER_HOST, else the laboratory's. Raises RuntimeError when there is none."""
    named = os.environ.get("DOCKER_HOST", "")
    path = Path(named.removeprefix("unix://")) if named else Path(__file__).parents[2] / ".lab" / "docker.sock"
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        raise RuntimeError(f"WATCH-NO-ENGINE: no Docker socket at {path}. Start the laboratory (tests/lab/lab.py up)")
    return path.resolve()


def hardened(role: str, image: str, directory: Path, relay: str, label: str) -> dict[str, Any]:
    """What the engine's API is given for a role's container."""
    return {
        "Image": image,
        "Entrypoint": ["sleep"],
        "Cmd": ["infinity"],
        "User": _USERS[role],
        "Labels": {label: "1"},
        "Env": ["OLLAMA_HOST=127.0.0.1:11434", "OLLAMA_NOPRUNE=1", "OLLAMA_NO_CLOUD=1"],
        "HostConfig": {
            "NetworkMode": f"container:{relay}" if role == "ollama" else "none",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true", f"seccomp={seccomp_text()}"],
            "Memory": 67108864,
            "PidsLimit": 32,
            "NanoCpus": 500000000,
            "Tmpfs": {"/tmp": "rw,noexec,nosuid,nodev,size=8m"},
            "Binds": [f"{directory}/{item}" for item in _BINDS[role]],
        },
    }


def merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `change` laid over it; dictionaries are merged."""
    result = copy.deepcopy(base)
    for key, value in change.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


class HandEngine(Engine):
    """The engine's client with what a person may do by hand; none of it belongs into the collection."""

    def by_hand(self, path: str, body: dict[str, Any]) -> bytes:
        """POST to the engine and return its answer's bytes."""
        return self._request("POST", path, body, self.timeout)

    def remove_network(self, name: str) -> None:
        """Remove a network."""
        self._request("DELETE", f"/networks/{name}", None, self.timeout)

    def remove_volume(self, name: str) -> None:
        """Remove a volume."""
        self._request("DELETE", f"/volumes/{name}", None, self.timeout)

    def exec(self, name: str, user: str, command: list[str]) -> None:
        """Run a detached command in a container (docker exec -d -u)."""
        created = self._object("POST", f"/containers/{name}/exec", {"User": user, "Cmd": command})
        self.by_hand(f"/exec/{created['Id']}/start", {"Detach": True})
