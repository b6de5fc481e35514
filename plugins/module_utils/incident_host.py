# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence of an incident from the engine, the host's files and programs; the list of all collectors (row C7)."""

from __future__ import annotations

import glob
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Optional

from . import incident_kernel as kernel
from .approval import Approval
from .engine import DEFAULT_SOCKET, Engine, EngineError
from .incident_archive import Job, Sink, utc
from .procfs import ProcFS
from .store import ModelStore
from .verify_run import Question, answer

FILES_MAX = 200
CONTAINERS_MAX = 200
LOG_LINES = 20000
LOG_MAX_BYTES = 8 * 1024 * 1024
JOURNAL_LINES = 50000
# struct utmp of glibc on 64-bit machines: type, pid, line, id, user, host, exit status, session, time, address.
UTMP = struct.Struct("=h2xi32s4s32s256s4xiii16s20x")
UTMP_TYPES = {1: "run-level", 2: "boot", 5: "init", 6: "login", 7: "user", 8: "dead"}
UTMP_RECORDS_MAX = 20000


class EvidenceEngine(Engine):
    """The engine's client with the one question more that evidence needs."""

    def changes(self, name: str) -> list[dict[str, Any]]:
        """Return what a container's file system has that its image has not (`Path`, `Kind`). Raises EngineError."""
        return self._list("GET", "/containers/{0}/changes".format(name))


@dataclass
class Wanted:
    """What is to be preserved. `files` maps a name to a glob pattern; no approvals: the store is not judged."""

    files: dict[str, str] = field(default_factory=dict)
    store: Optional[str] = None
    approvals: Mapping[str, Approval] = field(default_factory=dict)
    policy: Optional[dict[str, Any]] = None
    docker_socket: str = DEFAULT_SOCKET
    journal_since: str = "-24h"
    store_seconds: float = 3600.0
    proc: str = "/proc"


def jobs(wanted: Wanted) -> list[Job]:
    """Return every collector, what changes soonest first."""
    proc = ProcFS(wanted.proc)
    engine = EvidenceEngine(wanted.docker_socket)
    found = [
        Job("sockets", partial(kernel.sockets, proc)),
        Job("processes", partial(kernel.processes, proc)),
        Job("mounts", partial(kernel.mounts, proc)),
        Job("network", network),
        Job("containers", partial(containers, engine), 120.0),
        Job("logins", logins),
        Job("services", services),
        Job("journal", partial(journal, wanted.journal_since), 120.0),
    ]
    found += [Job("files-{0}".format(name), partial(files, pattern)) for name, pattern in sorted(wanted.files.items())]
    found += [Job("packages", packages, 300.0), Job("programs", partial(kernel.programs, proc), 300.0)]
    if wanted.store:
        found.append(Job("store", partial(store, wanted), wanted.store_seconds))
    return found


def network(sink: Sink) -> None:
    """Keep the rule sets, addresses, routes and neighbours."""
    sink.command("nft.txt", ["nft", "--handle", "list", "ruleset"])
    for name in ("addr", "route", "rule", "neigh"):
        what = ["show", "table", "all"] if name == "route" else ["show"]
        for family in ("-4", "-6"):
            sink.command("ip{0}-{1}.txt".format(family, name), ["ip", family, "-details", name, *what])


def redacted(inspect: dict[str, Any]) -> dict[str, Any]:
    """Return an inspection of a container or image without the values of its environment: those are secrets."""
    kept = dict(inspect)
    for section in ("Config", "ContainerConfig"):
        part = kept.get(section)
        if isinstance(part, dict) and isinstance(part.get("Env"), list):
            names = [str(item).partition("=")[0] + "=***" for item in part["Env"]]
            kept[section] = {**part, "Env": names}
        part = kept.get(section)
        if isinstance(part, dict):
            for words in ("Cmd", "Entrypoint"):
                if isinstance(part.get(words), list):
                    part = {**part, words: kernel.masked([str(word) for word in part[words]])}
            kept[section] = part
    if isinstance(kept.get("Args"), list):
        kept["Args"] = kernel.masked([str(word) for word in kept["Args"]])
    return kept


def containers(engine: EvidenceEngine, sink: Sink) -> None:
    """Keep inspection, changed files and the end of the log of every container; images and networks."""
    for name, ask in (
        ("version.json", engine.version),
        ("images.json", engine.images),
        ("networks.json", engine.networks),
    ):
        try:
            sink.put_json(name, ask(), "Docker API")
        except EngineError as error:
            sink.failed(name, "Docker API", error)
    listed = engine.containers()
    sink.put_json("containers.json", listed, "GET /containers/json?all=1")
    if len(listed) > CONTAINERS_MAX:
        sink.failed("containers", "Docker API", "only {0} of {1}".format(CONTAINERS_MAX, len(listed)))
    for entry in listed[:CONTAINERS_MAX]:
        identity = str(entry.get("Id", ""))
        names = entry.get("Names") or [identity[:12]]
        _container(engine, sink, identity, "{0}-{1}".format(_safe(str(names[0])), identity[:12]))


