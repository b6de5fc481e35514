# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What guards a host: Docker's configuration, our firewall table, and automatic security updates, as they are."""

from __future__ import annotations

import json
import os
import stat
from typing import Any, Optional

from .engine import EngineError
from .findings import Severity
from .hostinfo import Host
from .isolation_report import NotSeenError, Report, dig
from .procfs import TCP_LISTEN, ProcError, is_loopback

DAEMON_SETTINGS: tuple[tuple[str, Any, str], ...] = (
    ("no-new-privileges", True, "DOCKER-NO-NEW-PRIVILEGES"),
    ("live-restore", True, "DOCKER-LIVE-RESTORE"),
    ("icc", False, "DOCKER-ICC"),
    ("userland-proxy", False, "DOCKER-USERLAND-PROXY"),
)
TABLE = ("inet", "rampart")
OLLAMA_PORT = 11434
DOCKER_PORTS = (2375, 2376)


class Docker:
    """The looks at the Docker Engine."""

    def __init__(self, host: Host, report: Report) -> None:
        self.host = host
        self.report = report
        self.facts: dict[str, Any] = {}

    def run(self) -> None:
        """Take every look."""
        self.report.facts["docker"] = self.facts
        looks = {
            "docker-running": self.running,
            "docker-daemon-hardened": self.settings,
            "docker-no-tcp-socket": self.tcp,
            "docker-group-empty": self.group,
            "docker-socket-permissions": self.socket,
        }
        for check_id, look in looks.items():
            with self.report.probe(check_id, "Docker Engine"):
                look()

    def running(self) -> None:
        """The engine answers."""
        try:
            version, info = self.host.engine.version(), self.host.engine.info()
        except EngineError as error:
            self.facts["version"] = None
            remedy = "Install or start Docker (systemctl start docker)."
            self._expect("docker-running", False, str(error), "DOCKER-DOWN", Severity.MEDIUM, remedy)
            return
        self.facts["version"] = version.get("Version")
        self.facts["live_restore"] = info.get("LiveRestoreEnabled")
        self.facts["security_options"] = info.get("SecurityOptions")
        self.facts["cgroup_version"] = info.get("CgroupVersion")
        self.report.record("docker-running", True, "Docker {0}".format(version.get("Version")))

    def _daemon(self) -> Optional[dict[str, Any]]:
        text = self.host.text_or_none("etc/docker/daemon.json")
        if text is None:
            return None
        try:
            data = json.loads(text or "{}")
        except ValueError as error:
            raise NotSeenError("daemon.json is no JSON ({0})".format(error)) from error
        if not isinstance(data, dict):
            raise NotSeenError("daemon.json holds no object")
        return data

    def settings(self) -> None:
        """daemon.json holds the hardened settings, and the running engine has taken them."""
        found = self._daemon()
        self.facts["daemon"] = found
        data = found or {}
        bad = []
        for key, wanted, code in DAEMON_SETTINGS:
            if data.get(key) is not wanted:
                text = "{0} is {1}, not {2}".format(key, json.dumps(data.get(key)), json.dumps(wanted))
                bad.append((code, text))
        rotates = data.get("log-driver") in ("json-file", "local") and dig(data, "log-opts", "max-size")
        if not rotates:
            bad.append(("DOCKER-LOG-ROTATION", "log-driver is not json-file or local with max-size"))
        if not bad and self.facts.get("live_restore") is False:
            bad.append(("DOCKER-STALE-SETTINGS", "the running engine has not taken live-restore: it was not restarted"))
        for code, text in bad:
            remedy = "Let role docker_engine write /etc/docker/daemon.json and restart Docker."
            self._expect("docker-daemon-hardened", False, text, code, Severity.MEDIUM, remedy)
        if not bad:
            self.report.record("docker-daemon-hardened", True, "daemon.json holds every hardened setting")

    def tcp(self) -> None:
        """The engine is reached by its Unix socket alone: by file, command line and listeners."""
        bad = [
            "daemon.json: {0}".format(item)
            for item in (self._daemon() or {}).get("hosts") or []
            if "tcp://" in str(item)
        ]
        for pid in self.host.proc.pids():
            try:
                if self.host.proc.read(pid, "comm").strip() == "dockerd":
                    bad += [
                        "command line: {0}".format(word) for word in self.host.proc.command(pid) if "tcp://" in word
                    ]
            except ProcError:
                continue
        ports = sorted({item["port"] for item in listeners(self.host) if item["port"] in DOCKER_PORTS})
        bad += ["something listens on port {0}".format(port) for port in ports]
        remedy = "Remove tcp:// from daemon.json, the unit and its drop-ins, and restart Docker."
        evidence = "; ".join(bad) or "no TCP address in daemon.json, command line or listeners"
        self._expect("docker-no-tcp-socket", not bad, evidence, "DOCKER-TCP-SOCKET", Severity.HIGH, remedy)

    def group(self) -> None:
        """Nobody is in the group that may use the socket: it is root's equal."""
        members: list[str] = []
        gid = None
        for line in self.host.text("etc/group").splitlines():
            fields = line.split(":")
            if fields[0] == "docker" and len(fields) == 4:
                gid = fields[2]
                members += [name for name in fields[3].split(",") if name]
        if gid is not None:
            for line in self.host.text("etc/passwd").splitlines():
                fields = line.split(":")
                if len(fields) == 7 and fields[3] == gid:
                    members.append(fields[0])
        self.facts["group_members"] = sorted(set(members))
        evidence = "members: {0}".format(", ".join(sorted(set(members))) or "none")
        remedy = "Remove them (gpasswd -d USER docker); use sudo for the few who need Docker."
        self._expect("docker-group-empty", not members, evidence, "DOCKER-GROUP-MEMBERS", Severity.HIGH, remedy)

    def socket(self) -> None:
        """The engine's socket is root's and closed to others."""
        path = self.host.engine.socket_path
        try:
            found = os.stat(path)
        except OSError as error:
            raise NotSeenError("{0}: {1}".format(path, error.strerror)) from error
        mode = stat.S_IMODE(found.st_mode)
        holds = found.st_uid == 0 and not mode & 0o007
        evidence = "{0}: uid {1}, mode {2:04o}".format(path, found.st_uid, mode)
        remedy = "chown root and chmod 0660 the socket; look at docker.socket for SocketMode."
        self._expect("docker-socket-permissions", holds, evidence, "DOCKER-SOCKET-MODE", Severity.HIGH, remedy)

    def _expect(self, check_id: str, holds: bool, evidence: str, code: str, severity: Severity, remedy: str) -> None:
        self.report.expect(check_id, holds, evidence, code, severity, "Docker Engine", remedy)


