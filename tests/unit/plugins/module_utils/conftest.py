# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A made-up proc file system, and an engine that answers what a test says: hosts that need no root and no Docker."""

from __future__ import annotations

import copy
import ipaddress
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.engine import EngineError
from ansible_collections.rampart.ollama.plugins.module_utils.hostinfo import Host
from ansible_collections.rampart.ollama.plugins.module_utils.hostinfo_report import inspect_host
from ansible_collections.rampart.ollama.plugins.module_utils.isolation import Expectation, inspect_isolation
from ansible_collections.rampart.ollama.plugins.module_utils.isolation_report import NotSeenError, Report
from ansible_collections.rampart.ollama.plugins.module_utils.procfs import ProcFS

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from profile_data import seccomp_text

HOST = {"net": 1, "pid": 2, "ipc": 3, "uts": 4, "mnt": 5}
RELAY, OLLAMA, GATEWAY = 100, 200, 300
ALL_CAPABILITIES = 0x1FFFFFFFFFF
HARDENED_MOUNTS = [
    "10 1 0:50 / / ro,relatime - overlay overlay rw,lowerdir=/l",
    "11 10 0:51 / /proc rw,nosuid,nodev,noexec - proc proc rw",
    "12 10 0:52 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755",
    "13 10 0:53 / /sys ro,nosuid,nodev,noexec - sysfs sysfs ro",
    "14 10 0:54 / /tmp rw,nosuid,nodev,noexec - tmpfs tmpfs rw,size=8192k",
    "15 12 0:55 / /dev/shm rw,nosuid,nodev,noexec - tmpfs shm rw,size=65536k",
    "16 10 8:1 /c/hosts /etc/hosts rw,relatime - ext4 /dev/sda1 rw",
    "17 11 0:51 /sys /proc/sys ro,nosuid,nodev,noexec - proc proc rw",
    "18 11 0:52 /null /proc/kcore rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755",
]
HOST_MOUNTS = [
    "1 0 8:1 / / rw,relatime - ext4 /dev/sda1 rw",
    "2 1 0:20 / /proc rw - proc proc rw",
    "3 1 0:21 / /run rw,nosuid,nodev - tmpfs tmpfs rw,size=100k",
    "4 1 0:22 / {cgroup}/memory rw - cgroup cgroup rw,memory",
    "5 1 0:23 / {cgroup}/pids rw - cgroup cgroup rw,pids",
    "6 1 0:24 / {cgroup}/cpu rw - cgroup cgroup rw,cpu,cpuacct",
]
BINDS = {
    "relay": ["20 10 0:21 /rampart/ollama /run/ollama rw,nosuid,nodev - tmpfs tmpfs rw,size=100k"],
    "ollama": ["20 10 8:1 /srv/rampart/store /models ro,relatime - ext4 /dev/sda1 rw"],
    "gateway": ["20 10 8:1 /etc/rampart/gateway /etc/gateway ro,relatime - ext4 /dev/sda1 rw"],
}
ENVIRONMENT = "OLLAMA_HOST=127.0.0.1:11434\0OLLAMA_NOPRUNE=1\0OLLAMA_NO_CLOUD=1\0SECRET_TOKEN=hunter2\0"


def hex_address(text: str) -> str:
    raw = ipaddress.ip_address(text).packed
    if sys.byteorder == "little":
        raw = b"".join(raw[index : index + 4][::-1] for index in range(0, len(raw), 4))
    return raw.hex().upper()


def socket_line(local: str, port: int, remote: str = "0.0.0.0", remote_port: int = 0, state: int = 10) -> str:
    """Return a line of net/tcp (or tcp6) as the kernel writes it."""
    ends = "{0}:{1:04X} {2}:{3:04X}".format(hex_address(local), port, hex_address(remote), remote_port)
    return "   0: {0} {1:02X} 00000000:00000000 00:00000000 00000000 0 0 4242 1 0 100 0 0 10 0".format(ends, state)


