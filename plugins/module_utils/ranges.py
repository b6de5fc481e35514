# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing a large blob in ranges, over several connections at once (row S2).

Each thread has a connection of its own through the proxy and asks for one piece after another; what comes is
written at its place in one file. Another thread hashes the file in order, as far as it is complete from its
beginning, so that hardly anything is left to hash when the last byte has come.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import threading
import time
from typing import Optional

from .crew import Crew
from .findings import FindingError
from .pieces import Interval, Piece, Pieces, drop_state, load_state, save_state
from .progress import Gauge
from .registry import CHUNK_BYTES, Line, RegistryClient, StoppedError
from .transfer import Transfer, disk_error, fetch_whole, open_output, span_of, too_large, write_at, wrong_size
from .tunnel import InterruptedTransferError

# How much a killed run loses at most, in seconds of its work.
SAVE_SECONDS = 2.0


class RangesIgnoredError(Exception):
    """The source answers the whole blob where a range was asked for."""


def fetch_ranges(client: RegistryClient, transfer: Transfer, gauge: Gauge) -> None:
    """Complete `transfer` over `limits.connections` connections; on return the file holds the declared bytes.

    Continues what the file and its state say is there. A source that knows no ranges, and a file that was pieced
    together and has the wrong digest, are fetched once more in one go. Raises FindingError as `fetch_whole` does.
    """
    output, have = _open(transfer)
    gauge.have(sum(end - first for first, end in have))
    fetch = _Ranges(client, transfer, gauge, output, have)
    try:
        fetch.run()
    except RangesIgnoredError:
        client.say("{0}: the source knows no ranges".format(transfer.digest[:19]))
    else:
        if "sha256:" + transfer.hasher.hexdigest() == transfer.digest:
            drop_state(transfer.path)
            return
        client.say("{0}: pieced together badly, once more in one go".format(transfer.digest[:19]))
        transfer.refetched = True
    finally:
        os.close(output)
    gauge.add(-sum(end - first for first, end in fetch.pieces.intervals()))
    # The file goes first: without a state, what is left of it would count as its beginning.
    os.close(open_output(transfer.path, 0))
    drop_state(transfer.path)
    transfer.restart()
    fetch_whole(client, transfer, gauge)


def _open(transfer: Transfer) -> tuple[int, list[Interval]]:
    """Return a descriptor of the transfer's file and which of its bytes are there already."""
    try:
        length = os.lstat(transfer.path).st_size
    except OSError as error:
        raise disk_error(error) from error
    have = load_state(transfer.path, transfer.digest, transfer.size, length)
    if have is None:
        # Without a state the file was written from its beginning.
        have = [(0, length)] if 0 < length <= transfer.size else []
    if not have:
        length = 0
    # What lies behind the last byte that is known is of no use.
    return open_output(transfer.path, min(length, have[-1][1]) if have else 0), have