class Firewall:
    """The looks at our own nftables table."""

    def __init__(self, host: Host, report: Report) -> None:
        self.host = host
        self.report = report

    def run(self) -> None:
        """Take every look."""
        self.report.facts["firewall"] = None
        try:
            items = self._items()
        except NotSeenError as error:
            for check_id in ("firewall-own-table", "firewall-default-deny", "firewall-11434-closed"):
                self.report.unknown(check_id, "firewall", error)
            return
        chains = {item["chain"].get("name"): item["chain"] for item in items if isinstance(item.get("chain"), dict)}
        rules = [item["rule"] for item in items if isinstance(item.get("rule"), dict)]
        policies = {str(name): chain.get("policy") for name, chain in chains.items() if chain.get("hook")}
        self.report.facts["firewall"] = {"table": "{0} {1}".format(*TABLE), "policies": policies, "rules": len(rules)}
        missing = [name for name in ("input", "forward") if dig(chains, name, "hook") != name]
        evidence = (
            "base chains missing: {0}".format(", ".join(missing))
            if missing
            else "table {0} {1} is loaded".format(*TABLE)
        )
        remedy = "Run phase 1 again: role firewall loads the table; look at rampart-firewall.service."
        self._expect("firewall-own-table", not missing, evidence, "FIREWALL-TABLE-MISSING", Severity.MEDIUM, remedy)
        if not items:
            # One finding is enough: what a table that is not there would have refused follows from it.
            for check_id in ("firewall-default-deny", "firewall-11434-closed"):
                self.report.record(check_id, False, "table {0} {1} is not loaded".format(*TABLE))
            return
        with self.report.probe("firewall-default-deny", "firewall"):
            self.default_deny(policies, rules)
        with self.report.probe("firewall-11434-closed", "firewall"):
            self.ollama_port(rules)

    def _items(self) -> list[dict[str, Any]]:
        """Return what nft lists of our table; nothing when there is no such table. Raises NotSeenError."""
        status, output, errors = self.host.run(["nft", "-j", "list", "table", *TABLE])
        if status != 0:
            if "No such file or directory" in errors:
                return []
            raise NotSeenError("nft: {0}".format(errors.strip() or "exit status {0}".format(status)))
        try:
            items = json.loads(output)["nftables"]
        except (ValueError, KeyError, TypeError) as error:
            raise NotSeenError("nft answered something else than its JSON") from error
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise NotSeenError("nft answered something else than its JSON")
        return items

    def default_deny(self, policies: dict[str, Any], rules: list[dict[str, Any]]) -> None:
        """What no rule admits is dropped, coming in and passing through, and no rule admits everything."""
        bad = ["policy of {0} is {1}".format(name, policies.get(name)) for name in ("input", "forward")
               if policies.get(name) != "drop"]  # fmt: skip
        for rule in rules:
            expressions = [item for item in rule.get("expr") or [] if not {"counter", "log", "comment"} & set(item)]
            if rule.get("chain") in ("input", "forward") and expressions and "accept" in expressions[0]:
                bad.append("a rule of {0} accepts everything".format(rule.get("chain")))
        evidence = "; ".join(bad) or "input and forward drop what no rule admits"
        remedy = "Run phase 1 again: role firewall loads its table with policy drop."
        self._expect("firewall-default-deny", not bad, evidence, "FIREWALL-NOT-DEFAULT-DENY", Severity.HIGH, remedy)

    def ollama_port(self, rules: list[dict[str, Any]]) -> None:
        """No rule admits 11434, and nothing listens on it where others could reach it."""
        bad = []
        for rule in rules:
            expressions = rule.get("expr") or []
            if any("accept" in item for item in expressions) and any(
                _admits_port(item, OLLAMA_PORT) for item in expressions
            ):
                bad.append("a rule of {0} accepts port {1}".format(rule.get("chain"), OLLAMA_PORT))
        bad += [
            "something listens on {0}:{1}".format(item["address"], item["port"])
            for item in listeners(self.host)
            if item["port"] == OLLAMA_PORT and not item["loopback"]
        ]
        evidence = "; ".join(bad) or "no rule accepts it and nothing listens on it"
        remedy = "Remove the rule from firewall_allow or stop the listener; the gateway is the only way to a model."
        self._expect("firewall-11434-closed", not bad, evidence, "FIREWALL-11434-OPEN", Severity.HIGH, remedy)

    def _expect(self, check_id: str, holds: bool, evidence: str, code: str, severity: Severity, remedy: str) -> None:
        self.report.expect(check_id, holds, evidence, code, severity, "firewall", remedy)


