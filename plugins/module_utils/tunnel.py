# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS to a listed host through the egress proxy's Unix socket, and saying why it failed (row S2).

No wait is without an end: a read or write takes at most the connection's time-out, the head of an answer as a
whole takes no longer either, and nothing outlasts the deadline of the whole fetch.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import re
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any, Optional

from .findings import FindingError, Severity, clean_text, refuse

USER_AGENT = "rampart-fetcher"
HEADER_MAX_BYTES = 16 * 1024
READ_BUFFER_BYTES = 64 * 1024

_STATUS = re.compile(rb"\AHTTP/1\.[01] (\d{3})")
_SQUID_ERROR = re.compile(rb"(?im)^X-Squid-Error:[ \t]*([^\r\n]*)")


class InterruptedTransferError(Exception):
    """A transfer that may be tried again: a cut, a time-out, a busy server. `delay` is what the server asked
    for, in s.
    """

    def __init__(self, reason: str, delay: float = 0.0) -> None:
        super().__init__(reason)
        self.delay = delay


class Deadline:
    """When something has to be over, `seconds` from now at the latest, and not after `within` either."""

    def __init__(self, seconds: float, within: Optional[Deadline] = None) -> None:
        self.at = time.monotonic() + seconds
        if within is not None:
            self.at = min(self.at, within.at)

    def left(self) -> float:
        """Return the seconds that are left; negative when it is over."""
        return self.at - time.monotonic()

    def wait_for(self, sock: socket.socket) -> None:
        """Let the next operation of a socket take what is left. Raises socket.timeout when that is nothing."""
        left = self.left()
        if left <= 0:
            raise socket.timeout("no answer in time")
        sock.settimeout(left)


class TimedSocket:
    """What http.client needs of a socket, with an end to every wait; errors while reading are kept in `error`.

    Reading them as an end of the stream saves what came before: http.client would drop it. `ended` tells that
    the stream is over, for whichever reason.
    """

    def __init__(self, sock: socket.socket, timeout: float, deadline: Deadline) -> None:
        self._sock = sock
        self._timeout = timeout
        self._deadline = deadline
        self._head: Optional[Deadline] = None
        self.error: Optional[OSError] = None
        self.ended = False

    def begin_head(self) -> None:
        """From here on everything together takes one time-out: a head that comes byte by byte is none."""
        self._head = Deadline(self._timeout, self._deadline)

    def end_head(self) -> None:
        """From here on each read has a time-out of its own."""
        self._head = None

    def sendall(self, data: bytes) -> None:
        """Send everything. Raises OSError."""
        self._wait()
        self._sock.sendall(data)

    def makefile(self, mode: str, *_arguments: Any) -> io.BufferedReader:
        """Return the reading side as http.client wants it."""
        return io.BufferedReader(_Reading(self), READ_BUFFER_BYTES)

    def receive_into(self, buffer: memoryview) -> int:
        """Read once; 0 at the end of the stream or after an error."""
        try:
            self._wait()
            count = self._sock.recv_into(buffer)
        except OSError as error:
            self.error = error
            count = 0
        self.ended = self.ended or not count
        return count

    def _wait(self) -> None:
        (self._head or Deadline(self._timeout, self._deadline)).wait_for(self._sock)

    def close(self) -> None:
        """Nothing: http.client closes a connection while its answer is still to be read. See `end`."""

    def end(self) -> None:
        """Close the socket."""
        self._sock.close()

    def abort(self) -> None:
        """Make whoever reads or writes in another thread find the end of the stream at once."""
        with contextlib.suppress(OSError):
            # Not SSLSocket's own shutdown, which takes the TLS state away under the other thread's feet.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)


class _Reading(io.RawIOBase):
    """The reading side of a TimedSocket."""

    def __init__(self, timed: TimedSocket) -> None:
        self._timed = timed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._timed.receive_into(memoryview(buffer))


