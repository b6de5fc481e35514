# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The actor of the watch: root, four fixed verbs, and no trust in who asks.

It takes one request a connection from the sensor's account alone, looks for itself whether there is a reason, asks its
token bucket, acts, and leaves a record. It never parses anything but the request, the engine's answers and /proc, and
it listens on one Unix socket. Each request has a thread, each verb a number of places: an engine that hangs blocks
neither the other verbs nor the loop.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Optional

from .engine import EngineError
from .findings import Finding, FindingError
from .isolation import inspect_isolation
from .procfs import ProcError, ProcFS
from .watch_actor_config import ActorConfig, load
from .watch_actor_engine import ContainmentEngine, EngineActs
from .watch_actor_host import HostActs, NftError, Quarantine
from .watch_actor_limits import Buckets
from .watch_actor_plan import ActError, Plan, RefusedError
from .watch_actor_process import ProcessActs
from .watch_flags import sysfs_flags
from .watch_protocol import MESSAGE_MAX_BYTES, VERBS, Answer, Request, WatchError
from .watch_records import RECORD_SCHEMA, RecordError, new_name, prune, write_record
from .watch_server import PeerServer
from .watch_unit import ERROR, NOTICE, WARNING, Journal, notify

PLACES_PER_VERB = 4
CONNECTIONS_MAX = 4 * PLACES_PER_VERB
REQUEST_SECONDS = 2.0
STOP_SECONDS = 10.0
DEFAULT_CONFIG = "/etc/rampart/watch/actor.json"


class Actor:
    """Judges requests and acts. `planners` maps each verb to what makes its plan."""

    def __init__(
        self,
        config: ActorConfig,
        planners: dict[str, Callable[[dict[str, Any]], Plan]],
        buckets: Buckets,
        journal: Optional[Journal] = None,
    ) -> None:
        self.config = config
        self.planners = planners
        self.buckets = buckets
        self.journal = journal or Journal()
        self._places = {verb: threading.BoundedSemaphore(PLACES_PER_VERB) for verb in VERBS}

    def handle(self, request: Request, peer: dict[str, int]) -> Answer:
        """Judge one request, act if there is a reason, and say what became of it. Never raises."""
        started = time.monotonic()
        if not self._places[request.verb].acquire(blocking=False):
            return self._refused(request, "all {0} places of this verb are taken".format(PLACES_PER_VERB), started)
        try:
            return self._judge(request, peer, started)
        # Whatever the engine or /proc came up with: the sensor gets an answer, the actor lives on.
        except Exception as error:  # noqa: BLE001
            self.journal.say_of_others(
                ERROR, "WATCH-ACT-FAILED: {0}: {1}: {2}".format(request.verb, type(error).__name__, error)
            )
            return Answer("failed", type(error).__name__, None, time.monotonic() - started)
        finally:
            self._places[request.verb].release()

    def _judge(self, request: Request, peer: dict[str, int], started: float) -> Answer:
        try:
            plan = self.planners[request.verb](request.target)
        except RefusedError as error:
            return self._refused(request, str(error), started)
        except (EngineError, ProcError, NftError) as error:
            self.journal.say_of_others(ERROR, "WATCH-ACT-FAILED: {0}: {1}".format(request.verb, error))
            return Answer("failed", str(error), None, time.monotonic() - started)
        try:
            if not self.buckets.take(request.verb):
                return self._refused(request, "the limit of this verb is reached", started)
            return self._act(request, plan, peer, started)
        finally:
            plan.close()

    def _act(self, request: Request, plan: Plan, peer: dict[str, int], started: float) -> Answer:
        name = new_name(request.verb)
        record: dict[str, Any] = {
            "schema": RECORD_SCHEMA,
            "verb": request.verb,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "target": request.target,
            "asked_by": peer,
            "finding": request.finding.as_dict(),
            "checked": plan.checked,
            "before": plan.before,
            "release": plan.release,
            "outcome": "started",
            "reason": "",
            "done": [],
            "seconds": 0.0,
            "released": None,
        }
        # In the page cache before the act, on the disk after it: no act waits for a disk, and a full one stops none.
        recorded = self._record(name, record, durable=False)
        try:
            record["done"] = plan.act()
            record["outcome"], record["reason"] = "done", "; ".join(record["done"])
        except ActError as error:
            record["outcome"], record["reason"], record["done"] = "failed", str(error), error.done
        except (EngineError, ProcError, NftError, OSError) as error:
            record["outcome"], record["reason"] = "failed", str(error)
        record["seconds"] = round(time.monotonic() - started, 6)
        recorded = self._record(name, record, durable=True) or recorded
        line = "WATCH-ACT-{0}: {1}: {2} ({3}; asked because of {4})".format(
            record["outcome"].upper(), request.verb, record["reason"], name, request.finding.code
        )
        self.journal.say(WARNING if record["outcome"] == "done" else ERROR, line)
        if not recorded:
            # The journal may be on another disk: what release needs stands there at least.
            self.journal.say(ERROR, "WATCH-RECORD-LOST: {0}: release: {1}".format(name, plan.release))
        return Answer(record["outcome"], record["reason"], name if recorded else None, record["seconds"])

    def _record(self, name: str, record: dict[str, Any], durable: bool) -> bool:
        try:
            write_record(self.config.records, name, record, durable)
            if durable:
                prune(self.config.records)
        except (OSError, RecordError):
            return False
        return True

    def _refused(self, request: Request, reason: str, started: float) -> Answer:
        self.journal.say_of_others(
            NOTICE, "WATCH-ACT-REFUSED: {0}: {1} (asked because of {2})".format(
                request.verb, reason, request.finding.code
            )
        )  # fmt: skip
        return Answer("refused", reason, None, time.monotonic() - started)


