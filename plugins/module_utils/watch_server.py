# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Unix socket that one account alone is answered on (row I5): what the watch's actor and its gate have in common."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from contextlib import suppress
from typing import Optional

from .watch_unit import WARNING, Journal, notify, watchdog_seconds

_PEER = struct.Struct("3i")


class PeerServer:
    """Listens at `path` and hands each connection of the account `uid` to a thread of its own, `places` at once.

    `kind` is the socket's type. Whoever else connects is refused unheard.
    """

    def __init__(self, path: str, kind: int, uid: int, places: int, journal: Journal) -> None:
        self.path = path
        self.kind = kind
        self.uid = uid
        self.places = places
        self.journal = journal
        self.stopping = threading.Event()
        self._free = threading.BoundedSemaphore(places)
        self._threads: set[threading.Thread] = set()
        self._listener: Optional[socket.socket] = None

    def answer(self, connection: socket.socket, peer: dict[str, int]) -> None:
        """Answer one connection, which is closed afterwards; `peer` has the pid, uid and gid of who asks."""
        raise NotImplementedError

    def open(self) -> socket.socket:
        """Begin to listen. The set-group-ID bit of the directory gives the socket the sensor's group."""
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        listener = socket.socket(socket.AF_UNIX, self.kind)
        former = os.umask(0o117)
        try:
            listener.bind(self.path)
        finally:
            os.umask(former)
        listener.listen(self.places)
        listener.settimeout(min(1.0, watchdog_seconds()))
        self._listener = listener
        return listener

    def serve(self, grace_seconds: float = 0.0) -> None:
        """Serve until `stopping` is set; then wait at most `grace_seconds` for answers that have begun."""
        listener = self._listener or self.open()
        due = 0.0
        while not self.stopping.is_set():
            if time.monotonic() >= due:
                notify("WATCHDOG=1")
                due = time.monotonic() + watchdog_seconds()
            try:
                connection, _address = listener.accept()
            except socket.timeout:
                continue
            except OSError:
                # Out of files: connections end by themselves within seconds.
                self.stopping.wait(0.1)
                continue
            self._take(connection)
        listener.close()
        with suppress(OSError):
            os.unlink(self.path)
        deadline = time.monotonic() + grace_seconds
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))

    def _take(self, connection: socket.socket) -> None:
        pid, uid, gid = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        if uid != self.uid:
            self.journal.say_of_others(WARNING, "WATCH-PEER-REFUSED: uid {0}, process {1}".format(uid, pid))
            connection.close()
        elif not self._free.acquire(blocking=False):
            full = "WATCH-SOCKET-FULL: {0}: {1} connections are open".format(self.path, self.places)
            self.journal.say_of_others(WARNING, full)
            connection.close()
        else:
            peer = {"pid": pid, "uid": uid, "gid": gid}
            thread = threading.Thread(target=self._answer, args=(connection, peer), daemon=True)
            self._threads.add(thread)
            thread.start()

    def _answer(self, connection: socket.socket, peer: dict[str, int]) -> None:
        try:
            with connection, suppress(OSError):
                self.answer(connection, peer)
        finally:
            self._free.release()
            self._threads.discard(threading.current_thread())
