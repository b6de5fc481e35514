# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One container's mounts as the kernel sees them: read-only root, tmpfs options, and which parts of the
host are inside.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from .findings import Severity
from .isolation_container import ContainerProbes
from .isolation_report import NotSeenError, dig
from .procfs import Mount, host_paths, visible_mount

ENGINE_SOCKETS = ("docker.sock", "containerd.sock", "podman.sock", "crio.sock")
SOCKET_DIRECTORIES = ("", "run", "var/run", "run/containerd", "run/podman")
# What the engine itself puts into a container, from below its own directory.
ENGINE_MOUNTS = ("/", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
# Places where the engine mounts a virtual file system of the host's when a namespace is shared: judged as such there.
SHARED_PLACES = ("/proc", "/sys", "/dev/shm", "/dev/mqueue")  # noqa: S108 - compared, not used
VIRTUAL_FILE_SYSTEMS = frozenset(["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2"])
SENSITIVE = frozenset(
    ["/", "/etc", "/proc", "/sys", "/dev", "/boot", "/root", "/home", "/run", "/var", "/var/run", "/var/lib"]
    + ["/var/lib/docker", "/usr", "/srv"]
)


class MountProbes(ContainerProbes):
    """The probes of what a container has mounted."""

    def probes(self) -> dict[str, Callable[[], None]]:
        """Return {suffix of the check: the probe that records it}."""
        found: dict[str, Callable[[], None]] = {
            "read-only-root": self.root_mount,
            "tmp-noexec": self.tmp_noexec,
            "tmp-bounded": self.tmp_bounded,
            "proc-masked": self.proc_masked,
            "no-docker-socket": self.docker_socket,
            "mounts-expected": self.mounts_expected,
        }
        if "/models" in self.target.mounts:
            found["models-read-only"] = self.models
        return found

    def root_mount(self) -> None:
        """The root file system is mounted read-only."""
        root = visible_mount(self.proc.mounts(self.target.pid), "/")
        if root is None:
            raise NotSeenError("mountinfo names no root")
        # The super block of an overlay stays rw: only the mount's own option says what this container may do.
        self.facts["root_read_only"] = root.read_only
        evidence = "/ is {0} ({1})".format("read-only" if root.read_only else "writable", root.fs_type)
        remedy = "Start the container with read_only."
        self.expect("read-only-root", root.read_only, evidence, "ISO-ROOTFS-WRITABLE", Severity.HIGH, remedy)

    def _writable_tmpfs(self) -> list[Mount]:
        """Return the writable tmpfs mounts a process could put files into; /dev is the engine's and root's alone."""
        mounts = self.proc.mounts(self.target.pid)
        return [
            mount
            for mount in mounts
            if mount.fs_type == "tmpfs" and not mount.read_only and not self._engines_own(mount)
        ]

    def _engines_own(self, mount: Mount) -> bool:
        if mount.point == "/dev" or mount.point.startswith(("/dev/", "/proc/", "/sys/")):
            return True
        # A directory of the host that lies on tmpfs (/run) is a bind mount: judged by `mounts_expected`.
        return self._foreign(mount)

    def tmp_noexec(self) -> None:
        """No writable tmpfs can be executed from; /tmp is one of them, or lies on a read-only root."""
        mounts = self._writable_tmpfs()
        self.facts["tmpfs"] = sorted(mount.point for mount in mounts)
        bad = [mount.point for mount in mounts if not {"noexec", "nosuid", "nodev"} <= mount.options]
        evidence = (
            "without noexec,nosuid,nodev: {0}".format(", ".join(bad))
            if bad
            else "writable: {0}, all noexec".format(", ".join(self.facts["tmpfs"]) or "nothing")
        )
        remedy = "Mount the tmpfs with noexec,nosuid,nodev."
        self.expect("tmp-noexec", not bad, evidence, "ISO-TMP-EXEC", Severity.MEDIUM, remedy)

    def tmp_bounded(self) -> None:
        """Every writable tmpfs has a size limit."""
        mounts = self._writable_tmpfs()
        bad = [mount.point for mount in mounts if not any(word.startswith("size=") for word in mount.super_options)]
        evidence = "without a size: {0}".format(", ".join(bad)) if bad else "every writable tmpfs has a size"
        remedy = "Mount the tmpfs with size=."
        self.expect("tmp-bounded", not bad, evidence, "ISO-TMP-UNBOUNDED", Severity.MEDIUM, remedy)

    def proc_masked(self) -> None:
        """The dangerous parts of /proc are covered: /proc/sys read-only, /proc/kcore hidden."""
        mounts = self.proc.mounts(self.target.pid)
        sysctl = visible_mount(mounts, "/proc/sys")
        covered = sysctl is not None and sysctl.read_only
        hidden = visible_mount(mounts, "/proc/kcore") is not None or visible_mount(mounts, "/proc/keys") is not None
        evidence = "/proc/sys read-only: {0}; /proc/kcore or keys masked: {1}".format(covered, hidden)
        remedy = "Start the container without systempaths=unconfined and without --privileged."
        self.expect("proc-masked", covered and hidden, evidence, "ISO-PROC-UNMASKED", Severity.HIGH, remedy)

    def models(self) -> None:
        """The model store is mounted, and read-only."""
        mount = visible_mount(self.proc.mounts(self.target.pid), "/models")
        remedy = "Mount the store with read_only (volume ...:/models:ro)."
        if mount is None:
            evidence, code = "nothing is mounted on /models", "ISO-STORE-NOT-MOUNTED"
        else:
            evidence, code = (
                "/models is {0}".format("read-only" if mount.read_only else "writable"),
                "ISO-STORE-WRITABLE",
            )
        holds = mount is not None and mount.read_only
        self.expect("models-read-only", holds, evidence, code, Severity.CRITICAL, remedy)

    def docker_socket(self) -> None:
        """No control socket of a container engine is reachable by path."""
        bad = set()
        for mount in self.proc.mounts(self.target.pid):
            if mount.root.endswith(ENGINE_SOCKETS) or mount.point.endswith(ENGINE_SOCKETS):
                bad.add(mount.point)
        for point in ["/", *self._foreign_points()]:
            for directory in SOCKET_DIRECTORIES:
                for name in ENGINE_SOCKETS:
                    path = os.path.join(point, directory, name)
                    if self._is_socket(path):
                        bad.add(path)
        # The engine's word adds what the walk may miss: the source's name, whatever it is called inside.
        for item in dig(self.target.inspect, "Mounts") or []:
            if str(dig(item, "Source")).endswith(ENGINE_SOCKETS):
                bad.add(str(dig(item, "Destination")))
        remedy = "Never mount an engine's socket (or the directory that holds it) into a container."
        evidence = "engine socket at {0}".format(", ".join(sorted(bad))) if bad else "no engine socket seen"
        self.expect("no-docker-socket", not bad, evidence, "ISO-DOCKER-SOCKET", Severity.CRITICAL, remedy)

    def _is_socket(self, path: str) -> bool:
        """Whether a path inside the container is a socket; links are not followed (they would lead to our own root)."""
        current = self.proc.path(self.target.pid, "root")
        parts = [part for part in path.split("/") if part]
        for index, part in enumerate(parts):
            current = os.path.join(current, part)
            try:
                mode = os.lstat(current).st_mode
            except OSError:
                return False
            if index == len(parts) - 1:
                return stat.S_ISSOCK(mode)
            if not stat.S_ISDIR(mode):
                return False
        return False

    def _foreign_points(self) -> list[str]:
        """Return the mount points that hold a part of the host: neither the engine's own nor virtual."""
        mounts = self.proc.mounts(self.target.pid)
        return sorted({mount.point for mount in mounts if mount.point not in ENGINE_MOUNTS and self._foreign(mount)})

    def _foreign(self, mount: Mount) -> bool:
        if mount.fs_type not in VIRTUAL_FILE_SYSTEMS:
            return True
        inner = mount.point.startswith(("/proc/", "/sys/", "/dev/"))
        if mount.fs_type in ("devpts", "mqueue"):
            return not mount.point.startswith("/dev/")
        if mount.fs_type in ("cgroup", "cgroup2"):
            return not mount.point.startswith("/sys/")
        # A bind mount of the host's /run (a tmpfs), /dev or /proc is known by its device being mounted on the host too.
        if mount.device in self.host.devices:
            return mount.point not in SHARED_PLACES and not inner
        if mount.fs_type == "tmpfs":
            return mount.root != "/" and not inner
        return mount.point not in SHARED_PLACES and not inner

    def mounts_expected(self) -> None:
        """Of the host's directories only the expected ones are mounted, and no more writable than expected."""
        mounts = self.proc.mounts(self.target.pid)
        foreign = self._foreign_points()
        self.facts["host_mounts"] = foreign
        unexpected = [point for point in foreign if point not in self.target.mounts]
        writable = []
        for point, mode in self.target.mounts.items():
            mount = visible_mount(mounts, point)
            if mode == "ro" and mount is not None and not mount.read_only:
                writable.append(point)
        sources = {
            str(dig(item, "Destination")): str(dig(item, "Source"))
            for item in dig(self.target.inspect, "Mounts") or []
            if dig(item, "Type") != "tmpfs"
        }
        led = {point: self._leads_to(point, mounts, sources) for point in unexpected}
        sensitive = any(SENSITIVE & paths for paths in led.values())
        bad = [
            "{0}{1} is not expected".format(
                point, " ({0} of the host)".format(", ".join(sorted(paths & SENSITIVE or paths)[:3])) if paths else ""
            )
            for point, paths in led.items()
        ] + ["{0} is writable".format(point) for point in writable]
        code, severity = "ISO-UNEXPECTED-MOUNT", Severity.HIGH
        if sensitive:
            code, severity = "ISO-HOST-MOUNT", Severity.CRITICAL
        remedy = "Mount only {0}.".format(", ".join(sorted(self.target.mounts)) or "nothing of the host")
        evidence = "; ".join(bad) or "host directories: {0}".format(", ".join(foreign) or "none")
        self.expect("mounts-expected", not bad, evidence, code, severity, remedy)

    def _leads_to(self, point: str, mounts: list[Mount], sources: dict[str, str]) -> set[str]:
        """Return the host's directories at a mount point, by the engine's word and by the kernel's."""
        found = {sources[point].rstrip("/") or "/"} if point in sources else set()
        mount = visible_mount(mounts, point)
        return found | host_paths(mount, list(self.host.mounts)) if mount is not None else found
