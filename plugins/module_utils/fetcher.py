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
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from .findings import Finding, FindingError, Severity, clean_text, refuse
from .hashing import BUFFER_BYTES, UnsafeFileError, open_plain
from .manifest import MANIFEST_MAX_BYTES, sha256_of
from .registry import Limits, RegistryClient
from .transfer import Transfer, disk_error

JOB_VARIABLE = "RAMPART_JOB"
JOB_VERSION = 1
# One environment string may be 128 KiB long (MAX_ARG_STRLEN).
JOB_MAX_BYTES = 120_000
MANIFEST_FILE = "manifest"


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
    `sha256-<hex>`.
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
    received = cuts = 0
    for wanted, size in sorted(job.blobs.items(), key=lambda item: item[1]):
        transfer = _begin(directory, wanted, size)
        had = transfer.received
        try:
            client.blob(transfer)
        except FindingError as error:
            if error.finding.code not in ("FETCH-UNREACHABLE", "FETCH-TIMEOUT"):
                # What is known to be wrong is not worth continuing.
                _remove(transfer.path)
            raise
        _rename(transfer.path, directory / wanted.replace(":", "-"))
        received += transfer.received - had
        cuts += transfer.cuts
    return {"bytes": received, "blobs": len(job.blobs), "cuts": cuts}


def _begin(directory: Path, digest: str, size: int) -> Transfer:
    """Return the transfer of a blob, continuing a file that an earlier run left."""
    final = directory / digest.replace(":", "-")
    transfer = Transfer(digest, size, final.with_name(final.name + ".part"))
    for path in (final, transfer.path):
        if _take_over(path, transfer):
            if path == final:
                _rename(final, transfer.path)
            return transfer
    try:
        os.close(os.open(transfer.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    except OSError as error:
        raise disk_error(error) from error
    return transfer


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
