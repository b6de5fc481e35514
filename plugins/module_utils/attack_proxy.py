# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The attempts through the egress proxy, over the Unix socket that the fetcher has.

What tells whether the proxy let something through is its own error page (`X-Squid-Error`): ERR_ACCESS_DENIED is its
refusal, any other error means that it tried. A tunnel that is cut before a byte came back was refused, too. On a port
that reads TLS greetings a refused CONNECT is answered 200, and the page comes inside a TLS session of the proxy's own:
so a session is always opened, with any certificate, and asked for its first page.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Optional

from .attack_attempts import ERROR, REFUSED, SUCCEEDED, Parameters, Result, name_of

HEAD_MAX_BYTES = 64 * 1024
DENIED = b"ERR_ACCESS_DENIED"
# What a proxy that is no Squid, or an older one, answers when it refuses; 400 is for what it cannot even read.
REFUSALS = (400, 403, 405, 407)
_STATUS = re.compile(rb"\AHTTP/1\.[01] ([0-9]{3})")
_PAGE = re.compile(rb"(?im)^X-Squid-Error:[ \t]*([A-Z_]+)")


def proxy_connect(parameters: Parameters) -> Result:
    """Ask for a tunnel to each of `names` (or `addresses`) on each of `ports`, and for a page inside it.

    `sni` is the name inside TLS when it shall be another one than the name in CONNECT.
    """
    return _each(parameters, lambda host, port, deadline: _tunnel(parameters, host, port, deadline))


def proxy_request(parameters: Parameters) -> Result:
    """Ask the proxy for http:// pages of each of `names` (or `addresses`), in clear."""
    return _each(parameters, lambda host, port, deadline: _plain(parameters, host, port, deadline))


def proxy_upload(parameters: Parameters) -> Result:
    """Send `size` bytes in a tunnel to the host `name` that may be fetched from."""
    name, size = str(parameters.get("name") or ""), int(parameters["size"])
    if not name:
        return ERROR, "no host was named that may be sent this much (target upload_name)"
    deadline = time.monotonic() + float(parameters["timeout"])
    try:
        with _opened(str(parameters["socket"]), deadline) as raw:
            head = _ask(raw, _connect_line(name, 443), deadline)
            if b" 200" not in head.split(b"\r\n", 1)[0]:
                return _judged(head) or (ERROR, "the proxy answered nothing")
            return _upload(raw, name, size, deadline)
    except socket.timeout:
        return ERROR, "no end within {0} s".format(parameters["timeout"])
    except OSError as error:
        return ERROR, "the proxy's socket: {0}".format(name_of(error.errno))


def _each(parameters: Parameters, attempt: Callable[[str, int, float], Result]) -> Result:
    hosts = [str(item) for item in parameters.get("names") or parameters.get("addresses") or []]
    targets = [(host, int(port)) for host in hosts for port in parameters.get("ports") or [443]]
    if not targets:
        return ERROR, "no target was given"
    words: list[str] = []
    seconds = float(parameters["timeout"]) / len(targets)
    for host, port in targets:
        outcome, word = attempt(host, port, time.monotonic() + max(seconds, 1.0))
        if outcome != REFUSED:
            return outcome, "{0} port {1}: {2}".format(host, port, word)
        words.append(word)
    return REFUSED, ", ".join("{0} x {1}".format(word, words.count(word)) for word in sorted(set(words)))


def _bracketed(host: str) -> str:
    return "[{0}]".format(host) if ":" in host else host


def _connect_line(host: str, port: int) -> bytes:
    where = "{0}:{1}".format(_bracketed(host), port)
    return "CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n".format(where).encode()


def _opened(path: str, deadline: float) -> socket.socket:
    handle = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _wait(handle, deadline)
        handle.connect(path)
    except BaseException:
        handle.close()
        raise
    return handle


