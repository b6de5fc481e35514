# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the watch itself is: its services, its last sweep, the policy in force, containments that nobody released."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import Any, Optional

from .findings import Check, Finding, FindingError, Severity, check
from .watch_config import load_config
from .watch_metrics import FILE_NAME
from .watch_policy import DEFAULT_POLICY, LOG
from .watch_release import Listing, list_records

SENSOR, ACTOR, GATE = "rampart-watch-sensor.service", "rampart-watch-actor.service", "rampart-watch-gate.service"
CHECK_IDS = (
    "watch-sensor-running",
    "watch-actor-running",
    "watch-sweep-fresh",
    "watch-policy-in-force",
    "watch-no-open-containment",
)
METRICS_MAX_BYTES = 1024 * 1024
_SWEEP = re.compile(r"^rampart_watch_last_sweep_timestamp_seconds ([0-9.e+]{1,40})$", re.MULTILINE)

# What systemd says of a unit: whether it is active, its state in words, and when it was started (None: not said).
UnitState = dict[str, Any]


def parse_units(text: str) -> dict[str, UnitState]:
    """Return {unit: {"active": bool, "state": text, "started": seconds or None}} from what `systemctl show` says.

    The properties wanted are Id, ActiveState, SubState and ExecMainStartTimestamp (with --timestamp=unix).
    """
    found = {}
    for paragraph in text.split("\n\n"):
        words = dict(line.split("=", 1) for line in paragraph.splitlines() if "=" in line)
        started = re.fullmatch(r"@([0-9]{1,12})", words.get("ExecMainStartTimestamp", ""))
        if words.get("Id"):
            found[words["Id"]] = {
                "active": words.get("ActiveState") == "active",
                "state": "{0} ({1})".format(words.get("ActiveState", "unknown"), words.get("SubState", "unknown")),
                "started": int(started.group(1)) if started else None,
            }
    return found


def last_sweep(directory: str) -> Optional[float]:
    """Return when the last full sweep ended, in seconds since the epoch, from the sensor's figures; None: not said."""
    try:
        with open(os.path.join(directory, FILE_NAME), encoding="utf-8", errors="replace") as stream:
            found = _SWEEP.search(stream.read(METRICS_MAX_BYTES))
        return float(found.group(1)) if found else None
    except (OSError, ValueError):
        return None


class WatchInfo:
    """One look at the watch. `units` is `parse_units`' result, None where systemd could not be asked."""

    def __init__(
        self,
        config_directory: str,
        records: str,
        units: Optional[dict[str, UnitState]],
        max_sweep_age: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = os.path.join(config_directory, "watch.json")
        self.records = records
        self.units = units
        self.max_sweep_age = max_sweep_age
        self.now = clock()
        self.checks: list[Check] = []
        self.findings: list[Finding] = []
        self.listing = Listing()

    def look(self) -> WatchInfo:
        """Make every check, each for itself, and return this object."""
        self._running("watch-sensor-running", SENSOR)
        self._running("watch-actor-running", ACTOR, GATE)
        self._configured()
        self._contained()
        return self

    def _record(self, check_id: str, holds: Optional[bool], evidence: str, code: str, remedy: str) -> None:
        self.checks.append(check(check_id, holds, evidence))
        if holds is not True:
            severity = Severity.HIGH if holds is False else Severity.MEDIUM
            self.findings.append(Finding(code, severity, "isolation watch", evidence, remedy))

    def _running(self, check_id: str, *names: str) -> None:
        states = {name: (self.units or {}).get(name) for name in names}
        holds = None if self.units is None else all(state is not None and state["active"] for state in states.values())
        evidence = "; ".join(
            "{0} is {1}".format(name, state["state"] if state else "not there") for name, state in states.items()
        )
        if self.units is None:
            evidence = "systemd cannot be asked"
        remedy = "Run the role isolation_watch again, and read journalctl -u {0}.".format(names[0])
        self._record(check_id, holds, evidence, "WATCH-NOT-RUNNING", remedy)

    def _configured(self) -> None:
        remedy = "Run the role isolation_watch again."
        try:
            config = load_config(self.path)
        except FindingError as error:
            for check_id in ("watch-sweep-fresh", "watch-policy-in-force"):
                self.checks.append(check(check_id, None, error.finding.evidence))
            self.findings.append(error.finding)
            return
        swept = last_sweep(config.metrics_directory) if config.metrics_directory else None
        age = None if swept is None else self.now - swept
        # A sweep of tomorrow is no sweep: somebody set the clock, or wrote the file.
        fresh = None if age is None else -5 <= age <= self.max_sweep_age
        said = "the sensor names no sweep" if age is None else "the last full sweep ended {0:.0f} s ago".format(age)
        self._record("watch-sweep-fresh", fresh, said, "WATCH-SWEEP-OLD", remedy)
        lenient = sorted(code for code in DEFAULT_POLICY if config.policy.actions.get(code, LOG) == LOG)
        started = ((self.units or {}).get(SENSOR) or {}).get("started")
        changed = os.stat(self.path).st_mtime
        holds: Optional[bool] = not lenient
        evidence = "{0} codes are contained".format(len(DEFAULT_POLICY) - len(lenient))
        if lenient:
            evidence = "only logged: {0}".format(", ".join(lenient))
        elif started is None:
            holds, evidence = None, "when the sensor was started is not known"
        elif changed > started + 1:
            holds, evidence = False, "the policy was written after the sensor was started"
        remedy = "Take the codes out of isolation_watch_policy and run the role isolation_watch again."
        self._record("watch-policy-in-force", holds, evidence, "WATCH-POLICY-WEAK", remedy)

    def _contained(self) -> None:
        try:
            self.listing = list_records(self.records)
        except FindingError as error:
            self.checks.append(check("watch-no-open-containment", None, error.finding.evidence))
            self.findings.append(error.finding)
            return
        self.findings += self.listing.findings
        names = self.listing.open_names
        holds: Optional[bool] = not names
        evidence = "open: {0}".format(", ".join(names[-5:])) if names else "no containment is open"
        if holds and self.listing.findings:
            holds, evidence = None, "{0} records cannot be read".format(len(self.listing.findings))
        remedy = "Find and remove the cause, then release it (playbooks/watch_release.yml)."
        self._record("watch-no-open-containment", holds, evidence, "WATCH-CONTAINMENT-OPEN", remedy)
