# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask VirusTotal, from the controller, what it knows of a file's sha256 (row S5).

Only hashes are sent, never a file: a model is too large to be uploaded, and an upload would give it away. Nothing
is a pass but an answer that names the very hash; redirects are not followed, for the key is in the request.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from ansible_collections.rampart.ollama.plugins.module_utils.findings import (
    Check,
    Finding,
    FindingError,
    Severity,
    as_dicts,
    check,
    clean_text,
    refuse,
)

from .proxied_https import ProxiedHTTPS, Route, choose_route, explain_certificate
from .virustotal_state import Answer, Quota, State

API_HOST = "www.virustotal.com"
ANSWER_MAX_BYTES = 8 * 1024 * 1024
_DIGEST = re.compile(r"\A(?:sha256[:-])?([0-9a-fA-F]{64})\Z")
_KEY = re.compile(r"\A[A-Za-z0-9]{32,128}\Z")
_COUNTED = ("malicious", "suspicious", "undetected", "harmless")
_LATER = "Ask again later; until then nothing is known of these hashes."


@dataclass(frozen=True)
class Settings:
    """How to ask. `proxy` None takes HTTPS_PROXY and NO_PROXY from the environment, empty goes directly.

    `max_wait` is how many seconds a run may wait for its place in the quota, all hashes together. `cached_only` asks
    nobody and writes nothing. `host` may name a port.
    """

    api_key: str = field(repr=False)
    state: Path
    quota: Quota = field(default_factory=Quota)
    max_wait: float = 300.0
    timeout: float = 30.0
    answers_seconds: float = 7 * 86400.0
    ca_bundle: str | None = None
    proxy: str | None = None
    cached_only: bool = False
    host: str = API_HOST


@dataclass
class Reputation:
    """What is known of the hashes. `verdict` is "failed" from the first finding of medium severity on."""

    answers: dict[str, Answer] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """Return "passed" or "failed"."""
        bad = any(finding.severity.rank >= Severity.MEDIUM.rank for finding in self.findings)
        return "failed" if bad else "passed"

    @property
    def check(self) -> Check:
        """Passed only when every hash is known and nothing speaks against any."""
        known = [answer for answer in self.answers.values() if answer.known]
        bad = any(answer.malicious or answer.suspicious for answer in known)
        whole = bool(self.asked) and len(known) == len(self.asked)
        evidence = "{0} hashes, {1} known to VirusTotal, {2} without an answer".format(
            len(self.asked), len(known), len(self.asked) - len(self.answers)
        )
        return check("store-hash-reputation", False if bad else (True if whole else None), evidence)

    def as_result(self) -> dict[str, Any]:
        """Return the task's result, without `changed`."""
        return {
            "verdict": self.verdict,
            "files": [
                {
                    "digest": digest,
                    "known": answer.known,
                    "malicious": answer.malicious,
                    "suspicious": answer.suspicious,
                    "engines": answer.engines,
                }
                for digest, answer in self.answers.items()
            ],
            "findings": as_dicts(self.findings),
            "checks": as_dicts([self.check]),
        }