def _container(engine: EvidenceEngine, sink: Sink, identity: str, name: str) -> None:
    def inspect() -> None:
        value = redacted(engine.inspect_container(identity))
        sink.put_json(name + "/inspect.json", value, "GET /containers/ID/json, values of the environment removed")

    def changes() -> None:
        sink.put_json(name + "/changes.json", engine.changes(identity), "GET /containers/ID/changes")

    def logs() -> None:
        out, err = engine.logs(identity, LOG_MAX_BYTES, LOG_LINES)
        how = "GET /containers/ID/logs, the last {0} lines".format(LOG_LINES)
        for stream, text in (("stdout", out), ("stderr", err)):
            sink.put("{0}/{1}.log".format(name, stream), text.encode("utf-8", "surrogateescape"), how)

    for what, take in (("inspect", inspect), ("changes", changes), ("logs", logs)):
        try:
            take()
        except EngineError as error:
            sink.failed("{0}/{1}".format(name, what), "Docker API", error)


def _safe(name: str) -> str:
    return "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "_" for char in name.strip("/"))


def logins(sink: Sink) -> None:
    """Keep who was logged in: utmp and wtmp as they are and as text; never btmp, where passwords end up as names."""
    for path in ("/run/utmp", "/var/log/wtmp", "/var/log/wtmp.db", "/var/lib/wtmpdb/wtmp.db", "/var/log/lastlog"):
        if not os.path.exists(path):
            continue
        sink.copy(path.strip("/").replace("/", "-"), path)
    for path in ("/run/utmp", "/var/log/wtmp"):
        if os.path.exists(path):
            with open(path, "rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                whole = UTMP.size * UTMP_RECORDS_MAX
                stream.seek(max(size - size % UTMP.size - whole, 0))
                records = parse_utmp(stream.read(whole))
            sink.put_json(os.path.basename(path) + ".json", records, "{0}, parsed".format(path))
    sink.command("sessions.txt", ["loginctl", "--no-pager", "list-sessions"])


def parse_utmp(data: bytes) -> list[dict[str, Any]]:
    """Return the records of utmp or wtmp; what is left of a cut last record is ignored."""
    found = []
    for position in range(0, len(data) - UTMP.size + 1, UTMP.size):
        kind, pid, line, _identity, user, host, _session, seconds, _micro, _address = UTMP.unpack_from(data, position)
        if not kind:
            continue
        texts = [part.split(b"\0")[0].decode("utf-8", "backslashreplace") for part in (line, user, host)]
        record = {"type": UTMP_TYPES.get(kind, str(kind)), "pid": pid, "at": utc(seconds & 0xFFFFFFFF)}
        found.append({**record, "line": texts[0], "user": texts[1], "host": texts[2]})
    return found


def services(sink: Sink) -> None:
    """Keep units, timers and what is started by itself."""
    systemctl = ["systemctl", "--no-pager", "--plain"]
    sink.command("units.txt", [*systemctl, "list-units", "--all"])
    sink.command("unit-files.txt", [*systemctl, "list-unit-files"])
    sink.command("timers.txt", [*systemctl, "list-timers", "--all"])
    for pattern in ("/etc/crontab", "/etc/cron.d/*", "/var/spool/cron/crontabs/*", "/etc/systemd/system/*.service"):
        files(pattern, sink)


def journal(since: str, sink: Sink) -> None:
    """Keep the end of the journal."""
    argv = ["journalctl", "--no-pager", "--quiet", "--utc", "--output=short-iso-precise", "--since={0}".format(since)]
    sink.command("journal.txt", [*argv, "--lines={0}".format(JOURNAL_LINES)], 100.0)


def files(pattern: str, sink: Sink) -> None:
    """Keep the regular files that a pattern matches, with the sha256 of the whole of each."""
    found = sorted(path for path in glob.glob(pattern) if os.path.lexists(path) and not os.path.isdir(path))
    if len(found) > FILES_MAX:
        sink.failed(pattern, "glob", "only {0} of {1} files".format(FILES_MAX, len(found)))
    links = {}
    for path in found[:FILES_MAX]:
        if os.path.islink(path):
            links[path] = os.readlink(path)
        else:
            sink.copy(path.strip("/").replace("/", "-"), path)
    if links:
        how = "symbolic links of {0}, not followed".format(pattern)
        sink.put_json("links-{0}.json".format(_safe(pattern)), links, how)


def packages(sink: Sink) -> None:
    """Keep what was installed when, what is installed, and which installed files differ from their packages."""
    for path in ("/var/log/dpkg.log", "/var/log/apt/history.log"):
        files(path, sink)
    sink.command("installed.txt", ["dpkg-query", "--show", "--showformat=${Package} ${Version} ${db:Status-Abbrev}\\n"])
    # Differences are its finding, not its failure.
    sink.command("changed-files.txt", ["dpkg", "--verify"], 240.0)


def store(wanted: Wanted, sink: Sink) -> None:
    """Keep a full verification of the store; it reads every byte and writes no record."""
    question = Question(approvals=wanted.approvals, only_look=True, policy=wanted.policy)
    report, _recorded = answer(ModelStore(Path(str(wanted.store))), question)
    sink.put_json("verification.json", report.as_result(), "verification of {0}, mode full".format(wanted.store))