class Server(PeerServer):
    """The actor's socket: one request and one answer for each connection of the sensor's account."""

    def __init__(self, actor: Actor, path: str, sensor_uid: int) -> None:
        super().__init__(path, socket.SOCK_SEQPACKET, sensor_uid, CONNECTIONS_MAX, actor.journal)
        self.actor = actor

    def answer(self, connection: socket.socket, peer: dict[str, int]) -> None:
        """Read one request, have it acted on, and say what came of it."""
        connection.settimeout(REQUEST_SECONDS)
        data = connection.recv(MESSAGE_MAX_BYTES + 1)
        if not data:
            return
        try:
            answer = self.actor.handle(Request.decode(data), peer)
        except WatchError as error:
            self.journal.say_of_others(WARNING, str(error))
            answer = Answer("refused", str(error))
        connection.send(answer.encode())


def build(config: ActorConfig, journal: Optional[Journal] = None) -> Actor:
    """Return the actor of a host, with the kernel, the engine and nft that the configuration names."""
    proc = ProcFS()

    def engine() -> ContainmentEngine:
        return ContainmentEngine(config.engine_socket, config.engine_timeout)

    def look() -> list[Finding]:
        flags = partial(sysfs_flags, proc)
        return inspect_isolation(config.expected, engine(), proc, flags).findings

    engine_acts = EngineActs(config, engine(), look, proc)
    planners: dict[str, Callable[[dict[str, Any]], Plan]] = {
        "network": engine_acts.network,
        "container": engine_acts.container,
        "process": ProcessActs(config, engine(), proc).process,
        "host": HostActs(config, Quarantine(config.quarantine_file, config.nft), look).host,
    }
    buckets = Buckets(os.path.join(config.state_directory, "limits.json"), config.limits)
    return Actor(config, planners, buckets, journal)


def main(arguments: Optional[list[str]] = None) -> int:
    """Run the actor, or with --check judge its configuration and prepared rule set; 0 means fine."""
    parser = argparse.ArgumentParser(prog="watch_actor", description="Root's half of the isolation watch.")
    parser.add_argument("--config", default=DEFAULT_CONFIG)
    parser.add_argument("--check", action="store_true", help="judge the configuration and end")
    options = parser.parse_args(arguments)
    try:
        config = load(options.config)
        Quarantine(config.quarantine_file, config.nft).check()
    except FindingError as error:
        sys.stderr.write("{0}\n".format(error))
        return 1
    if options.check:
        return 0
    os.umask(0o077)
    server = Server(build(config), config.socket, config.sensor_uid)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: server.stopping.set())
    try:
        os.makedirs(config.records, mode=0o700, exist_ok=True)
        server.open()
    except OSError as error:
        sys.stderr.write("WATCH-ACTOR-START: {0}: {1}\n".format(error.filename or config.socket, error.strerror))
        return 1
    notify("READY=1")
    server.serve(STOP_SECONDS)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
