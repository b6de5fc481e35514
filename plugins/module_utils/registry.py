# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of Ollama's registry over a proxy's Unix socket: pinned, bounded, patient (rows S1, S2).

Every connection is `CONNECT host:443` through the proxy, then TLS verified against the named authority.
Nothing about the far end is trusted: redirects go to listed hosts only, and no more bytes are read than were
asked for. How a blob is brought in is told in `transfer` (in one go) and `ranges` (several ranges at once).
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Optional, TypeVar
from urllib.parse import urlsplit

from .findings import FindingError, clean_text, refuse
from .tunnel import USER_AGENT, Deadline, InterruptedTransferError, ProxiedConnection, explain_tls

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
# Read at once at most, and at least.
CHUNK_BYTES = 1024 * 1024
WINDOW_BYTES = 16 * 1024
REDIRECTS_MAX = 5
REDIRECT_STATUSES = (301, 302, 303, 307, 308)
RETRY_STATUSES = (408, 425, 429, 500, 502, 503, 504)
Answer = TypeVar("Answer")

_DIGITS = re.compile(r"\A\d{1,18}\Z")


class StoppedError(Exception):
    """Another thread has failed, or was told to stop: this one ends too. Never leaves a crew of threads."""


@dataclass
class Limits:
    """How patient and how wide a client is: seconds for an operation and for everything, how often it tries
    without progress, over how many connections at once, and from which size (bytes) a blob is split.
    """

    operation_seconds: float = 30.0
    total_seconds: float = 3600.0
    attempts: int = 5
    retry_seconds: float = 0.5
    connections: int = 4
    split_from: int = 64 * 1024 * 1024


