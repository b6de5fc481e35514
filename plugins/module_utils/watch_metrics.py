# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watch's figures for Prometheus: a text file that node_exporter's textfile collector reads.

The file is written under another name and renamed, so that a reader never sees half of it. Label values come from fixed
lists alone (codes, severities, source names): nothing that somebody outside chooses can add a series.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

from .findings import Finding

FILE_NAME = "rampart_watch.prom"
FILE_MODE = 0o644
_HELP = {
    "rampart_watch_up": ("gauge", "1 while the sensor runs; 0 when it ended in order."),
    "rampart_watch_findings": ("gauge", "Findings that are open now."),
    "rampart_watch_findings_total": ("counter", "Findings that were opened."),
    "rampart_watch_transient_total": ("counter", "What one look saw and the next did not."),
    "rampart_watch_last_sweep_timestamp_seconds": ("gauge", "When the last full sweep ended."),
    "rampart_watch_last_success_timestamp_seconds": ("gauge", "When every part of the watch was last seen at work."),
    "rampart_watch_sweep_seconds": ("gauge", "How long the last full sweep took."),
    "rampart_watch_looks_total": ("counter", "Looks at one container or at the host's processes."),
    "rampart_watch_events_total": ("counter", "Hints from all sources."),
    "rampart_watch_events_coalesced_total": ("counter", "Hints that were merged with one that waited."),
    "rampart_watch_events_overflowed_total": ("counter", "Hints for which there was no room; each asked for a sweep."),
    "rampart_watch_drops_total": ("counter", "Dropped packets that nftables logged, by the rule's prefix."),
    "rampart_watch_source_up": ("gauge", "Whether a source of events is open."),
    "rampart_watch_containments_total": ("counter", "Requests to the actor, by verb and outcome."),
    "rampart_watch_containment_seconds": ("gauge", "From the first sight of the last breach to its containment."),
    "rampart_watch_log_waiting": ("gauge", "Log lines in memory for which the disk has no room."),
    "rampart_watch_log_lost_total": ("counter", "Log lines that were given up."),
}


class Metrics:
    """Figures by name and labels. Thread-safe."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.error = ""
        self._values: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        self._lock = threading.Lock()

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a figure."""
        with self._lock:
            self._values.setdefault(name, {})[tuple(sorted(labels.items()))] = value

    def add(self, name: str, value: float = 1, **labels: str) -> None:
        """Add to a figure."""
        with self._lock:
            series = self._values.setdefault(name, {})
            key = tuple(sorted(labels.items()))
            series[key] = series.get(key, 0) + value

    def get(self, name: str, **labels: str) -> float:
        """Return a figure, 0 when there is none."""
        with self._lock:
            return self._values.get(name, {}).get(tuple(sorted(labels.items())), 0)

    def findings(self, findings: Iterable[Finding]) -> None:
        """Replace the gauge of open findings."""
        counts = Counter((finding.code, finding.severity.value) for finding in findings)
        series: dict[tuple[tuple[str, str], ...], float] = {
            (("code", code), ("severity", severity)): float(number) for (code, severity), number in counts.items()
        }
        with self._lock:
            self._values["rampart_watch_findings"] = series

    def text(self) -> str:
        """Return everything in Prometheus's text format."""
        lines = []
        with self._lock:
            for name, (kind, meaning) in _HELP.items():
                series = self._values.get(name, {})
                if not series:
                    continue
                lines += ["# HELP {0} {1}".format(name, meaning), "# TYPE {0} {1}".format(name, kind)]
                for labels, value in sorted(series.items()):
                    words = ",".join('{0}="{1}"'.format(key, _escape(text)) for key, text in labels)
                    lines.append("{0}{1} {2:.15g}".format(name, "{" + words + "}" if words else "", value))
        return "\n".join(lines) + "\n"

    def write(self) -> bool:
        """Write the file, if there is a directory for it; whether it is there now. Never raises."""
        if not self.directory:
            return False
        draft = os.path.join(self.directory, ".{0}.{1}".format(FILE_NAME, os.getpid()))
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(draft, flags, FILE_MODE), "w", encoding="utf-8") as stream:
                os.fchmod(stream.fileno(), FILE_MODE)
                stream.write(self.text())
            os.replace(draft, os.path.join(self.directory, FILE_NAME))
        except OSError as error:
            self.error = error.strerror or type(error).__name__
            with suppress(OSError):
                os.unlink(draft)
            return False
        self.error = ""
        return True

    def alive(self) -> None:
        """Note that every part of the watch is at work: what a dead man's switch compares with the clock."""
        self.set("rampart_watch_last_success_timestamp_seconds", time.time())


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