class FakeProc:
    """A proc file system below `root`/proc with the host's first process and the three hardened containers."""

    def __init__(self, root: Path) -> None:
        self.root = root / "proc"
        self.cgroup = root / "cgroup"
        (self.root / "sys/net/ipv6").mkdir(parents=True)
        mounts = [line.format(cgroup=self.cgroup) for line in HOST_MOUNTS]
        for name in ("1", "self"):
            self.process(name, uid=0, capabilities=ALL_CAPABILITIES, namespaces=HOST, comm="systemd", mounts=mounts)
        for role, pid, uid, net in (
            ("relay", RELAY, 10005, 11),
            ("ollama", OLLAMA, 10001, 11),
            ("gateway", GATEWAY, 10002, 31),
        ):
            namespaces = {"net": net, "pid": pid + 2, "ipc": pid + 3, "uts": pid + 4, "mnt": pid + 5}
            self.process(str(pid), uid=uid, namespaces=namespaces, comm="sleep", mounts=HARDENED_MOUNTS + BINDS[role])
            self.limits(pid)
        self.write(OLLAMA, "environ", ENVIRONMENT)
        for pid in (RELAY, OLLAMA):
            self.sockets(pid, "tcp", socket_line("127.0.0.1", 11434))

    def write(self, pid: Any, name: str, text: str) -> None:
        path = self.root / str(pid) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def process(
        self,
        pid: str,
        uid: int,
        namespaces: dict[str, int],
        comm: str,
        capabilities: int = 0,
        mounts: list[str] | None = None,
    ) -> None:
        """Add a process, hardened unless it has capabilities."""
        self.status(pid, uid=uid, capabilities=capabilities, comm=comm)
        for kind, number in namespaces.items():
            link = self.root / pid / "ns" / kind
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to("{0}:[{1}]".format(kind, number))
        self.write(pid, "comm", comm + "\n")
        self.write(pid, "cmdline", comm + "\0infinity\0")
        self.write(pid, "environ", "PATH=/bin\0")
        self.write(pid, "uid_map", "         0          0 4294967295\n")
        self.write(pid, "gid_map", "         0          0 4294967295\n")
        self.write(pid, "mountinfo", "\n".join(mounts or HARDENED_MOUNTS) + "\n")
        self.write(pid, "cgroup", "3:memory:/docker/{0}\n2:pids:/docker/{0}\n1:cpu,cpuacct:/docker/{0}\n".format(pid))
        self.interfaces(pid, "lo")
        for family in ("tcp", "tcp6"):
            self.sockets(pid, family)

    def status(self, pid: Any, uid: int = 10001, gid: int = 10002, capabilities: int = 0, **changes: Any) -> None:
        """Write a status file; `changes` are comm, groups, no_new_privs, seccomp, parent."""
        hardened = capabilities == 0
        lines = [
            "Name:\t{0}".format(changes.get("comm", "sleep")),
            "PPid:\t{0}".format(changes.get("parent", 1)),
            "Uid:\t" + "\t".join([str(uid)] * 4),
            "Gid:\t" + "\t".join([str(gid)] * 4),
            "Groups:\t{0} ".format(changes.get("groups", "")),
            *(
                "{0}:\t{1:016x}".format(name, capabilities)
                for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
            ),
            "NoNewPrivs:\t{0}".format(changes.get("no_new_privs", int(hardened))),
            "Seccomp:\t{0}".format(changes.get("seccomp", 2 if hardened else 0)),
        ]
        self.write(pid, "status", "\n".join(lines) + "\n")

    def interfaces(self, pid: Any, *names: str) -> None:
        head = "Inter-|   Receive  |  Transmit\n face |bytes    packets|bytes    packets\n"
        self.write(pid, "net/dev", head + "".join("{0:>6}: 0 0 0 0\n".format(name) for name in names))

    def sockets(self, pid: Any, family: str, *lines: str) -> None:
        self.write(pid, "net/" + family, "  sl  local_address rem_address   st tx_queue\n" + "\n".join(lines) + "\n")

    def namespace(self, pid: Any, kind: str, number: int) -> None:
        link = self.root / str(pid) / "ns" / kind
        link.unlink()
        link.symlink_to("{0}:[{1}]".format(kind, number))

    def mounts(self, pid: Any, *lines: str) -> None:
        self.write(pid, "mountinfo", "\n".join(lines) + "\n")

    def limits(self, pid: Any, memory: str = "67108864", pids: str = "32", cpu: str = "50000") -> None:
        for controller, name, value in (
            ("memory", "memory.limit_in_bytes", memory),
            ("pids", "pids.max", pids),
            ("cpu", "cpu.cfs_quota_us", cpu),
        ):
            path = self.cgroup / controller / "docker" / str(pid) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(value + "\n")

    def open_up(self, pid: int) -> None:
        """Take every protection of a container away that /proc can show."""
        self.status(pid, uid=0, gid=0, capabilities=ALL_CAPABILITIES)
        for kind, number in HOST.items():
            self.namespace(pid, kind, number)
        self.interfaces(pid, "lo", "eth0")
        self.mounts(
            pid,
            "10 1 0:50 / / rw - overlay overlay rw",
            "14 10 0:54 / /tmp rw - tmpfs tmpfs rw",
            "20 10 8:1 / /h rw - ext4 /dev/sda1 rw",
            "21 10 8:1 /srv/rampart/store /models rw - ext4 /dev/sda1 rw",
            "22 10 0:21 /docker.sock /run/docker.sock rw - tmpfs tmpfs rw",
        )
        self.limits(pid, memory="9223372036854771712", pids="max", cpu="-1")
        # It shares the host's network namespace now, which every process there shows alike.
        for member in (1, pid):
            self.sockets(
                member,
                "tcp",
                socket_line("0.0.0.0", 11434),
                socket_line("10.0.0.2", 11434, "198.51.100.1", 443, 1),
            )
        self.write(pid, "comm", "ollama\n")
        self.write(pid, "environ", "OLLAMA_HOST=0.0.0.0\0")


