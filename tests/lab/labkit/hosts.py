# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The laboratory's containers: hosts with systemd, and the stand-in for the internet."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from labkit import access, capabilities
from labkit.engine import Engine
from labkit.errors import LabError
from labkit.images import Images
from labkit.run import run, step
from labkit.settings import Paths, Settings

SPEC_LABEL = "rampart.lab.spec"
# Two listeners on 443, one on 53, and the sink's two on port 9.
LISTENING = (
    """test "$(grep -cE ':(01BB|0035|0009) 0+:0000 0A' /proc/net/tcp)" -eq 4 && grep -q ':0009 ' /proc/net/tcp6"""
)


@dataclass(frozen=True)
class PutFile:
    """A file to put into a container before it starts."""

    path: str
    content: bytes
    mode: int = 0o644
    uid: int = 0


def pack(files: Sequence[PutFile]) -> bytes:
    """Files as a tar archive for `docker cp -`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for file in files:
            member = tarfile.TarInfo(file.path.lstrip("/"))
            member.size, member.mode, member.uid, member.gid = len(file.content), file.mode, file.uid, file.uid
            member.mtime = int(time.time())
            archive.addfile(member, io.BytesIO(file.content))
    return buffer.getvalue()


class Hosts:
    """Make, look at and remove containers."""

    def __init__(self, paths: Paths, settings: Settings, engine: Engine, images: Images) -> None:
        self.paths = paths
        self.settings = settings
        self.engine = engine
        self.docker = engine.docker
        self.images = images

    def ensure_network(self) -> None:
        """The hosts' LAN, IPv4 and IPv6."""
        network = self.settings.network
        if network.name in self.docker.lines("network", "ls", "--format", "{{.Name}}"):
            return
        options = ["--subnet", network.ipv4, "--gateway", network.ipv4_gateway]
        options += ["--ipv6", "--subnet", network.ipv6, "--gateway", network.ipv6_gateway]
        self.docker("network", "create", *options, network.name)

    def wanted(self, asked: Sequence[str] | None) -> list[str]:
        """Names to start: what is asked for (default: the default hosts) and what is always there."""
        unknown = sorted(set(asked or ()) - set(self.settings.hosts))
        if unknown:
            known = ", ".join(self.settings.hosts)
            raise LabError("LAB-HOST", f"no such host: {', '.join(unknown)}. Known: {known}.")
        chosen = {
            name
            for name, host in self.settings.hosts.items()
            if host.start == "always" or (name in asked if asked is not None else host.start == "default")
        }
        return [name for name in self.settings.hosts if name in chosen]

    def ensure(self, names: Sequence[str]) -> None:
        """The internet and these hosts, running and as the settings describe them."""
        images = {key: self.images.ensure_own(key) for key in self._image_keys(names)}
        self.ensure_network()
        with ThreadPoolExecutor(max_workers=4) as pool:
            jobs = [pool.submit(self._ensure_internet, images[self.settings.internet.image])]
            jobs += [pool.submit(self._ensure_host, name, images[self.settings.hosts[name].image]) for name in names]
        for job in jobs:
            job.result()

    def _image_keys(self, names: Sequence[str]) -> list[str]:
        keys = [self.settings.internet.image, *(self.settings.hosts[name].image for name in names)]
        return list(dict.fromkeys(keys))

    def _runs(self, name: str, spec: str) -> bool:
        """Whether a container runs that was made from this very description."""
        text = '{{.State.Running}} {{index .Config.Labels "' + SPEC_LABEL + '"}}'
        done = self.docker("inspect", "-f", text, name, check=False)
        return done.returncode == 0 and done.stdout.decode().split() == ["true", spec]

    def _create(self, name: str, arguments: list[str], files: Sequence[PutFile]) -> bool:
        """Make and start a container unless the same one runs. Returns whether it was made."""
        description = json.dumps([arguments, [(file.path, file.mode, file.content.hex()) for file in files]])
        spec = hashlib.sha256(description.encode()).hexdigest()[:16]
        if self._runs(name, spec):
            return False
        self.docker("rm", "-fv", name, check=False)
        self.docker("create", "--name", name, "--hostname", name, "--label", f"{SPEC_LABEL}={spec}", *arguments)
        self.docker("cp", "-", f"{name}:/", stdin=pack(files))
        self.docker("start", name)
        return True

    def _lan(self, ipv4: str, ipv6: str) -> list[str]:
        enable = [f"--sysctl=net.ipv6.conf.{scope}.disable_ipv6=0" for scope in ("all", "default", "lo")]
        return ["--network", self.settings.network.name, "--ip", ipv4, "--ip6", ipv6, *enable]

    def _ensure_internet(self, image: str) -> None:
        internet, state = self.settings.internet, self.paths.state
        config = {
            "owned_ipv4": internet.owned_ipv4,
            "owned_ipv6": internet.owned_ipv6,
            "resolver": internet.resolver,
            "uplink_resolver": self.settings.network.uplink_resolver,
            "names": internet.names,
            "registry_name": internet.registry_name,
            "cdn_name": internet.cdn_name,
        }
        files = [
            PutFile("/srv/internet/config.json", json.dumps(config).encode()),
            PutFile("/srv/internet/tls.pem", (state / "registry.pem").read_bytes()),
            PutFile("/srv/internet/tls.key", (state / "registry.key").read_bytes(), 0o600),
        ]
        arguments = [*self._lan(internet.ipv4, internet.ipv6), "--cap-add", "NET_ADMIN", "--tmpfs", "/run"]
        arguments += ["-v", f"{self.paths.registry_store}:/srv/registry:ro", image]
        with step(f"start {internet.name}"):
            if self._create(internet.name, arguments, files):
                self._wait(internet.name, ["sh", "-c", LISTENING])

    def _ensure_host(self, name: str, image: str) -> None:
        host = self.settings.hosts[name]
        with step(f"start {name}"):
            if self._create(name, self._host_arguments(name, image), self._host_files(name)):
                self._set_routes(name)
                self._wait(name, ["systemctl", "is-active", "--quiet", "ssh.service"])
                self.engine.close_connections(host.ipv4)

    def _host_arguments(self, name: str, image: str) -> list[str]:
        host = self.settings.hosts[name]
        arguments = self._lan(host.ipv4, host.ipv6)
        arguments += [*capabilities.for_hosts(self.engine.require()), "--security-opt", "seccomp=unconfined"]
        arguments += ["--security-opt", "systempaths=unconfined", "--security-opt", "apparmor=unconfined"]
        arguments += ["--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec,mode=1777"]
        arguments += ["-v", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "--cgroupns=host", "-v", "/var/lib/docker"]
        # A file of its own keeps Docker's embedded resolver (a loopback address) out of resolv.conf.
        resolv_conf = self._resolv_conf(name)
        if not resolv_conf.exists():
            resolv_conf.write_text(f"nameserver {self.settings.internet.resolver}\n", encoding="ascii")
        arguments += ["-v", f"{resolv_conf}:/etc/resolv.conf", "-e", "container=docker"]
        if host.apt_cache:
            cache = self.paths.cache / "apt" / name
            cache.mkdir(parents=True, exist_ok=True)
            arguments += ["-v", f"{cache}:/var/cache/apt/archives"]
        return [*arguments, image]

    def _resolv_conf(self, name: str) -> Path:
        return self.paths.run / f"resolv-{name}.conf"

    def _host_files(self, name: str) -> list[PutFile]:
        admin, key = self.settings.admin, access.host_key(self.paths, name)
        login = access.public_key(self.paths.state / "id_ed25519")
        return [
            PutFile("/etc/ssh/ssh_host_ed25519_key", key.read_bytes(), 0o600),
            PutFile("/etc/ssh/ssh_host_ed25519_key.pub", (access.public_key(key) + "\n").encode()),
            PutFile(f"/home/{admin.name}/.ssh/authorized_keys", (login + "\n").encode(), 0o600, admin.uid),
        ]

    def _set_routes(self, name: str) -> None:
        """Routes to the attacked networks, and away with the rules of Docker's embedded resolver."""
        internet = self.settings.internet
        inside = ["nsenter", "--target", str(self.engine.container_pid(name)), "--net"]
        routes = [f"route add {cidr} via {internet.ipv4}" for cidr in internet.owned_ipv4]
        routes += [f"-6 route add {cidr} via {internet.ipv6}" for cidr in internet.owned_ipv6]
        for family in ("-4", "-6"):
            batch = "\n".join(r.removeprefix("-6 ") for r in routes if r.startswith("-6") == (family == "-6"))
            run([*inside, "ip", family, "-batch", "-"], stdin=batch.encode() + b"\n")
        # A real machine has no such rules, and the product's firewall is to be the only one.
        run([*inside, "iptables", "-t", "nat", "-F"])
        run([*inside, "iptables", "-t", "nat", "-X"])

    def _wait(self, name: str, command: Sequence[str], seconds: float = 30) -> None:
        """Wait until a command succeeds in a container. Raises LAB-START with what the container said."""
        deadline = time.monotonic() + seconds
        while self.docker("exec", name, *command, check=False).returncode != 0:
            if time.monotonic() > deadline or not self.engine.container_pid(name):
                said = self.docker("logs", "--tail", "5", name, check=False)
                tail = (said.stdout + said.stderr).decode(errors="replace").strip().replace("\n", " | ")
                raise LabError("LAB-START", f"{name} did not come up: {tail}. Run `lab.py reset {name}`.")
            time.sleep(0.1)

    def check_ssh(self, names: Sequence[str]) -> None:
        """Log in to each host as Ansible will. Raises LAB-COMMAND."""
        config = str(self.paths.state / "ssh_config")
        with ThreadPoolExecutor(max_workers=4) as pool:
            done = [
                pool.submit(run, ["ssh", "-F", config, "-o", "BatchMode=yes", name, "sudo", "-n", "true"], timeout=30)
                for name in names
            ]
        for job in done:
            job.result()

    def reset(self, name: str) -> None:
        """A fresh container for one host (or the internet), under the same addresses and keys."""
        if name != self.settings.internet.name:
            self.wanted([name])
        self.docker("rm", "-fv", name, check=False)
        # A test may have changed it.
        self._resolv_conf(name).unlink(missing_ok=True)
        self.ensure([name] if name in self.settings.hosts else [])

    def remove_unlisted(self) -> None:
        """Containers of this laboratory that lab.yml no longer names."""
        known = {self.settings.internet.name, *self.settings.hosts}
        for name in self.docker.lines("ps", "-a", "--filter", f"label={SPEC_LABEL}", "--format", "{{.Names}}"):
            if name not in known:
                self.docker("rm", "-fv", name)

    def status(self) -> dict[str, str]:
        """State of every container lab.yml names."""
        states: dict[str, str] = {}
        for name in (self.settings.internet.name, *self.settings.hosts):
            done = self.docker("inspect", "-f", "{{.State.Status}}", name, check=False)
            states[name] = done.stdout.decode().strip() if done.returncode == 0 else "absent"
        return states


def require_running(engine: Engine, name: str) -> None:
    """Raises LAB-HOST-DOWN when that container does not run."""
    engine.require()
    if not engine.container_pid(name):
        raise LabError("LAB-HOST-DOWN", f"{name} does not run. Run `lab.py up --hosts {name}`.")
