# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the attack tests start in the laboratory's engine, and the places they attack from.

Containers are called attack-*, and are always removed. What is attacked belongs to the laboratory's sinks.
"""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from ansible_collections.rampart.ollama.plugins.module_utils.attack import Attack
from ansible_collections.rampart.ollama.plugins.module_utils.attack_functions import FUNCTIONS
from ansible_collections.rampart.ollama.plugins.module_utils.attack_places import Place
from ansible_collections.rampart.ollama.plugins.module_utils.attack_run import run_attacks
from ansible_collections.rampart.ollama.plugins.module_utils.engine import Engine
from ansible_collections.rampart.ollama.plugins.module_utils.nsenter import Privileges, in_child
from ansible_collections.rampart.ollama.plugins.module_utils.procfs import ProcFS
from ansible_collections.rampart.ollama.plugins.module_utils.seccomp import build, render
from ansible_collections.rampart.ollama.plugins.plugin_utils.attack_catalogue import DEFAULT_DIRECTORY, load_attacks

ROOT = Path(__file__).parents[3]
LABEL = "rampart.attack-test"
NETWORK, SINKS4, SINKS6, RESOLVER = "lab", "10.77.0.5", "fd77::5", "198.51.100.53"
REGISTRY = "198.51.100.10"
CATALOGUE = {data["id"]: data for data in load_attacks(DEFAULT_DIRECTORY)}
EVERYTHING = ["ALL"]


def seccomp() -> str:
    """The seccomp profile as the role confinement puts it in place."""
    names = ("docker_default.yml", "seccomp_removals.yml")
    files = ROOT / "roles" / "confinement" / "files"
    return render(build(*(yaml.safe_load((files / name).read_text(encoding="utf-8")) for name in names), gpu=False))


# Everything that the roles forbid.
OPEN_HOST = {
    "NetworkMode": NETWORK,
    "CapAdd": EVERYTHING,
    # The one capability that the machine below the laboratory does not have.
    "CapDrop": ["SYS_RESOURCE"],
    "SecurityOpt": ["seccomp=unconfined"],
    "MaskedPaths": [],
    "ReadonlyPaths": [],
    "PidMode": "host",
    "Dns": [RESOLVER],
}
# What the roles make of it, with the seccomp profile that the role confinement builds.
HARDENED_HOST = {
    "NetworkMode": "none",
    "ReadonlyRootfs": True,
    "CapDrop": ["ALL"],
    "SecurityOpt": ["no-new-privileges:true", "seccomp=" + seccomp()],
    "Memory": 67108864,
    "PidsLimit": 32,
    "Tmpfs": {"/tmp": "rw,noexec,nosuid,nodev,size=8m"},
}


def engine_socket() -> Path:
    """The laboratory's socket, or the one that the environment names."""
    named = os.environ.get("DOCKER_HOST", "").removeprefix("unix://")
    path = Path(named) if named else ROOT / ".lab" / "docker.sock"
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        pytest.fail("ATTACK-NO-LAB: no Docker socket. Start the laboratory (tests/lab/lab.py up)", pytrace=False)
    return path.resolve()


class Everybody(Place):
    """A local user who is root with all that root may do: what a host without unprivileged users has."""

    def attempt(self, function: str, parameters: dict[str, Any], seconds: float) -> Any:
        capabilities = ProcFS().status("self").capabilities
        return in_child(
            lambda: FUNCTIONS[function](parameters), seconds, privileges=Privileges(0, 0, (), capabilities, False)
        )


