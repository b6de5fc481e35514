# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a registry, from the controller, what a tag names today, without pulling a blob (rows S1, S6).

One manifest is read over verified TLS, directly or through the proxy that the environment names, from an
allowed source only, within one deadline and one MiB. What was read is parsed as strictly as a stored manifest.
"""

from __future__ import annotations

import contextlib
import re
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.rampart.ollama.plugins.module_utils.findings import (
    Finding,
    FindingError,
    Severity,
    clean_text,
    refuse,
)
from ansible_collections.rampart.ollama.plugins.module_utils.manifest import (
    MANIFEST_MAX_BYTES,
    MANIFEST_TYPE,
    Manifest,
    parse_manifest,
    sha256_of,
)
from ansible_collections.rampart.ollama.plugins.module_utils.names import (
    ModelName,
    parse_name,
    require_source,
)

from .proxied_https import ProxiedHTTPS, Route, choose_route, explain_certificate

ATTEMPTS = 3
REDIRECTS_MAX = 5
PAUSE_SECONDS = 0.5
CHUNK_BYTES = 64 * 1024
RETRY_STATUSES = (408, 425, 429, 500, 502, 503, 504)
USER_AGENT = "rampart-controller"

_DIGEST_HEADER = re.compile(r"\Asha256:[0-9a-f]{64}\Z")
_LOCATION = re.compile(r"\A[!-~]{1,4096}\Z")


@dataclass(frozen=True)
class ManifestAnswer:
    """What a tag names: `digest` is the sha256 of `raw`, the registry's very bytes; `manifest` is what they
    say.
    """

    digest: str
    raw: bytes
    manifest: Manifest


class _AgainError(Exception):
    """A try that failed in a way that the next one may not."""


def fetch_manifest(
    reference: str | ModelName,
    sources: Iterable[str],
    ca_bundle: str | None = None,
    proxy: str | None = None,
    timeout: float = 30,
    redirect_hosts: Iterable[str] = (),
) -> ManifestAnswer:
    """Return the manifest that `reference` names at its registry now.

    `sources` are the allowed ones (`registry.ollama.ai/library/`). `ca_bundle` is a PEM file that replaces the
    system's authorities. `proxy` is `http://[user:password@]host:port`; None takes HTTPS_PROXY and NO_PROXY from
    the environment, an empty text goes directly. `timeout` bounds the whole, in seconds. `redirect_hosts` are the
    only other hosts that a redirect may name.

    Raises FindingError: NAME-*, SOURCE-REFUSED, FETCH-UNREACHABLE, FETCH-TIMEOUT, FETCH-TLS, FETCH-CA-BUNDLE,
    FETCH-PROXY, FETCH-REFUSED-BY-PROXY, FETCH-NOT-FOUND, FETCH-REFUSED, FETCH-REDIRECT-REFUSED, FETCH-TOO-LARGE,
    FETCH-DIGEST-MISMATCH, FETCH-MANIFEST-INVALID; and nothing else.
    """
    name = reference if isinstance(reference, ModelName) else parse_name(reference)
    require_source(name, sources)
    asker = _Asker(name, _tls(ca_bundle), proxy, timeout, redirect_hosts)
    raw = asker.ask()
    try:
        manifest = parse_manifest(raw, name.full)
    except FindingError as error:
        raise refuse(
            "FETCH-MANIFEST-INVALID",
            name.full,
            error.finding.evidence,
            "Approve nothing on this answer. Ask the registry's operator, or whoever runs the proxy, what it is.",
        ) from error
    return ManifestAnswer(sha256_of(raw), raw, manifest)


def moved(entry: Mapping[str, Any], digest: str) -> Finding | None:
    """Return APPROVAL-TAG-MOVED when a tag no longer names what `entry` (an approval) pins, else None.

    `digest` is the manifest's digest at the registry. Hosts stay on the approved bytes: the finding says that the
    next person who approves or pulls by name would get others.
    """
    approved = entry.get("digest")
    if approved is not None and str(approved).lower().replace("sha256-", "sha256:") == digest:
        return None
    return Finding(
        "APPROVAL-TAG-MOVED",
        Severity.MEDIUM,
        clean_text(entry.get("reference") or entry.get("name") or "approval", 120),
        "approved is {0}, the registry's tag names {1}".format(clean_text(approved or "no digest", 80), digest),
        "Hosts keep the approved bytes. Review what is new, then approve the new digest, or leave the entry as it is.",
    )


def _tls(ca_bundle: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_bundle or None)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise refuse(
            "FETCH-CA-BUNDLE",
            clean_text(ca_bundle, 150),
            clean_text(error, 150),
            "Name a readable PEM file with the registry's certificate authority.",
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class _Asker:
    """One question to one registry, with its deadline."""

    def __init__(
        self,
        name: ModelName,
        tls: ssl.SSLContext,
        proxy: str | None,
        timeout: float,
        redirect_hosts: Iterable[str],
    ) -> None:
        self.name = name
        self.tls = tls
        self.proxy = proxy
        self.timeout = timeout
        self.deadline = time.monotonic() + timeout
        self.hosts = {name.host} | {host.lower() for host in redirect_hosts}

    def ask(self) -> bytes:
        """Return the manifest's bytes, trying again what may be better the next time."""
        why = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(max(0.0, min(PAUSE_SECONDS * attempt, self.deadline - time.monotonic())))
            try:
                return self._try()
            except _AgainError as error:
                why = str(error)
            except ssl.SSLError as error:
                why = "TLS: {0}".format(clean_text(error.reason or error, 100))
            except TimeoutError:
                why = "no answer in time"
            except (OSError, HTTPException) as error:
                why = clean_text(getattr(error, "strerror", None) or error, 150) or type(error).__name__
            self._require_time()
        raise refuse(
            "FETCH-UNREACHABLE",
            self.name.full,
            "{0} tries brought nothing: {1}".format(ATTEMPTS, why),
            "Check the registry's name, the way out of the controller and HTTPS_PROXY, then run again.",
        )

    def _require_time(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise refuse(
                "FETCH-TIMEOUT",
                self.name.full,
                "no whole answer within {0:g} s".format(self.timeout),
                "Try again later or raise the timeout.",
            )
        return left

    def _try(self) -> bytes:
        host = self.name.host
        path = "/v2/{0}/{1}/manifests/{2}".format(self.name.namespace, self.name.model, self.name.tag)
        for _hop in range(REDIRECTS_MAX + 1):
            route = choose_route(host, self.proxy)
            with self._exchange(route, path) as response:
                if response.status in (301, 302, 303, 307, 308):
                    host, path = self._redirect(response.getheader("Location") or "", host)
                    continue
                return self._body(response)
        raise self._redirect_refused("more than {0} redirects".format(REDIRECTS_MAX))

    @contextlib.contextmanager
    def _exchange(self, route: Route, path: str) -> Iterator[HTTPResponse]:
        """Send the request and yield the answer; the connection ends with the block or with the deadline."""
        connection = ProxiedHTTPS(route, self._require_time(), self.tls)
        # Time-outs of a socket start anew with every byte; this one does not.
        cutter = threading.Timer(self._require_time(), connection.cut)
        cutter.daemon = True
        cutter.start()
        try:
            headers = {
                "Accept": MANIFEST_TYPE,
                "Accept-Encoding": "identity",
                "User-Agent": USER_AGENT,
                "Connection": "close",
            }
            connection.request("GET", path, headers=headers)
            # The answer holds the socket open for itself, whatever becomes of the connection.
            with connection.getresponse() as response:
                yield response
        except ssl.SSLCertVerificationError as error:
            raise explain_certificate(route, error) from error
        finally:
            cutter.cancel()
            connection.close()

    def _redirect(self, location: str, host: str) -> tuple[str, str]:
        if not _LOCATION.match(location):
            raise self._redirect_refused("to what is no address")
        if location.startswith("/") and not location.startswith("//"):
            return host, location
        try:
            target = urlsplit(location)
            port, name = target.port, (target.hostname or "").lower()
        except ValueError:
            raise self._redirect_refused("to what is no address") from None
        netloc = name if port in (None, 443) else "{0}:{1}".format(name, port)
        plain = target.username is None and target.password is None
        if target.scheme != "https" or netloc not in self.hosts or not plain:
            shown = clean_text("{0}://{1}".format(target.scheme, netloc), 150)
            raise self._redirect_refused("to {0}, which is not listed".format(shown))
        return netloc, (target.path or "/") + ("?" + target.query if target.query else "")

    def _redirect_refused(self, evidence: str) -> FindingError:
        return refuse(
            "FETCH-REDIRECT-REFUSED",
            self.name.full,
            "the registry redirects {0}".format(evidence),
            "If that host belongs to the source, review it, then list it among the redirect hosts.",
        )

    def _body(self, response: HTTPResponse) -> bytes:
        self._judge_status(response.status)
        if (response.getheader("Content-Encoding") or "identity").lower() != "identity":
            raise _AgainError("the registry encodes what must come as it is")
        body = bytearray()
        while len(body) <= MANIFEST_MAX_BYTES:
            self._require_time()
            chunk = response.read1(min(CHUNK_BYTES, MANIFEST_MAX_BYTES + 1 - len(body)))
            if not chunk:
                break
            body += chunk
        self._require_time()
        if len(body) > MANIFEST_MAX_BYTES:
            raise refuse(
                "FETCH-TOO-LARGE",
                self.name.full,
                "the manifest is longer than {0} bytes".format(MANIFEST_MAX_BYTES),
                "Ask the registry's operator: no manifest is this long.",
            )
        if response.length:
            raise _AgainError("cut after {0} bytes".format(len(body)))
        self._judge_digest(response.getheader("Docker-Content-Digest") or "", bytes(body))
        return bytes(body)

    def _judge_status(self, status: int) -> None:
        if status == 200:
            return
        if status in RETRY_STATUSES:
            raise _AgainError("the registry answered {0}".format(status))
        if status == 404:
            raise refuse(
                "FETCH-NOT-FOUND",
                self.name.full,
                "the registry does not have it (404)",
                "Check the name and tag; a tag that was approved and is gone deserves a question to its publisher.",
            )
        raise refuse(
            "FETCH-REFUSED",
            self.name.full,
            "the registry answered {0}".format(status),
            "Check that the model is public at its source, then run again.",
        )

    def _judge_digest(self, told: str, body: bytes) -> None:
        """What a registry says of its own answer has to be so: the only sign of a cut where no length is told."""
        if _DIGEST_HEADER.match(told) and told != sha256_of(body):
            raise refuse(
                "FETCH-DIGEST-MISMATCH",
                self.name.full,
                "the answer hashes to {0}, its header says {1}".format(sha256_of(body), told),
                "Approve nothing on this answer. Something between the registry and here changes what is sent.",
                Severity.CRITICAL,
            )
