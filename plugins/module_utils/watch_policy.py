# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the watch does about a finding: a table from finding code to action, and the rules no table can lift.

Actions: `log` writes it down; `disconnect` takes the container's networks away (and stops it when an interface
stays); `stop` ends the container or the process; `quarantine` cuts the host off. Two rules stand above the table: a
finding that an outsider can bring about is never contained, and nothing below the least severity is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .findings import Finding, FindingError, Severity, clean_text, refuse

LOG, DISCONNECT, STOP, QUARANTINE = "log", "disconnect", "stop", "quarantine"
ACTIONS = (LOG, DISCONNECT, STOP, QUARANTINE)

# What a person outside can cause by sending packets or prompts, or what only says that the watch is half blind: were it
# contained, anybody could switch the service off. No configuration may name an action for these.
NEVER_CONTAINED = frozenset(
    [
        "WATCH-DROP",
        "WATCH-SOURCE-DOWN",
        "WATCH-ACTOR-FAILED",
        "WATCH-EXEC",
        "ISO-ENGINE-DOWN",
        "ISO-PROBE-FAILED",
        "ISO-CONTAINER-ABSENT",
    ]
)

DEFAULT_POLICY: dict[str, str] = {
    "ISO-INTERFACE": DISCONNECT,
    "ISO-NETWORK-MODE": DISCONNECT,
    "ISO-PUBLISHED-PORT": STOP,
    "ISO-HOST-NET": STOP,
    "ISO-HOST-PID": STOP,
    "ISO-PRIVILEGED": STOP,
    "ISO-CAPABILITIES": STOP,
    "ISO-ROOT-UID": STOP,
    "ISO-DOCKER-SOCKET": STOP,
    "ISO-HOST-MOUNT": STOP,
    "ISO-STORE-WRITABLE": STOP,
    "ISO-NAMESPACE-STRANGER": STOP,
    "ISO-LISTENER": STOP,
    "ISO-NATIVE-OLLAMA": STOP,
    "ISO-FOREIGN-CONNECTION": STOP,
}

_REMEDY = "Correct the policy (docs/watch.md lists codes and actions) and start the watch again."


@dataclass(frozen=True)
class Observation:
    """A finding and who could have brought it about: `outsider` is True for what arrives over a network.

    `source` names where it was seen (sweep, docker, process, file, drop, port, self); `subject` ids stay in the
    finding.
    """

    finding: Finding
    source: str = "sweep"
    outsider: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What two sightings of one and the same thing share."""
        return (self.finding.code, self.finding.subject)


@dataclass(frozen=True)
class Policy:
    """The table in force. `actions` maps codes to actions; what it does not name is only logged."""

    actions: Mapping[str, str] = field(default_factory=lambda: dict(DEFAULT_POLICY))
    least: Severity = Severity.CRITICAL

    def action(self, seen: Observation) -> str:
        """Return what is to be done about a sighting."""
        finding = seen.finding
        if seen.outsider or finding.code in NEVER_CONTAINED or finding.severity.rank < self.least.rank:
            return LOG
        return self.actions.get(finding.code, LOG)


def parse_policy(raw: Any, least: Any = "critical") -> Policy:
    """Return the default table with `raw` (code to action) laid over it. Raises FindingError (WATCH-CONFIG)."""
    if not isinstance(raw, Mapping):
        raise _invalid("policy", "it is no mapping from finding code to action")
    actions = dict(DEFAULT_POLICY)
    for code, action in raw.items():
        name = "policy.{0}".format(clean_text(code, 60))
        if action not in ACTIONS:
            raise _invalid(name, "{0!r} is none of {1}".format(clean_text(action, 40), ", ".join(ACTIONS)))
        try:
            Finding(code, Severity.INFO, "", "", "")
        except (TypeError, ValueError):
            raise _invalid(name, "this is no finding code") from None
        if code in NEVER_CONTAINED and action != LOG:
            raise _invalid(name, "an outsider can cause it, or it says too little: it is never contained")
        actions[code] = action
    try:
        severity = Severity(least)
    except ValueError:
        raise _invalid("contain_from", "{0!r} is no severity".format(clean_text(least, 40))) from None
    if severity.rank < Severity.HIGH.rank:
        raise _invalid("contain_from", "only high and critical findings may be contained")
    return Policy(actions, severity)


def _invalid(subject: str, why: str) -> FindingError:
    return refuse("WATCH-CONFIG", subject, why, _REMEDY)
