# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One container as the engine describes it: what the kernel does not show, such as published ports and the image."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Optional

from .findings import Severity
from .isolation_container import ContainerProbes, HostView, Target
from .isolation_report import NotSeenError, Report, dig
from .procfs import ProcFS
from .seccomp import digest, named, option

PINNED = re.compile(r"(^|@)sha256:[0-9a-f]{64}$")
LOOPBACK_HOSTS = re.compile(r"^(https?://)?(127(\.\d{1,3}){3}|localhost|\[::1\])(:\d+)?/?$")
TRUE_WORDS = ("1", "true", "t", "yes", "on")


class EngineProbes(ContainerProbes):
    """The probes of the engine's answer. `network` is the mode that is expected: "none", or
    "container:<id>".
    """

    def __init__(
        self,
        proc: ProcFS,
        host: HostView,
        target: Target,
        report: Report,
        network: tuple[str, ...] = ("none",),
        image: Optional[str] = None,
    ) -> None:
        super().__init__(proc, host, target, report)
        self.network = network
        self.image = image

    def probes(self) -> dict[str, Callable[[], None]]:
        """Return {suffix of the check: the probe that records it}."""
        found: dict[str, Callable[[], None]] = {
            "not-privileged": self.privileged,
            "network-mode": self.network_mode,
            "no-published-port": self.published,
            "no-devices": self.devices,
            "seccomp-profile": self.seccomp_profile,
            "image-pinned": self.pinned,
        }
        if self.target.role == "ollama":
            found["settings"] = self.settings
        return found

    def _host_config(self) -> dict[str, Any]:
        value = dig(self.target.inspect, "HostConfig")
        # Every engine names a network mode: without one this is not an engine's answer, and absent keys prove nothing.
        if not isinstance(value, dict) or not isinstance(value.get("NetworkMode"), str):
            raise NotSeenError("the engine's answer holds no HostConfig")
        return value

    def privileged(self) -> None:
        """The container was not started with --privileged."""
        value = self._host_config().get("Privileged")
        if not isinstance(value, bool):
            raise NotSeenError("the engine does not say whether the container is privileged")
        self.facts["privileged"] = value
        remedy = "Start the container without privileged."
        evidence = "HostConfig.Privileged is {0}".format(str(value).lower())
        self.expect("not-privileged", not value, evidence, "ISO-PRIVILEGED", Severity.CRITICAL, remedy)

    def network_mode(self) -> None:
        """The container has the network mode of the design, and no Docker network besides."""
        mode = self._host_config().get("NetworkMode")
        if not isinstance(mode, str):
            raise NotSeenError("the engine names no network mode")
        networks = dig(self.target.inspect, "NetworkSettings", "Networks") or {}
        attached = sorted(name for name in networks if name != "none")
        self.facts["network_mode"], self.facts["networks"] = mode, attached
        evidence = "network mode {0}, networks: {1}".format(mode, ", ".join(attached) or "none")
        remedy = "Start the container with network_mode {0}.".format(" or ".join(self.network))
        holds = mode in self.network and not attached
        self.expect("network-mode", holds, evidence, "ISO-NETWORK-MODE", Severity.CRITICAL, remedy)

    def published(self) -> None:
        """No port is published, neither asked for nor in effect."""
        ports = dig(self.target.inspect, "NetworkSettings", "Ports") or {}
        wanted = self._host_config().get("PortBindings") or {}
        bad = sorted({name for name, bindings in list(ports.items()) + list(wanted.items()) if bindings})
        if self._host_config().get("PublishAllPorts"):
            bad.append("all exposed ports")
        evidence = "published: {0}".format(", ".join(bad) or "nothing")
        remedy = "Start the container without published ports; users come through the edge."
        self.expect("no-published-port", not bad, evidence, "ISO-PUBLISHED-PORT", Severity.CRITICAL, remedy)

    def devices(self) -> None:
        """No device of the host was handed in, but those that were allowed (a GPU)."""
        config = self._host_config()
        paths = [str(dig(item, "PathOnHost")) for item in config.get("Devices") or []]
        rules = [str(rule) for rule in config.get("DeviceCgroupRules") or []]
        requests = [
            str(name)
            for item in config.get("DeviceRequests") or []
            for name in (dig(item, "DeviceIDs") or [dig(item, "Driver") or "device request"])
        ]
        bad = [name for name in paths + rules + requests if name not in self._allowed_devices()]
        self.facts["devices"] = paths + requests
        evidence = "devices: {0}".format(", ".join(bad) or "none but the allowed")
        remedy = "Start the container without devices (a GPU is allowed by name)."
        self.expect("no-devices", not bad, evidence, "ISO-DEVICE", Severity.HIGH, remedy)

    def seccomp_profile(self) -> None:
        """The filter is the profile of this collection, known by its digest; the kernel says only that there is one."""
        options = self._host_config().get("SecurityOpt")
        if options is not None and not isinstance(options, list):
            raise NotSeenError("the engine's security options are no list")
        text = option(options or [], "seccomp")
        seen = self._profile_seen(text)
        # What a GPU's driver needs is allowed to a container that may have one, and to no other.
        wanted = ("rampart", "rampart-gpu") if self._allowed_devices() else ("rampart",)
        self.facts["seccomp_profile"] = seen
        remedy = "Start the container with the seccomp profile {0} (role confinement).".format(wanted[0])
        evidence = "seccomp profile: {0}".format(seen)
        self.expect("seccomp-profile", seen in wanted, evidence, "ISO-SECCOMP-PROFILE", Severity.HIGH, remedy)

    @staticmethod
    def _profile_seen(text: Optional[str]) -> str:
        if text is None:
            return "the engine's own"
        if text == "unconfined":
            return "none (unconfined)"
        return named(text) or "unknown, sha256 {0}".format(digest(text) or "of no JSON object")

    def _allowed_devices(self) -> tuple[str, ...]:
        """Return the devices this container may have: a GPU is the server's alone."""
        return self.target.devices if self.target.role == "ollama" else ()

    def pinned(self) -> None:
        """The image was named by its digest, and is the expected one."""
        named, identity = dig(self.target.inspect, "Config", "Image"), dig(self.target.inspect, "Image")
        if not isinstance(named, str) or not isinstance(identity, str):
            raise NotSeenError("the engine names no image")
        self.facts["image"] = {"named": named, "id": identity}
        if self.image is not None and identity != self.image:
            evidence = "runs {0}, expected {1}".format(identity, self.image)
            remedy = "Start the container from the image that was built for this release."
            self.expect("image-pinned", False, evidence, "ISO-WRONG-IMAGE", Severity.HIGH, remedy)
            return
        remedy = "Name the image by its id or digest, not by a tag."
        evidence = "started from {0}".format(named)
        holds = PINNED.search(named) is not None
        self.expect("image-pinned", holds, evidence, "ISO-UNPINNED-IMAGE", Severity.MEDIUM, remedy)

    def settings(self) -> None:
        """The server's own settings: loopback only, no pruning, no cloud, no proxy, no bodies in its log."""
        environment = self.proc.environment(self.target.pid)
        if not environment:
            raise NotSeenError("the kernel shows no environment")
        bad = []
        host = environment.get("OLLAMA_HOST", "")
        if not LOOPBACK_HOSTS.match(host):
            bad.append("OLLAMA_HOST is not loopback ({0})".format(host or "unset"))
        for name in ("OLLAMA_NOPRUNE", "OLLAMA_NO_CLOUD"):
            if environment.get(name, "").lower() not in TRUE_WORDS:
                bad.append("{0} is not set".format(name))
        if environment.get("OLLAMA_DEBUG_LOG_REQUESTS", "").lower() in TRUE_WORDS:
            bad.append("OLLAMA_DEBUG_LOG_REQUESTS is set")
        # Names only: a proxy's value may hold a password.
        bad += ["{0} is set".format(name) for name in sorted(environment) if name.upper().endswith("_PROXY")
                and name.upper() != "NO_PROXY"]  # fmt: skip
        remedy = "Start the server with OLLAMA_HOST=127.0.0.1:11434, OLLAMA_NOPRUNE=1, OLLAMA_NO_CLOUD=1 and no proxy."
        evidence = "; ".join(bad) or "OLLAMA_HOST={0}, NOPRUNE and NO_CLOUD set".format(host)
        self.expect("settings", not bad, evidence, "ISO-SETTINGS", Severity.HIGH, remedy)