class ProxiedConnection(http.client.HTTPSConnection):
    """HTTPS to a host through `CONNECT` on a proxy's Unix socket. `end` closes it for good."""

    def __init__(
        self,
        proxy_socket: str,
        host: str,
        timeout: float,
        context: ssl.SSLContext,
        deadline: Optional[Deadline] = None,
    ) -> None:
        super().__init__(host, 443, timeout=timeout, context=context)
        self._proxy_socket = proxy_socket
        self._tls = context
        self._patience = timeout
        self._total = deadline or Deadline(timeout)
        self.timed: Optional[TimedSocket] = None

    def connect(self) -> None:
        """Open the tunnel and the TLS session in it. Raises FindingError, InterruptedTransferError or OSError."""
        deadline = Deadline(self._patience, self._total)
        raw = open_tunnel(self._proxy_socket, self.host, deadline)
        try:
            deadline.wait_for(raw)
            tls = self._tls.wrap_socket(raw, server_hostname=self.host)
        except BaseException as error:
            raw.close()
            if isinstance(error, ssl.SSLError) and speaks_no_tls(error):
                raise explain_clear(self._proxy_socket, self.host, self._tls, self._patience, error) from error
            raise
        self.timed = TimedSocket(tls, self._patience, self._total)
        # http.client asks for no more of a socket than this one has.
        self.sock = self.timed

    def ask(self, path: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        """GET over the connection, opening it where needed. Raises FindingError, InterruptedTransferError,
        OSError or http.client.HTTPException.
        """
        if self.sock is None:
            # http.client lets go of a connection that the server will not keep.
            self.end()
            self.connect()
        timed = self.timed
        if timed is None:
            raise AssertionError("connect sets it or raises")
        timed.begin_head()
        try:
            self.request("GET", path, headers=dict(headers))
            response = self.getresponse()
        except http.client.HTTPException:
            if timed.error is not None:
                raise timed.error from None
            raise
        timed.end_head()
        if timed.ended:
            # http.client takes the end of the stream for the end of the head, however much of it is missing.
            raise timed.error or InterruptedTransferError("cut in the head of the answer")
        return response

    def end(self) -> None:
        """Close the connection, whatever is still to be read."""
        self.close()
        if self.timed is not None:
            self.timed.end()
            self.timed = None

    def abort(self) -> None:
        """Cut the connection from another thread; its owner still has to `end` it."""
        timed = self.timed
        if timed is not None:
            timed.abort()


def open_tunnel(proxy_socket: str, host: str, deadline: Deadline) -> socket.socket:
    """Return a socket whose other end is host:443, as far as the proxy can be believed.

    Raises FindingError (FETCH-REFUSED-BY-PROXY), InterruptedTransferError when the proxy could not reach the
    host, OSError when there is no proxy.
    """
    tunnel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        deadline.wait_for(tunnel)
        tunnel.connect(proxy_socket)
        tunnel.sendall("CONNECT {0}:443 HTTP/1.1\r\nHost: {0}:443\r\n\r\n".format(host).encode("ascii"))
        head = b""
        # Byte by byte: what follows the empty line belongs to the TLS session.
        while not head.endswith(b"\r\n\r\n"):
            deadline.wait_for(tunnel)
            byte = tunnel.recv(1)
            if not byte:
                raise InterruptedTransferError("the proxy closed the connection to {0}".format(host))
            head += byte
            if len(head) > HEADER_MAX_BYTES:
                raise InterruptedTransferError("the proxy's answer is too long")
        refusal = _proxys_refusal(host, head)
        if refusal is not None:
            raise refusal
    except BaseException:
        tunnel.close()
        raise
    return tunnel


def _proxys_refusal(host: str, head: bytes) -> Optional[Exception]:
    """Return what an answer of the proxy means when it is not 200."""
    match = _STATUS.match(head)
    status = int(match.group(1)) if match else 0
    if status == 200:
        return None
    reason = _SQUID_ERROR.search(head)
    said = clean_text(reason.group(1).decode("ascii", "replace"), 60) if reason else ""
    if status in (403, 405, 407):
        return refused_by_proxy(host, said or "it answered {0}".format(status))
    evidence = "the egress proxy could not reach {0}: {1}".format(host, said or "status {0}".format(status))
    return InterruptedTransferError(evidence)


def refused_by_proxy(host: str, evidence: str) -> FindingError:
    """Return the refusal of a host by the egress proxy."""
    return refuse(
        "FETCH-REFUSED-BY-PROXY",
        host,
        "the egress proxy does not let this host through: {0}".format(evidence),
        "If the host is right, add it to the proxy's allow-list; its log says what it refused.",
    )


def explain_tls(
    proxy_socket: str, host: str, timeout: float, error: ssl.SSLCertVerificationError
) -> FindingError:
    """Tell a proxy's refusal from a wrong certificate.

    Squid answers a refused CONNECT with 200 and then shows its error page under a throw-away certificate.
    That page is read here, without verification, only to word the message: no byte of it is used
    otherwise, and nothing is sent.
    """
    denied = _squid_error(proxy_socket, host, min(10.0, timeout))
    if denied.startswith(("ERR_ACCESS", "ERR_CACHE_ACCESS")):
        return refused_by_proxy(host, denied)
    if denied:
        return refuse(
            "FETCH-UNREACHABLE",
            host,
            "the egress proxy could not reach it: {0}".format(denied),
            "Check the host's name, the resolver and the way out of the proxy, then run again.",
        )
    return refuse(
        "FETCH-TLS",
        host,
        "its certificate is not trusted: {0}".format(clean_text(error.verify_message, 120)),
        "Give the certificate authority of the source (ca_bundle), or find out who intercepts.",
        Severity.CRITICAL,
    )


def _squid_error(proxy_socket: str, host: str, timeout: float) -> str:
    """Return Squid's X-Squid-Error for a host ("ERR_ACCESS_DENIED 0"), or an empty text."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = ProxiedConnection(proxy_socket, host, timeout, context)
    try:
        response = connection.ask("/", {"User-Agent": USER_AGENT, "Connection": "close"})
        return clean_text(response.getheader("X-Squid-Error") or "", 60)
    except (OSError, http.client.HTTPException, FindingError, InterruptedTransferError):
        return ""
    finally:
        connection.end()


def speaks_no_tls(error: ssl.SSLError) -> bool:
    """Whether a handshake failed on an answer that is no TLS record, rather than on a cut or a certificate."""
    return not isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLCertVerificationError))


def explain_clear(
    proxy_socket: str, host: str, context: ssl.SSLContext, timeout: float, error: ssl.SSLError
) -> Exception:
    """Return what a failed handshake means: Squid's reason where it answers in clear, else TLS's own.

    When Squid has let a CONNECT through and then cannot reach the host, its page comes in clear text where the
    server's greeting should be. It is asked once more here, only to read the first lines of that page.
    """
    head = b""
    with contextlib.suppress(OSError, FindingError, InterruptedTransferError):
        head = _answer_to_a_greeting(proxy_socket, host, context, Deadline(min(10.0, timeout)))
    refusal = _proxys_refusal(host, head) if _STATUS.match(head) else None
    return refusal or InterruptedTransferError("TLS: {0}".format(clean_text(error.reason or error, 100)))


def _answer_to_a_greeting(proxy_socket: str, host: str, context: ssl.SSLContext, deadline: Deadline) -> bytes:
    """Send the first message of a TLS session and return the first bytes that come back, up to an empty line."""
    greeting = ssl.MemoryBIO()
    session = context.wrap_bio(ssl.MemoryBIO(), greeting, server_hostname=host)
    with contextlib.suppress(ssl.SSLWantReadError):
        session.do_handshake()
    head = b""
    with open_tunnel(proxy_socket, host, deadline) as tunnel, contextlib.suppress(OSError):
        tunnel.sendall(greeting.read())
        while b"\r\n\r\n" not in head and len(head) < HEADER_MAX_BYTES:
            deadline.wait_for(tunnel)
            piece = tunnel.recv(4096)
            if not piece:
                break
            head += piece
    return head.partition(b"\r\n\r\n")[0] + b"\r\n"
