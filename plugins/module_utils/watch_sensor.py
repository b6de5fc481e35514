# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sensor of the isolation watch: hears, looks, judges, and asks the actor; it can change nothing itself.

Four threads share the work. One listens to all sources and makes the cheap check of the server's port; two look at
what the hints name, so that an engine that hangs over one container holds up one of them; one sweeps. Containment comes
before logging, and a look that sees nothing bad costs no more than the look.
"""

from __future__ import annotations

import selectors
import threading
import time
from collections.abc import Callable
from typing import Optional

from .engine import Engine
from .findings import Severity
from .procfs import ProcFS
from .watch_board import Board, Change, Entry
from .watch_config import Config
from .watch_contain import Containment, Outcome
from .watch_hear import Hearing
from .watch_log import WatchLog, event_line, finding_line
from .watch_look import Eyes, Sight
from .watch_metrics import Metrics
from .watch_policy import LOG, Observation
from .watch_queue import Hint, HintQueue
from .watch_self import actor_failed, source_down
from .watch_sources import Source, SourceError
from .watch_targets import requests_for
from .watch_unit import notify, watchdog_seconds

# How long the engine may think: a look that follows an event must not hold up the next one.
LOOK_SECONDS, SWEEP_SECONDS = 1.0, 5.0
# A look that was blind is tried again so many times, each after twice the pause; then the sweep has to do.
BLIND_TRIES, BLIND_PAUSE = 4, 0.2
# A sweep on demand (events were lost) does not follow another one sooner than this.
SWEEP_PAUSE = 2.0
METRICS_SECONDS = 5.0
BEAT_MAX = 60.0


class Sensor:
    """The whole sensor. `open_sources` needs privileges, `run` does not; `stop` may be called from a signal handler."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self.config = config
        self.clock = clock
        self.queue = HintQueue()
        self.board = Board(config.confirm_seconds)
        self.log = WatchLog(config.log_file, config.log_max_bytes, config.log_keep)
        self.metrics = Metrics(config.metrics_directory)
        self.containment = Containment(config.actor_socket, config.actor_seconds)
        self.proc = ProcFS()
        self.hearing = Hearing(config, self.queue, self.proc, self.event, self.over)
        self.dropped = False
        self.ended = threading.Event()
        self._beats = {"judge-1": clock(), "judge-2": clock(), "sweep": clock()}
        self._blind: dict[tuple[str, str], int] = {}
        self._tried: dict[tuple[str, str], set[str]] = {}
        self._last_sweep = 0.0
        self._resting: dict[Source, float] = {}

    def eyes(self, engine_seconds: float) -> Eyes:
        """Return what one thread looks with."""
        engine = Engine(self.config.engine_socket, engine_seconds)
        return Eyes(self.config.expected, engine, self.config.revocations, self.config.allowed_containers, self.proc)

    def open_sources(self) -> None:
        """Open what takes privileges. The rest waits for `run`: the gate answers nobody but the unprivileged account.

        What the sources say meanwhile is written when `run` begins, with the privileges of then.
        """
        self.log.held = True
        for source in self.hearing.sources:
            if source.privileged:
                source.try_open(self.clock())

    def stop(self) -> None:
        """End all threads soon."""
        self.ended.set()

    # --- listening ----------------------------------------------------------------------------------------
    def run(self) -> None:
        """Listen until `stop`; the other two threads run meanwhile."""
        threads = [
            threading.Thread(target=self._judge, args=("judge-1",), daemon=True),
            threading.Thread(target=self._judge, args=("judge-2",), daemon=True),
            threading.Thread(target=self._sweep, daemon=True),
        ]
        self.log.held = False
        self.log.write(event_line("the watch has started", "watch-started"))
        self.metrics.set("rampart_watch_up", 1)
        for thread in threads:
            thread.start()
        notify("READY=1")
        with selectors.DefaultSelector() as selector:
            self._listen(selector)
        notify("STOPPING=1")
        self.log.write(event_line("the watch has ended", "watch-stopped", "warning"))
        self.metrics.set("rampart_watch_up", 0)
        self.metrics.write()

    def _listen(self, selector: selectors.BaseSelector) -> None:
        next_check = next_care = next_metrics = next_life = 0.0
        while not self.ended.is_set():
            now = self.clock()
            self._register(selector, now)
            if now >= next_check:
                self.hearing.cheap_check()
                next_check = now + self.config.port_seconds
            if now >= next_care:
                self._care()
                next_care = now + 1.0
            if now >= next_life:
                self._sign_of_life(now)
                next_life = now + watchdog_seconds()
            if now >= next_metrics:
                self._figures()
                next_metrics = now + METRICS_SECONDS
            dates = [next_check, *self._resting.values()]
            for key, _events in selector.select(max(0.0, min(dates) - self.clock())):
                self._read(selector, key.data)

    def _register(self, selector: selectors.BaseSelector, now: float) -> None:
        """Listen to what is open; try what is closed, unless it would take privileges that are gone."""
        listening = {key.data for key in selector.get_map().values()}
        for source in self.hearing.sources:
            if not source.is_open and not (source.privileged and self.dropped):
                source.try_open(now)
            if source.is_open and source not in listening and self._resting.get(source, 0.0) <= now:
                self._resting.pop(source, None)
                selector.register(source.fileno(), selectors.EVENT_READ, source)

    def _read(self, selector: selectors.BaseSelector, source: Source) -> None:
        descriptor = source.fileno()
        try:
            source.read()
        except (OSError, SourceError) as error:
            selector.unregister(descriptor)
            source.fail(error, self.clock())
            return
        if source.rest:
            selector.unregister(descriptor)
            self._resting[source] = self.clock() + source.rest

    def _care(self) -> None:
        """What is due every second: sources, findings whose time is over, what waits for the disk, drops."""
        for source in self.hearing.sources:
            self.metrics.set("rampart_watch_source_up", float(source.is_open), source=source.name)
            down = source_down(source, self.dropped)
            if down is not None:
                self.event(down, None)
            else:
                self.over("WATCH-SOURCE-DOWN", source.name)
        for entry in self.board.expire():
            self._closed(entry)
        for prefix, count in self.hearing.drops(self.event).items():
            self.metrics.add("rampart_watch_drops_total", count, prefix=prefix)
        self.log.flush()

    def _sign_of_life(self, now: float) -> None:
        sweep_age = max(BEAT_MAX, 3 * self.config.sweep_seconds)
        late = [name for name, beat in self._beats.items() if now - beat > (sweep_age if name == "sweep" else BEAT_MAX)]
        if not late:
            notify("WATCHDOG=1")
            if self._last_sweep:
                self.metrics.alive()

    def _figures(self) -> None:
        self.metrics.findings(entry.seen.finding for entry in self.board.entries())
        self.metrics.set("rampart_watch_events_total", self.queue.seen)
        self.metrics.set("rampart_watch_events_coalesced_total", self.queue.coalesced)
        self.metrics.set("rampart_watch_events_overflowed_total", self.queue.overflowed)
        self.metrics.set("rampart_watch_log_waiting", self.log.waiting)
        self.metrics.set("rampart_watch_log_lost_total", self.log.lost)
        self.metrics.write()

    # --- looking ------------------------------------------------------------------------------------------
    def _judge(self, name: str) -> None:
        eyes = self.eyes(LOOK_SECONDS)
        looks: dict[str, Callable[[str], Sight]] = {
            "container": eyes.container,
            "host": lambda _key: eyes.host(),
            "store": lambda _key: eyes.revoked(),
            "sockets": lambda _key: eyes.sockets(),
        }
        while not self.ended.is_set():
            self._beats[name] = self.clock()
            hint = self.queue.get(5.0)
            if hint is None:
                continue
            if hint.kind not in looks:
                self.queue.put(Hint("sweep"))
                continue
            self._safely(lambda look=looks[hint.kind], hint=hint: self._look(look, hint))  # type: ignore[misc]
            self.metrics.add("rampart_watch_looks_total")

    def _look(self, look: Callable[[str], Sight], hint: Hint) -> None:
        sight = look(hint.key)
        self.take(sight)
        key = (hint.kind, hint.key)
        tries = self._blind.pop(key, 0)
        if sight.blind and tries < BLIND_TRIES and len(self._blind) < 1000:
            self._blind[key] = tries + 1
            self.queue.put_later(hint, BLIND_PAUSE * 2**tries)

    def _sweep(self) -> None:
        eyes = self.eyes(SWEEP_SECONDS)
        while not self.ended.is_set():
            started = self.clock()
            self._safely(lambda: self.take(eyes.sweep()))
            ended = self._beats["sweep"] = self._last_sweep = self.clock()
            self.metrics.set("rampart_watch_sweep_seconds", ended - started)
            self.metrics.set("rampart_watch_last_sweep_timestamp_seconds", time.time())
            if self.ended.wait(min(SWEEP_PAUSE, self.config.sweep_seconds)):
                return
            left = max(0.0, self.config.sweep_seconds - (self.clock() - started))
            self.queue.wait_for_sweep(left)

    def _safely(self, act: Callable[[], object]) -> None:
        """Run one look. What is wrong with it is written down, and never ends the thread."""
        try:
            act()
        except Exception as error:  # noqa: BLE001 - data of others must not blind the watch
            self.log.write(
                event_line("a look failed: {0}: {1}".format(type(error).__name__, error), "look-failed", "error"), True
            )

    def take(self, sight: Sight) -> Change:
        """Take in what was seen: contain, then write down, then arrange what is to be looked at again."""
        change = self.board.look(sight)
        done = [(entry, outcome) for entry in change.opened + change.standing for outcome in self._act(entry, sight)]
        for entry in change.opened:
            self._opened(entry)
        for entry, outcome in done:
            self._contained(entry, outcome)
        for entry in change.closed:
            self._tried.pop(entry.seen.key, None)
            self._closed(entry)
        self.metrics.add("rampart_watch_transient_total", change.transient)
        for hint in change.again:
            self.queue.put_later(hint, self.config.confirm_seconds)
        self.hearing.know(sight)
        return change

    def _act(self, entry: Entry, sight: Sight) -> list[Outcome]:
        """Ask the actor for what the policy says about one open finding."""
        action = self.config.policy.action(entry.seen)
        if action == LOG:
            return []
        tried = self._tried.setdefault(entry.seen.key, set())
        requests = requests_for(entry.seen, action, sight, self.proc, tried)
        outcomes = [outcome for outcome in map(self.containment.contain, requests) if outcome.asked]
        for outcome in outcomes:
            if outcome.word == "done":
                tried.add(outcome.request.verb)
        if outcomes:
            # Whether it helped is seen by looking again.
            self.queue.put_later(sight.hint(entry.seen), min(outcome.again for outcome in outcomes))
        return outcomes

    # --- writing down -------------------------------------------------------------------------------------
    def event(self, seen: Observation, seconds: Optional[float]) -> None:
        """Take in a finding that is an event or a state of a source: written once, kept open for a while."""
        entry = self.board.raise_(seen, seconds)
        if entry is not None:
            self._opened(entry)

    def over(self, code: str, subject: str) -> None:
        """Close a finding that is a state of a source."""
        entry = self.board.clear(code, subject)
        if entry is not None:
            self._closed(entry)

    def _opened(self, entry: Entry) -> None:
        finding = entry.seen.finding
        self.metrics.add("rampart_watch_findings_total", code=finding.code, severity=finding.severity.value)
        line = finding_line(finding, "finding-opened", entry.seen.source)
        self.log.write(line, critical=finding.severity.rank >= Severity.HIGH.rank)

    def _closed(self, entry: Entry) -> None:
        more = {"event": {"duration": int((self.clock() - entry.first) * 1e9)}, "rampart": {"times_seen": entry.count}}
        self.log.write(finding_line(entry.seen.finding, "finding-closed", entry.seen.source, **more))

    def _contained(self, entry: Entry, outcome: Outcome) -> None:
        request, answer = outcome.request, outcome.answer
        self.metrics.add("rampart_watch_containments_total", verb=request.verb, outcome=outcome.word)
        if outcome.word == "done":
            self.metrics.set("rampart_watch_containment_seconds", self.clock() - entry.first)
        elif answer is None:
            self.event(actor_failed(request, outcome.error), 60.0)
        more = {
            "event": {"outcome": "success" if outcome.word == "done" else "failure"},
            "rampart": {
                "containment": {
                    "verb": request.verb,
                    "target": request.target,
                    "outcome": outcome.word,
                    "reason": outcome.reason,
                    "record": answer.record if answer else None,
                    "seconds_since_seen": round(self.clock() - entry.first, 3),
                }
            },
        }
        line = finding_line(entry.seen.finding, "containment-{0}".format(request.verb), entry.seen.source, **more)
        self.log.write(line, critical=True)
