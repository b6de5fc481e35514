# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The config blob of a model that is about to be approved, fetched and held against the manifest (rows S1, S6).

It says what the weights are (family, parameters, quantisation), and whether the model is one that sends its prompts
to another machine.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterable
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.rampart.ollama.plugins.module_utils.findings import (
    FindingError,
    Severity,
    clean_text,
    refuse,
)
from ansible_collections.rampart.ollama.plugins.module_utils.manifest import CONFIG_MAX_BYTES, cloud_stub, sha256_of

from .approval_source import Source
from .proxied_https import ProxiedHTTPS, choose_route, explain_certificate

REDIRECTS_MAX = 2
SHOWN = ("model_format", "model_family", "model_type", "file_type", "context_length")


def fetch_config(
    source: Source,
    redirect_hosts: Iterable[str],
    ca_bundle: str | None = None,
    timeout: float = 30,
    proxy: str | None = None,
) -> dict[str, Any]:
    """Return the config of a model as its registry sends it; redirects lead to `redirect_hosts` only.

    Raises FindingError: FETCH-*, STORE-CLOUD-STUB, STORE-MANIFEST-INVALID.
    """
    fetching = _Fetch(source, redirect_hosts, timeout, proxy)
    data = fetching.get(_tls(ca_bundle))
    refused = cloud_stub(data, source.name.full)
    if refused is not None:
        raise refused
    config: dict[str, Any] = json.loads(data)
    return config


def describe_config(config: dict[str, Any]) -> list[str]:
    """Return what a config says of the weights, in lines for a person."""
    return ["{0}: {1}".format(key, clean_text(config[key], 100)) for key in SHOWN if config.get(key)]


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


class _Fetch:
    """One blob of at most CONFIG_MAX_BYTES, within one deadline."""

    def __init__(self, source: Source, hosts: Iterable[str], timeout: float, proxy: str | None) -> None:
        self.name = source.name
        self.blob = source.manifest.config
        self.hosts = {host.lower() for host in hosts}
        self.proxy = proxy
        self.deadline = time.monotonic() + timeout

    def get(self, tls: ssl.SSLContext) -> bytes:
        host = self.name.host
        path = "/v2/{0}/{1}/blobs/{2}".format(self.name.namespace, self.name.model, self.blob.digest)
        if self.blob.size > CONFIG_MAX_BYTES:
            raise self._refusal("FETCH-TOO-LARGE", "the config is declared with {0} bytes".format(self.blob.size))
        for _hop in range(REDIRECTS_MAX + 1):
            answer = self._ask(host, path, tls)
            if isinstance(answer, bytes):
                return answer
            host, path = answer
        raise self._refusal("FETCH-REDIRECT-REFUSED", "more than {0} redirects".format(REDIRECTS_MAX))

    def _ask(self, host: str, path: str, tls: ssl.SSLContext) -> bytes | tuple[str, str]:
        route = choose_route(host, self.proxy)
        left = max(0.1, self.deadline - time.monotonic())
        connection = ProxiedHTTPS(route, left, tls)
        # A socket's own time-out starts anew with every byte; this one does not.
        cutter = threading.Timer(left, connection.cut)
        cutter.daemon = True
        cutter.start()
        try:
            connection.request("GET", path, headers={"Accept-Encoding": "identity", "Connection": "close"})
            with connection.getresponse() as response:
                if response.status in (301, 302, 303, 307, 308):
                    return self._redirect(response.getheader("Location") or "")
                return self._body(response)
        except ssl.SSLCertVerificationError as error:
            raise explain_certificate(route, error) from error
        except (OSError, HTTPException) as error:
            raise self._refusal("FETCH-UNREACHABLE", clean_text(error, 150) or type(error).__name__) from error
        finally:
            cutter.cancel()
            connection.close()

    def _body(self, response: HTTPResponse) -> bytes:
        if response.status != 200:
            raise self._refusal("FETCH-REFUSED", "{0} answered {1}".format(self.name.host, response.status))
        data = response.read(self.blob.size + 1)
        if sha256_of(data) != self.blob.digest:
            raise refuse(
                "FETCH-DIGEST-MISMATCH",
                self.name.full,
                "the config sent is not the one that the manifest names",
                "Approve nothing on this answer. Something between the registry and here changes what is sent.",
                Severity.CRITICAL,
            )
        return data

    def _redirect(self, location: str) -> tuple[str, str]:
        try:
            target = urlsplit(location)
            plain = target.username is None and target.password is None and target.port in (None, 443)
        except ValueError:
            target, plain = urlsplit(""), False
        name = (target.hostname or "").lower()
        if target.scheme != "https" or not plain or name not in self.hosts:
            raise self._refusal("FETCH-REDIRECT-REFUSED", "it leads to {0}".format(clean_text(name or location, 100)))
        return name, (target.path or "/") + ("?" + target.query if target.query else "")

    def _refusal(self, code: str, why: str) -> FindingError:
        return refuse(
            code,
            self.name.full,
            "the config blob was not fetched: {0}".format(why),
            "Check the source, the way out and the redirect hosts, then run again; or approve without the config.",
        )
