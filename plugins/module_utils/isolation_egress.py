# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attempts to get out, made from inside the containers with what their processes may do; each has to be refused."""

from __future__ import annotations

from collections.abc import Callable

from .attack import DEFAULT_TARGETS
from .attack_attempts import REFUSED, SUCCEEDED, Parameters, Result, dns, icmp, resolve, tcp, udp
from .findings import Severity, clean_text
from .isolation_container import Target
from .isolation_report import Report
from .nsenter import NAMESPACES, Privileges, in_child
from .procfs import ProcFS

ROLES = ("ollama", "gateway")
# Documentation addresses and the metadata address: nobody is disturbed should a packet leave.
ATTEMPTS: tuple[tuple[str, Callable[[Parameters], Result], Parameters], ...] = (
    ("dns", dns, {"addresses": DEFAULT_TARGETS["dns"], "name": DEFAULT_TARGETS["name"]}),
    ("name", resolve, {"name": DEFAULT_TARGETS["name"]}),
    ("ipv4", tcp, {"addresses": DEFAULT_TARGETS["ipv4"], "ports": [443]}),
    ("ipv6", tcp, {"addresses": DEFAULT_TARGETS["ipv6"], "ports": [443]}),
    ("udp-ipv4", udp, {"addresses": DEFAULT_TARGETS["ipv4"], "port": 443}),
    ("udp-ipv6", udp, {"addresses": DEFAULT_TARGETS["ipv6"], "port": 443}),
    ("icmp-ipv4", icmp, {"addresses": DEFAULT_TARGETS["ipv4"]}),
    ("icmp-ipv6", icmp, {"addresses": DEFAULT_TARGETS["ipv6"]}),
    ("metadata", tcp, {"addresses": DEFAULT_TARGETS["metadata"], "ports": [80]}),
)


class EgressProbes:
    """Runs the attempts in child processes that have joined the containers; `seconds` bounds each."""

    def __init__(self, proc: ProcFS, report: Report, seconds: float) -> None:
        self.proc = proc
        self.report = report
        self.seconds = seconds

    def run(self, targets: dict[str, Target]) -> dict[str, dict[str, str]]:
        """Record one check for each attempt and container; return {role: {attempt: outcome and evidence}}."""
        facts: dict[str, dict[str, str]] = {}
        for role in ROLES:
            target = targets.get(role)
            for name, function, parameters in ATTEMPTS:
                check_id = "{0}-egress-{1}".format(role, name)
                if target is None:
                    self.report.record(check_id, None, "the container does not run, or is not known")
                    continue
                with self.report.probe(check_id, target.name):
                    said = self._attempt(check_id, target, function, parameters)
                    facts.setdefault(role, {})[name] = said
        return facts

    def _attempt(
        self, check_id: str, target: Target, function: Callable[[Parameters], Result], parameters: Parameters
    ) -> str:
        privileges = Privileges.of(self.proc.status(target.pid))
        given = {**parameters, "timeout": self.seconds, "left_counts": True}
        # Twice the time: the attempt ends by itself first, the killing is for what hangs.
        answer = in_child(
            lambda: function(given), 2 * self.seconds + 1, target.pid, NAMESPACES, privileges, self.proc.root
        )
        outcome, evidence = str(answer[0]), clean_text(answer[1])
        said = "{0}: {1}".format(outcome, evidence)
        if outcome not in (REFUSED, SUCCEEDED):
            self.report.unknown(check_id, target.name, evidence)
            return said
        remedy = "Run phase 3 again and look at what this module names; keep users off until it is closed."
        self.report.expect(
            check_id, outcome == REFUSED, said, "ATTACK-SUCCEEDED", Severity.CRITICAL, target.name, remedy
        )
        return said
