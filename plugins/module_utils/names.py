# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Model names, digests and the allow-list of sources, as Ollama understands them (row S1).

A name is `[https://][host/][namespace/]model[:tag]`. What Ollama would accept but what takes the prompt off
the machine (`:cloud`), drops TLS (`http://`) or looks pinned and is not (`name@sha256:...`) is refused with a
code of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .findings import FindingError, Severity, clean_text, refuse

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"
DEFAULT_SOURCES = ("registry.ollama.ai/library/",)

# `\Z`, not `$`: `$` would let a trailing newline through.
_HOST = re.compile(r"\A[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}\Z")
_NAMESPACE = re.compile(r"\A[A-Za-z0-9_][A-Za-z0-9_-]{0,79}\Z")
_MODEL = re.compile(r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}\Z")
_PORT = re.compile(r"\A[0-9]{1,5}\Z")
_HOST_NAME = re.compile(r"\A[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\Z")
_DIGEST = re.compile(r"\Asha256[:-]([0-9a-fA-F]{64})\Z")
_BLOB_FILE = re.compile(r"\Asha256-([0-9a-f]{64})\Z")
NAME_MAX_CHARS = 700

_NAME_REMEDY = "Write it as [host/][namespace/]model[:tag], for example mistral:7b-instruct-v0.3-q4_K_M."


@dataclass(frozen=True)
class ModelName:
    """A complete model name. `host` is lower case (it may carry `:port`); the other parts keep their case."""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def full(self) -> str:
        """`host/namespace/model:tag`."""
        return "{0}/{1}/{2}:{3}".format(self.host, self.namespace, self.model, self.tag)

    @property
    def short(self) -> str:
        """The shortest text that means this name, as Ollama displays it."""
        text = "{0}:{1}".format(self.model, self.tag)
        if (self.host, self.namespace) == (DEFAULT_HOST, DEFAULT_NAMESPACE):
            return text
        text = "{0}/{1}".format(self.namespace, text)
        return text if self.host == DEFAULT_HOST else "{0}/{1}".format(self.host, text)

    @property
    def key(self) -> str:
        """What two names must share to be the same name: Ollama compares without regard to case."""
        return self.full.lower()

    @property
    def parts(self) -> tuple[str, str, str, str]:
        """(host, namespace, model, tag): the path below `manifests/`."""
        return (self.host, self.namespace, self.model, self.tag)

    def as_dict(self) -> dict[str, str]:
        """Return the four parts by name."""
        return {"host": self.host, "namespace": self.namespace, "model": self.model, "tag": self.tag}


def parse_name(text: object) -> ModelName:
    """Return the complete name `text` means. Raises FindingError: NAME-INVALID, NAME-SCHEME, NAME-DIGEST,
    NAME-CLOUD.
    """
    if not isinstance(text, str):
        raise _invalid(text, "a model name is text, not {0}".format(type(text).__name__))
    if not text or len(text) > NAME_MAX_CHARS:
        raise _invalid(text, "empty" if not text else "longer than {0} characters".format(NAME_MAX_CHARS))
    rest = text
    scheme, separator, after = text.partition("://")
    if separator:
        if scheme.lower() != "https":
            raise refuse(
                "NAME-SCHEME",
                clean_text(text, 120),
                "the scheme {0!r} is not https".format(clean_text(scheme, 20)),
                "Leave the scheme out or use https://: models travel over TLS only.",
            )
        rest = after
        if rest.count("/") != 2:
            raise _invalid(text, "a name with a scheme needs host/namespace/model")
    if "@" in rest:
        raise refuse(
            "NAME-DIGEST",
            clean_text(text, 120),
            "Ollama does not implement name@digest: it pins nothing",
            "Give the name alone; the approval entry pins the manifest and every blob.",
        )
    tag = DEFAULT_TAG
    if rest.rfind(":") > rest.rfind("/"):
        rest, _colon, tag = rest.rpartition(":")
    pieces = rest.split("/")
    if len(pieces) > 3:
        raise _invalid(text, "more than host/namespace/model")
    host = pieces[-3] if len(pieces) == 3 else DEFAULT_HOST
    namespace = pieces[-2] if len(pieces) >= 2 else DEFAULT_NAMESPACE
    return name_from_parts(host, namespace, pieces[-1], tag)


