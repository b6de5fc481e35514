# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host keeps of revocations: every one it has ever seen (rows S6, T2).

models_registry.yaml can lose a revocation by a merge, a mistake or an attacker; the host's own file cannot. It is
root's, written whole or not at all, and grows only: a revocation that is in it and no longer in models_registry.yaml
is reported (APPROVAL-REVOCATION-LOST) and still enforced.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

from .findings import Check, Finding, FindingError, Severity, check, refuse
from .hashing import UnsafeFileError, open_plain
from .manifest import strict_json
from .revocation import REVOCATIONS_MAX, Revocation, parse_revocations

SCHEMA = 1
FILE_MODE = 0o600
MEMORY_MAX_BYTES = 16 * 1024 * 1024
_REMEDY = "Put it back from a backup; what a host has revoked must not be forgotten. Nothing was changed."


@dataclass(frozen=True)
class Memory:
    """A host's revocations and what just came of them: `all`, those `added` (or reworded), those the list `lost`.

    `before` is the file's text, None when there was no file; `after` is what it has to hold. `compared` is False where
    the list could not be read: what it lost is not known.
    """

    all: tuple[Revocation, ...]
    added: tuple[Revocation, ...]
    lost: tuple[Revocation, ...]
    before: Optional[str]
    after: Optional[str]
    compared: bool = True

    @property
    def changed(self) -> bool:
        """Whether the file has to be written."""
        return self.before != self.after

    def check(self) -> Check:
        """Return the check store-revocations-kept: models_registry.yaml still has all that the host knows."""
        if not self.compared:
            evidence = "{0} revocations remembered, held against no list".format(len(self.all))
            return check("store-revocations-kept", None, evidence)
        evidence = "{0} revocations remembered, {1} lost".format(len(self.all), len(self.lost) or "none")
        return check("store-revocations-kept", not self.lost, evidence)

    def findings(self) -> list[Finding]:
        """Return one finding for each revocation that models_registry.yaml no longer has."""
        return [
            Finding(
                "APPROVAL-REVOCATION-LOST",
                Severity.HIGH,
                revocation.reference or revocation.digests[0],
                "{0}, {1}; models_registry.yaml no longer says so".format(
                    " and ".join(revocation.digests), revocation
                ),
                "It is still enforced here. Find out who took it out of the list revocations, and put it back.",
            )
            for revocation in self.lost
        ]


def read_memory(path: Union[str, Path]) -> tuple[Revocation, ...]:
    """Return the revocations a host remembers, none when it has no file yet.

    Raises FindingError (REVOCATION-MEMORY) when the file is not as it was written: no plain file, one that others
    can write, not readable, not understood. A memory that cannot be read is never taken for an empty one.
    """
    return _parse(_read(path), str(path))


def remember(path: Union[str, Path], listed: Optional[Iterable[Revocation]], write: bool = True) -> Memory:
    """Add `listed` to a host's memory and return what came of it; `write` False only predicts.

    `listed` None: the list could not be read, and the host has what it remembers.
    The list's wording wins for a revocation that both have. A known one is lost when the list lacks a digest of it.
    Safe against another run at the same time, a cut and a full disk: the file is the old one or the new one. Raises
    FindingError (REVOCATION-MEMORY).
    """
    path = Path(path)
    given = None if listed is None else tuple(listed)
    if not write:
        return _merge(path, given)
    try:
        with directory_lock(path.parent) as directory:
            memory = _merge(path, given)
            if memory.changed and memory.after is not None:
                write_whole(directory, path.name, memory.after)
            return memory
    except OSError as error:
        raise _refusal(
            str(path), error.strerror or error, "Run role layout first, or check the disk and the directory's owner."
        ) from error


def _merge(path: Path, given: Optional[tuple[Revocation, ...]]) -> Memory:
    before = _read(path)
    known = _parse(before, str(path))
    listed = known if given is None else given
    union = {revocation.key: revocation for revocation in known}
    union.update({revocation.key: revocation for revocation in listed})
    if len(union) > REVOCATIONS_MAX:
        raise _refusal(str(path), "more than {0} revocations".format(REVOCATIONS_MAX))
    merged = tuple(union[key] for key in sorted(union))
    old = set(known)
    there = {digest for revocation in listed for digest in revocation.digests}
    return Memory(
        all=merged,
        added=tuple(revocation for revocation in merged if revocation not in old),
        lost=tuple(revocation for revocation in known if not set(revocation.digests) <= there),
        before=before,
        after=_dump(merged) if merged or before is not None else None,
        compared=given is not None,
    )


def _read(path: Union[str, Path]) -> Optional[str]:
    """Return the file's text, or None when there is no file."""
    try:
        descriptor = open_plain(path)
    except FileNotFoundError:
        return None
    except UnsafeFileError as error:
        raise _refusal(str(path), "it is {0}".format(error)) from error
    except OSError as error:
        raise _refusal(str(path), error.strerror or error) from error
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(stream.fileno())
        if status.st_uid not in (0, os.geteuid()) or stat.S_IMODE(status.st_mode) & 0o022:
            raise _refusal(
                str(path), "uid {0}, mode {1:04o}: others can write it".format(status.st_uid, status.st_mode & 0o7777)
            )
        try:
            data = stream.read(MEMORY_MAX_BYTES + 1)
            return data.decode("utf-8") if len(data) <= MEMORY_MAX_BYTES else "too long"
        except (OSError, UnicodeDecodeError) as error:
            raise _refusal(str(path), getattr(error, "strerror", None) or "it is not UTF-8") from error


def _parse(text: Optional[str], subject: str) -> tuple[Revocation, ...]:
    if text is None:
        return ()
    try:
        data = strict_json(text.encode("utf-8"), subject, MEMORY_MAX_BYTES)
        if not isinstance(data, dict) or data.get("schema") != SCHEMA or set(data) != {"schema", "revocations"}:
            raise _refusal(subject, "it is not of schema {0}".format(SCHEMA))
        return parse_revocations(data["revocations"])
    except FindingError as error:
        if error.finding.code == "REVOCATION-MEMORY":
            raise
        raise _refusal(subject, error.finding.evidence) from error


def _dump(revocations: Iterable[Revocation]) -> str:
    data: dict[str, Any] = {"schema": SCHEMA, "revocations": [item.as_dict() for item in revocations]}
    return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


@contextlib.contextmanager
def directory_lock(directory: Path) -> Iterator[int]:
    """Yield a descriptor of the directory, held for one writer; the next one waits its (short) turn."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def write_whole(directory: int, name: str, text: str) -> None:
    """Put a file of this text, mode 0600, into an open, locked directory. Raises OSError, the old file kept."""
    draft = ".{0}.new".format(name)
    # What a run that was killed left; the lock says that nobody else is writing it.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(draft, dir_fd=directory)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(draft, flags, FILE_MODE, dir_fd=directory)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(text.encode("utf-8"))
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft, dir_fd=directory)
        raise
    os.fsync(directory)


def _refusal(subject: str, why: object, remedy: str = _REMEDY) -> FindingError:
    return refuse("REVOCATION-MEMORY", subject, why, remedy, Severity.CRITICAL)
