# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The laboratory's Docker Engine: in namespaces of its own, with an uplink that can be cut."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from labkit.errors import LabError
from labkit.run import Docker
from labkit.settings import Paths, Settings

CGROUPS = Path("/sys/fs/cgroup")


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def read_pid(file: Path, program: str) -> int | None:
    """Process id in `file` if a process of that program name still has it (ids are reused), else None."""
    try:
        pid = int(file.read_text())
        return pid if Path(f"/proc/{pid}/comm").read_text().strip() == program else None
    except (OSError, ValueError):
        return None


def answers(path: Path, timeout: float = 2) -> bool:
    """Whether a Docker Engine answers on that socket."""
    connection = _UnixConnection(path, timeout)
    try:
        connection.request("GET", "/_ping")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def control_groups(name: str, root: Path = CGROUPS) -> list[Path]:
    """Every group called `name` at the top of a hierarchy, with all groups below it, deepest first."""
    tops = [root / name, *(root.glob(f"*/{name}"))]
    found: list[Path] = []
    for top in tops:
        if top.is_dir():
            found.extend(Path(directory) for directory, _subs, _files in os.walk(top, topdown=False))
    return found


def processes_of(groups: list[Path]) -> set[int]:
    """Process ids in these groups."""
    pids: set[int] = set()
    for group in groups:
        with contextlib.suppress(OSError):
            pids.update(int(line) for line in (group / "cgroup.procs").read_text().split())
    return pids - {0, os.getpid()}