def container(pid: int, role: str) -> dict[str, Any]:
    """Return what the engine says of a hardened container."""
    mode = "container:relay-id" if role == "ollama" else "none"
    return {
        "Id": role + "-id",
        "Image": "sha256:" + "a" * 64,
        "Config": {"Image": "sha256:" + "a" * 64},
        "State": {"Running": True, "Pid": pid, "Status": "running"},
        "HostConfig": {
            "Privileged": False,
            "NetworkMode": mode,
            "Memory": 1,
            "PidsLimit": 1,
            "NanoCpus": 1,
            "SecurityOpt": ["no-new-privileges:true", "seccomp=" + seccomp_text()],
        },
        "NetworkSettings": {"Networks": {"none": {}} if mode == "none" else {}, "Ports": {}},
        "Mounts": [],
    }


class FakeInspector:
    """An engine by its answers: `containers` by name; `down` makes every question an EngineError."""

    def __init__(self) -> None:
        self.containers: dict[str, Any] = {
            "rampart-relay": container(RELAY, "relay"),
            "rampart-ollama": container(OLLAMA, "ollama"),
            "rampart-gateway": container(GATEWAY, "gateway"),
        }
        self.down = False

    def container_or_none(self, name: str) -> dict[str, Any] | None:
        if self.down:
            raise EngineError("ENGINE-DOWN", "no Docker Engine answers")
        found: dict[str, Any] | None = copy.deepcopy(self.containers.get(name))
        return found


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    """A host with the three hardened containers."""
    return FakeProc(tmp_path)


@pytest.fixture
def inspector() -> FakeInspector:
    """The engine of that host."""
    return FakeInspector()


@pytest.fixture
def look(proc: FakeProc, inspector: FakeInspector, tmp_path: Path) -> Callable[..., Report]:
    """Look at that host: look(flags=..., **changes of the expectation)."""

    def run(flags: Any = None, **changes: Any) -> Report:
        expected = Expectation(docker_socket=str(tmp_path / "no.sock"), **changes)
        return inspect_isolation(expected, inspector, ProcFS(str(proc.root)), flags, str(tmp_path / "sys"))

    return run


@pytest.fixture
def line() -> Callable[..., str]:
    """The writer of socket lines."""
    return socket_line


DAEMON = {
    "no-new-privileges": True,
    "live-restore": True,
    "icc": False,
    "userland-proxy": False,
    "log-driver": "json-file",
    "log-opts": {"max-size": "10m"},
}
APT = """APT::Periodic::Enable "1";
APT::Periodic::Update-Package-Lists "1";
APT::Periodic::Unattended-Upgrade "1";
Unattended-Upgrade::Origins-Pattern "";
Unattended-Upgrade::Origins-Pattern:: "origin=Debian,codename=${distro_codename}-security,label=Debian-Security";
"""


def chain(name: str, policy: str = "drop") -> dict[str, Any]:
    return {"chain": {"name": name, "hook": name, "type": "filter", "prio": 0, "policy": policy}}


