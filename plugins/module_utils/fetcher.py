# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fetcher: the program in the container that has no network, no secrets and no privileges (rows S2, I2).

It is told in the environment variable RAMPART_JOB (JSON, see Job) which manifest and which blobs to bring
through the egress proxy's socket into quarantine. It answers with one line of JSON on standard output and
ends with 0 (everything is there), 1 (a finding says why not) or 2 (the job cannot be understood). Nobody
believes it: the publisher hashes again.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from .crew import Crew
from .findings import Finding, FindingError, Severity, clean_text, refuse
from .hashing import BUFFER_BYTES, UnsafeFileError, open_plain
from .manifest import MANIFEST_MAX_BYTES, sha256_of
from .pieces import drop_state, state_path
from .progress import PROGRESS_FILE, Gauge
from .ranges import fetch_ranges
from .registry import Limits, RegistryClient
from .transfer import Transfer, disk_error, fetch_whole

JOB_VARIABLE = "RAMPART_JOB"
JOB_VERSION = 2
# One environment string may be 128 KiB long (MAX_ARG_STRLEN).
JOB_MAX_BYTES = 120_000
MANIFEST_FILE = "manifest"
# What came is known to be wrong, or has no room: it is not worth continuing.
USELESS = ("FETCH-DIGEST-MISMATCH", "FETCH-SIZE-MISMATCH", "FETCH-TOO-LARGE", "FETCH-DISK")