class Updates:
    """The look at automatic security updates."""

    def __init__(self, host: Host, report: Report) -> None:
        self.host = host
        self.report = report

    def run(self) -> None:
        """Take the look."""
        with self.report.probe("updates-security-automatic", "updates"):
            self.automatic()

    def automatic(self) -> None:
        """unattended-upgrades is installed, switched on, has security origins, and nobody masked its timers."""
        status, output, errors = self.host.run(["apt-config", "dump"])
        if status != 0:
            raise NotSeenError("apt-config: {0}".format(errors.strip()))
        values: dict[str, str] = {}
        origins = []
        for line in output.splitlines():
            name, _space, value = line.partition(" ")
            value = value.strip().rstrip(";").strip('"')
            values[name] = value
            if name in ("Unattended-Upgrade::Origins-Pattern::", "Unattended-Upgrade::Allowed-Origins::"):
                origins.append(value)
        bad = []
        if not self.host.path("usr/bin/unattended-upgrade").exists():
            bad.append("unattended-upgrades is not installed")
        for name in ("APT::Periodic::Unattended-Upgrade", "APT::Periodic::Update-Package-Lists"):
            if values.get(name, "0") in ("", "0"):
                bad.append("{0} is off".format(name))
        if values.get("APT::Periodic::Enable", "1") == "0":
            bad.append("APT::Periodic::Enable is off")
        if not any("security" in item.lower() for item in origins):
            bad.append("no security origin")
        for unit in ("apt-daily.timer", "apt-daily-upgrade.timer", "apt-daily.service", "apt-daily-upgrade.service"):
            path = self.host.path("etc/systemd/system") / unit
            if path.is_symlink() and os.readlink(path) == "/dev/null":
                bad.append("{0} is masked".format(unit))
        self.report.facts["updates"] = {"origins": origins, "problems": bad}
        evidence = "; ".join(bad) or "on, origins: {0}".format(", ".join(origins))
        remedy = "Run phase 1 again: role security_updates configures unattended-upgrades; unmask its timers."
        self.report.expect(
            "updates-security-automatic", not bad, evidence, "UPDATES-NOT-AUTOMATIC", Severity.MEDIUM, "updates", remedy
        )


def listeners(host: Host) -> list[dict[str, Any]]:
    """Return {address, port, loopback} of everything that listens by TCP in our own network namespace.

    Raises ProcError or NotSeenError when a table cannot be read.
    """
    found = []
    for family in ("tcp", "tcp6"):
        sockets = host.proc.sockets("self", family)
        if sockets is None and family == "tcp":
            raise NotSeenError("/proc shows no TCP sockets")
        for item in sockets or []:
            if item.state == TCP_LISTEN:
                found.append(
                    {"address": str(item.local), "port": item.local_port, "loopback": is_loopback(item.local)}
                )  # fmt: skip
    return sorted(found, key=lambda item: (item["port"], item["address"]))


def _admits_port(expression: Any, port: int) -> bool:
    """Whether a match expression of nft compares a destination port with something that holds `port`."""
    match = dig(expression, "match")
    if (
        not isinstance(match, dict)
        or dig(match, "left", "payload", "field") != "dport"
        or match.get("op") not in ("==", "in")
    ):
        return False
    return _holds(match.get("right"), port)


def _holds(value: Any, port: int) -> bool:
    if isinstance(value, dict):
        bounds = value.get("range")
        if isinstance(bounds, list) and len(bounds) == 2 and all(isinstance(bound, int) for bound in bounds):
            return bool(bounds[0] <= port <= bounds[1])
        return any(_holds(item, port) for item in value.get("set") or [])
    return bool(value == port)
