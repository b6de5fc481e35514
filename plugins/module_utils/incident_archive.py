# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence of an incident in one archive: collectors that cannot harm each other, and a manifest of all files (C7).

Each collector runs in a child process with a time limit and a limit for each file it writes. One that fails, hangs or
dies leaves an entry in the manifest and never stops the rest. The archive appears under its name whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Optional

from .findings import Finding, Severity, clean_text, refuse

SCHEMA = 1
MANIFEST = "manifest.json"
CHUNK = 1024 * 1024
COMMAND_SECONDS = 30.0
# What a collector writes about itself, beside its files; never part of the archive.
_NOTES = ".notes.json"


@dataclass
class Limits:
    """Bytes of one file (of a longer one the end is kept) and of all files, seconds of one collector."""

    file_bytes: int = 64 * 1024 * 1024
    total_bytes: int = 512 * 1024 * 1024
    seconds: float = 60.0


@dataclass
class Sink:
    """Where one collector puts its files: below `directory`, and in `entries` how each was obtained.

    Names are relative paths that the collector's own code chooses. `prefix` is the collector's name.
    """

    directory: Path
    prefix: str
    limits: Limits
    entries: list[dict[str, Any]] = field(default_factory=list)

    def put(self, name: str, data: bytes, how: str, error: str = "") -> None:
        """Keep bytes; of too many, the end."""
        limit = self.limits.file_bytes
        target = self._target(name)
        target.write_bytes(data[-limit:])
        self._entry(name, how, error, truncated_from=len(data) if len(data) > limit else 0)

    def put_json(self, name: str, value: Any, how: str, error: str = "") -> None:
        """Keep a value as JSON."""
        text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=True)
        self.put(name, text.encode("ascii") + b"\n", how, error)

    def copy(self, name: str, path: str) -> None:
        """Keep a regular file, of a long one the end; the sha256 of the whole of it stands in the manifest.

        Symbolic links are not followed: who can write beside a log must not choose what root reads.
        """
        how = "copy of {0}".format(path)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(path, flags), "rb") as stream:
                found = os.fstat(stream.fileno())
                if not os.path.isfile("/proc/self/fd/{0}".format(stream.fileno())):
                    raise OSError(0, "no regular file")
                size, digest = found.st_size, hashlib.sha256()
                skip = max(size - self.limits.file_bytes, 0)
                with open(self._target(name), "wb") as out:
                    position = 0
                    while position < size:
                        chunk = stream.read(min(CHUNK, size - position))
                        if not chunk:
                            break
                        digest.update(chunk)
                        out.write(chunk[max(skip - position, 0) :])
                        position += len(chunk)
        except OSError as error:
            self.failed(name, how, error.strerror or str(error))
            return
        self._entry(
            name,
            how,
            "",
            truncated_from=size if skip else 0,
            source_sha256=digest.hexdigest(),
            modified=utc(found.st_mtime),
            owner="{0}:{1}".format(found.st_uid, found.st_gid),
            mode="{0:04o}".format(found.st_mode & 0o7777),
        )

    def command(self, name: str, argv: list[str], seconds: float = COMMAND_SECONDS) -> None:
        """Keep what a program prints, as much as may be; what it says of errors stands in the manifest."""
        how = " ".join(argv)
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "SYSTEMD_COLORS": "0"}
        target = self._target(name)
        error = ""
        try:
            with open(target, "wb") as out, tempfile.TemporaryFile(dir=str(self.directory)) as err:
                done = subprocess.run(  # pylint: disable=ansible-bad-function
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    timeout=seconds,
                    check=False,
                    env=environment,
                    cwd="/",
                )
                err.seek(0)
                if done.returncode != 0:
                    said = clean_text(err.read(400).decode("utf-8", "replace"), 200)
                    error = "exit status {0}: {1}".format(done.returncode, said)
        except subprocess.TimeoutExpired:
            error = "stopped after {0:g} s".format(seconds)
        except OSError as problem:
            target.unlink()
            self.failed(name, how, "not run: {0}".format(problem.strerror))
            return
        self._entry(name, how, error)

    def failed(self, name: str, how: str, error: object) -> None:
        """Note what could not be had."""
        self.entries.append({"file": "", "wanted": self._name(name), "how": how, "error": clean_text(error, 300)})

    def _name(self, name: str) -> str:
        return "{0}/{1}".format(self.prefix, name)

    def _target(self, name: str) -> Path:
        target = self.directory / self._name(name)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return target

    def _entry(self, name: str, how: str, error: str, **more: Any) -> None:
        kept = {key: value for key, value in more.items() if value}
        self.entries.append({"file": self._name(name), "how": how, "error": clean_text(error, 300), **kept})


