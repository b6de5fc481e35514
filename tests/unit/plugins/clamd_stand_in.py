# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for clamd on a Unix socket, honest until a test tells it otherwise."""

from __future__ import annotations

import array
import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIGNATURE = b"a signature of the test"
EICAR_START = b"X5O!P%@AP[4"
VERSION = "ClamAV 1.4.6/27800/Thu Aug 20 08:15:00 2026"
CONFIG = "LocalSocket {0}\nAlertExceedsMax yes\nMaxFileSize {1}\nMaxScanSize {1}\nStreamMaxLength {1}\n"


class StandIn:
    """Answers PING, VERSION, FILDES and INSTREAM by what it is given.

    `rude` maps a command to a function of its connection that is called instead; `scanned` are the bytes of each piece
    that was read. What is longer than `limit` is answered by the limit's name, or by OK when `admits` is off.
    """

    def __init__(self, directory: Path, limit: int = 4096) -> None:
        self.socket = directory / "clamd.sock"
        self.config = directory / "clamd.conf"
        self.config.write_text(CONFIG.format(self.socket, limit))
        self.limit = limit
        self.admits = True
        self.takes_descriptors = True
        self.version = VERSION
        self.rude: dict[str, Callable[[socket.socket], None]] = {}
        self.scanned: list[bytes] = []
        self.commands: list[str] = []
        self.done = threading.Event()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.socket))
        self._listening.listen(64)
        threading.Thread(target=self._serve, daemon=True).start()

    def settings(self, **changes: Any) -> dict[str, Any]:
        return {
            "socket": str(self.socket),
            "config": str(self.config),
            "scratch": str(self.config.parent),
            "seconds": 5.0,
            **changes,
        }

    def close(self) -> None:
        self.done.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _address = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._client, args=(client,), daemon=True).start()

    def _client(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            command = self._command(client)
            self.commands.append(command)
            if command in self.rude:
                if command == "FILDES":
                    client.recv(1)  # the byte that carries the descriptor, which goes back unopened
                self.rude[command](client)
            else:
                client.sendall(self._answer(command, client).encode() + b"\0")

    @staticmethod
    def _command(client: socket.socket) -> str:
        text = b""
        while not text.endswith(b"\0"):
            byte = client.recv(1)
            if not byte:
                raise OSError("closed")
            text += byte
        return text[1:-1].decode()

    def _answer(self, command: str, client: socket.socket) -> str:
        if command == "PING":
            return "PONG"
        if command == "VERSION":
            return self.version
        if command == "FILDES":
            return self._descriptor(client)
        if command == "INSTREAM":
            return "stream: " + self._say(self._stream(client))
        return "UNKNOWN COMMAND"

    def _descriptor(self, client: socket.socket) -> str:
        _dummy, ancillary, _flags, _address = client.recvmsg(1, socket.CMSG_SPACE(array.array("i").itemsize))
        (descriptor,) = array.array("i", ancillary[0][2])
        try:
            if not self.takes_descriptors:
                return "No file descriptor received. ERROR"
            size = os.fstat(descriptor).st_size
            if size > self.limit:
                return "fd[9]: " + ("Heuristics.Limits.Exceeded.MaxFileSize FOUND" if self.admits else "OK")
            return "fd[9]: " + self._say(os.pread(descriptor, size, 0))
        finally:
            os.close(descriptor)

    @staticmethod
    def _stream(client: socket.socket) -> bytes:
        data = b""
        with client.makefile("rb") as stream:
            while True:
                (length,) = struct.unpack("!I", stream.read(4))
                if not length:
                    return data
                data += stream.read(length)

    def _say(self, data: bytes) -> str:
        self.scanned.append(data)
        if data.startswith(EICAR_START):
            return "Eicar-Test-Signature FOUND"
        return "Test.Signature FOUND" if SIGNATURE in data else "OK"


def saying(answer: bytes) -> Callable[[socket.socket], None]:
    """Return a rude way to answer: these bytes, and the connection ends."""

    def act(client: socket.socket) -> None:
        client.sendall(answer)

    return act