class Engine:
    """Start, stop and ask the laboratory's dockerd and its uplink."""

    def __init__(self, paths: Paths, settings: Settings) -> None:
        self.paths = paths
        self.settings = settings
        self.docker = Docker(paths.socket)

    def pid(self) -> int | None:
        """dockerd's process id, if it runs and answers."""
        pid = read_pid(self.paths.engine_pid, "dockerd")
        return pid if pid and answers(self.paths.socket) else None

    def require(self) -> int:
        """dockerd's process id. Raises LAB-DOWN when the laboratory is not up."""
        pid = self.pid()
        if pid is None:
            raise LabError("LAB-DOWN", "the laboratory is not up. Run `lab.py up`.")
        return pid

    def start(self) -> bool:
        """Start dockerd (what a crash left is taken away first). Returns False when it ran already."""
        if self.pid():
            self._link_socket()
            return False
        self.sweep()
        self._start_once()
        # Containers of a laboratory that was killed are still in the data root; none is wanted.
        left = self.docker.lines("ps", "-aq")
        if left:
            self.docker("rm", "-fv", *left)
        self.docker("network", "prune", "-f")
        return True

    def _start_once(self) -> None:
        paths = self.paths
        paths.run.mkdir(mode=0o755, exist_ok=True)
        paths.docker_data.mkdir(parents=True, exist_ok=True)
        log = (paths.run / "dockerd.log").open("wb")
        resolver = self.settings.network.uplink_resolver
        command = [str(paths.lab_directory / "labkit" / "engine.sh"), paths.identity, str(paths.run)]
        # Two engines on one data root would destroy it: the lock is held for the life of this one.
        command += ["flock", "--nonblock", "--no-fork", str(paths.cache / "docker.lock"), "dockerd"]
        command += ["--data-root", str(paths.docker_data), "--exec-root", str(paths.run / "exec")]
        command += ["--pidfile", str(paths.engine_pid), "--host", f"unix://{paths.socket}", "--dns", resolver]
        command += ["--ipv6", "--fixed-cidr-v6", "fd78::/64", "--experimental", "--ip6tables"]
        with log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 60
        while not answers(paths.socket):
            if process.poll() is not None or time.monotonic() > deadline:
                tail = (paths.run / "dockerd.log").read_text(errors="replace").strip().splitlines()[-5:]
                self.sweep()
                reason = " | ".join(tail) or "another engine uses the cache (set RAMPART_CACHE)"
                raise LabError("LAB-ENGINE", f"dockerd did not start: {reason}. Run `lab.py up` again.")
            time.sleep(0.05)
        namespace = Path(f"/proc/{self.require()}/ns/net").readlink()
        (paths.run / "namespace").write_text(str(namespace), encoding="ascii")
        self._link_socket()

    def _link_socket(self) -> None:
        """.lab/docker.sock leads to the socket, which lives where paths are short."""
        self.paths.state.mkdir(exist_ok=True)
        link = self.paths.state / "docker.sock"
        if not (link.is_symlink() and link.readlink() == self.paths.socket):
            link.unlink(missing_ok=True)
            link.symlink_to(self.paths.socket)
        owner = os.environ.get("SUDO_UID")
        if owner:
            os.chown(self.paths.socket, int(owner), -1)

    def stop(self) -> None:
        """Take away containers, networks, dockerd, uplink and every trace outside the cache."""
        if self.pid():
            left = self.docker.lines("ps", "-aq")
            if left:
                self.docker("rm", "-fv", *left, check=False)
            self.docker("network", "prune", "-f", check=False)
            self.docker("volume", "prune", "-f", check=False)
            pid = read_pid(self.paths.engine_pid, "dockerd")
            if pid:
                os.kill(pid, signal.SIGTERM)
                self._wait_gone(pid, 10)
        self.sweep()
        (self.paths.state / "docker.sock").unlink(missing_ok=True)

    @staticmethod
    def _wait_gone(pid: int, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            time.sleep(0.02)

    def sweep(self) -> None:
        """Kill whatever lives in the laboratory's control groups, then remove groups and run directory."""
        self.cut()
        self.close_connections()
        for attempt in range(100):
            groups = control_groups(self.paths.identity)
            pids = processes_of(groups)
            if not pids:
                break
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            time.sleep(0.02 if attempt < 20 else 0.1)
        for _attempt in range(50):
            for group in control_groups(self.paths.identity):
                with contextlib.suppress(OSError):
                    group.rmdir()
            if not control_groups(self.paths.identity):
                break
            time.sleep(0.02)
        else:
            raise LabError("LAB-SWEEP", f"control groups {self.paths.identity} stay busy. Run `lab.py down` again.")
        if self.paths.run.exists():
            shutil.rmtree(self.paths.run)

    def enter(self) -> list[str]:
        """Command prefix that runs something in the laboratory's network namespace."""
        return ["nsenter", "--target", str(self.require()), "--net"]

    def uplink_pid(self) -> int | None:
        """slirp4netns' process id, if it runs."""
        return read_pid(self.paths.uplink_pid, "slirp4netns")

    def uplink(self) -> None:
        """Connect the laboratory to the outside; nothing to do when it is connected."""
        if self.uplink_pid():
            return
        pid = self.require()
        read_end, write_end = os.pipe()
        command = ["slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback"]
        command += [f"--ready-fd={write_end}", str(pid), "tap0"]
        with (self.paths.run / "uplink.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=(write_end,)
            )
        os.close(write_end)
        with os.fdopen(read_end, "rb") as ready:
            told = ready.read(1)
        if told != b"1":
            reason = (self.paths.run / "uplink.log").read_text(errors="replace").strip()[-300:]
            raise LabError("LAB-UPLINK", f"slirp4netns did not start: {reason}. Run `lab.py uplink` again.")
        self.paths.uplink_pid.write_text(str(process.pid))

    def cut(self) -> None:
        """Disconnect the laboratory from the outside; nothing to do when it is cut."""
        pid = self.uplink_pid()
        if pid:
            os.kill(pid, signal.SIGTERM)
            self._wait_gone(pid, 5)
        if self.paths.uplink_pid.exists():
            self.paths.uplink_pid.unlink()

    def close_connections(self, address: str = "") -> None:
        """End the socat processes of SSH connections into the laboratory (to one address, or all).

        They were started by the user's ssh, hold the namespace, and keep a dead host's ControlMaster alive.
        """
        # Written at the start: a killed engine cannot be asked any more.
        record = self.paths.run / "namespace"
        namespace = Path(record.read_text(encoding="ascii")) if record.exists() else None
        mine = f"TCP:{address}:".encode() if address else b"TCP:"
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                ours = words[0] == b"socat" and any(word.startswith(mine) for word in words)
                if ours and (entry / "ns/net").readlink() == namespace:
                    os.kill(int(entry.name), signal.SIGKILL)

    def container_pid(self, container: str) -> int:
        """Process id of a container's first process; 0 when it does not run or does not exist."""
        done = self.docker("inspect", "-f", "{{.State.Pid}}", container, check=False)
        return int(done.stdout) if done.returncode == 0 else 0
