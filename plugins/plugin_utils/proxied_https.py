# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTPS from the controller, directly or through `CONNECT` on an HTTP proxy (row S1).

The proxy's password, if it has one, goes to the proxy and nowhere else: no message, log or exception holds it.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import re
import socket
import ssl
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from ansible_collections.rampart.ollama.plugins.module_utils.findings import (
    FindingError,
    Severity,
    clean_text,
    refuse,
)

HEADER_MAX_BYTES = 16 * 1024
HTTPS_PORT = 443
_STATUS = re.compile(rb"\AHTTP/1\.[01] (\d{3})")


@dataclass(frozen=True)
class Route:
    """How to reach `host:port`: through the proxy at `proxy` (host, port), or directly when that is None."""

    host: str
    port: int
    proxy: tuple[str, int] | None = None
    # Kept out of repr, so that no traceback of anything shows it.
    authorization: str = field(default="", repr=False)


def choose_route(host: str, proxy: str | None) -> Route:
    """Return the route to `host` (`name` or `name:port`).

    `proxy` None: HTTPS_PROXY and NO_PROXY of the environment; empty: directly; else its address. Raises
    FindingError (FETCH-PROXY), which never shows the address: it may hold a password.
    """
    name, _colon, text = host.partition(":")
    port = int(text) if text else HTTPS_PORT
    origin = "the proxy that was given"
    if proxy is None:
        settings = getproxies_environment()
        origin = "the proxy in HTTPS_PROXY"
        proxy = "" if proxy_bypass(host) else settings.get("https", "")
    if not proxy:
        return Route(name, port)
    try:
        parts = urlsplit(proxy if "://" in proxy else "http://" + proxy)
        address = (parts.hostname or "", parts.port or 80)
    except ValueError:
        raise _bad_proxy(origin, "it is no address") from None
    if parts.scheme != "http":
        raise _bad_proxy(origin, "its scheme is not http")
    if not address[0]:
        raise _bad_proxy(origin, "it names no host")
    authorization = ""
    if parts.username is not None:
        pair = "{0}:{1}".format(unquote(parts.username), unquote(parts.password or ""))
        authorization = "Basic " + base64.b64encode(pair.encode("utf-8")).decode("ascii")
    return Route(name, port, address, authorization)


def _bad_proxy(origin: str, why: str) -> FindingError:
    return refuse(
        "FETCH-PROXY",
        origin,
        why,
        "Give it as http://host:port. TLS to the registry is ours; the proxy only carries it.",
    )


class ProxiedHTTPS(http.client.HTTPSConnection):
    """One HTTPS connection along a route. `timeout` bounds each operation, in seconds; `cut` ends it from outside."""

    def __init__(self, route: Route, timeout: float, context: ssl.SSLContext) -> None:
        super().__init__(route.host, route.port, timeout=timeout, context=context)
        self._route = route
        self._tls = context
        self._raw: socket.socket | None = None
        self._ended = False

    def connect(self) -> None:
        """Open the connection and the TLS session in it. Raises FindingError (FETCH-REFUSED-BY-PROXY), OSError."""
        where = self._route.proxy or (self._route.host, self._route.port)
        raw = socket.create_connection(where, self.timeout)
        # wrap_socket takes the descriptor over; a copy of it can still be shut down by `cut`.
        self._raw = raw.dup()
        try:
            if self._ended:
                raise TimeoutError("ended while connecting")
            if self._route.proxy is not None:
                self._ask_proxy(raw)
            self.sock = self._tls.wrap_socket(raw, server_hostname=self._route.host)
        except BaseException:
            raw.close()
            raise

    def cut(self) -> None:
        """End the connection, whatever waits on it; safe from another thread."""
        self._ended = True
        if self._raw is not None:
            with contextlib.suppress(OSError):
                self._raw.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        super().close()
        if self._raw is not None:
            self._raw.close()

    def _ask_proxy(self, raw: socket.socket) -> None:
        target = "{0}:{1}".format(self._route.host, self._route.port)
        lines = ["CONNECT {0} HTTP/1.1".format(target), "Host: {0}".format(target)]
        if self._route.authorization:
            lines.append("Proxy-Authorization: {0}".format(self._route.authorization))
        raw.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
        head = b""
        # Byte by byte: what follows the empty line belongs to the TLS session.
        while not head.endswith(b"\r\n\r\n"):
            byte = raw.recv(1)
            if not byte:
                raise ConnectionError("the proxy closed the connection to {0}".format(target))
            head += byte
            if len(head) > HEADER_MAX_BYTES:
                raise ConnectionError("the proxy's answer is too long")
        match = _STATUS.match(head)
        status = int(match.group(1)) if match else 0
        if status == 200:
            return
        if status in (403, 405, 407):
            raise refuse(
                "FETCH-REFUSED-BY-PROXY",
                target,
                "the proxy answered {0}".format(status),
                "If the host is right, have the proxy allow it (407: give the proxy's user and password).",
            )
        raise ConnectionError("the proxy could not reach {0} (status {1})".format(target, status))


def explain_certificate(route: Route, error: ssl.SSLCertVerificationError) -> FindingError:
    """Return the refusal of a certificate that was not trusted."""
    return refuse(
        "FETCH-TLS",
        route.host,
        "its certificate is not trusted: {0}".format(clean_text(error.verify_message, 120)),
        "Give the certificate authority of the source (ca_bundle), or find out who intercepts.",
        Severity.CRITICAL,
    )