def name_from_parts(host: str, namespace: str, model: str, tag: str) -> ModelName:
    """Return the name of the four parts (a manifest's path). Raises FindingError as `parse_name` does."""
    shown = "/".join((host, namespace, model)) + ":" + tag
    if not _HOST.match(host) or not _plausible_host(host):
        raise _invalid(shown, "the host {0!r} is not one".format(clean_text(host, 60)))
    for label, value, pattern in (
        ("namespace", namespace, _NAMESPACE),
        ("model", model, _MODEL),
        ("tag", tag, _MODEL),
    ):
        if not pattern.match(value):
            raise _invalid(shown, "the {0} {1!r} is not one".format(label, clean_text(value, 60)))
    if tag.lower() in ("cloud", "local") or tag.lower().endswith("-cloud"):
        # These suffixes choose where Ollama runs the model; ":cloud" sends every prompt to someone else's
        # machine.
        raise refuse(
            "NAME-CLOUD",
            clean_text(shown, 120),
            "the tag {0!r} chooses where the prompt is sent".format(tag),
            "Choose a tag that names weights; a prompt must not leave the host.",
            Severity.CRITICAL,
        )
    return ModelName(host.lower(), namespace, model, tag)


def _plausible_host(host: str) -> bool:
    name, colon, port = host.partition(":")
    if not _HOST_NAME.match(name) or ".." in name:
        return False
    return not colon or (bool(_PORT.match(port)) and 0 < int(port) < 65536)


def _invalid(text: object, why: str) -> FindingError:
    return refuse("NAME-INVALID", clean_text(text, 120) or "(empty)", why, _NAME_REMEDY)


def parse_digest(text: object) -> str:
    """Return `sha256:<64 lower-case hex>` for `sha256:` or `sha256-` forms. Raises FindingError
    (DIGEST-INVALID).
    """
    match = _DIGEST.match(text) if isinstance(text, str) else None
    if not match:
        raise refuse(
            "DIGEST-INVALID",
            clean_text(text, 100) or "(empty)",
            "this is not sha256: followed by 64 hexadecimal digits",
            "Take the digest from the registry's manifest or from a verified store.",
        )
    return "sha256:" + match.group(1).lower()


def blob_file(digest: str) -> str:
    """Return the file name of a blob: `sha256-<hex>`. Raises FindingError (DIGEST-INVALID)."""
    return parse_digest(digest).replace(":", "-")


def digest_of_file(name: str) -> str:
    """Return the digest a blob's file name promises, or an empty text when it is no blob's name."""
    match = _BLOB_FILE.match(name)
    return "sha256:" + match.group(1) if match else ""


def source_allowed(name: ModelName, sources: Iterable[str]) -> bool:
    """Whether a name's host and namespace are listed; a source is `host/namespace/` or `host/`.

    Compared part by part, never as a text prefix: `registry.ollama.ai/lib` does not admit `library`.
    """
    for source in sources:
        host, _slash, namespace = source.strip().lower().rstrip("/").partition("/")
        if host and host == name.host and (not namespace or namespace == name.namespace.lower()):
            return True
    return False


def require_source(name: ModelName, sources: Iterable[str]) -> None:
    """Raise FindingError (SOURCE-REFUSED) unless the name's host and namespace are listed."""
    listed = list(sources)
    if not source_allowed(name, listed):
        raise refuse(
            "SOURCE-REFUSED",
            name.full,
            "{0}/{1}/ is not among the allowed sources ({2})".format(
                name.host, name.namespace, ", ".join(listed) or "none"
            ),
            "Choose a model of an allowed source, or have the source reviewed and added to the allow-list.",
            Severity.CRITICAL,
        )