@dataclass
class Line:
    """An answered request: the answer, the connection it came over, and the path that was asked for there.

    `cut` says that the body is known to have ended too early; `window` is how many bytes are read at once.
    """

    connection: ProxiedConnection
    path: str
    response: http.client.HTTPResponse
    cut: bool = False
    window: int = WINDOW_BYTES

    @property
    def length(self) -> Optional[int]:
        """The announced length of the body in bytes, or None."""
        text = self.response.getheader("Content-Length") or ""
        return int(text) if _DIGITS.match(text) else None

    @property
    def encoded(self) -> bool:
        """Whether the body is not sent as it is (gzip and the like)."""
        return (self.response.getheader("Content-Encoding") or "identity").lower() != "identity"

    @property
    def reusable(self) -> bool:
        """Whether another request can follow on the same connection."""
        return self.response.isclosed() and self.connection.sock is not None

    def read_into(self, view: memoryview) -> int:
        """Read the next bytes of the body into `view`; 0 at its end. Raises OSError for what ended it.

        What came before an interruption is returned first, the reason at the next call. How much is read at once
        follows the line's speed, so that a slow one is heard of every second and a fast one costs few calls.
        """
        began = time.monotonic()
        try:
            count = self.response.readinto(view[: self.window])
        except http.client.IncompleteRead as error:
            self.cut = True
            count = len(error.partial)
        took = time.monotonic() - began
        if took < 0.1:
            self.window = min(2 * self.window, CHUNK_BYTES)
        elif took > 1.0:
            self.window = max(self.window // 2, WINDOW_BYTES)
        timed = self.connection.timed
        if not count and timed is not None and timed.error is not None:
            raise timed.error
        return count


class RegistryClient:
    """Fetches from one repository of one registry host; may be used from several threads at once.

    `hosts` are the only names ever connected to (the registry's and those it may redirect to). Methods raise
    FindingError with a FETCH- code; what is said otherwise is for `patiently` and its like to handle.
    """

    def __init__(
        self,
        proxy_socket: str,
        host: str,
        repository: str,
        hosts: Iterable[str],
        ca_bundle: Optional[str] = None,
        limits: Optional[Limits] = None,
        say: Optional[Callable[[str], None]] = None,
    ) -> None:
        self.proxy_socket = proxy_socket
        self.host = host.lower()
        self.repository = repository
        self.hosts = frozenset(name.lower() for name in hosts) | {self.host}
        self.limits = limits or Limits()
        self.say = say or (lambda text: None)
        self.deadline = Deadline(self.limits.total_seconds)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._connections: set[ProxiedConnection] = set()
        try:
            self._context = ssl.create_default_context(cafile=ca_bundle)
        except (OSError, ssl.SSLError) as error:
            raise refuse(
                "FETCH-CA-BUNDLE",
                ca_bundle or "system certificates",
                clean_text(error, 150),
                "Name a readable PEM file with the registry's certificate authority.",
            ) from error
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2

    def hang_up(self) -> None:
        """Make every thread that uses this client end soon, with StoppedError."""
        self._stop.set()
        with self._lock:
            for connection in self._connections:
                connection.abort()

    def resume(self) -> None:
        """Be usable again after `hang_up`; nothing must be using the client any more."""
        self._stop.clear()

    def check(self, subject: str) -> None:
        """Raise StoppedError after `hang_up`, FindingError (FETCH-TIMEOUT) after the deadline."""
        if self._stop.is_set():
            raise StoppedError
        if self.deadline.left() < 0:
            raise refuse(
                "FETCH-TIMEOUT",
                subject,
                "not complete after {0:g} s".format(self.limits.total_seconds),
                "Raise the timeout or use a faster line; what came so far is kept for the next run.",
            )

    def blob_path(self, digest: str) -> str:
        """Return where the registry has a blob."""
        return "/v2/{0}/blobs/{1}".format(self.repository, digest)

    def open(self, path: str, headers: Mapping[str, str], subject: str) -> Line:
        """GET, following redirects to listed hosts only; the caller closes the line."""
        host = self.host
        for _hop in range(REDIRECTS_MAX + 1):
            connection = ProxiedConnection(
                self.proxy_socket, host, self.limits.operation_seconds, self._context, self.deadline
            )
            with self._lock:
                self._connections.add(connection)
            line = self._ask(connection, path, headers, subject)
            if line.response.status not in REDIRECT_STATUSES:
                return line
            location = line.response.getheader("Location") or ""
            self.close(line)
            host, path = self._redirect(location, host, subject)
        raise refuse(
            "FETCH-REDIRECT-REFUSED",
            subject,
            "more than {0} redirects".format(REDIRECTS_MAX),
            "Ask the registry's operator; a good registry redirects once.",
        )

    def again(self, line: Line, headers: Mapping[str, str], subject: str) -> Line:
        """GET the same thing over the same connection, without redirects."""
        return self._ask(line.connection, line.path, headers, subject)

    def close(self, line: Line) -> None:
        """Close a line's connection."""
        self._end(line.connection)

    def _end(self, connection: ProxiedConnection) -> None:
        with self._lock:
            self._connections.discard(connection)
        connection.end()

    def _ask(self, connection: ProxiedConnection, path: str, headers: Mapping[str, str], subject: str) -> Line:
        try:
            self.check(subject)
            sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
            return Line(connection, path, connection.ask(path, sent))
        except ssl.SSLCertVerificationError as error:
            self._end(connection)
            raise explain_tls(self.proxy_socket, connection.host, self.limits.operation_seconds, error) from error
        except BaseException:
            self._end(connection)
            raise

    def _redirect(self, location: str, host: str, subject: str) -> tuple[str, str]:
        """Return (host, path) of a redirect, or refuse it."""
        try:
            target = urlsplit(location)
            port = target.port
            name = (target.hostname or "").lower()
        except ValueError:
            target, port, name = urlsplit(""), None, ""
        if location.startswith("/") and not location.startswith("//"):
            return host, location
        plain = target.username is None and target.password is None and port in (None, 443)
        if target.scheme != "https" or name not in self.hosts or not plain:
            raise refuse(
                "FETCH-REDIRECT-REFUSED",
                subject,
                "{0} redirects to {1}, which is not listed".format(host, clean_text(location.split("?")[0], 150)),
                "If that host belongs to the source, review it, then list it here and at the proxy.",
            )
        return name, (target.path or "/") + ("?" + target.query if target.query else "")

    def patiently(self, action: Callable[[], Answer], subject: str) -> Answer:
        """Run one request until it is not interrupted, `limits.attempts` times at most."""
        failures = 0
        while True:
            try:
                return self.guarded(action, subject)
            except InterruptedTransferError as error:
                failures += 1
                self.pause_or_give_up(error, failures, subject)

    def guarded(self, action: Callable[[], Answer], subject: str) -> Answer:
        """Run one request and sort what goes wrong into FindingError (final) and InterruptedTransferError
        (again).
        """
        try:
            return action()
        except (FindingError, InterruptedTransferError, StoppedError):
            raise
        except ssl.SSLError as error:
            raise InterruptedTransferError("TLS: {0}".format(clean_text(error.reason or error, 100))) from error
        except (socket.timeout, http.client.HTTPException, ConnectionError) as error:
            raise InterruptedTransferError(clean_text(error, 150) or type(error).__name__) from error
        except OSError as error:
            if isinstance(error, (FileNotFoundError, PermissionError)) and not os.access(self.proxy_socket, os.W_OK):
                raise refuse(
                    "FETCH-UNREACHABLE",
                    subject,
                    "the egress proxy's socket is not there ({0})".format(error.strerror),
                    "Start the egress proxy and its relay (role egress_proxy), then run again.",
                ) from error
            raise InterruptedTransferError(error.strerror or str(error)) from error

    def pause_or_give_up(self, error: InterruptedTransferError, failures: int, subject: str) -> None:
        """Wait before the next try, or refuse after `limits.attempts` failures in a row without a byte."""
        self.check(subject)
        if failures >= self.limits.attempts:
            raise refuse(
                "FETCH-UNREACHABLE",
                subject,
                "{0} tries in a row brought nothing: {1}".format(failures, error),
                "Check that the proxy runs and reaches the source; what came so far is kept.",
            ) from error
        self.say("{0}: {1}; trying again".format(subject[:80], error))
        pause = max(error.delay, self.limits.retry_seconds * (2 ** max(0, failures - 1)) if failures else 0.0)
        self._stop.wait(max(0.0, min(pause, 30.0, self.deadline.left())))

    def bad_status(self, line: Line, subject: str) -> Exception:
        """Return what an answer other than the wanted one means."""
        status = line.response.status
        if status in RETRY_STATUSES:
            asked = line.response.getheader("Retry-After") or ""
            delay = min(float(asked), 30.0) if _DIGITS.match(asked) else 0.0
            return InterruptedTransferError("the source answered {0}".format(status), delay)
        if status == 404:
            return refuse(
                "FETCH-NOT-FOUND",
                subject,
                "the source does not have it (404)",
                "Check the name and tag; if the source dropped these bytes, approve a version it has.",
            )
        return refuse(
            "FETCH-REFUSED",
            subject,
            "the source answered {0}".format(status),
            "Check that the model is public at its source, then run again.",
        )

    def manifest(self, tag: str, limit: int, digest: str) -> bytes:
        """Return the raw manifest of a tag, at most `limit` bytes long.

        What came whole is returned even when it has not the `digest` that is expected: the caller says what that
        means. What may have been cut is asked for again.
        """
        subject = "{0}/{1}:{2}".format(self.host, self.repository, tag)
        path = "/v2/{0}/manifests/{1}".format(self.repository, tag)

        def once() -> bytes:
            line = self.open(path, {"Accept": MANIFEST_TYPE}, subject)
            try:
                if line.response.status != 200:
                    raise self.bad_status(line, subject)
                body, whole = self._read_all(line, limit)
            finally:
                self.close(line)
            if len(body) > limit:
                raise refuse(
                    "FETCH-TOO-LARGE",
                    subject,
                    "the manifest is longer than {0} bytes".format(limit),
                    "Ask the registry's operator: no manifest is this long.",
                )
            if not whole and "sha256:" + hashlib.sha256(body).hexdigest() != digest:
                raise InterruptedTransferError("the manifest was cut after {0} bytes".format(len(body)))
            return body

        return self.patiently(once, subject)

    def _read_all(self, line: Line, limit: int) -> tuple[bytes, bool]:
        """Return a body of at most `limit` + 1 bytes, and whether it is known to be whole.

        Manifests come without a length. Their end is then the connection's, which many servers close without
        telling TLS first; OpenSSL reports that as an end, an error or a broken pipe, by its version.
        """
        body = bytearray()
        buffer = memoryview(bytearray(64 * 1024))
        while len(body) <= limit:
            self.check(self.host)
            try:
                count = line.read_into(buffer[: limit + 1 - len(body)])
            except (ssl.SSLError, ConnectionError):
                return bytes(body), False
            if not count:
                break
            body += buffer[:count]
        return bytes(body), not line.response.length and not line.cut
