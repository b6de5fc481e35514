# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole survey of a host's isolation: what the watch looks at all the time, and what is asked for now and then.

Added to the look of `isolation` are the networks with their members, a second server by its image, the
containers of a download while it runs, the host's firewall, attempts to get out from inside, and the CIS items.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Optional

from .findings import Severity
from .hostinfo import Host, run_command
from .hostinfo_guards import Firewall
from .isolation import Expectation, Observation, contradiction, inspect_container, observe
from .isolation_cis import View, judge
from .isolation_cis_items import ITEMS
from .isolation_container import Target
from .isolation_egress import EgressProbes
from .isolation_inquiry import SECONDS, Answers, Asked, Summary, ask
from .isolation_kernel import FlagsReader, KernelProbes
from .isolation_report import NotSeenError, Report, dig, whole
from .procfs import ProcFS

TRANSIENT_UIDS = {"fetcher": 10003, "egress": 10004}
TRANSIENT_MOUNTS = {
    "fetcher": {"/quarantine": "rw", "/run/egress": "ro", "/run/rampart-ca.pem": "ro"},
    "egress": {"/etc/rampart-egress": "ro", "/var/log/squid": "rw", "/run/egress": "rw"},
}
# The way out has an interface, on a network of its own: that is what it is for.
EGRESS_WITHOUT = ("no-interface-but-lo", "network-mode")


@dataclass
class Wishes:
    """What the survey adds to the look: each part can be left out.

    `engine_seconds` bounds everything that is asked of the engine, `egress_seconds` each attempt to get out.
    """

    firewall: bool = False
    egress: bool = False
    egress_seconds: float = 1.0
    engine_seconds: float = SECONDS
    run: Callable[[list[str]], tuple[int, str, str]] = run_command


def survey(
    expected: Expectation,
    engine: Asked,
    wishes: Wishes,
    proc: Optional[ProcFS] = None,
    flags: Optional[FlagsReader] = None,
    sysfs: str = "/sys",
) -> dict[str, Any]:
    """Look at everything once and return the report's plain data with the rows of the CIS items under `cis`.

    Never raises for what it finds or cannot see.
    """
    answers = ask(engine, expected.containers, expected.images, wishes.engine_seconds)

    def finder(role: str) -> Optional[dict[str, Any]]:
        return answers.component(role, expected.images.get(role))

    seen = observe(expected, answers, proc, flags, sysfs, finder)
    report = seen.report
    for key, empty in (("networks", None), ("transient", []), ("second_servers", None), ("firewall", None)):
        report.facts[key] = empty
    report.facts["egress"] = None
    engine_probes = EngineSurvey(expected, answers, seen)
    engine_probes.networks()
    engine_probes.second_server()
    passing = engine_probes.transient(flags)
    if wishes.firewall:
        firewall(report, seen.proc, wishes.run)
    if wishes.egress:
        report.facts["egress"] = EgressProbes(seen.proc, report, wishes.egress_seconds).run(seen.targets)
    view = View(
        report,
        seen.proc,
        seen.host,
        [*seen.targets.values(), *passing],
        tuple(expected.containers),
        answers.swarm,
        os.path.isdir(os.path.join(sysfs, "fs", "selinux")),
        lambda target: process_names(seen, target),
    )
    rows = judge(view, ITEMS)
    return {**report.as_dict(), "cis": rows}


