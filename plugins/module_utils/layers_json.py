# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge the JSON files that a model brings along as layers: tokenizer, settings, chat templates (rows S3, S4).

A chat template in `tokenizer_config.json` reaches every prompt as one in a GGUF file does, and is judged the same way.
A tokenizer is tens of megabytes long: one that is too long to be parsed is read through in pieces of bounded size, and
may hold no template and no prompt.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, Optional

from .findings import Severity, clean_text
from .gguf_cursor import Noted
from .gguf_policy import Policy
from .gguf_template import JUDGED_BYTES, REVIEW, judge_template, judge_text
from .hashing import open_plain
from .manifest import sha256_of

# Parsed up to here, read through up to the other: no tokenizer is near that.
PARSED_BYTES = 1024 * 1024
READ_BYTES = 64 * 1024 * 1024
# A single text in a file that is read through; what holds one is no list of tokens.
TEXT_BYTES = 1024 * 1024
TEXTS_MAX = 32
# As many texts are told apart in what is read through: four times those of the longest tokenizer.
TOKENS_MAX = 4_000_000
_PIECE = 1024 * 1024
_REFETCH = "Do not use it: fetch the model again from its approved source, or ask its publisher."
# A text; where a colon follows, whether the value is a number (a token of a vocabulary may be called anything).
_TOKEN = re.compile(rb'"([^"]*)"[ \t\r\n]*(:[ \t\r\n]*)?')
_NUMBER = frozenset(b"-0123456789")
_SPACE = b" \t\r\n"
# Without one of these in it, in whatever case or escaped, no key of a piece says template or prompt.
_WORDS = re.compile(rb"template|prompt|\\u", re.IGNORECASE)


class _Members(list[tuple[str, Any]]):
    """The members of a parsed object in order, each of those that are there twice too."""