class OnTheLink(Place):
    """A neighbour host: the network namespace of a container on the laboratory's network, as root."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self.target = pid

    def prepare(self, function: str, parameters: dict[str, Any]) -> None:
        """Look for zones where the neighbour is."""
        found = in_child(lambda: self._prepared(function, dict(parameters)), 10, self.target, ("net",))
        parameters.update(found)

    def _prepared(self, function: str, parameters: dict[str, Any]) -> dict[str, Any]:
        super().prepare(function, parameters)
        return parameters

    def attempt(self, function: str, parameters: dict[str, Any], seconds: float) -> Any:
        return in_child(lambda: FUNCTIONS[function](parameters), seconds, self.target, ("net",))


class Lab:
    """Starts and removes containers in the laboratory's engine, and reads what reached its sinks."""

    def __init__(self, directory: Path) -> None:
        self.engine = Engine(str(engine_socket()))
        self.directory = directory
        self.relay = self._image("rampart/relay")
        self.egress = self._image("rampart/egress")

    def _image(self, name: str) -> str:
        for item in self.engine.images():
            if any(str(tag).rsplit(":", 1)[0] == name for tag in item.get("RepoTags") or []):
                return str(item["Id"])
        raise pytest.fail.Exception(f"ATTACK-NO-LAB: no image {name}. Run the playbook build_images.yml", pytrace=False)

    def start(self, name: str, host: dict[str, Any], **config: Any) -> int:
        """Start a container anew and return its first process."""
        self.engine.remove_container(name)
        given = {
            "Image": self.relay,
            "Entrypoint": ["sleep"],
            "Cmd": ["infinity"],
            "User": "0:0",
            "Labels": {LABEL: "1"},
            "HostConfig": host,
            **config,
        }
        self.engine.create_container(name, given)
        self.engine.start_container(name)
        state = self.engine.inspect_container(name)["State"]
        assert state["Running"], state
        return int(state["Pid"])

    def routes(self, pid: int) -> None:
        """Give a container's namespace the laboratory hosts' routes to the sinks."""
        for family, network, gateway in (
            ("-4", "198.51.100.0/24", SINKS4),
            ("-4", "169.254.169.254/32", SINKS4),
            ("-6", "2001:db8:51::/64", SINKS6),
        ):
            self.within(pid, "ip", family, "route", "replace", network, "via", gateway)

    def within(self, pid: int, *command: str) -> None:
        """Run a program of this machine in a container's network namespace."""
        subprocess.run(["nsenter", "-t", str(pid), "-n", *command], check=True, capture_output=True)

    def settled(self, pid: int) -> None:
        """Wait until a namespace's IPv6 addresses may be used; new ones are checked for duplicates for some time."""
        look = ["nsenter", "-t", str(pid), "-n", "ip", "-6", "-o", "address", "show", "tentative"]
        for _try in range(200):
            if not subprocess.run(look, check=True, capture_output=True).stdout:
                return
            time.sleep(0.05)
        raise AssertionError("an IPv6 address stays tentative")

    def address(self, name: str, family: str = "IPAddress") -> str:
        """Return a container's address on the laboratory's network (IPAddress or GlobalIPv6Address)."""
        networks = self.engine.inspect_container(name)["NetworkSettings"]["Networks"]
        return str(networks[NETWORK][family])

    def arrived(self, sources: set[str], since: float, services: bool = True) -> list[dict[str, Any]]:
        """Return the packets that reached the sinks from `sources` since then (seconds since the epoch)."""
        command = [sys.executable, str(ROOT / "tests" / "lab" / "lab.py"), "sinks"]
        done = subprocess.run([*command, *(["--all"] if services else [])], capture_output=True, text=True, check=True)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return [line for line in lines if line["source"] in sources and line["time"] >= since]

    def remove(self) -> None:
        """Remove every container of these tests."""
        for item in self.engine.containers(labels=[f"{LABEL}=1"]):
            self.engine.remove_container(str(item["Id"]))


def attempt(attack_id: str, origin: str, place: Place, targets: dict[str, Any], timeout: float = 2.0) -> dict[str, Any]:
    """Run one attack's file from a place and return its result."""
    attack = Attack.from_dict(CATALOGUE[attack_id])
    assert origin in attack.origins
    with place:
        (result,) = run_attacks(origin, [attack], targets, timeout, place)
    return result


OPEN_SQUID = """
http_port 127.0.0.1:3128
http_access allow all
cache deny all
cache_mem 0 MB
pinger_enable off
netdb_filename none
pid_filename none
coredump_dir /tmp
connect_timeout 3 seconds
access_log stdio:/var/log/squid/access.json
cache_log stdio:/dev/stderr
"""


EGRESS_ROLE = ROOT / "roles" / "egress_proxy"
RELAY_OPEN = ["UNIX-LISTEN:/run/egress/egress.sock,fork,mode=666,unlink-early", "TCP:127.0.0.1:3128"]


