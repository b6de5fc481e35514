# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One container as the kernel sees it: identity, privileges, namespaces, interfaces and limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Optional

from .findings import Severity
from .isolation_container import ContainerProbes, HostView, Target
from .isolation_report import NotSeenError, Report, dig
from .nsenter import IFF_UP, interface_flags
from .procfs import CAPABILITY_SETS, ProcError, ProcFS, Status

# Devices that tunnel modules put, down, into every new namespace; harmless until raised, which takes CAP_NET_ADMIN.
FALLBACK_DEVICES = frozenset(
    ["tunl0", "sit0", "gre0", "gretap0", "erspan0", "ip_vti0"]
    + ["ip6_vti0", "ip6tnl0", "ip6gre0", "ip6gretap0", "ip6erspan0"]
)
# From here on a cgroup v1 memory limit is the kernel's way to say "none" (it rounds 2^63 down to a page).
NO_MEMORY_LIMIT = 1 << 60

FlagsReader = Callable[[int, list[str]], dict[str, int]]


class KernelProbes(ContainerProbes):
    """The probes of what the kernel says of a container's processes."""

    def __init__(
        self,
        proc: ProcFS,
        host: HostView,
        target: Target,
        report: Report,
        flags: Optional[FlagsReader] = None,
    ) -> None:
        super().__init__(proc, host, target, report)
        self.flags = flags or (lambda pid, names: interface_flags(pid, names, proc.root))

    def probes(self) -> dict[str, Callable[[], None]]:
        """Return {suffix of the check: the probe that records it}."""
        return {
            "uid": self.identity,
            "groups": self.groups,
            "no-capabilities": self.capabilities,
            "no-new-privileges": self.no_new_privileges,
            "seccomp": self.seccomp,
            "apparmor": self.apparmor,
            "no-interface-but-lo": self.interfaces,
            "own-network-namespace": lambda: self.own_namespace("network", "net"),
            "own-pid-namespace": lambda: self.own_namespace("pid", "pid"),
            "own-ipc-namespace": lambda: self.own_namespace("ipc", "ipc"),
            "own-uts-namespace": lambda: self.own_namespace("uts", "uts"),
            "memory-limited": self.memory,
            "pids-limited": self.process_limit,
            "cpu-limited": self.cpu,
        }

    # --- who ----------------------------------------------------------------------------------------------
    def members(self) -> dict[int, Status]:
        """Return every process of the container: those in its PID namespace, unless that is the host's."""
        first = self.target.pid
        found = {first: self.proc.status(first)}
        namespace = self.proc.namespace(first, "pid")
        if namespace in self.host.namespaces["pid"]:
            return found
        for pid in self.proc.pids():
            try:
                if pid != first and self.proc.pid_namespace(pid) == namespace:
                    found[pid] = self.proc.status(pid)
            except ProcError:
                if self.proc.alive(pid):
                    raise
        return found

    def identity(self) -> None:
        """Every process runs as the expected uid: real, effective, saved and file system uid."""
        wrong, seen = [], set()
        root = False
        for pid, status in self.members().items():
            inside = {self.proc.uid_inside(pid, uid) for uid in status.uids}
            seen |= inside
            root = root or 0 in inside or 0 in status.uids
            if inside != {self.target.uid}:
                wrong.append("{0}({1}) has uid {2}".format(status.name, pid, "/".join(map(str, status.uids))))
        self.facts["uids"] = sorted(seen)
        evidence = "; ".join(wrong) or "all processes run as uid {0}".format(self.target.uid)
        code, severity = ("ISO-ROOT-UID", Severity.CRITICAL) if root else ("ISO-WRONG-UID", Severity.HIGH)
        remedy = "Start the container with user {0} and leave no `docker exec -u` behind.".format(self.target.uid)
        self.expect("uid", not wrong, evidence, code, severity, remedy)

    def groups(self) -> None:
        """No process is in root's group or in the one that may use the Docker socket."""
        pairs = {(pid, gid) for pid, status in self.members().items() for gid in status.gids + status.groups}
        held = {gid for _pid, gid in pairs}
        self.facts["gids"] = sorted(held)
        # With userns-remap root's group has another number outside; inside it is root's all the same.
        root = {gid for pid, gid in pairs if self.proc.gid_inside(pid, gid) == 0}
        bad = sorted((held & self.host.forbidden_groups) | root)
        evidence = "member of group {0}".format(bad) if bad else "groups {0}".format(sorted(held))
        remedy = "Start the container with its own group and without group_add of root or docker."
        self.expect("groups", not bad, evidence, "ISO-PRIVILEGED-GROUP", Severity.HIGH, remedy)

    def capabilities(self) -> None:
        """All capability sets of all processes are empty; the bounding set too, so none can come back."""
        held = dict.fromkeys(CAPABILITY_SETS, 0)
        for status in self.members().values():
            for name, mask in status.capabilities.items():
                held[name] |= mask
        self.facts["capabilities"] = {name: "{0:016x}".format(mask) for name, mask in held.items()}
        bad = ["{0}={1:x}".format(name, mask) for name, mask in held.items() if mask]
        severity = Severity.CRITICAL if held["CapEff"] or held["CapPrm"] else Severity.HIGH
        remedy = "Start the container with cap_drop ALL and no cap_add."
        self.expect(
            "no-capabilities",
            not bad,
            ", ".join(bad) or "all sets are empty",
            "ISO-CAPABILITIES",
            severity,
            remedy,
        )

    def no_new_privileges(self) -> None:
        """No process can gain privileges by executing a set-uid program."""
        states = [status.no_new_privs for status in self.members().values()]
        if None in states:
            raise NotSeenError("the kernel reports no NoNewPrivs")
        self.facts["no_new_privs"] = all(states)
        remedy = "Start the container with security_opt no-new-privileges:true."
        evidence = "NoNewPrivs of {0} processes: all {1}".format(len(states), "1") if all(states) else "NoNewPrivs: 0"
        self.expect("no-new-privileges", all(states), evidence, "ISO-NEW-PRIVILEGES", Severity.HIGH, remedy)

    def seccomp(self) -> None:
        """A system call filter is active (mode 2) for every process."""
        modes = {status.seccomp for status in self.members().values()}
        if None in modes:
            raise NotSeenError("the kernel reports no Seccomp mode")
        self.facts["seccomp"] = sorted(mode for mode in modes if mode is not None)
        remedy = "Start the container without seccomp=unconfined (Docker's default profile or a stricter one)."
        evidence = "Seccomp mode {0}".format(self.facts["seccomp"])
        self.expect("seccomp", modes == {2}, evidence, "ISO-SECCOMP", Severity.HIGH, remedy)

    def apparmor(self) -> None:
        """The container's own AppArmor profile is enforced for every process, where the kernel has AppArmor."""
        self.facts["apparmor"] = None
        if not self.host.apparmor:
            # Nothing is enforced, so nothing passes; it is no finding, because nothing on the host can mend it.
            self.report.not_applicable(self.check("apparmor"), "this kernel has no AppArmor")
            return
        states = {self.proc.read(pid, "attr", "current").strip("\0\n ") for pid in self.members()}
        self.facts["apparmor"] = ", ".join(sorted(states))
        wanted = "rampart-{0} (enforce)".format(self.target.role)
        remedy = "Start it with security_opt apparmor=rampart-{0} (role confinement).".format(self.target.role)
        evidence = "AppArmor: {0}".format(self.facts["apparmor"])
        self.expect("apparmor", states == {wanted}, evidence, "ISO-APPARMOR", Severity.HIGH, remedy)

    # --- namespaces ---------------------------------------------------------------------------------------
    def own_namespace(self, word: str, kind: str) -> None:
        """The container does not share this namespace with the host."""
        inside, outside = self.proc.namespace(self.target.pid, kind), self.host.namespaces[kind]
        if not outside:
            raise NotSeenError("the host's own {0} namespace cannot be seen".format(kind))
        self.facts.setdefault("namespaces", {})[kind] = inside
        evidence = "{0} {1}".format(inside, "is the host's" if inside in outside else "is not the host's")
        remedy = "Start the container without the host's {0} namespace.".format(kind)
        code = "ISO-HOST-{0}".format(kind.upper())
        severity = Severity.CRITICAL if kind in ("net", "pid") else Severity.HIGH
        self.expect("own-{0}-namespace".format(word), inside not in outside, evidence, code, severity, remedy)

    def interfaces(self) -> None:
        """The network namespace holds lo and nothing else but fallback tunnel devices that are down."""
        names = self.proc.interfaces(self.target.pid)
        if not names:
            raise NotSeenError("net/dev lists no interface, not even lo")
        self.facts["interfaces"] = names
        others = [name for name in names if name != "lo"]
        fallback = [name for name in others if name in FALLBACK_DEVICES]
        bad = [name for name in others if name not in FALLBACK_DEVICES]
        if fallback and not bad:
            flags = self.flags(self.target.pid, fallback)
            bad = [name for name in fallback if flags.get(name, IFF_UP) & IFF_UP]
        evidence = "interfaces: {0}".format(", ".join(names))
        if fallback and not bad:
            evidence += " ({0}: fallback tunnel devices, down)".format(", ".join(fallback))
        remedy = "Start the container with network_mode none (the server: container:<relay>) and disconnect networks."
        self.expect("no-interface-but-lo", not bad, evidence, "ISO-INTERFACE", Severity.CRITICAL, remedy)

    # --- limits -------------------------------------------------------------------------------------------
    def _limit(self, controller: str, v1: str, v2: str, engine_key: str) -> tuple[str, str]:
        """Return (value, where it was read): the cgroup's file, or the engine's word where no cgroup is visible."""
        try:
            return self.proc.cgroup_file(self.target.pid, controller, v1, v2)
        except ProcError as error:
            value = dig(self.target.inspect, "HostConfig", engine_key)
            if value is None and engine_key != "PidsLimit":
                raise NotSeenError(str(error)) from error
            positive = isinstance(value, int) and not isinstance(value, bool) and value > 0
            return (str(value) if positive else "max", "engine: HostConfig.{0}".format(engine_key))

    def _limited(self, suffix: str, value: str, where: str, limited: bool, code: str, remedy: str) -> None:
        self.facts.setdefault("limits", {})[suffix.split("-")[0]] = value if limited else None
        self.expect(suffix, limited, "{0} ({1})".format(value, where), code, Severity.MEDIUM, remedy)

    def memory(self) -> None:
        """Memory is limited."""
        value, where = self._limit("memory", "memory.limit_in_bytes", "memory.max", "Memory")
        limited = value != "max" and 0 < int(value) < NO_MEMORY_LIMIT
        self._limited("memory-limited", value, where, limited, "ISO-MEMORY-UNLIMITED", "Set a memory limit.")

    def process_limit(self) -> None:
        """The number of processes is limited."""
        value, where = self._limit("pids", "pids.max", "pids.max", "PidsLimit")
        limited = value != "max" and int(value) > 0
        self._limited("pids-limited", value, where, limited, "ISO-PIDS-UNLIMITED", "Set a process limit.")

    def cpu(self) -> None:
        """Processor time is limited."""
        value, where = self._limit("cpu", "cpu.cfs_quota_us", "cpu.max", "NanoCpus")
        quota = value.split()[0] if value.split() else "max"
        limited = quota != "max" and int(quota) > 0
        self._limited("cpu-limited", value, where, limited, "ISO-CPU-UNLIMITED", "Set a CPU limit (cpus).")