def accept(port: Any, name: str = "input") -> dict[str, Any]:
    match = {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": port}}
    return {"rule": {"chain": name, "expr": [match, {"counter": {}}, {"accept": None}]}}


class FakeDocker:
    """The engine's client, by its answers."""

    def __init__(self, path: Path) -> None:
        self.socket_path = str(path)
        self.down = False
        self.live_restore = True

    def version(self) -> dict[str, Any]:
        if self.down:
            raise EngineError("ENGINE-DOWN", "no Docker Engine answers")
        return {"Version": "26.1.5"}

    def info(self) -> dict[str, Any]:
        return {"LiveRestoreEnabled": self.live_restore, "SecurityOptions": [], "CgroupVersion": "2"}


class Machine:
    """A host that is ready and guarded, and what a test changes of it."""

    def __init__(self, root: Path, proc: Any) -> None:
        self.root = root / "machine"
        self.proc = proc
        self.daemon: dict[str, Any] = dict(DAEMON)
        self.chain, self.accept = chain, accept
        self.rules: Any = [{"metainfo": {}}, {"table": {}}, chain("input"), chain("forward"), accept(22)]
        self.nft: tuple[int, str, str] | None = None
        self.apt = APT
        self.missing: set[str] = set()
        self.put("etc/os-release", 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\nVERSION_ID="13"\n')
        self.put("proc/cpuinfo", "processor\t: 0\nmodel\t: x\nprocessor\t: 1\n")
        self.put("proc/meminfo", "MemTotal:       16384000 kB\nMemFree: 1 kB\n")
        self.put("proc/sys/kernel/osrelease", "6.12.0\n")
        self.put("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n")
        self.put("sys/class/tpm/tpm0/tpm_version_major", "2\n")
        variable = self.root / "sys/firmware/efi/efivars/SecureBoot-8be4df61"
        variable.parent.mkdir(parents=True)
        variable.write_bytes(b"\x06\0\0\0\x01")
        self.put("etc/docker/daemon.json", json.dumps(DAEMON))
        self.put("etc/group", "root:x:0:\ndocker:x:999:\n")
        self.put("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n")
        self.put("usr/bin/unattended-upgrade", "")
        (self.root / "dev").mkdir()
        self.put("dev/vda", "\0" * 512 + "EFI PART" + "\0" * 4000)
        self.block("8:1", "vda1", partition=True)
        self.dm("253:0", "dm-0", "CRYPT-LUKS2-x", "8:1")
        proc.write("self", "mountinfo", "1 0 253:0 / / rw - ext4 /dev/mapper/root rw\n")
        self.engine = FakeDocker(self.root / "docker.sock")
        self.put("docker.sock", "")
        (self.root / "docker.sock").chmod(0o660)

    def put(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def block(self, number: str, name: str, partition: bool = False) -> Path:
        """Make a block device's directory, below its disk as in sysfs."""
        path = self.root / "sys/devices" / ("vda/" + name if partition else name)
        path.mkdir(parents=True)
        if partition:
            (path / "partition").write_text("1\n")
        link = self.root / "sys/dev/block" / number
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
        return path

    def dm(self, number: str, name: str, uuid: str, below: str) -> None:
        path = self.block(number, name)
        (path / "dm").mkdir()
        (path / "dm/uuid").write_text(uuid + "\n")
        (path / "slaves").mkdir()
        (path / "slaves" / "x").symlink_to((self.root / "sys/dev/block" / below).resolve())

    def run(self, command: list[str]) -> tuple[int, str, str]:
        if command[0] in self.missing:
            raise NotSeenError(command[0] + ": No such file or directory")
        if command[0] == "nft":
            assert command[1:] == ["-j", "list", "table", "inet", "rampart"]
            return self.nft or (0, json.dumps({"nftables": self.rules}), "")
        return {"apt-config": (0, self.apt, ""), "systemd-detect-virt": (0, "kvm\n", "")}[command[0]]


@pytest.fixture
def machine(tmp_path: Path, proc: Any) -> Machine:
    """A host that is ready and guarded."""
    return Machine(tmp_path, proc)


@pytest.fixture
def look_at_host(machine: Machine) -> Callable[..., dict[str, Any]]:
    """Look at that host."""

    def run(**changes: Any) -> dict[str, Any]:
        host = Host(
            root=machine.root,
            proc=ProcFS(str(machine.proc.root)),
            engine=machine.engine,  # type: ignore[arg-type]
            run=machine.run,
            pid=300,
            **{"min_disk_gb": 0, **changes},
        )
        return inspect_host(host)

    return run