class EngineSurvey:
    """What the engine's lists tell of the containers together."""

    def __init__(self, expected: Expectation, answers: Answers, seen: Observation) -> None:
        self.expected = expected
        self.answers = answers
        self.seen = seen
        self.report = seen.report
        self.roles = {str(dig(target.inspect, "Id")): role for role, target in seen.targets.items()}

    def _running(self, check_id: str) -> Optional[list[Summary]]:
        """Return the running containers, or None after saying that they are not known."""
        if self.answers.running is not None:
            return self.answers.running
        if "inspected" in self.answers.reasons:
            # That the engine does not answer is one finding already.
            self.report.record(check_id, None, "the engine does not answer")
        else:
            self.report.unknown(check_id, "Docker Engine", self.answers.reason("running"))
        return None

    def _role(self, item: Summary) -> str:
        known = item.component if item.component in (*self.expected.containers, *TRANSIENT_UIDS) else ""
        return self.roles.get(item.identity) or known

    def networks(self) -> None:
        """None of the isolated containers is a member of a network; the way out is a member of one, its own."""
        check_id = "isolation-networks"
        running = self._running(check_id)
        if running is None:
            return
        with self.report.probe(check_id, "networks"):
            if self.answers.networks is None:
                raise NotSeenError(self.answers.reason("networks"))
            self.report.facts["networks"] = [
                {
                    **network,
                    "members": sorted(item.name for item in running if network["name"] in item.networks),
                    "ours": sorted({self._role(item) for item in running if network["name"] in item.networks} - {""}),
                }
                for network in self.answers.networks
            ]
            bad = [
                "{0} is in {1}".format(item.name, ", ".join(item.networks))
                for item in running
                if item.networks and self._role(item) and (self._role(item) != "egress" or len(item.networks) > 1)
            ]
            evidence = "; ".join(bad) or "{0} networks, none with a member that must have none".format(
                len(self.answers.networks)
            )
            remedy = "Disconnect it (docker network disconnect) and run phase 3 again."
            self.report.expect(
                check_id, not bad, evidence, "ISO-NETWORK-MODE", Severity.CRITICAL, "networks", remedy
            )  # fmt: skip

    def second_server(self) -> None:
        """No other container runs from the server's image, whatever its name and port."""
        check_id = "isolation-no-second-server"
        if "ollama" not in self.expected.containers:
            return
        running = self._running(check_id)
        if running is None:
            return
        with self.report.probe(check_id, "processes"):
            server = self.seen.targets.get("ollama")
            image = self.expected.images.get("ollama") or (dig(server.inspect, "Image") if server else None)
            if not isinstance(image, str):
                raise NotSeenError("the server's image is not known")
            found = [item for item in running if item.image == image and self.roles.get(item.identity) != "ollama"]
            self.report.facts["second_servers"] = [item.name for item in found]
            evidence = "also run from its image: {0}".format(", ".join(item.name for item in found))
            self.report.expect(
                check_id,
                not found,
                evidence if found else "no other container runs from the server's image",
                "ISO-NATIVE-OLLAMA",
                Severity.CRITICAL,
                "processes",
                "Stop and remove the other container.",
            )

    def transient(self, flags: Optional[FlagsReader]) -> list[Target]:
        """Look at the containers of a download, while it runs, as at the others."""
        found = []
        for item in self.answers.running or []:
            if item.component not in TRANSIENT_UIDS:
                continue
            role = item.component
            running = "{0}-running".format(role)
            inspect = self.answers.inspected.get(item.identity)
            pid = dig(inspect, "State", "Pid")
            if not whole(pid) or pid <= 0:
                self.report.unknown(running, item.name, "the engine does not describe it any more")
                continue
            reason = contradiction(self.seen.proc, pid, item.identity)
            if reason:
                self.report.unknown(running, item.name, reason)
                continue
            uid = self.expected.uids.get(role, TRANSIENT_UIDS[role])
            places = self.expected.mounts.get(role, TRANSIENT_MOUNTS[role])
            target = Target(role, item.name, uid, pid, inspect or {}, places)
            facts = inspect_container(
                target,
                self.seen.proc,
                self.seen.host,
                self.report,
                flags,
                ("none",),
                self.expected.images.get(role),
                EGRESS_WITHOUT if role == "egress" else (),
            )
            self.report.record(running, True, "runs as process {0}".format(pid))
            self.report.facts["transient"].append({"role": role, "name": item.name, "pid": pid, **facts})
            found.append(target)
        return found


def firewall(report: Report, proc: ProcFS, run: Callable[[list[str]], tuple[int, str, str]]) -> None:
    """Record whether the host's own table is loaded and drops what no rule admits, as role firewall's check sees it."""
    aside = Report()
    with report.probe("isolation-firewall", "firewall"):
        Firewall(Host(proc=proc, run=run), aside).run()
        report.facts["firewall"] = aside.facts.get("firewall")
        report.findings += aside.findings
        order = ("passed", "unknown", "failed")
        worst = max(aside.checks.values(), key=lambda item: order.index(item.status))
        holds = {"passed": True, "failed": False}.get(worst.status)
        report.record("isolation-firewall", holds, worst.evidence)


def process_names(seen: Observation, target: Target) -> list[str]:
    """Return the names of a container's processes. Raises NotSeenError where they cannot be told from the host's."""
    if seen.proc.namespace(target.pid, "pid") in seen.host.namespaces["pid"]:
        raise NotSeenError("{0} shares the host's processes".format(target.name))
    members = KernelProbes(seen.proc, seen.host, target, Report()).members()
    return sorted(status.name for status in members.values())
