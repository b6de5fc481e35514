# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Model names: `[host/][namespace/]model[:tag]`."""

from __future__ import annotations

import dataclasses
import re

DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG = "registry.ollama.ai", "library", "latest"
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}")
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")


@dataclasses.dataclass(frozen=True)
class Name:
    """A complete model name."""

    host: str
    namespace: str
    model: str
    tag: str

    def path(self) -> str:
        """Where its manifest lies below manifests/."""
        return "/".join((self.host, self.namespace, self.model, self.tag))

    def full(self) -> str:
        """The name with nothing left out."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    def short(self) -> str:
        """The name as Ollama shows it: default host and namespace left out."""
        text = f"{self.model}:{self.tag}"
        if self.host != DEFAULT_HOST:
            return f"{self.host}/{self.namespace}/{text}"
        return text if self.namespace == DEFAULT_NAMESPACE else f"{self.namespace}/{text}"


def parse(text: str) -> Name | None:
    """Complete a name with the defaults; None when it is not a valid name (`../x`, `a@sha256:...`)."""
    rest, _rest, tag = text.rpartition(":") if ":" in text.rpartition("/")[2] else (text, "", DEFAULT_TAG)
    parts = rest.split("/")
    if len(parts) > 3:
        return None
    model = parts[-1]
    namespace = parts[-2] if len(parts) > 1 else DEFAULT_NAMESPACE
    host = parts[0] if len(parts) == 3 else DEFAULT_HOST
    if not (_HOST.fullmatch(host) and _NAMESPACE.fullmatch(namespace)):
        return None
    return Name(host, namespace, model, tag) if _PART.fullmatch(model) and _PART.fullmatch(tag) else None


def is_cloud(text: str) -> bool:
    """True for names that Ollama would answer from its cloud (`x:cloud`, `x:120b-cloud`)."""
    return text.endswith((":cloud", "-cloud"))
