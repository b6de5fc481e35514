# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an attack was seen: traces that somebody else than the attacker wrote, read before and after it.

A trace is (kind, what): `kernel` a counter of the attacked network namespace, `nft` a chain of the table `inet
rampart` with its counters, `squid` a result (or what was done to TLS) in the proxy's access log, `watch` what the watch
says it heard of, `counted` what a bomb's control group or the engine counted. What cannot be read is unknown, which is
not seen.
"""

from __future__ import annotations

import glob
import json
import os
import subprocess
import time
from collections.abc import Iterable, Mapping
from typing import Any, Optional, Union

from .attack import CHECK_PREFIX, NOT_OBSERVABLE, NOT_SEEN, SEEN, UNKNOWN, Attack
from .attack_attempts import ERROR
from .findings import Check, check
from .procfs import ProcError, ProcFS

Trace = tuple[str, str]
# A counter, or the size of each log file.
Mark = Union[int, dict[str, int], None]
KINDS = ("kernel", "nft", "squid", "watch", "counted")
KERNEL_COUNTERS = ("OutNoRoutes",)
COUNTED = ("pids", "oom")
READ_MAX_BYTES = 8 * 1024 * 1024
PATIENCE_SECONDS = 1.5
SQUID_LOG = "/srv/rampart/log/egress/access.json"
WATCH_FIGURES = "/var/lib/rampart/watch/metrics/rampart_watch.prom"
# The watch writes its figures every few seconds.
WATCH_COUNTED = {"drops": "rampart_watch_drops_total"}
HEARD_SECONDS = 10.0
NFT = ("nft", "-j", "list", "table", "inet", "rampart")


class Traces:
    """Reads marks before an attack and says afterwards what came to them. `pid` names the attacked namespace."""

    def __init__(
        self,
        proc: Optional[ProcFS] = None,
        pid: Optional[int] = None,
        squid_log: str = SQUID_LOG,
        watch_figures: str = WATCH_FIGURES,
        nft: tuple[str, ...] = NFT,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self.proc = proc or ProcFS()
        self.pid = pid
        self.patience = patience
        self._logs = {"squid": squid_log}
        self._figures = watch_figures
        self._nft = nft

    def marks(self, traces: Iterable[Trace]) -> dict[str, Mark]:
        """Return {"kind:what": mark} of each trace."""
        return {"{0}:{1}".format(kind, what): self._mark(kind, what) for kind, what in traces}

    def _mark(self, kind: str, what: str) -> Mark:
        if kind == "kernel":
            return self._no_routes(what)
        if kind == "nft":
            return self._nft_packets(what)
        if kind == "watch":
            return self._watch_counted(what)
        if kind in self._logs:
            return {path: _size(path) for path in glob.glob(self._logs[kind])}
        return None

    def seen(self, attack: Attack, before: Mapping[str, Mark], counted: Mapping[str, int]) -> tuple[str, str]:
        """Return (seen, text) for one attack that was just run; waits a little for what is written late."""
        if not attack.seen_by:
            return NOT_OBSERVABLE, attack.not_observable
        deadline = time.monotonic() + self.patience
        while True:
            found = [(kind, what, self._since(kind, what, before, counted)) for kind, what in attack.seen_by]
            for kind, what, count in found:
                if count:
                    return SEEN, "{0} {1} +{2}".format(kind, what, count)
            logs = any(kind in ("squid", "nft") for kind, _what, count in found if count is not None)
            if not logs or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        words = ", ".join("{0} {1}".format(kind, what) for kind, what, _count in found)
        if all(count is None for _kind, _what, count in found):
            return UNKNOWN, "cannot be read here: " + words
        return NOT_SEEN, "nothing in " + words

    def since(self, kind: str, what: str, before: Mapping[str, Mark]) -> Optional[int]:
        """Return what came to one trace since its mark, or None where it cannot be read."""
        return self._since(kind, what, before, {})

    def _since(self, kind: str, what: str, before: Mapping[str, Mark], counted: Mapping[str, int]) -> Optional[int]:
        if kind == "counted":
            return counted.get(what)
        mark = before.get("{0}:{1}".format(kind, what))
        if kind in self._logs:
            files = glob.glob(self._logs[kind])
            known = mark if isinstance(mark, dict) else {}
            return sum(_lines(path, known.get(path, 0), what) for path in files) if files else None
        now = self._mark(kind, what)
        if not isinstance(now, int) or not isinstance(mark, int):
            return None
        # A watch that was started anew counts from nothing again.
        return now if kind == "watch" and now < mark else now - mark

    def _watch_counted(self, what: str) -> Optional[int]:
        try:
            with open(self._figures, encoding="utf-8") as stream:
                lines = stream.read(READ_MAX_BYTES).splitlines()
        except (OSError, ValueError):
            return None
        if "rampart_watch_up 1" not in lines:
            return None
        name = WATCH_COUNTED.get(what, "")
        numbers = [line.rpartition(" ")[2] for line in lines if name and line.startswith(name + "{")]
        return sum(int(float(number)) for number in numbers if number.replace(".", "", 1).isdigit())

    def _no_routes(self, counter: str) -> Optional[int]:
        if self.pid is None:
            return None
        total = None
        for name, prefix in (("snmp", "Ip"), ("snmp6", "Ip6")):
            try:
                text = self.proc.read(self.pid, "net", name)
            except ProcError:
                continue
            value = _counter(text, prefix, counter)
            total = total if value is None else (total or 0) + value
        return total

    def _nft_packets(self, chain: str) -> Optional[int]:
        try:
            done = subprocess.run(  # pylint: disable=ansible-bad-function
                self._nft, capture_output=True, timeout=10, check=False
            )
            entries = list(json.loads(done.stdout)["nftables"])
        except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
            return None
        total = None
        for entry in entries:
            rule = entry.get("rule") if isinstance(entry, dict) else None
            if not isinstance(rule, dict) or rule.get("chain") != chain:
                continue
            for expression in rule.get("expr", []):
                counter = expression.get("counter") if isinstance(expression, dict) else None
                if isinstance(counter, dict) and isinstance(counter.get("packets"), int):
                    total = (total or 0) + counter["packets"]
        return total


def heard_check(
    traces: Traces, before: Mapping[str, Mark], results: list[dict[str, Any]], seconds: float = HEARD_SECONDS
) -> Optional[Check]:
    """Return whether the watch heard of the attacks, after waiting for its figures; None where nobody asked before.

    It has to have heard of a packet for each attack that the firewall counts: a network has some noise of its own.
    """
    if "watch:drops" not in before:
        return None
    counted = [item for item in results if any(str(name).startswith("nft:") for name in item.get("seen_by", []))]
    wanted = max(1, sum(item.get("outcome") != ERROR for item in counted))
    name = CHECK_PREFIX["host"] + "heard"
    deadline = time.monotonic() + seconds
    while True:
        count = traces.since("watch", "drops", before)
        if count is None:
            return check(name, None, "the watch's figures cannot be read, or it does not run")
        if count >= wanted or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    return check(name, count >= wanted, "the watch heard of {0} refused packets of {1} attacks".format(count, wanted))


def resolve(traces: Traces, before: Mapping[str, Mark], results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return results whose traces another host had to read, with `seen` and `trace` filled in.

    A counter is shared by many attacks: it has to have risen by one for each of them.
    """
    open_ones = [item for item in results if item.get("seen") == UNKNOWN and item.get("outcome") != ERROR]
    names = sorted({name for item in open_ones for name in item.get("seen_by", [])})
    found = {}
    for name in names:
        kind, _colon, what = str(name).partition(":")
        count = traces.since(kind, what, before) if kind in KINDS else None
        found[name] = (count, sum(name in item.get("seen_by", []) for item in open_ones))
    resolved = []
    for item in results:
        here = [(name, *found[name]) for name in item.get("seen_by", []) if item in open_ones]
        if here:
            item = {**item, **_told(here)}
        resolved.append(item)
    return resolved