def _wait(handle: socket.socket, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise socket.timeout("no answer in time")
    handle.settimeout(left)


def _ask(handle: socket.socket, request: bytes, deadline: float) -> bytes:
    """Send a request and return the head of what comes back, as far as it came."""
    _wait(handle, deadline)
    handle.sendall(request)
    data = b""
    while b"\r\n\r\n" not in data and len(data) < HEAD_MAX_BYTES:
        _wait(handle, deadline)
        # Byte by byte: what follows the head belongs to the tunnel.
        chunk = _received(handle, 1)
        if not chunk:
            break
        data += chunk
    return data


def _received(handle: socket.socket, size: int) -> bytes:
    """Read once; a reset is the end, but what came before it is still to be read."""
    for _try in range(2):
        with suppress(ConnectionError):
            return handle.recv(size)
    return b""


def _judged(head: bytes) -> Optional[Result]:
    """Return what an answer of the proxy's own says, or None where it is not the proxy's."""
    if not head:
        return REFUSED, "cut"
    status = _STATUS.match(head)
    page = _PAGE.search(head)
    if page:
        if page.group(1) == DENIED:
            return REFUSED, "403 ERR_ACCESS_DENIED"
        name = page.group(1).decode()
        if status and int(status.group(1)) in REFUSALS:
            return REFUSED, "{0} {1}".format(int(status.group(1)), name)
        return SUCCEEDED, "the proxy tried to reach it ({0})".format(name)
    if status and int(status.group(1)) in REFUSALS:
        return REFUSED, str(int(status.group(1)))
    return None


def _tunnel(parameters: Parameters, host: str, port: int, deadline: float) -> Result:
    try:
        with _opened(str(parameters["socket"]), deadline) as raw:
            head = _ask(raw, _connect_line(host, port), deadline)
            if b" 200" not in head.split(b"\r\n", 1)[0]:
                return _judged(head) or (SUCCEEDED, "answered {0}".format(head[:40].decode("latin-1").split("\r")[0]))
            return _inside(raw, str(parameters.get("sni") or host), deadline)
    except socket.timeout:
        return ERROR, "no answer"
    except OSError as error:
        return ERROR, "the proxy's socket: {0}".format(name_of(error.errno))


class _Session:
    """A TLS session over a socket by hand, so that what is no TLS can be told from a cut."""

    def __init__(self, raw: socket.socket, name: str, deadline: float) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Whoever answers is an answer: nothing secret is sent.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.raw, self.deadline, self.received = raw, deadline, b""
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)

    def flush(self, strict: bool = False) -> None:
        """Send what TLS has to say. Where nobody takes it any more reading tells why, unless `strict`."""
        data = self.outgoing.read()
        if not data:
            return
        _wait(self.raw, self.deadline)
        try:
            self.raw.sendall(data)
        except ConnectionError:
            if strict:
                raise

    def fill(self) -> bool:
        """Read once; False at the end of the stream."""
        _wait(self.raw, self.deadline)
        data = _received(self.raw, 16384)
        self.received += data[: 64 - len(self.received)] if len(self.received) < 64 else b""
        self.incoming.write(data) if data else self.incoming.write_eof()
        return bool(data)

    def handshake(self) -> bool:
        """Shake hands; False when the stream ended before. Raises ssl.SSLError for what is no TLS, or an alert."""
        while True:
            try:
                self.tls.do_handshake()
                self.flush()
                return True
            except ssl.SSLWantReadError:
                self.flush()
                if not self.fill():
                    return False

    def read(self) -> bytes:
        """Return some decrypted bytes; none at the end."""
        while True:
            try:
                return self.tls.read(16384)
            except ssl.SSLWantReadError:
                self.flush()
                if not self.fill():
                    return b""
            except ssl.SSLError:
                return b""


def _inside(raw: socket.socket, name: str, deadline: float) -> Result:
    session = _Session(raw, name, deadline)
    try:
        shaken = session.handshake()
    except ssl.SSLError:
        return SUCCEEDED, "something else than TLS came back through the tunnel"
    if not shaken:
        return (SUCCEEDED, "bytes came back through the tunnel") if session.received else (REFUSED, "cut")
    page = b""
    with suppress(OSError):
        session.tls.write("GET / HTTP/1.0\r\nHost: {0}\r\n\r\n".format(_bracketed(name)).encode())
        session.flush()
        while b"\r\n\r\n" not in page and len(page) < HEAD_MAX_BYTES:
            chunk = session.read()
            if not chunk:
                break
            page += chunk
    # Without a page of the proxy's it was somebody else who shook hands, whatever he answered.
    return (_judged(page) if _PAGE.search(page) else None) or (SUCCEEDED, "a server answered inside the tunnel")


def _plain(parameters: Parameters, host: str, port: int, deadline: float) -> Result:
    where = _bracketed(host) if port == 80 else "{0}:{1}".format(_bracketed(host), port)
    request = "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\nConnection: close\r\n\r\n".format(where).encode()
    try:
        with _opened(str(parameters["socket"]), deadline) as raw:
            head = _ask(raw, request, deadline)
    except socket.timeout:
        return ERROR, "no answer"
    except OSError as error:
        return ERROR, "the proxy's socket: {0}".format(name_of(error.errno))
    return _judged(head) or (SUCCEEDED, "a page came back")


def _upload(raw: socket.socket, name: str, size: int, deadline: float) -> Result:
    session = _Session(raw, name, deadline)
    try:
        if not session.handshake():
            return REFUSED, "cut before anything was sent"
        session.tls.write(
            "POST /rampart-attack HTTP/1.1\r\nHost: {0}\r\nContent-Length: {1}\r\n\r\n".format(name, size).encode()
        )
        sent, block = 0, bytes(65536)
        while sent < size:
            try:
                sent += session.tls.write(block[: size - sent])
                session.flush(strict=True)
            except ConnectionError:
                # The server may end what it does not want, too: then it has said so before.
                if session.fill() and session.read():
                    return ERROR, "the server answered after {0} bytes: nothing is proven".format(sent)
                return REFUSED, "cut after {0} bytes".format(sent)
    except ssl.SSLError as error:
        return ERROR, "TLS: {0}".format(error.reason)
    return SUCCEEDED, "{0} bytes were sent".format(sent)
