# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of Ollama's registry over a proxy's Unix socket: pinned, bounded, resumable (rows S1, S2).

Every connection is `CONNECT host:443` through the proxy, then TLS verified against the named authority.
Nothing about the far end is trusted: redirects go to listed hosts only, no more bytes are read than were
declared, and what was read is hashed while it streams. The publisher hashes again afterwards; this only stops
bad transfers early.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Optional, TypeVar
from urllib.parse import urlsplit

from .findings import FindingError, Severity, clean_text, refuse
from .transfer import Transfer, open_output, write_all
from .tunnel import USER_AGENT, InterruptedTransferError, ProxiedConnection, explain_tls

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CHUNK_BYTES = 256 * 1024
REDIRECTS_MAX = 5
Answer = TypeVar("Answer")
RETRY_STATUSES = (408, 425, 429, 500, 502, 503, 504)

_CONTENT_RANGE = re.compile(r"^bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)$")
_DIGITS = re.compile(r"^\d{1,18}$")


@dataclass
class Limits:
    """How patient a client is: seconds for an operation and for everything, and how often it tries without
    progress.
    """

    operation_seconds: float = 30.0
    total_seconds: float = 3600.0
    attempts: int = 5
    retry_seconds: float = 0.5


class RegistryClient:
    """Fetches manifests and blobs of one repository from one registry host.

    `hosts` are the only names ever connected to (the registry's and those it may redirect to). Methods raise
    FindingError with a FETCH- code, and nothing else.
    """

    def __init__(
        self,
        proxy_socket: str,
        host: str,
        repository: str,
        hosts: Iterable[str],
        ca_bundle: Optional[str] = None,
        limits: Optional[Limits] = None,
        progress: Optional[Callable[[str], None]] = None,
    ) -> None:
        self.proxy_socket = proxy_socket
        self.host = host.lower()
        self.repository = repository
        self.hosts = frozenset(name.lower() for name in hosts) | {self.host}
        self.limits = limits or Limits()
        self.progress = progress or (lambda text: None)
        self._deadline = time.monotonic() + self.limits.total_seconds
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

    def manifest(self, tag: str, limit: int, digest: str) -> bytes:
        """Return the raw manifest of a tag, at most `limit` bytes long.

        What came whole is returned even when it has not the `digest` that is expected: the caller says what that
        means. What may have been cut is asked for again.
        """
        subject = "{0}/{1}:{2}".format(self.host, self.repository, tag)
        path = "/v2/{0}/manifests/{1}".format(self.repository, tag)

        def once() -> bytes:
            response, connection = self._get(path, {"Accept": MANIFEST_TYPE}, subject)
            try:
                if response.status != 200:
                    raise self._bad_status(response, subject)
                body, whole = self._read_all(response, limit)
            finally:
                connection.close()
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

        return self._patiently(once, subject)

    def blob(self, transfer: Transfer) -> None:
        """Complete `transfer`, resuming after cuts; on return the file holds the declared bytes.

        Gives up after `limits.attempts` tries in a row that brought nothing. Raises FindingError:
        FETCH-UNREACHABLE, FETCH-TIMEOUT, FETCH-DIGEST-MISMATCH, FETCH-SIZE-MISMATCH, FETCH-TOO-LARGE,
        FETCH-REDIRECT-REFUSED, FETCH-NOT-FOUND, FETCH-REFUSED-BY-PROXY, FETCH-TLS, FETCH-DISK.
        """
        failures = 0
        while True:
            if transfer.received == transfer.size:
                digest = "sha256:" + transfer.hasher.hexdigest()
                if digest == transfer.digest:
                    return
                if not transfer.resumed or failures >= self.limits.attempts:
                    raise refuse(
                        "FETCH-DIGEST-MISMATCH",
                        transfer.digest,
                        "the bytes sent hash to {0}".format(digest),
                        "Do not use them. Ask why the source sends other bytes than were approved.",
                        Severity.CRITICAL,
                    )
                # Pieced together over a cut: one of the pieces may be bad, so once more in one go.
                transfer.restart()
                failures += 1
            before = transfer.received
            try:
                self._guarded(lambda: self._receive(transfer), transfer.digest)
            except InterruptedTransferError as error:
                transfer.cuts += 1
                failures = 0 if transfer.received > before else failures + 1
                self._pause_or_give_up(error, failures, transfer.digest)

    def _receive(self, transfer: Transfer) -> None:
        """One request: append what comes to the file until the declared size is there."""
        path = "/v2/{0}/blobs/{1}".format(self.repository, transfer.digest)
        headers = {"Range": "bytes={0}-".format(transfer.received)} if transfer.received else {}
        response, connection = self._get(path, headers, transfer.digest)
        try:
            self._judge_blob_answer(response, transfer)
            output = open_output(transfer)
            try:
                self._stream(response, transfer, output)
            finally:
                os.close(output)
        finally:
            connection.close()

    def _stream(self, response: http.client.HTTPResponse, transfer: Transfer, output: int) -> None:
        told = time.monotonic()
        while True:
            self._check_deadline(transfer.digest)
            # One byte more than declared is enough to know that the source sends too much.
            chunk = response.read1(min(CHUNK_BYTES, transfer.size - transfer.received + 1))
            if not chunk:
                break
            if transfer.received + len(chunk) > transfer.size:
                raise self._too_large(transfer, "more than the declared {0} bytes came".format(transfer.size))
            write_all(output, chunk)
            transfer.hasher.update(chunk)
            transfer.received += len(chunk)
            if time.monotonic() - told >= 5:
                told = time.monotonic()
                self.progress("{0}: {1} of {2} bytes".format(transfer.digest[:19], transfer.received, transfer.size))
        if transfer.received < transfer.size:
            raise InterruptedTransferError("cut after {0} of {1} bytes".format(transfer.received, transfer.size))

    def _judge_blob_answer(self, response: http.client.HTTPResponse, transfer: Transfer) -> None:
        """Check status, range and announced length before a byte is read."""
        if response.status == 416 and transfer.received:
            raise self._wrong_size(transfer, "the source has no byte {0}".format(transfer.received))
        if response.status not in (200, 206):
            raise self._bad_status(response, transfer.digest)
        if (response.getheader("Content-Encoding") or "identity").lower() != "identity":
            raise self._wrong_size(transfer, "the source encodes what must come as it is")
        length = response.getheader("Content-Length") or ""
        announced = int(length) if _DIGITS.match(length) else None
        if response.status == 200:
            if transfer.received:
                # The server ignores ranges: from the beginning, then.
                transfer.restart()
            total = announced
        else:
            match = _CONTENT_RANGE.match(response.getheader("Content-Range") or "")
            if not match or int(match.group(1)) != transfer.received:
                raise self._wrong_size(transfer, "the source answered another range than was asked for")
            if transfer.received:
                transfer.resumed = True
            total = int(match.group(3)) if match.group(3) != "*" else None
        if total is not None and total > transfer.size:
            raise self._too_large(transfer, "{0} bytes announced, {1} declared".format(total, transfer.size))
        if total is not None and total < transfer.size:
            raise self._wrong_size(transfer, "{0} bytes announced, {1} declared".format(total, transfer.size))

    # --- one request
    # -------------------------------------------------------------------------------------------
    def _get(
        self, path: str, headers: dict[str, str], subject: str
    ) -> tuple[http.client.HTTPResponse, http.client.HTTPConnection]:
        """GET, following redirects to listed hosts only; the caller closes the connection."""
        host = self.host
        for _hop in range(REDIRECTS_MAX + 1):
            self._check_deadline(subject)
            connection = ProxiedConnection(self.proxy_socket, host, self.limits.operation_seconds, self._context)
            try:
                sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", "Connection": "close"}
                sent.update(headers)
                connection.request("GET", path, headers=sent)
                response = connection.getresponse()
                if response.status not in (301, 302, 303, 307, 308):
                    return response, connection
                host, path = self._redirect(response.getheader("Location") or "", host, subject)
            except ssl.SSLCertVerificationError as error:
                connection.close()
                raise explain_tls(self.proxy_socket, host, self.limits.operation_seconds, error) from error
            except BaseException:
                connection.close()
                raise
            connection.close()
        raise refuse(
            "FETCH-REDIRECT-REFUSED",
            subject,
            "more than {0} redirects".format(REDIRECTS_MAX),
            "Ask the registry's operator; a good registry redirects once.",
        )

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

    def _patiently(self, action: Callable[[], Answer], subject: str) -> Answer:
        """Run one request until it is not interrupted, `limits.attempts` times at most."""
        failures = 0
        while True:
            try:
                return self._guarded(action, subject)
            except InterruptedTransferError as error:
                failures += 1
                self._pause_or_give_up(error, failures, subject)

    def _guarded(self, action: Callable[[], Answer], subject: str) -> Answer:
        """Run one request and sort what goes wrong into FindingError (final) and InterruptedTransferError
        (again).
        """
        try:
            return action()
        except (FindingError, InterruptedTransferError):
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

    def _read_all(self, response: http.client.HTTPResponse, limit: int) -> tuple[bytes, bool]:
        """Return a body of at most `limit` + 1 bytes, and whether it is known to be whole.

        Manifests come without a length. Their end is then the connection's, which many servers close without
        telling TLS first; OpenSSL reports that as an end, an error or a broken pipe, by its version.
        """
        body = bytearray()
        while len(body) <= limit:
            self._check_deadline(self.host)
            try:
                chunk = response.read1(min(CHUNK_BYTES, limit + 1 - len(body)))
            except (ssl.SSLError, ConnectionError):
                return bytes(body), False
            if not chunk:
                break
            body += chunk
        return bytes(body), not response.length

    def _bad_status(self, response: http.client.HTTPResponse, subject: str) -> Exception:
        status = response.status
        if status in RETRY_STATUSES:
            asked = response.getheader("Retry-After") or ""
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

    def _pause_or_give_up(self, error: InterruptedTransferError, failures: int, subject: str) -> None:
        self._check_deadline(subject)
        if failures >= self.limits.attempts:
            raise refuse(
                "FETCH-UNREACHABLE",
                subject,
                "{0} tries in a row brought nothing: {1}".format(failures, error),
                "Check that the proxy runs and reaches the source; what came so far is kept.",
            ) from error
        self.progress("{0}: {1}; trying again".format(subject[:80], error))
        pause = max(error.delay, self.limits.retry_seconds * (2 ** max(0, failures - 1)) if failures else 0.0)
        time.sleep(max(0.0, min(pause, 30.0, self._deadline - time.monotonic())))

    def _check_deadline(self, subject: str) -> None:
        if time.monotonic() > self._deadline:
            raise refuse(
                "FETCH-TIMEOUT",
                subject,
                "not complete after {0:g} s".format(self.limits.total_seconds),
                "Raise the timeout or use a faster line; what came so far is kept for the next run.",
            )

    @staticmethod
    def _too_large(transfer: Transfer, evidence: str) -> FindingError:
        return refuse(
            "FETCH-TOO-LARGE",
            transfer.digest,
            evidence,
            "Do not use them. Ask why the source sends other bytes than were approved.",
            Severity.CRITICAL,
        )

    @staticmethod
    def _wrong_size(transfer: Transfer, evidence: str) -> FindingError:
        return refuse(
            "FETCH-SIZE-MISMATCH",
            transfer.digest,
            evidence,
            "Do not use them. Ask why the source sends other bytes than were approved.",
        )