class _Ranges:
    """One blob's threads and what they share."""

    def __init__(
        self, client: RegistryClient, transfer: Transfer, gauge: Gauge, output: int, have: list[Interval]
    ) -> None:
        self.client = client
        self.transfer = transfer
        self.gauge = gauge
        self.output = output
        self.pieces = Pieces(transfer.size, have, client.limits.connections)
        self._lock = threading.Lock()
        self._crew = Crew(self._stop)
        self._active = 0
        self._accepted = False
        self._saved = time.monotonic()

    def run(self) -> None:
        """Fetch and hash until everything is there. Raises FindingError or RangesIgnoredError."""
        self._save()
        self._crew.start(self._hash)
        # The others follow when the first has been answered: a source that refuses is asked by one only.
        self._crew.start(self._fetch)
        try:
            self._crew.wait(self._tick)
        except BaseException:
            # For the next run. If this fails too, the first failure is the one to tell.
            with contextlib.suppress(FindingError):
                self._save()
            raise
        finally:
            self.client.resume()

    def _stop(self) -> None:
        self.pieces.stop()
        self.client.hang_up()

    def _tick(self) -> None:
        self.gauge.tell()
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            self._saved = time.monotonic()
            self._save()

    def _save(self) -> None:
        transfer = self.transfer
        try:
            save_state(transfer.path, transfer.digest, transfer.size, self.pieces.intervals())
        except OSError as error:
            raise disk_error(error) from error

    def _hash(self) -> None:
        buffer = memoryview(bytearray(CHUNK_BYTES))
        position = 0
        while position < self.transfer.size:
            end = self.pieces.wait_beyond(position)
            if end is None:
                raise StoppedError
            while position < end:
                try:
                    count = os.preadv(self.output, [buffer[: end - position]], position)
                except OSError as error:
                    raise disk_error(error) from error
                if not count:
                    raise disk_error(OSError(0, "the file is shorter than what was written to it"))
                self.transfer.hasher.update(buffer[:count])
                position += count
                self.client.check(self.transfer.digest)

    def _fetch(self) -> None:
        """Fetch piece after piece; retire when this connection brings nothing and another one does."""
        line: Optional[Line] = None
        buffer = memoryview(bytearray(CHUNK_BYTES))
        failures = 0
        with self._lock:
            self._active += 1
        try:
            while True:
                piece = self.pieces.take()
                if piece is None:
                    return
                before = piece.position
                try:
                    while piece.position < piece.end:
                        line = self._request(piece, line, buffer)
                    failures = 0
                except InterruptedTransferError as error:
                    line = None
                    failures = 0 if piece.position > before else failures + 1
                    self.pieces.give_back(piece)
                    if self._retire(failures):
                        return
                    self.client.pause_or_give_up(error, failures, self.transfer.digest)
        finally:
            if line is not None:
                self.client.close(line)

    def _retire(self, failures: int) -> bool:
        """Count an interruption; return whether this thread shall leave the rest to others."""
        with self._lock:
            self.transfer.cuts += 1
            retire = failures >= self.client.limits.attempts and self._active > 1
            self._active -= retire
        return retire

    def _request(self, piece: Piece, line: Optional[Line], buffer: memoryview) -> Optional[Line]:
        """Ask for what is missing of a piece and receive it; return the line if it can be used again."""
        return self.client.guarded(lambda: self._ask_and_receive(piece, line, buffer), self.transfer.digest)

    def _ask_and_receive(self, piece: Piece, line: Optional[Line], buffer: memoryview) -> Optional[Line]:
        line = self._ask(piece, line)
        kept = False
        try:
            end = self._judge(line, piece)
            self._accept()
            self._receive(line, piece, end, buffer)
            kept = line.reusable
        finally:
            if not kept:
                self.client.close(line)
        return line if kept else None

    def _ask(self, piece: Piece, line: Optional[Line]) -> Line:
        client, digest = self.client, self.transfer.digest
        headers = {"Range": "bytes={0}-{1}".format(piece.position, piece.end - 1)}
        if line is not None:
            # A kept connection may have been closed meanwhile, a signed address may be too old by now.
            with contextlib.suppress(OSError, http.client.HTTPException, InterruptedTransferError):
                line = client.again(line, headers, digest)
                if line.response.status in (200, 206):
                    return line
            client.close(line)
        return client.open(client.blob_path(digest), headers, digest)

    def _judge(self, line: Line, piece: Piece) -> int:
        """Check an answer before a byte is read; return up to where it will go."""
        transfer, status = self.transfer, line.response.status
        if status == 200:
            raise RangesIgnoredError
        if status == 416:
            raise wrong_size(transfer, "the source has no byte {0}".format(piece.position))
        if status != 206:
            raise self.client.bad_status(line, transfer.digest)
        if line.encoded:
            raise wrong_size(transfer, "the source encodes what must come as it is")
        span = span_of(line)
        if span is None or span.first != piece.position or not span.first < span.end <= piece.end:
            raise wrong_size(transfer, "the source answered another range than was asked for")
        if span.total is not None and span.total != transfer.size:
            refusal = too_large if span.total > transfer.size else wrong_size
            raise refusal(transfer, "{0} bytes announced, {1} declared".format(span.total, transfer.size))
        if line.length is not None and line.length != span.end - span.first:
            refusal = too_large if line.length > span.end - span.first else wrong_size
            raise refusal(
                transfer, "{0} bytes announced for a range of {1}".format(line.length, span.end - span.first)
            )
        return span.end

    def _accept(self) -> None:
        """Have the other connections opened, once one has been answered as it should be."""
        with self._lock:
            first, self._accepted = not self._accepted, True
        for _number in range(self.client.limits.connections - 1 if first else 0):
            self._crew.start(self._fetch, needed=False)

    def _receive(self, line: Line, piece: Piece, end: int, buffer: memoryview) -> None:
        """Write a range at its place, and never a byte beyond it."""
        while piece.position < end:
            self.client.check(self.transfer.digest)
            count = line.read_into(buffer[: end - piece.position])
            if not count:
                raise InterruptedTransferError("cut at byte {0}".format(piece.position))
            write_at(self.output, buffer[:count], piece.position)
            self.pieces.advance(piece, count)
            self.gauge.add(count)
            with self._lock:
                self.transfer.brought += count
        # Without a length, only what follows tells whether there is too much.
        if line.length is None and line.read_into(buffer[:1]):
            raise too_large(self.transfer, "more than the {0} bytes asked for came".format(end))
