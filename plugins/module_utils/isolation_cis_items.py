# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The 32 items of section 5 of the CIS Docker Benchmark 1.6, in our words, and how each of them is judged.

Where this collection does otherwise, the reason is data here: EXPLANATIONS.
"""

from __future__ import annotations

from typing import Any, Optional

from .isolation_cis import (
    EXPLAINED,
    FAILED,
    PASSED,
    UNKNOWN,
    Item,
    Ruling,
    View,
    both,
    by_engine,
    by_probes,
    each,
    mounts,
    runs_sshd,
    word,
    words,
)
from .isolation_container import Target
from .isolation_mounts import SENSITIVE
from .isolation_report import NotSeenError, dig, whole

RESTARTS_MAX = 5
EXPLANATIONS = {
    "selinux": "This kernel runs no SELinux: the supported distributions confine by AppArmor, which 5.2 judges.",
    "restart": (
        "A host that was restarted has to serve again with nobody at hand. The engine waits longer after each failed "
        "start, and each end of a container is an event of the engine."
    ),
    "health-relay": (
        "The relay's image holds no client. Its socket is asked for an answer of the server when phase 3 ends."
    ),
    "health-gateway": (
        "Phase 3 ends when it answers through the edge: a check from within its container would pass where its only "
        "door is shut."
    ),
    "health-transient": "It lives for one download, whose end says whether it worked.",
    "devices": "A GPU that the inventory names is handed in, and no other device.",
}
HEALTH = {"relay": "health-relay", "gateway": "health-gateway", "fetcher": "health-transient",
          "egress": "health-transient"}  # fmt: skip


def _swarm(view: View) -> Ruling:
    if view.swarm is None:
        raise NotSeenError("the engine does not name its swarm state")
    return Ruling(PASSED if view.swarm == "inactive" else FAILED, "swarm mode is {0}".format(view.swarm))


def _selinux(view: View) -> Ruling:
    if not view.selinux:
        return Ruling(EXPLAINED, "no SELinux in this kernel", EXPLANATIONS["selinux"])

    def look(target: Target, config: dict[str, Any]) -> Optional[str]:
        options = [option.replace(":", "=") for option in words(config.get("SecurityOpt"), "SecurityOpt")]
        if "label=disable" in options or not word(dig(target.inspect, "ProcessLabel"), "ProcessLabel"):
            return "runs without a label"
        return None

    return by_engine(look, "every container has a label")(view)


def _no_capability_added(_target: Target, config: dict[str, Any]) -> Optional[str]:
    added = words(config.get("CapAdd"), "CapAdd")
    return "adds {0}".format(", ".join(added)) if added else None


def _no_sensitive_directory(target: Target, _config: dict[str, Any]) -> Optional[str]:
    sources = [
        str(item.get("Source") or "").rstrip("/") or "/" for item in mounts(target) if item.get("Type") == "bind"
    ]
    bad = sorted(set(sources) & SENSITIVE)
    return "mounts {0}".format(", ".join(bad)) if bad else None


def _no_sshd(view: View) -> Ruling:
    bad = []
    for target in view.targets:
        bad += ["{0}: {1}".format(target.name, name) for name in runs_sshd(view.members(target))]
    if not bad and (view.absent() or not view.targets):
        raise NotSeenError("not known: {0}".format(", ".join(view.absent()) or "any container"))
    return Ruling(FAILED if bad else PASSED, "; ".join(bad) or "no process of a container is called so")


def _not_the_hosts_network(_target: Target, config: dict[str, Any]) -> Optional[str]:
    return "network mode host" if word(config.get("NetworkMode"), "NetworkMode") == "host" else None


def _restarts(_target: Target, config: dict[str, Any]) -> Ruling:
    policy = config.get("RestartPolicy")
    if not isinstance(policy, dict):
        return Ruling(UNKNOWN, "the engine names no restart policy")
    name, count = word(policy.get("Name"), "restart policy"), policy.get("MaximumRetryCount")
    if name in ("", "no"):
        return Ruling(PASSED, "the engine does not restart it")
    if name == "on-failure" and isinstance(count, int) and whole(count) and 0 < count <= RESTARTS_MAX:
        return Ruling(PASSED, "restarted {0} times at most".format(count))
    if name == "unless-stopped":
        return Ruling(EXPLAINED, "restart policy unless-stopped", EXPLANATIONS["restart"])
    return Ruling(FAILED, "restart policy {0}, {1} times".format(name, count))


def _devices(_target: Target, config: dict[str, Any]) -> Ruling:
    given = [key for key in ("Devices", "DeviceRequests", "DeviceCgroupRules") if config.get(key)]
    if not given:
        return Ruling(PASSED, "no device")
    return Ruling(EXPLAINED, "has {0}".format(", ".join(given)), EXPLANATIONS["devices"])


def _default_limits(_target: Target, config: dict[str, Any]) -> Optional[str]:
    return "sets ulimits of its own" if config.get("Ulimits") else None


def _no_shared_propagation(target: Target, _config: dict[str, Any]) -> Optional[str]:
    bad = [str(item.get("Destination")) for item in mounts(target) if "shared" in str(item.get("Propagation"))]
    return "shares {0}".format(", ".join(bad)) if bad else None


def _default_cgroup(_target: Target, config: dict[str, Any]) -> Optional[str]:
    parent = word(config.get("CgroupParent"), "CgroupParent")
    return "control group below {0}".format(parent) if parent else None


def _health(target: Target, _config: dict[str, Any]) -> Ruling:
    health = dig(target.inspect, "State", "Health")
    if health is None:
        reason = HEALTH.get(target.role)
        if reason is None:
            return Ruling(FAILED, "has no health check")
        return Ruling(EXPLAINED, "has no health check of its own", EXPLANATIONS[reason])
    state = word(dig(health, "Status"), "health")
    if state in ("healthy", "starting"):
        return Ruling(PASSED, "is checked, and {0}".format(state))
    return Ruling(FAILED if state == "unhealthy" else UNKNOWN, "its health is {0}".format(state or "not known"))


def _not_the_default_bridge(target: Target, config: dict[str, Any]) -> Optional[str]:
    if word(config.get("NetworkMode"), "NetworkMode") in ("", "default", "bridge"):
        return "network mode {0}".format(config.get("NetworkMode") or "default")
    networks = dig(target.inspect, "NetworkSettings", "Networks")
    if not isinstance(networks, dict):
        raise NotSeenError("the engine lists no networks of {0}".format(target.name))
    return "is attached to the bridge network" if "bridge" in networks else None


def _own_user_namespace(_target: Target, config: dict[str, Any]) -> Optional[str]:
    return "user namespace of the host" if word(config.get("UsernsMode"), "UsernsMode") == "host" else None


# The probe reads what is published, the engine's answer has to be one.
_PORTS = both(by_probes("no-published-port"), by_engine(lambda _target, _config: None, "nothing is published"))
_START = "Start it as the roles of phase 3 do"
ITEMS: tuple[Item, ...] = (
    Item("5.1", "Swarm mode is off where nobody needs it", _swarm, "Leave the swarm (docker swarm leave)."),
    Item("5.2", "An AppArmor profile confines each container", by_probes("apparmor"), _START + " (role confinement)."),
    Item("5.3", "SELinux labels confine each container where the kernel has SELinux", _selinux,
         "Start it without security_opt label=disable."),
    Item("5.4", "Containers have no capability they do not need",
         both(by_probes("no-capabilities"), by_engine(_no_capability_added, "none added")),
         "Start it with cap_drop ALL and without cap_add."),
    Item("5.5", "No container is privileged", by_probes("not-privileged"), _START + "."),
    Item("5.6", "No system directory of the host is mounted",
         both(by_probes("mounts-expected"), by_engine(_no_sensitive_directory, "our directories alone")),
         "Mount what the roles mount and nothing else."),
    Item("5.7", "No container runs an SSH server", _no_sshd, "Remove it from the image; administer the host instead."),
    Item("5.8", "No privileged port is mapped", _PORTS, _START + "."),
    Item("5.9", "Only the ports that are needed are open", _PORTS, _START + "."),
    Item("5.10", "No container shares the host's network",
         both(by_probes("own-network-namespace"), by_engine(_not_the_hosts_network, "each has its own", covered=True)),
         _START + "."),
    Item("5.11", "Memory is limited", by_probes("memory-limited"), _START + "."),
    Item("5.12", "Processor time is limited", by_probes("cpu-limited"), _START + "."),
    Item("5.13", "The root file system is read-only", by_probes("read-only-root"), _START + "."),
    Item("5.14", "Published ports are bound to one address of the host", _PORTS, _START + "."),
    Item("5.15", "Restarts after a failure are limited", each(_restarts),
         "Use restart_policy on-failure with at most 5 retries, no, or unless-stopped."),
    Item("5.16", "No container shares the host's processes", by_probes("own-pid-namespace"), _START + "."),
    Item("5.17", "No container shares the host's IPC", by_probes("own-ipc-namespace"), _START + "."),
    Item("5.18", "No device of the host is handed in", both(by_probes("no-devices"), each(_devices)), _START + "."),
    Item("5.19", "The engine's default ulimits apply", by_engine(_default_limits, "none sets its own"),
         "Start it without ulimits; set them for the engine."),
    Item("5.20", "No mount is shared back to the host", by_engine(_no_shared_propagation, "none is shared"),
         "Mount with the propagation rprivate."),
    Item("5.21", "No container shares the host's name (UTS)", by_probes("own-uts-namespace"), _START + "."),
    Item("5.22", "A seccomp profile filters system calls", by_probes("seccomp", "seccomp-profile"), _START + "."),
    Item("5.23", "Nobody has a privileged shell in a container", by_probes("no-capabilities"),
         "End what docker exec --privileged started."),
    Item("5.24", "Nobody is root in a container by docker exec", by_probes("uid"), "End what docker exec -u started."),
    Item("5.25", "Containers stay in the engine's control group", by_engine(_default_cgroup, "the engine's own"),
         "Start it without cgroup_parent."),
    Item("5.26", "No process can gain privileges", by_probes("no-new-privileges"), _START + "."),
    Item("5.27", "The health of containers is checked while they run", each(_health),
         "Start it with the health check of the role, and look at what it says."),
    Item("5.28", "The image that runs is the current one", by_probes("image-pinned"),
         "Load the images of this release and run phase 3 again."),
    Item("5.29", "The number of processes is limited", by_probes("pids-limited"), _START + "."),
    Item("5.30", "No container is on the default bridge",
         by_engine(_not_the_default_bridge, "none is", covered=True), _START + "."),
    Item("5.31", "No container opts out of user namespaces", by_engine(_own_user_namespace, "none does"),
         "Start it without userns_mode host."),
    Item("5.32", "No container holds the engine's socket", by_probes("no-docker-socket"), _START + "."),
)  # fmt: skip