@dataclass(frozen=True)
class Job:
    """What to bring: the manifest of `tag` (its `digest` must match) and `blobs` ({digest: size}) into
    `directory`.
    """

    host: str
    repository: str
    tag: str
    digest: str
    blobs: Mapping[str, int]
    hosts: tuple[str, ...]
    proxy_socket: str
    directory: str
    ca_bundle: Optional[str] = None
    limits: Limits = field(default_factory=Limits)

    def as_json(self) -> str:
        """Return the job as compact JSON for JOB_VARIABLE."""
        data = {
            "version": JOB_VERSION,
            "host": self.host,
            "repository": self.repository,
            "tag": self.tag,
            "digest": self.digest,
            "blobs": dict(self.blobs),
            "hosts": list(self.hosts),
            "proxy_socket": self.proxy_socket,
            "directory": self.directory,
            "ca_bundle": self.ca_bundle,
            "limits": vars(self.limits),
        }
        return json.dumps(data, separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Return the job in `text`. Raises ValueError or TypeError for anything else."""
        data = json.loads(text)
        if not isinstance(data, dict) or data.pop("version", None) != JOB_VERSION:
            raise ValueError("not a job of version {0}".format(JOB_VERSION))
        data["hosts"] = tuple(data["hosts"])
        data["limits"] = Limits(**data["limits"])
        return cls(**data)


def fetch(job: Job) -> dict[str, Any]:
    """Bring manifest and blobs into the job's directory; return counts. Raises FindingError with a FETCH-
    code.

    Files that are already there are hashed and kept when right, continued when short; files end as
    `sha256-<hex>`. Small blobs are brought a few at once, large ones each over several connections.
    """
    client = RegistryClient(
        job.proxy_socket, job.host, job.repository, job.hosts, job.ca_bundle, job.limits, _say
    )
    manifest = client.manifest(job.tag, MANIFEST_MAX_BYTES, job.digest)
    digest = sha256_of(manifest)
    if digest != job.digest:
        raise refuse(
            "FETCH-DIGEST-MISMATCH",
            "{0}/{1}:{2}".format(job.host, job.repository, job.tag),
            "the registry's manifest is {0}, approved is {1}".format(digest, job.digest),
            "The tag has moved or the registry lies: review the new version, or keep the old one.",
            Severity.CRITICAL,
        )
    directory = Path(job.directory)
    _save(directory / MANIFEST_FILE, manifest)
    gauge = Gauge(directory / PROGRESS_FILE, sum(job.blobs.values()))
    try:
        transfers = _bring(client, directory, job, gauge)
    finally:
        gauge.close()
    return {
        "bytes": sum(transfer.brought for transfer in transfers),
        "blobs": len(job.blobs),
        "cuts": sum(transfer.cuts for transfer in transfers),
    }


def _bring(client: RegistryClient, directory: Path, job: Job, gauge: Gauge) -> list[Transfer]:
    """Complete every blob of a job; return their transfers."""
    transfers = [
        Transfer(digest, size, directory / (digest.replace(":", "-") + ".part"))
        for digest, size in sorted(job.blobs.items(), key=lambda item: item[1])
    ]
    small = [transfer for transfer in transfers if transfer.size < job.limits.split_from]
    queue = iter(small)
    turn = threading.Lock()

    def bring_some() -> None:
        while True:
            with turn:
                transfer = next(queue, None)
            if transfer is None:
                return
            _complete(transfer, lambda one: _bring_small(client, one, gauge))

    crew = Crew(client.hang_up)
    for number in range(min(len(small), max(1, job.limits.connections))):
        crew.start(bring_some, needed=number == 0)
    try:
        crew.wait(gauge.tell)
    finally:
        client.resume()
    for transfer in transfers[len(small) :]:
        _complete(transfer, lambda one: _bring_large(client, one, gauge))
    return transfers


def _complete(transfer: Transfer, bring: Callable[[Transfer], None]) -> None:
    """Bring one blob and give it its final name; on failure keep what the next run can continue."""
    try:
        bring(transfer)
    except FindingError as error:
        if error.finding.code in USELESS or not _size_of(transfer.path):
            _remove(transfer.path)
            drop_state(transfer.path)
        raise
    _rename(transfer.path, _final(transfer))


def _final(transfer: Transfer) -> Path:
    return transfer.path.with_suffix("")


def _size_of(path: Path) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def _bring_small(client: RegistryClient, transfer: Transfer, gauge: Gauge) -> None:
    if _exists(state_path(transfer.path)):
        # It was begun in ranges: what is there is not its beginning.
        _remove(transfer.path)
        drop_state(transfer.path)
    for path in (_final(transfer), transfer.path):
        if _take_over(path, transfer):
            if path != transfer.path:
                _rename(path, transfer.path)
            break
    else:
        _create(transfer.path)
    gauge.have(transfer.received)
    fetch_whole(client, transfer, gauge)


def _bring_large(client: RegistryClient, transfer: Transfer, gauge: Gauge) -> None:
    final = _final(transfer)
    if _is_plain(final):
        # Whole once: it counts as far as its bytes prove right.
        drop_state(transfer.path)
        _rename(final, transfer.path)
    elif not _is_plain(transfer.path):
        _remove(transfer.path)
        drop_state(transfer.path)
        _create(transfer.path)
    fetch_ranges(client, transfer, gauge)


def _exists(path: Path) -> bool:
    return os.path.lexists(path)


def _is_plain(path: Path) -> bool:
    try:
        os.close(open_plain(path))
    except (OSError, UnsafeFileError):
        return False
    return True


def _create(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    except OSError as error:
        raise disk_error(error) from error


def _take_over(path: Path, transfer: Transfer) -> bool:
    """Hash what an earlier run left at `path` into the transfer; remove it when it cannot be continued."""
    try:
        descriptor = open_plain(path)
    except FileNotFoundError:
        return False
    except (OSError, UnsafeFileError):
        _remove(path)
        return False
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        while True:
            chunk = stream.read(BUFFER_BYTES)
            if not chunk:
                break
            transfer.hasher.update(chunk)
            transfer.received += len(chunk)
            if transfer.received > transfer.size:
                break
    whole = transfer.received == transfer.size
    good = whole and "sha256:" + transfer.hasher.hexdigest() == transfer.digest
    if good or (transfer.received < transfer.size and transfer.received):
        transfer.resumed = True
        return True
    transfer.restart()
    _remove(path)
    return False


def _save(path: Path, data: bytes) -> None:
    _remove(path)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
    except OSError as error:
        raise disk_error(error) from error


def _rename(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        raise disk_error(error) from error


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError:
        return


def _say(text: str) -> None:
    sys.stderr.write(clean_text(text, 200) + "\n")
    sys.stderr.flush()


def answer_of(stdout: str) -> dict[str, Any]:
    """Return the fetcher's answer (its last line) as a dictionary; an empty one when there is none to be
    understood.
    """
    lines = [line for line in stdout.splitlines() if line.strip()]
    try:
        answer = json.loads(lines[-1]) if lines else {}
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def main() -> int:
    """Do the job in the environment, print the answer, return the exit status. Never a traceback."""
    try:
        job = Job.from_json(os.environ.get(JOB_VARIABLE, ""))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        _refuse(
            Finding(
                "FETCH-JOB",
                Severity.HIGH,
                JOB_VARIABLE,
                "no job: {0}".format(error),
                "Run it through the module ollama_model.",
            )
        )
        return 2
    try:
        result = fetch(job)
    except FindingError as error:
        _refuse(error.finding)
        return 1
    except Exception as error:  # noqa: BLE001 - the last line must be an answer, whatever happened
        _refuse(
            Finding(
                "FETCH-FAILED",
                Severity.HIGH,
                job.repository,
                "{0}: {1}".format(type(error).__name__, error),
                "Report this with the fetcher's log, then run again.",
            )
        )
        return 1
    _answer({"ok": True, **result})
    return 0


def _refuse(finding: Finding) -> None:
    _answer({"ok": False, "finding": finding.as_dict()})


def _answer(data: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(data) + "\n")
    sys.stdout.flush()
