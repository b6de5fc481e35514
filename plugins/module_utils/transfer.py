# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A blob on its way into quarantine, and bringing it in one go, byte after byte (row S2)."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from .findings import FindingError, Severity, refuse
from .progress import Gauge
from .registry import CHUNK_BYTES, Line, RegistryClient
from .tunnel import InterruptedTransferError

_CONTENT_RANGE = re.compile(r"\Abytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)\Z")
_OPEN = os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass
class Transfer:
    """A blob on its way to `path`: `received` bytes are there and in `hasher`; `cuts` counts interruptions.

    `brought` counts the bytes that came over the line; `resumed` says that the file is pieced together, and
    `refetched` that it was thrown away once because it was pieced together badly.
    """

    digest: str
    size: int
    path: Path
    received: int = 0
    cuts: int = 0
    brought: int = 0
    resumed: bool = False
    refetched: bool = False
    hasher: Any = field(default_factory=hashlib.sha256)

    def restart(self) -> None:
        """Forget what was received."""
        self.received = 0
        self.resumed = False
        self.hasher = hashlib.sha256()


@dataclass(frozen=True)
class Span:
    """What a 206 answer says it carries: bytes `first` up to, not including, `end`; of `total` or None."""

    first: int
    end: int
    total: Optional[int]


def span_of(line: Line) -> Optional[Span]:
    """Return the range that an answer carries, None when it does not say one."""
    match = _CONTENT_RANGE.match(line.response.getheader("Content-Range") or "")
    if not match:
        return None
    return Span(int(match.group(1)), int(match.group(2)) + 1, None if match.group(3) == "*" else int(match.group(3)))


def fetch_whole(client: RegistryClient, transfer: Transfer, gauge: Gauge) -> None:
    """Complete `transfer` over one connection at a time, resuming after cuts; on return the file holds the
    declared bytes.

    Gives up after `limits.attempts` tries in a row that brought nothing. What was pieced together and has the
    wrong digest is brought once more in one go. Raises FindingError: FETCH-UNREACHABLE, FETCH-TIMEOUT,
    FETCH-DIGEST-MISMATCH, FETCH-SIZE-MISMATCH, FETCH-TOO-LARGE, FETCH-REDIRECT-REFUSED, FETCH-NOT-FOUND,
    FETCH-REFUSED, FETCH-REFUSED-BY-PROXY, FETCH-TLS, FETCH-DISK.
    """
    failures = 0
    while True:
        if transfer.received == transfer.size:
            digest = "sha256:" + transfer.hasher.hexdigest()
            if digest == transfer.digest:
                return
            if not transfer.resumed or transfer.refetched:
                raise wrong_digest(transfer, digest)
            start_over(transfer, gauge)
            transfer.refetched = True
        before = transfer.received
        try:
            client.guarded(lambda: _receive(client, transfer, gauge), transfer.digest)
        except InterruptedTransferError as error:
            transfer.cuts += 1
            failures = 0 if transfer.received > before else failures + 1
            client.pause_or_give_up(error, failures, transfer.digest)


def start_over(transfer: Transfer, gauge: Gauge) -> None:
    """Forget what was received, and say so."""
    gauge.add(-transfer.received)
    transfer.restart()


def _receive(client: RegistryClient, transfer: Transfer, gauge: Gauge) -> None:
    """One request: append what comes to the file until the declared size is there."""
    headers = {"Range": "bytes={0}-".format(transfer.received)} if transfer.received else {}
    line = client.open(client.blob_path(transfer.digest), headers, transfer.digest)
    try:
        _judge(client, line, transfer, gauge)
        output = open_output(transfer.path, transfer.received)
        try:
            _stream(client, line, transfer, gauge, output)
        finally:
            os.close(output)
    finally:
        client.close(line)


def _judge(client: RegistryClient, line: Line, transfer: Transfer, gauge: Gauge) -> None:
    """Check status, range and announced length before a byte is read."""
    status = line.response.status
    if status == 416 and transfer.received:
        raise wrong_size(transfer, "the source has no byte {0}".format(transfer.received))
    if status not in (200, 206):
        raise client.bad_status(line, transfer.digest)
    if line.encoded:
        raise wrong_size(transfer, "the source encodes what must come as it is")
    total = line.length
    if status == 200:
        if transfer.received:
            # The server ignores ranges: from the beginning, then.
            start_over(transfer, gauge)
    else:
        span = span_of(line)
        if span is None or span.first != transfer.received:
            raise wrong_size(transfer, "the source answered another range than was asked for")
        transfer.resumed = transfer.resumed or bool(transfer.received)
        total = span.total
    if total is not None and total > transfer.size:
        raise too_large(transfer, "{0} bytes announced, {1} declared".format(total, transfer.size))
    if total is not None and total < transfer.size:
        raise wrong_size(transfer, "{0} bytes announced, {1} declared".format(total, transfer.size))


def _stream(client: RegistryClient, line: Line, transfer: Transfer, gauge: Gauge, output: int) -> None:
    # One byte more than declared is enough to know that the source sends too much.
    buffer = memoryview(bytearray(min(CHUNK_BYTES, transfer.size + 1)))
    while True:
        client.check(transfer.digest)
        left = transfer.size - transfer.received
        count = line.read_into(buffer[: left + 1])
        if not count:
            break
        if count > left:
            raise too_large(transfer, "more than the declared {0} bytes came".format(transfer.size))
        write_at(output, buffer[:count], transfer.received)
        transfer.hasher.update(buffer[:count])
        transfer.received += count
        transfer.brought += count
        gauge.add(count)
    if transfer.received < transfer.size:
        raise InterruptedTransferError("cut after {0} of {1} bytes".format(transfer.received, transfer.size))


def open_output(path: Path, length: int) -> int:
    """Return a descriptor to read and write a transfer's file, cut to `length` bytes. Raises FindingError."""
    try:
        output = os.open(path, os.O_RDWR | _OPEN, 0o600)
        try:
            os.ftruncate(output, length)
        except OSError:
            os.close(output)
            raise
    except OSError as error:
        raise disk_error(error) from error
    return output


def write_at(output: int, data: memoryview, position: int) -> None:
    """Write all of `data` at `position`. Raises FindingError (FETCH-DISK)."""
    try:
        while data:
            count = os.pwrite(output, data, position)
            data, position = data[count:], position + count
    except OSError as error:
        raise disk_error(error) from error


def disk_error(error: OSError) -> FindingError:
    """Return the refusal of a write into quarantine."""
    remedy = "Free space on the quarantine's disk and check its owner, then run again."
    return refuse("FETCH-DISK", "quarantine", error.strerror or error, remedy)


_BAD_BYTES = "Do not use them. Ask why the source sends other bytes than were approved."


def wrong_digest(transfer: Transfer, digest: str) -> FindingError:
    """Return the refusal of whole, but wrong, bytes."""
    evidence = "the bytes sent hash to {0}".format(digest)
    return refuse("FETCH-DIGEST-MISMATCH", transfer.digest, evidence, _BAD_BYTES, Severity.CRITICAL)


def too_large(transfer: Transfer, evidence: str) -> FindingError:
    """Return the refusal of more bytes than declared."""
    return refuse("FETCH-TOO-LARGE", transfer.digest, evidence, _BAD_BYTES, Severity.CRITICAL)


def wrong_size(transfer: Transfer, evidence: str) -> FindingError:
    """Return the refusal of fewer or other bytes than asked for."""
    return refuse("FETCH-SIZE-MISMATCH", transfer.digest, evidence, _BAD_BYTES)