Collector = Callable[[Sink], None]


@dataclass(frozen=True)
class Job:
    """A collector with its name (also its directory in the archive) and, if it has one, a time limit of its own."""

    name: str
    collect: Collector
    seconds: Optional[float] = None


@dataclass
class Bundle:
    """What was preserved: the archive's path, sha256 and size, its manifest, and findings of what is missing."""

    path: str
    sha256: str
    size: int
    manifest: dict[str, Any]
    findings: list[Finding]


def utc(seconds: Optional[float] = None) -> str:
    """Return a moment (seconds since the epoch, or now) as UTC, `YYYY-MM-DDTHH:MM:SSZ`."""
    moment = datetime.fromtimestamp(time.time() if seconds is None else seconds, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def preserve(directory: Path, name: str, jobs: Iterable[Job], limits: Limits, about: dict[str, Any]) -> Bundle:
    """Run every collector and return the archive `directory`/`name`.tar.gz, mode 0600.

    `about` goes into the manifest. Raises FindingError (INCIDENT-ARCHIVE-WRITE) when there can be no archive;
    nothing of it is left then. An archive that is there is never replaced.
    """
    target = directory / "{0}.tar.gz".format(name)
    staging: Optional[str] = None
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if target.exists():
            raise FileExistsError(17, "there is an archive of this name already")
        staging = tempfile.mkdtemp(prefix=".staging-", dir=str(directory))
        entries, problems = _collect(Path(staging), jobs, limits)
        manifest = {"schema": SCHEMA, **about, "finished": utc(), "files": entries, "errors": problems}
        sha256, size = _pack(Path(staging), target, name, manifest)
    except OSError as error:
        raise refuse(
            "INCIDENT-ARCHIVE-WRITE",
            str(target),
            error.strerror or error,
            "Free space, or name another incident_host_dir, and preserve again before anything else is done.",
            Severity.CRITICAL,
        ) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
    findings = [_incomplete(item) for item in problems]
    return Bundle(str(target), sha256, size, manifest, findings)


def _incomplete(problem: dict[str, str]) -> Finding:
    remedy = "Take by hand what is missing, before the host is released."
    return Finding("INCIDENT-EVIDENCE-INCOMPLETE", Severity.MEDIUM, problem["what"], problem["error"], remedy)


def _collect(staging: Path, jobs: Iterable[Job], limits: Limits) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Return (entries of files that are there, problems); files beyond the total are dropped and said to be."""
    entries: list[dict[str, Any]] = []
    problems: list[dict[str, str]] = []
    left = limits.total_bytes
    for job in jobs:
        started = time.monotonic()
        died = _in_child(staging, job, limits)
        noted = _notes(staging, job)
        if died:
            problems.append({"what": job.name, "error": died})
        known = {str(entry.get("file")): entry for entry in noted}
        for entry in noted:
            if entry.get("error"):
                what = entry.get("file") or entry.get("wanted") or job.name
                problems.append({"what": str(what), "error": str(entry["error"])})
        for path in _files(staging / job.name):
            relative = str(path.relative_to(staging))
            size = path.stat().st_size
            if size > left:
                path.unlink()
                problems.append({"what": relative, "error": "left out: {0} bytes are over the limit".format(size)})
                continue
            left -= size
            entry = known.get(relative) or {"file": relative, "how": "unfinished", "error": died}
            seconds = round(time.monotonic() - started, 3)
            entries.append({**entry, "sha256": _sha256(path), "size": size, "seconds": seconds})
    return entries, problems


def _in_child(staging: Path, job: Job, limits: Limits) -> str:
    """Run one collector in a process group of its own; return how it came to grief, or an empty text."""
    child = os.fork()
    if child == 0:
        status = 1
        with suppress(BaseException):
            os.setpgid(0, 0)
            status = _run(staging, job, limits)
        os._exit(status)
    with suppress(OSError):
        os.setpgid(child, child)
    seconds = limits.seconds if job.seconds is None else job.seconds
    deadline = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            # Programs that it started and left behind go with it.
            with suppress(OSError):
                os.killpg(child, signal.SIGKILL)
            if os.WIFSIGNALED(status):
                return "the collector was killed by signal {0}".format(os.WTERMSIG(status))
            return "" if os.WEXITSTATUS(status) == 0 else "the collector failed"
        if time.monotonic() >= deadline:
            with suppress(OSError):
                os.killpg(child, signal.SIGKILL)
            # A process that hangs in the kernel does not even die: it is not waited for.
            time.sleep(0.05)
            os.waitpid(child, os.WNOHANG)
            return "the collector was stopped after {0:g} s".format(seconds)
        time.sleep(0.01)


def _run(staging: Path, job: Job, limits: Limits) -> int:
    # Set before anything is written: a program that prints without end fills its file and no disk.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_bytes, limits.file_bytes))
    sink = Sink(staging, job.name, limits)
    status = 0
    try:
        job.collect(sink)
    except Exception as error:  # noqa: BLE001 - evidence of others must never end in a traceback
        sink.failed("", job.name, "{0}: {1}".format(type(error).__name__, error))
    text = json.dumps(sink.entries).encode()
    (staging / (job.name + _NOTES)).write_bytes(text)
    return status


def _notes(staging: Path, job: Job) -> list[dict[str, Any]]:
    """Return the entries that a collector noted; none when it did not come to that."""
    try:
        value = json.loads((staging / (job.name + _NOTES)).read_bytes())
    except (OSError, ValueError):
        return []
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _files(directory: Path) -> list[Path]:
    found = []
    for root, _directories, names in os.walk(str(directory)):
        found += [Path(root) / name for name in names if not (Path(root) / name).is_symlink()]
    return sorted(found)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while True:
            chunk = stream.read(CHUNK)
            if not chunk:
                return digest.hexdigest()
            digest.update(chunk)


def _pack(staging: Path, target: Path, name: str, manifest: dict[str, Any]) -> tuple[str, int]:
    """Write the archive beside its place, sync it, and give it its name; return (sha256, size). Raises OSError."""
    descriptor, temporary = tempfile.mkstemp(prefix=".archive-", dir=str(target.parent))
    try:
        with os.fdopen(descriptor, "wb") as out:
            with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.PAX_FORMAT, compresslevel=6) as archive:
                for entry in manifest["files"]:
                    path = staging / str(entry["file"])
                    with open(path, "rb") as stream:
                        archive.addfile(_member(name, str(entry["file"]), int(entry["size"])), stream)
                text = (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()
                archive.addfile(_member(name, MANIFEST, len(text)), io.BytesIO(text))
            out.flush()
            os.fsync(out.fileno())
        result = _sha256(Path(temporary)), os.stat(temporary).st_size
        # A link is never made over a file that is there: evidence is not replaced.
        os.link(temporary, target)
    finally:
        os.unlink(temporary)
    handle = os.open(str(target.parent), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return result


def _member(name: str, path: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo("{0}/{1}".format(name, path))
    member.size, member.mode, member.mtime = size, 0o600, int(time.time())
    return member
