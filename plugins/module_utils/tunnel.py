# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS to a listed host through the egress proxy's Unix socket, and saying why it failed (row S2)."""

from __future__ import annotations

import http.client
import re
import socket
import ssl

from .findings import FindingError, Severity, clean_text, refuse

USER_AGENT = "rampart-fetcher"
HEADER_MAX_BYTES = 16 * 1024


class InterruptedTransferError(Exception):
    """A transfer that may be tried again: a cut, a time-out, a busy server. `delay` is what the server asked
    for, in s.
    """

    def __init__(self, reason: str, delay: float = 0.0) -> None:
        super().__init__(reason)
        self.delay = delay


class ProxiedConnection(http.client.HTTPSConnection):
    """HTTPS to a host through `CONNECT` on a proxy's Unix socket."""

    def __init__(self, proxy_socket: str, host: str, timeout: float, context: ssl.SSLContext) -> None:
        super().__init__(host, 443, timeout=timeout, context=context)
        self._proxy_socket = proxy_socket
        self._tls = context

    def connect(self) -> None:
        """Open the tunnel and the TLS session in it. Raises FindingError, ssl.SSLError or OSError."""
        raw = open_tunnel(self._proxy_socket, self.host, float(self.timeout or 30.0))
        try:
            self.sock = self._tls.wrap_socket(raw, server_hostname=self.host)
        except BaseException:
            raw.close()
            raise


def open_tunnel(proxy_socket: str, host: str, timeout: float) -> socket.socket:
    """Return a socket whose other end is host:443, as far as the proxy can be believed.

    Raises FindingError (FETCH-REFUSED-BY-PROXY), InterruptedTransferError when the proxy could not reach the
    host, OSError when there is no proxy.
    """
    tunnel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        tunnel.settimeout(timeout)
        tunnel.connect(proxy_socket)
        tunnel.sendall("CONNECT {0}:443 HTTP/1.1\r\nHost: {0}:443\r\n\r\n".format(host).encode("ascii"))
        head = b""
        # Byte by byte: what follows the empty line belongs to the TLS session.
        while not head.endswith(b"\r\n\r\n"):
            byte = tunnel.recv(1)
            if not byte:
                raise InterruptedTransferError("the proxy closed the connection to {0}".format(host))
            head += byte
            if len(head) > HEADER_MAX_BYTES:
                raise InterruptedTransferError("the proxy's answer is too long")
    except BaseException:
        tunnel.close()
        raise
    match = re.match(rb"^HTTP/1\.[01] (\d{3})", head)
    status = int(match.group(1)) if match else 0
    if status == 200:
        return tunnel
    tunnel.close()
    if status in (403, 407, 405):
        raise refused_by_proxy(host, "it answered {0}".format(status))
    raise InterruptedTransferError("the proxy could not reach {0} (status {1})".format(host, status))


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
        connection.request("GET", "/", headers={"User-Agent": USER_AGENT, "Connection": "close"})
        response = connection.getresponse()
        return clean_text(response.getheader("X-Squid-Error") or "", 60)
    except (OSError, http.client.HTTPException, FindingError, InterruptedTransferError):
        return ""
    finally:
        connection.close()
