# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of files, by inotify: the model store, the directories of sockets, and what the host remembers as revoked.

The store has one legitimate writer, the publisher (publish.py), who holds the store's lock file open while it writes.
That file is root's alone, and inotify keeps the order of things: what happens between its opening and its closing is
the publisher's, all else is a finding.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Callable, Iterator
from typing import Optional

from .store import BLOBS, LOCK, MANIFESTS, PUBLISHING
from .watch_sources import Source, SourceError

MODIFY, ATTRIB, CLOSE_WRITE, CLOSE_NOWRITE, OPEN = 0x2, 0x4, 0x8, 0x10, 0x20
MOVED_FROM, MOVED_TO, CREATE, DELETE, DELETE_SELF, MOVE_SELF = 0x40, 0x80, 0x100, 0x200, 0x400, 0x800
OVERFLOW, IGNORED, ONLY_DIRECTORY, IS_DIRECTORY = 0x4000, 0x8000, 0x1000000, 0x40000000
CHANGES = MODIFY | ATTRIB | MOVED_FROM | MOVED_TO | CREATE | DELETE | DELETE_SELF | MOVE_SELF
WORDS = {
    MODIFY: "written to",
    ATTRIB: "owner, mode or times changed",
    MOVED_FROM: "moved away",
    MOVED_TO: "moved here",
    CREATE: "created",
    DELETE: "deleted",
    DELETE_SELF: "deleted",
    MOVE_SELF: "moved away",
}
DIRECTORIES_MAX = 2048
READ_BYTES = 64 * 1024
_EVENT = struct.Struct("=iIII")

OnStore = Callable[[str, str], None]


class FileEvents(Source):
    """inotify on a store and on other directories.

    `on_store` is given (path, what was done) of each change that is not the publisher's; `on_published` is called when
    the publisher is done; `on_directory` is given a path of `directories` in which something changed; `on_lost` is
    called when the kernel dropped events, or a watched directory went.
    """

    name = "file"

    def __init__(
        self,
        store: Optional[str],
        directories: list[str],
        on_store: OnStore,
        on_published: Callable[[], None],
        on_directory: Callable[[str], None],
        on_lost: Callable[[], None],
    ) -> None:
        super().__init__()
        self.store = store
        self.directories = directories
        self.on_store = on_store
        self.on_published = on_published
        self.on_directory = on_directory
        self.on_lost = on_lost
        self.publishers = 0
        self._descriptor = -1
        self._paths: dict[int, str] = {}
        self._libc = ctypes.CDLL(None, use_errno=True)

    def open(self) -> None:
        """Watch every directory that is there. Raises SourceError when one is not, or the kernel has no room."""
        descriptor = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if descriptor < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._descriptor, self._paths = descriptor, {}
        for path in self.directories:
            self._add(path, CHANGES)
        if self.store:
            self._add(self.store, CHANGES | OPEN | CLOSE_WRITE | CLOSE_NOWRITE)
            # After the watch is set, so that a publisher who begins in between is counted once at least.
            self.publishers = 1 if self._locked() else 0
            self._add_tree()

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._descriptor

    def read(self) -> None:
        """Read what is there, one buffer of it, and hand it on; each path and kind of change once."""
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:
            return
        self.healthy()
        told: set[tuple[str, int]] = set()
        for watch, mask, name in events(data):
            if mask & OVERFLOW:
                self.publishers = 1 if self._locked() else 0
                self.on_lost()
                continue
            path = self._paths.get(watch)
            if path is None:
                continue
            if mask & IGNORED:
                del self._paths[watch]
                if path in self.directories or path == self.store:
                    raise SourceError("{0} is no longer there".format(path))
                continue
            self._event(path, mask, name, told)

    def close(self) -> None:
        """Close the descriptor; the kernel forgets the watches."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    # --- one event ----------------------------------------------------------------------------------------
    def _event(self, path: str, mask: int, name: str, told: set[tuple[str, int]]) -> None:
        if path in self.directories:
            if mask & CHANGES:
                self.on_directory(path)
            if path != self.store:
                return
        if path == self.store and name == LOCK and mask & (OPEN | CLOSE_WRITE | CLOSE_NOWRITE):
            self._lock_event(mask)
            return
        kind = next((bit for bit in WORDS if mask & bit), 0)
        ours = path == self.store and name in (LOCK, PUBLISHING) and kind in (CREATE, DELETE, MODIFY)
        if not kind or ours:
            return
        if self.publishers:
            return
        full = os.path.join(path, name) if name else path
        if mask & IS_DIRECTORY and kind in (CREATE, MOVED_TO):
            self._add_tree()
        if (full, kind) not in told:
            told.add((full, kind))
            self.on_store(full, WORDS[kind])

    def _lock_event(self, mask: int) -> None:
        if mask & OPEN:
            self.publishers += 1
        elif self.publishers:
            self.publishers -= 1
        if not self.publishers:
            # The publisher may have made directories; whatever it left is now looked at.
            self._add_tree()
            self.on_published()

    # --- watches ------------------------------------------------------------------------------------------
    def _add(self, path: str, mask: int) -> None:
        watch = self._libc.inotify_add_watch(self._descriptor, os.fsencode(path), mask | ONLY_DIRECTORY)
        if watch < 0:
            number = ctypes.get_errno()
            raise SourceError("{0}: {1}".format(path, os.strerror(number)))
        self._paths[watch] = path

    def _add_tree(self) -> None:
        """Watch every directory of blobs and manifests; one that is watched already stays so."""
        if not self.store:
            return
        count = 0
        for top in (BLOBS, MANIFESTS):
            for directory, _directories, _files in os.walk(os.path.join(self.store, top)):
                count += 1
                if count > DIRECTORIES_MAX:
                    raise SourceError("more than {0} directories in the store".format(DIRECTORIES_MAX))
                try:
                    self._add(directory, CHANGES)
                except SourceError:
                    # It may have gone since it was listed.
                    if os.path.isdir(directory):
                        raise

    def _locked(self) -> bool:
        """Whether the publisher holds the store's lock now; /proc/locks tells without touching it."""
        try:
            found = os.lstat(os.path.join(str(self.store), LOCK))
            with open("/proc/locks", encoding="ascii") as stream:
                text = stream.read(1024 * 1024)
        except (OSError, ValueError):
            return False
        wanted = "{0:02x}:{1:02x}:{2}".format(os.major(found.st_dev), os.minor(found.st_dev), found.st_ino)
        lines = (line.split() for line in text.splitlines())
        return stat.S_ISREG(found.st_mode) and any(
            len(words) > 5 and words[1] == "FLOCK" and words[5] == wanted for words in lines
        )


def events(data: bytes) -> Iterator[tuple[int, int, str]]:
    """Yield (watch, mask, name) of each event in what inotify gave."""
    position = 0
    while position + _EVENT.size <= len(data):
        watch, mask, _cookie, length = _EVENT.unpack_from(data, position)
        start = position + _EVENT.size
        yield watch, mask, os.fsdecode(data[start : start + length].rstrip(b"\0"))
        position = start + length