def _told(here: list[tuple[str, Optional[int], int]]) -> dict[str, str]:
    for name, count, attacks in here:
        if count is not None and count >= attacks:
            return {"seen": SEEN, "trace": "{0} +{1} for {2} attacks".format(name.replace(":", " "), count, attacks)}
    if all(count is None for _name, count, _attacks in here):
        return {"seen": UNKNOWN, "trace": "cannot be read: " + ", ".join(name for name, _count, _attacks in here)}
    words = ["{0} +{1} for {2} attacks".format(name.replace(":", " "), count, number) for name, count, number in here]
    return {"seen": NOT_SEEN, "trace": ", ".join(words)}


def _counter(text: str, prefix: str, name: str) -> Optional[int]:
    """Return a counter of net/snmp (a line of names, then one of numbers) or net/snmp6 (a line for each)."""
    lines = [line.split() for line in text.splitlines()]
    for names, numbers in zip(lines, lines[1:]):
        if names[:1] == [prefix + ":"] == numbers[:1] and name in names:
            try:
                return int(numbers[names.index(name)])
            except (IndexError, ValueError):
                return None
    return next(
        (int(line[1]) for line in lines if len(line) == 2 and line[0] == prefix + name and line[1].isdigit()), None
    )


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _lines(path: str, start: int, what: str) -> int:
    """Count the lines after byte `start` that are about `what`; a file that shrank is read from its beginning."""
    try:
        with open(path, "rb") as stream:
            stream.seek(start if start <= os.fstat(stream.fileno()).st_size else 0)
            text = stream.read(READ_MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return 0
    return sum(_speaks_of(line, what) for line in text.splitlines())


def _speaks_of(line: str, what: str) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    if not isinstance(entry, dict):
        return False
    return what in str(entry.get("result", "")) or what == entry.get("ssl_bump")
