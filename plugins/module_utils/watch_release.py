# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take containment back: a person decides, and a record says what there is to take back.

Nothing is reconnected: a network that was taken away was never allowed. A release is refused while the isolation still
fails, unless it is forced; a record is marked, never removed.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Optional

from .engine import EngineError
from .findings import Finding, Severity, refuse
from .isolation_report import dig
from .watch_actor_engine import ContainmentEngine
from .watch_actor_host import NftError, Quarantine
from .watch_records import RecordError, is_open, read_record, record_names, write_record

ACTIONS = ("start-container", "remove-quarantine", "none")
RESTART_POLICIES = ("no", "always", "unless-stopped", "on-failure")
_CONTAINER = re.compile(r"[0-9a-f]{64}")


@dataclass
class Listing:
    """The records of a host: name and content, oldest first, and a finding for each that cannot be read."""

    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def open_names(self) -> list[str]:
        """The names of the records that nobody released yet."""
        return [name for name, record in self.records.items() if is_open(record)]

    def summaries(self) -> list[dict[str, Any]]:
        """Return what people and playbooks need of each record."""
        kept = ("verb", "time", "outcome", "reason", "checked", "done", "seconds", "finding", "released")
        return [
            {"name": name, "open": is_open(record), **{key: record.get(key) for key in kept},
             "release": dig(record, "release", "action")}
            for name, record in self.records.items()
        ]  # fmt: skip


def list_records(directory: str) -> Listing:
    """Return every containment record below `directory`. Raises FindingError (WATCH-RECORDS) when it cannot be read."""
    listing = Listing()
    try:
        names = record_names(directory)
    except RecordError as error:
        raise refuse("WATCH-RECORDS", directory, error, "Run as root and look at the directory's modes.") from None
    for name in names:
        try:
            listing.records[name] = read_record(directory, name)
        except RecordError as error:
            remedy = "Look at the journal (journalctl -u rampart-watch-actor) for what was done, then remove the file."
            listing.findings.append(Finding("WATCH-RECORD-INVALID", Severity.MEDIUM, name, str(error), remedy))
    return listing


@dataclass
class Released:
    """What a release did, or would do in check mode: {record: sentences}, in the order in which it was done."""

    done: dict[str, list[str]] = field(default_factory=dict)


class Releaser:
    """Releases records of one host.

    `failing` returns the findings of the isolation as it is now; `violations` what a container, as the engine describes
    it, has that none may have.
    """

    def __init__(
        self,
        directory: str,
        engine: ContainmentEngine,
        quarantine: Quarantine,
        failing: Callable[[], list[Finding]],
        violations: Callable[[dict[str, Any]], list[str]],
        check_mode: bool = False,
    ) -> None:
        self.directory = directory
        self.engine = engine
        self.quarantine = quarantine
        self.failing = failing
        self.violations = violations
        self.check_mode = check_mode

    def release(self, names: Optional[list[str]], by: str, force: bool = False) -> Released:
        """Release the named records, or all open ones (None); what is released already is left alone.

        The quarantine of a host goes last, when everything else is in order again. Raises FindingError:
        WATCH-RELEASE-UNKNOWN, WATCH-RELEASE-UNSAFE, WATCH-RELEASE-FAILED, WATCH-RECORDS.
        """
        with self._alone():
            listing = list_records(self.directory)
            wanted = listing.open_names if names is None else names
            unknown = [name for name in wanted if name not in listing.records]
            if unknown:
                remedy = "Name a record of this host (ollama_watch_release with state=listed shows them)."
                raise refuse("WATCH-RELEASE-UNKNOWN", ", ".join(unknown), "no such record can be read", remedy)
            chosen = [name for name in dict.fromkeys(wanted) if is_open(listing.records[name])]
            if chosen and not force:
                self._require_isolation()
            released = Released()
            for name in sorted(chosen, key=lambda item: _action(listing.records[item]) == "remove-quarantine"):
                released.done[name] = self._release(name, listing.records[name], by, force)
            return released

    def _require_isolation(self) -> None:
        failing = [item for item in self.failing() if item.severity.rank >= Severity.HIGH.rank]
        # What was contained does not run: that it is absent is our own doing.
        failing = [item for item in failing if item.code != "ISO-CONTAINER-ABSENT"]
        if failing:
            evidence = "; ".join("{0} ({1})".format(item.code, item.subject) for item in failing[:5])
            remedy = "Remove the cause (phase 3 again), or set force after a person has looked."
            raise refuse("WATCH-RELEASE-UNSAFE", "isolation", "it still fails: {0}".format(evidence), remedy)

    def _release(self, name: str, record: dict[str, Any], by: str, force: bool) -> list[str]:
        try:
            action = _action(record)
            if action == "start-container":
                done = self._start(name, record["release"], force)
            elif action == "remove-quarantine":
                done = self._remove_quarantine()
            else:
                done = ["nothing to restore"]
            if not self.check_mode:
                stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                record["released"] = {"time": stamp, "by": by, "forced": force, "done": done}
                write_record(self.directory, name, record)
        except (EngineError, NftError, OSError, ValueError) as error:
            remedy = "Nothing more was released; mend the cause and run again."
            raise refuse("WATCH-RELEASE-FAILED", name, error, remedy) from None
        return done

    def _start(self, name: str, release: dict[str, Any], force: bool) -> list[str]:
        identity, policy = release.get("container"), release.get("restart_policy")
        if not isinstance(identity, str) or not _CONTAINER.fullmatch(identity):
            raise ValueError("the record names no container")
        if not isinstance(policy, dict) or policy.get("Name") not in RESTART_POLICIES:
            raise ValueError("the record names no restart policy")
        retries = policy.get("MaximumRetryCount")
        wanted = {"Name": policy["Name"], "MaximumRetryCount": retries if isinstance(retries, int) else 0}
        inspect = self.engine.container_or_none(identity)
        if inspect is None:
            return ["the container is gone: nothing to start"]
        bad = self.violations(inspect)
        if bad and not force:
            remedy = "Remove that container and make it anew without it, or set force after a person has looked."
            raise refuse("WATCH-RELEASE-UNSAFE", name, "it would violate again: {0}".format("; ".join(bad)), remedy)
        done = []
        if dig(inspect, "HostConfig", "RestartPolicy", "Name") != wanted["Name"]:
            if not self.check_mode:
                self.engine.set_restart_policy(identity, wanted)
            done.append("set the restart policy to {0}".format(wanted["Name"]))
        if dig(inspect, "State", "Running") is not True:
            if not self.check_mode:
                self.engine.start_container(identity)
            done.append("started the container")
        return done or ["the container runs already"]

    def _remove_quarantine(self) -> list[str]:
        if not self.quarantine.in_force():
            return ["the host is in no quarantine any more"]
        if not self.check_mode:
            self.quarantine.remove()
        return ["removed the quarantine's nftables table"]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep a second release of the same host waiting."""
        if self.check_mode or not os.path.isdir(self.directory):
            yield
            return
        handle = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _action(record: dict[str, Any]) -> str:
    action = dig(record, "release", "action")
    return action if action in ACTIONS else "none"
