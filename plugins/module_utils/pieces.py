# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bytes of a blob are there, which are on their way and which are missing: shared by threads, kept across
runs (row S2).

The state file beside a blob's `.part` file: {"version": 1, "digest": "sha256:...", "size": bytes,
"have": [[first, end], ...]}. A state that is not about these bytes is as good as none.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from .hashing import UnsafeFileError, read_plain

STATE_VERSION = 1
STATE_MAX_BYTES = 256 * 1024
# A blob is asked for in pieces of this size, or larger ones where there would be too many.
PIECE_BYTES = 32 * 1024 * 1024
PIECES_MAX = 1024

Interval = tuple[int, int]


@dataclass
class Piece:
    """Bytes `position` up to, not including, `end` are still to be fetched; the piece began at `start`."""

    start: int
    end: int
    position: int


class Pieces:
    """The bookkeeping of one blob. All methods may be called from any thread."""

    def __init__(self, size: int, have: Iterable[Interval], connections: int) -> None:
        self.size = size
        self._changed = threading.Condition()
        self._settled = _merged(have)
        self._running: dict[int, Piece] = {}
        self._queue: deque[Piece] = deque()
        self._stopped = False
        step = max(1, min(PIECE_BYTES, -(-size // connections)), -(-size // PIECES_MAX))
        position = 0
        for first, end in [*self._settled, (size, size)]:
            self._queue.extend(Piece(at, min(at + step, first), at) for at in range(position, first, step))
            position = end

    def take(self) -> Optional[Piece]:
        """Return the first piece that nobody fetches; wait while others may still give one back. None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._queue or not self._running)
            if self._stopped or not self._queue:
                return None
            piece = self._queue.popleft()
            self._running[piece.start] = piece
            return piece

    def advance(self, piece: Piece, count: int) -> None:
        """Note that `count` more bytes of a piece are in the file."""
        with self._changed:
            piece.position += count
            if piece.position == piece.end:
                self._settle(piece)
            self._changed.notify_all()

    def give_back(self, piece: Piece) -> None:
        """Let another thread fetch what is missing of a piece; nothing may be."""
        with self._changed:
            if piece.position < piece.end:
                self._settle(piece)
                self._queue.appendleft(Piece(piece.position, piece.end, piece.position))
            self._changed.notify_all()

    def _settle(self, piece: Piece) -> None:
        del self._running[piece.start]
        self._settled = _merged([*self._settled, (piece.start, piece.position)])

    def stop(self) -> None:
        """Let nobody wait or take a piece any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def wait_beyond(self, position: int) -> Optional[int]:
        """Return up to where the file is complete from its beginning, once that is beyond `position`; None after
        `stop`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._prefix(position) > position)
            return None if self._stopped else self._prefix(position)

    def _prefix(self, position: int) -> int:
        for first, end in self._intervals():
            if first <= position < end:
                return end
        return position

    def intervals(self) -> list[Interval]:
        """Return what is in the file, as sorted intervals that do not touch."""
        with self._changed:
            return self._intervals()

    def _intervals(self) -> list[Interval]:
        return _merged([*self._settled, *((piece.start, piece.position) for piece in self._running.values())])


def _merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the same bytes as sorted intervals that do not touch; empty ones are left out."""
    merged: list[Interval] = []
    for first, end in sorted(intervals):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif first < end:
            merged.append((first, end))
    return merged


def state_path(path: Path) -> Path:
    """Return where the state of a `.part` file is kept."""
    return path.with_name(path.name + ".state")


def save_state(path: Path, digest: str, size: int, have: Iterable[Interval]) -> None:
    """Write the state of a `.part` file, the old one being there until the new one is whole. Raises OSError."""
    data = {"version": STATE_VERSION, "digest": digest, "size": size, "have": [list(item) for item in have]}
    target = state_path(path)
    draft = target.with_name(target.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(json.dumps(data, separators=(",", ":")).encode("ascii"))
    draft.rename(target)


def load_state(path: Path, digest: str, size: int, length: int) -> Optional[list[Interval]]:
    """Return the intervals that the state of a `.part` file of `length` bytes names.

    None when there is no state file, an empty list when there is one that cannot be believed.
    """
    try:
        data = read_plain(state_path(path), STATE_MAX_BYTES)
    except FileNotFoundError:
        return None
    except (OSError, UnsafeFileError):
        return []
    try:
        state: Any = json.loads(data.decode("ascii")) if len(data) <= STATE_MAX_BYTES else None
        return _believable(state, digest, size, length)
    except (ValueError, RecursionError):
        return []


def _whole(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)


def _believable(state: Any, digest: str, size: int, length: int) -> list[Interval]:
    """Return the intervals of a state. Raises ValueError for one that is not about this file."""
    about = {"version": STATE_VERSION, "digest": digest, "size": size}
    have = state.pop("have", None) if isinstance(state, dict) else None
    if state != about or not isinstance(have, list):
        raise ValueError("another state")
    position = -1
    intervals: list[Interval] = []
    for item in have:
        if not isinstance(item, list) or len(item) != 2 or not all(_whole(number) for number in item):
            raise ValueError("no interval")
        first, end = item
        if not position < first < end <= min(size, length):
            raise ValueError("no order")
        intervals.append((first, end))
        position = end
    return intervals


def drop_state(path: Path) -> None:
    """Remove the state of a `.part` file."""
    with contextlib.suppress(OSError):
        state_path(path).unlink()