def look_up(
    digests: Iterable[str],
    settings: Settings,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Reputation:
    """Return what VirusTotal knows of `digests` (`sha256:<hex>`, or the hex alone).

    Never raises. The first failure ends the asking: what has no answer then has one finding, and no pass.
    """
    report = Reputation()
    try:
        names = [_hex(digest) for digest in digests]
        report.asked = list(dict.fromkeys("sha256:" + name for name in names))
        if not settings.cached_only and not _KEY.match(settings.api_key):
            raise refuse(
                "VT-KEY-REFUSED",
                "the key",
                "it has not the form of a VirusTotal key",
                "Take it from the vault: 64 letters and digits, without spaces.",
                Severity.MEDIUM,
            )
        _ask_all(report, settings, clock, sleep)
    except FindingError as error:
        report.findings.append(error.finding)
    report.findings[:0] = [item for digest, answer in report.answers.items() for item in _judge(digest, answer)]
    return report


def _hex(digest: str) -> str:
    match = _DIGEST.match(str(digest))
    if not match:
        raise refuse(
            "VT-DIGEST-INVALID",
            clean_text(digest, 80),
            "this is no sha256",
            "Give digests as they stand in the approval: sha256: and 64 hexadecimal digits.",
        )
    return match.group(1).lower()


def _ask_all(
    report: Reputation, settings: Settings, clock: Callable[[], float], sleep: Callable[[float], None]
) -> None:
    state = State(settings.state, settings.quota, settings.answers_seconds)
    patience = settings.max_wait
    for number, digest in enumerate(report.asked):
        name = digest.partition(":")[2]
        answer = state.known_answer(name, clock())
        if answer is None and settings.cached_only:
            continue
        if answer is None:
            while (wait := state.take_place(clock())) > 0:
                if wait > patience:
                    left = len(report.asked) - number
                    why = "the quota leaves {0} of {1} hashes without an answer".format(left, len(report.asked))
                    raise refuse("VT-QUOTA", API_HOST, why, _LATER, Severity.MEDIUM)
                patience -= wait
                sleep(wait)
            answer = _ask(name, settings)
            state.keep_answer(name, answer, clock())
        report.answers[digest] = answer


def _ask(name: str, settings: Settings) -> Answer:
    """Ask about one hash. Raises FindingError: VT-UNAVAILABLE, VT-QUOTA, VT-KEY-REFUSED."""
    try:
        context = ssl.create_default_context(cafile=settings.ca_bundle)
    except (OSError, ssl.SSLError) as error:
        raise _unavailable("the certificate authorities cannot be read: {0}".format(clean_text(error, 100))) from None
    try:
        route = choose_route(settings.host, settings.proxy)
    except FindingError as error:
        raise _unavailable("{0}: {1}".format(error.finding.subject, error.finding.evidence)) from None
    status, body = _get(route, "/api/v3/files/" + name, settings, context)
    if status == 200:
        return _parse(body, name)
    if status == 404:
        return Answer(known=False)
    if status in (401, 403):
        raise refuse(
            "VT-KEY-REFUSED",
            API_HOST,
            "it answered {0} to our key".format(status),
            "Check the key in the vault, and that its account is active.",
            Severity.MEDIUM,
        )
    if status == 429:
        raise refuse("VT-QUOTA", API_HOST, "it says that the key's quota is used up", _LATER, Severity.MEDIUM)
    raise _unavailable("it answered {0}".format(status))


def _get(route: Route, path: str, settings: Settings, context: ssl.SSLContext) -> tuple[int, bytes]:
    """Return (status, body) within the time allowed. The key is in no message."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    connection = ProxiedHTTPS(route, settings.timeout, context)
    late = threading.Event()

    def give_up() -> None:
        late.set()
        connection.cut()

    end = threading.Timer(settings.timeout, give_up)
    end.daemon = True
    end.start()
    try:
        headers = {"x-apikey": settings.api_key, "Accept": "application/json", "User-Agent": "rampart-controller"}
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        body = response.read(ANSWER_MAX_BYTES + 1)
    except ssl.SSLCertVerificationError as error:
        raise _unavailable(explain_certificate(route, error).finding.evidence) from None
    except FindingError as error:
        raise _unavailable("{0}: {1}".format(error.finding.subject, error.finding.evidence)) from None
    except (OSError, HTTPException) as error:
        why = "no answer in time" if late.is_set() else getattr(error, "strerror", None) or error
        raise _unavailable(clean_text(why, 150)) from None
    finally:
        end.cancel()
        connection.close()
    # A body that was cut off is returned as if it were whole.
    if late.is_set():
        raise _unavailable("no answer in time")
    if len(body) > ANSWER_MAX_BYTES:
        raise _unavailable("its answer is longer than {0} bytes".format(ANSWER_MAX_BYTES))
    return response.status, body


def _parse(body: bytes, name: str) -> Answer:
    try:
        data = json.loads(body)["data"]
        stats = data["attributes"]["last_analysis_stats"]
        counts = [stats.get(word, 0) for word in _COUNTED]
        about = data["id"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _unavailable("its answer is not what the API promises") from None
    if about != name:
        raise _unavailable("its answer is about another file")
    if not all(isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 10000 for count in counts):
        raise _unavailable("its answer counts no engines")
    # A file that nobody has scanned yet is not known to be anything.
    return Answer(sum(counts) > 0, counts[0], counts[1], sum(counts))


def _unavailable(evidence: str) -> FindingError:
    return refuse(
        "VT-UNAVAILABLE",
        API_HOST,
        evidence,
        "Check the way out of the controller (HTTPS_PROXY), then ask again; nothing is known of these hashes.",
        Severity.MEDIUM,
    )


def _judge(digest: str, answer: Answer) -> list[Finding]:
    if answer.malicious:
        evidence = "{0} of {1} engines call it malicious".format(answer.malicious, answer.engines)
        remedy = "Do not use it: revoke its approval, and find out where it came from."
        return [Finding("VT-MALICIOUS", Severity.CRITICAL, digest, evidence, remedy)]
    if answer.suspicious:
        evidence = "{0} of {1} engines call it suspicious".format(answer.suspicious, answer.engines)
        return [Finding("VT-SUSPICIOUS", Severity.MEDIUM, digest, evidence, "Have a person look before it is used.")]
    if not answer.known:
        evidence = "VirusTotal has never seen this file, which says nothing about it"
        return [
            Finding("VT-UNKNOWN", Severity.INFO, digest, evidence, "Nothing to do: most models are too large for it.")
        ]
    return []
