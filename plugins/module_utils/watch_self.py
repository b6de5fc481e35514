# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The findings that only the watch can have: about what it hears, and about itself."""

from __future__ import annotations

from typing import Optional

from .findings import Finding, Severity
from .watch_policy import Observation
from .watch_protocol import Request
from .watch_sources import Source

# What is lost while a source is down, and so how bad that is.
_LOST = {
    "docker": ("changes of containers are seen by the next sweep only", Severity.HIGH),
    "process": ("started programs are seen by the next sweep only", Severity.HIGH),
    "file": ("changes of the store are not seen as they happen", Severity.HIGH),
    "nflog": ("dropped packets are not counted", Severity.MEDIUM),
    "nftables": ("whether the firewall's table is there is not known", Severity.MEDIUM),
}


def source_down(source: Source, dropped: bool) -> Optional[Observation]:
    """Return the finding about a source that is not open, or None when it is."""
    if source.is_open:
        return None
    lost, severity = _LOST.get(source.name, ("", Severity.MEDIUM))
    remedy = "Mend it; the watch tries again by itself."
    if source.privileged and dropped:
        remedy = "Mend it and restart rampart-watch-sensor: it can be opened at start only, before privileges go."
    evidence = "{0}; {1}".format(source.reason, lost)
    return Observation(Finding("WATCH-SOURCE-DOWN", severity, source.name, evidence, remedy), "self")


def actor_failed(request: Request, error: str) -> Observation:
    """Return the finding about an actor that did not answer."""
    evidence = "asked for {0}: {1}".format(request.verb, error)
    remedy = "Look at rampart-watch-actor (systemctl status); meanwhile contain by hand: {0}.".format(
        request.finding.code
    )
    return Observation(Finding("WATCH-ACTOR-FAILED", Severity.CRITICAL, "actor", evidence, remedy), "self")


def store_changed(path: str, what: str) -> Observation:
    """Return the finding about a change in the store that the publisher did not make."""
    remedy = "Verify every blob anew (ollama_model_verify with full), and find out who wrote there."
    return Observation(Finding("WATCH-STORE-CHANGED", Severity.HIGH, path, what, remedy), "file")


def exec_seen(container: str, command: str) -> Observation:
    """Return the finding about a `docker exec`. Arguments may hold secrets: only the program is named."""
    program = (command.split() or ["?"])[0]
    remedy = "Nothing in these containers needs a visitor: ask who it was (docker group, sudo's log)."
    evidence = "docker exec of {0}".format(program)
    return Observation(Finding("WATCH-EXEC", Severity.MEDIUM, container, evidence, remedy), "docker")


def firewall_gone(table: str) -> Observation:
    """Return the finding about the firewall's table that is not there."""
    remedy = "Start rampart-firewall (systemctl restart) and find out who flushed the rules."
    evidence = "there is no table inet {0}".format(table)
    return Observation(Finding("WATCH-FIREWALL-GONE", Severity.HIGH, "firewall", evidence, remedy), "nftables")


def firewall_changed(table: str) -> Observation:
    """Return the finding about rules that were taken out of the firewall's table."""
    remedy = "Compare with the role firewall's rules (run it in check mode) and put them back."
    evidence = "rules were taken out of table inet {0}".format(table)
    return Observation(Finding("WATCH-FIREWALL-CHANGED", Severity.MEDIUM, "firewall", evidence, remedy), "nftables")


def drops_seen(prefix: str, count: int, example: str) -> Observation:
    """Return the finding about dropped packets. Anybody can send packets: this is marked as an outsider's."""
    evidence = "{0} packets, the last one {1}".format(count, example)
    remedy = "Expected at times. If it comes from a container, look at what that one tries."
    return Observation(Finding("WATCH-DROP", Severity.LOW, prefix, evidence, remedy), "drop", outsider=True)