def egress_variables() -> dict[str, Any]:
    """The defaults of the role egress_proxy, and what others give it."""
    defaults: dict[str, Any] = yaml.safe_load((EGRESS_ROLE / "defaults" / "main.yml").read_text(encoding="utf-8"))
    hosts = defaults["egress_proxy_hosts"]
    return {**defaults, "egress_proxy_allowed_hosts": hosts, "layout_egress_socket": "/run/egress/egress.sock"}


def rendered(text: str) -> str:
    """Return a text of the role as Ansible renders it; what is not defined is an error."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    environment.tests["search"] = lambda value, pattern: re.search(pattern, value) is not None  # Ansible's
    environment.filters["basename"] = os.path.basename
    return environment.from_string(text).render(egress_variables())


def hardened_squid() -> str:
    """The configuration as the role egress_proxy renders it."""
    return rendered((EGRESS_ROLE / "templates" / "squid.conf.j2").read_text(encoding="utf-8"))


def hardened_relay() -> list[str]:
    """The relay's command as the role egress_proxy gives it."""
    tasks = yaml.safe_load((EGRESS_ROLE / "tasks" / "start.yml").read_text(encoding="utf-8"))
    task = next(item["community.docker.docker_container"] for item in tasks if "relay" in item["name"])
    return [rendered(word) for word in task["command"]]


class Proxy:
    """One Squid with the relay to its Unix socket, open or hardened, and who it thinks names are."""

    def __init__(self, lab: Lab, kind: str, configuration: str, names: dict[str, str]) -> None:
        self.lab, self.kind = lab, kind
        self.directory = lab.directory / f"egress-{kind}"
        for part, mode in (("etc", 0o755), ("log", 0o777), ("run", 0o2750)):
            place = self.directory / part
            place.mkdir(parents=True, exist_ok=True)
            os.chown(place, 10004, 10003)
            place.chmod(mode)
        (self.directory / "etc" / "squid.conf").write_text(configuration, encoding="utf-8")
        self.log = self.directory / "log" / "access.json"
        self.log.unlink(missing_ok=True)
        self.socket = self.directory / "run" / "egress.sock"
        self.start(names)

    def start(self, names: dict[str, str]) -> None:
        """Start proxy and relay; `names` is what it has in its table of hosts."""
        tmpfs = "rw,size=16m,mode=0700,uid=10004,gid=10004"
        host = {
            "NetworkMode": NETWORK,
            "CapAdd": ["NET_ADMIN"],
            "Dns": [RESOLVER],
            "ExtraHosts": [f"{name}:{address}" for name, address in names.items()],
            "Tmpfs": {"/tmp": tmpfs, "/run/squid": tmpfs, "/var/spool/squid": tmpfs},
            "Binds": [f"{self.directory}/etc:/etc/rampart-egress:ro", f"{self.directory}/log:/var/log/squid"],
        }
        image = {"Image": self.lab.egress, "User": "10004:10004", "Cmd": []}
        entrypoint = ["/bin/sh", "/usr/local/lib/rampart-egress.sh"]
        pid = self.lab.start(f"attack-proxy-{self.kind}", host, **image, Entrypoint=entrypoint)
        self.lab.routes(pid)
        self.lab.start(
            f"attack-relay-{self.kind}",
            {
                "NetworkMode": f"container:attack-proxy-{self.kind}",
                "Binds": [f"{self.directory}/run:/run/egress"],
            },
            User="10004:10004",
            Entrypoint=["/usr/bin/socat"],
            Cmd=RELAY_OPEN if self.kind.startswith("open") else hardened_relay(),
        )
        self._wait()

    def _wait(self) -> None:
        for _try in range(200):
            with suppress(OSError), socket.socket(socket.AF_UNIX) as handle:
                handle.settimeout(1)
                handle.connect(str(self.socket))
                handle.sendall(b"GET http://egress.invalid/ HTTP/1.0\r\n\r\n")
                if handle.recv(16).startswith(b"HTTP/"):
                    return
            time.sleep(0.05)
        output = self.lab.engine.logs(f"attack-proxy-{self.kind}")
        raise AssertionError(f"the proxy does not answer: {output}")

    def source(self) -> set[str]:
        """The proxy's own addresses."""
        name = f"attack-proxy-{self.kind}"
        return {self.lab.address(name), self.lab.address(name, "GlobalIPv6Address")}