class JsonJudge:
    """Judges the JSON layers of one model; what is left of JUDGED_BYTES is shared by their templates."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._left = JUDGED_BYTES

    def judge(self, path: Path, noted: Noted) -> None:
        """Record what is wrong with one layer. Raises OSError, UnsafeFileError."""
        descriptor = open_plain(path)
        with os.fdopen(descriptor, "rb") as stream:
            data = stream.read(PARSED_BYTES + 1)
            if len(data) <= PARSED_BYTES:
                self._parsed(data, noted)
                return
            reader = _Reader(data)
            size = len(data)
            while data and not reader.stopped:
                data = stream.read(_PIECE)
                size += len(data)
                reader.feed(data)
                if size > READ_BYTES:
                    reader.stop("LAYER-SIZE", "it has more than {0} bytes".format(READ_BYTES))
        if reader.refusal is not None and reader.digest not in self._policy.reviewed:
            noted.add(*reader.refusal)

    def _parsed(self, data: bytes, noted: Noted) -> None:
        if sha256_of(data) in self._policy.reviewed:
            return
        try:
            value = json.loads(data.decode("utf-8"), object_pairs_hook=_Members)
        except (ValueError, RecursionError):
            noted.add("LAYER-JSON", Severity.MEDIUM, "it is no JSON, or nested too deeply", _REFETCH)
            return
        seen: set[tuple[str, str]] = set()
        for key, kind, text in _texts_of(value):
            if (kind, text) in seen:
                continue
            seen.add((kind, text))
            if len(seen) > TEXTS_MAX:
                evidence = "more than {0} templates and prompts in one file".format(TEXTS_MAX)
                noted.add("TEMPLATE-SIZE", Severity.HIGH, evidence, REVIEW)
                return
            self._text(key, kind, text.encode("utf-8", "surrogatepass"), noted)

    def _text(self, key: str, kind: str, raw: bytes, noted: Noted) -> None:
        digest, shown = sha256_of(raw), clean_text(key, 60)
        if digest in self._policy.reviewed:
            return
        if len(raw) > self._left:
            evidence = "{0} ({1}) has {2} bytes: too many to be judged".format(shown, digest, len(raw))
            noted.add("TEMPLATE-SIZE", Severity.HIGH, evidence, REVIEW)
            return
        self._left -= len(raw)
        if kind == "template":
            judge_template(raw, digest, "jinja", shown, self._policy, noted)
        else:
            judge_text(raw, digest, shown, self._policy, noted)


def _kind_of(key: str) -> str:
    """Return what the texts below a key are: "template", "prompt", or "" for what reaches no prompt as it stands."""
    folded = key.casefold()
    return next((kind for kind in ("template", "prompt") if kind in folded), "")


def _texts_of(value: Any) -> list[tuple[str, str, str]]:
    """Return (key, kind, text) of every text below a key that says template or prompt, however deep."""
    found = []
    # (value, the key that named it or what is around it, that key's kind)
    waiting: list[tuple[Any, str, str]] = [(value, "", "")]
    while waiting:
        item, key, kind = waiting.pop()
        if isinstance(item, _Members):
            for name, below in item:
                own = _kind_of(name)
                waiting.append((below, name, own) if own else (below, key, kind))
        elif isinstance(item, list):
            waiting.extend((below, key, kind) for below in item)
        elif isinstance(item, str) and kind and item:
            found.append((key, kind, item))
    return found


class _Reader:
    """Reads a long JSON file piece by piece, as texts and what stands between them; holds two pieces at most."""

    def __init__(self, first: bytes) -> None:
        self.refusal: Optional[tuple[str, Severity, str, str]] = None
        self.stopped = False
        self._hash = hashlib.sha256()
        self._rest = b""
        self._tokens = 0
        if first.lstrip()[:1] not in (b"{", b"["):
            self.stop("LAYER-JSON", "it is no JSON, or nested too deeply")
        self.feed(first)

    @property
    def digest(self) -> str:
        """The digest of what was read, "" of a file that was not read to its end."""
        return "" if self.stopped else "sha256:" + self._hash.hexdigest()

    def stop(self, code: str, evidence: str) -> None:
        """End the reading with a refusal that no review lifts: what follows is not known."""
        severity = Severity.MEDIUM if code == "LAYER-JSON" else Severity.HIGH
        self.refusal, self.stopped = (code, severity, evidence, _REFETCH), True

    def feed(self, piece: bytes) -> None:
        """Look at the next piece; an empty one is the end of the file."""
        self._hash.update(piece)
        block = self._rest + piece
        # Same length, and every quote that is left begins or ends a text.
        plain = block.replace(b"\\\\", b"..").replace(b'\\"', b"..")
        if _WORDS.search(block):
            self._keys(block, plain)
        quotes = plain.count(b'"')
        # A text that has not ended, or one after which a colon may come.
        start = plain.rfind(b'"')
        if start >= 0 and not quotes % 2:
            start = plain.rfind(b'"', 0, start) if not plain[start + 1 :].strip(_SPACE + b":") else -1
        self._rest = block[start:] if start >= 0 else b""
        if len(self._rest) > TEXT_BYTES:
            self.stop("LAYER-SIZE", "a text of more than {0} bytes in it".format(TEXT_BYTES))
        elif quotes % 2 and not piece:
            self.stop("LAYER-JSON", "it ends in the middle of a text")

    def _keys(self, block: bytes, plain: bytes) -> None:
        """Look at the keys in a piece: a text whose value is not in it yet comes again with the next one."""
        for match in _TOKEN.finditer(plain):
            self._tokens += 1
            if match[2] is not None and match.end() < len(plain):
                self._key(block[match.start(1) : match.end(1)], plain[match.end()])
            if self._tokens > TOKENS_MAX:
                self.stop("LAYER-SIZE", "more than {0} texts in it".format(TOKENS_MAX))
            if self.refusal is not None:
                return

    def _key(self, raw: bytes, value: int) -> None:
        if value in _NUMBER:
            return
        key = raw.decode("utf-8", "replace")
        if "\\" in key:
            try:
                key = str(json.loads('"' + key + '"'))
            except ValueError:
                self.stop("LAYER-JSON", "a key with a wrong escape")
                return
        if _kind_of(key):
            evidence = "{0} in a file of more than {1} bytes is not judged".format(clean_text(key, 60), PARSED_BYTES)
            self.refusal = ("TEMPLATE-SIZE", Severity.HIGH, evidence, REVIEW)
