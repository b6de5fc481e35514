# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must not stand in a text that becomes part of every prompt: hidden characters, addresses, markup that
loads something, and orders to keep something from the user (rows S3, S4, S7).

Used for chat templates, system prompts and messages alike. These are red flags for a person to judge, not proofs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from .findings import Severity

# Texts are cut to this many characters before any pattern runs over them.
SEARCHED_CHARS = 256 * 1024
EXCERPT_CHARS = 80


class Flag(NamedTuple):
    """A red flag: `topic` becomes the end of the finding's code ("HIDDEN", "URL", "INJECTION")."""

    topic: str
    severity: Severity
    evidence: str


# Characters that are not seen: no text for people needs them.
_HIDDEN = re.compile(
    "[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\u180e\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
# Joiners and variation selectors belong to emoji and to some scripts, one at a time; in a row they carry a message.
_JOINERS = re.compile("[\u00ad\u034f\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef]{3}")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")

_URL = re.compile(
    r"\b(?:https?|hxxps?|ftp|file|data|javascript)\s{0,3}:(?://|\s{0,3}text/|\w{1,20}\()"
    r"([^\s\"'<>)\]|\\]{0,200})|\bwww\.([\w.-]{3,100})",
    re.IGNORECASE,
)
# An address that says nothing: a name reserved for examples.
_EXAMPLE_HOST = re.compile(r"(?:\A|\.)example(?:\.com|\.org|\.net)?\Z|\Alocalhost\Z")

_INJECTIONS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "an order to ignore other instructions",
        re.compile(
            r"\b(?:ignore|disregard|forget|override)\s{1,3}(?:\w{1,12}\s{1,3}){0,3}"
            r"(?:previous|prior|above|earlier|preceding|system|original|safety)\s{1,3}(?:\w{1,12}\s{1,3}){0,2}"
            r"(?:instruction|prompt|rule|message|guideline|polic)",
            re.IGNORECASE,
        ),
    ),
    (
        "an order, in French, to ignore other instructions",
        re.compile(
            r"\b(?:ignore[rz]?|oublie[rz]?)\s{1,3}(?:\w{1,12}\s{1,3}){0,3}(?:instruction|consigne|r[eè]gle)s?\s{1,3}"
            r"(?:pr[eé]c[eé]dente|ci-dessus|ant[eé]rieure|syst[eè]me)",
            re.IGNORECASE,
        ),
    ),
    (
        "an order to keep something from the user",
        re.compile(
            r"\b(?:do\s{1,3}not|don'?t|never|must\s{1,3}not|should\s{1,3}not)\s{1,3}(?:ever\s{1,3})?"
            r"(?:mention|reveal|disclose|tell|acknowledge|admit)\s{1,3}(?:\w{1,12}\s{1,3}){0,4}"
            r"(?:hidden|secret|instruction|this\s{1,3}(?:rule|link|message|prompt)|the\s{1,3}reason)|"
            r"\bwithout\s{1,3}(?:telling|informing|alerting|notifying)\s{1,3}(?:the\s{1,3})?(?:user|anyone)|"
            r"\b(?:secretly|covertly)\s{1,3}(?:send|includ|add|insert|collect|record|report|log|append|embed)",
            re.IGNORECASE,
        ),
    ),
    (
        "an order, in French, to keep something from the user",
        re.compile(
            r"[aà]\s{1,3}l'insu\s{1,3}(?:de\s{1,3}l'|du\s|des\s)|"
            r"\bne\s{1,3}(?:dis|dites|mentionne|mentionnez|r[eé]v[eè]le|r[eé]v[eé]lez)\s{1,3}(?:jamais|pas|rien)\b",
            re.IGNORECASE,
        ),
    ),
    (
        "an order to add something to every answer",
        re.compile(
            r"\b(?:always|every\s{1,3}(?:answer|response|reply)\s{1,3}\w{1,12})\s{1,3}(?:\w{1,12}\s{1,3}){0,2}"
            r"(?:include|insert|append|add|embed|recommend)\w{0,3}\s{1,3}(?:\w{1,12}\s{1,3}){0,5}"
            r"(?:link|url|image|script|html|website|beacon|tracking)",
            re.IGNORECASE,
        ),
    ),
)
_MARKUP = re.compile(
    r"<script\b|<iframe\b|<object\b|<embed\b|<svg\b[^>]{0,60}\bon|\bon(?:error|load)\s{0,3}=|!\[[^\]\n]{0,80}\]\(\s{0,3}https?:|"
    r"<img\b[^>]{0,60}\bsrc\b|\b(?:curl|wget)\s{1,3}(?:-\S{1,20}\s{1,3}){0,4}(?:https?:|\S{3,60}\|)|"
    r"\|\s{0,3}(?:ba|z|da)?sh\b|\bpowershell\b[^\n]{0,40}\s-e|\bbase64\s{1,3}-d|\brm\s{1,3}-rf\s{1,3}[/~]",
    re.IGNORECASE,
)
# 160 characters without a space, of the alphabet of base64: a packed message, never a word.
_PACKED = re.compile(r"[A-Za-z0-9+/]{160}")


def flags(text: str, allowed_hosts: Collection[str] = ()) -> Iterator[Flag]:
    """Yield the red flags of a text, each topic a few times at most, in linear time.

    Addresses of `allowed_hosts` (lower case) are let pass.
    """
    text = text[:SEARCHED_CHARS]
    yield from _hidden(text)
    yield from _addresses(text, allowed_hosts)
    for what, pattern in _INJECTIONS:
        match = pattern.search(text)
        if match:
            yield Flag("INJECTION", Severity.HIGH, "{0}: {1}".format(what, excerpt(text, match.start())))
    match = _MARKUP.search(text)
    if match:
        evidence = "markup or a command that loads or runs something: " + excerpt(text, match.start())
        yield Flag("INJECTION", Severity.HIGH, evidence)
    match = _PACKED.search(text)
    if match:
        yield Flag("HIDDEN", Severity.MEDIUM, "a packed text: " + excerpt(text, match.start()))


def _hidden(text: str) -> Iterator[Flag]:
    found = _HIDDEN.findall(text)
    if found:
        names = ", ".join(sorted({"U+{0:04X}".format(ord(char)) for char in found})[:6])
        yield Flag("HIDDEN", Severity.HIGH, "{0} characters that are not seen ({1})".format(len(found), names))
    match = _JOINERS.search(text)
    if match:
        yield Flag("HIDDEN", Severity.HIGH, "joiners or variation selectors in a row, at {0}".format(match.start()))
    match = _CONTROL.search(text)
    if match:
        evidence = "a control character U+{0:04X} at {1}".format(ord(match.group()), match.start())
        yield Flag("HIDDEN", Severity.MEDIUM, evidence)


def _addresses(text: str, allowed_hosts: Collection[str]) -> Iterator[Flag]:
    told: set[str] = set()
    for match in _URL.finditer(text):
        # The authority ends at the first slash; what stands before an @ in it is a user's name, not the host.
        authority = re.split(r"[/?#\\]", match.group(1) or match.group(2) or "")[0]
        host = authority.rpartition("@")[2].partition(":")[0].lower()
        if host in told or host in allowed_hosts or _EXAMPLE_HOST.search(host):
            continue
        told.add(host)
        yield Flag("URL", Severity.MEDIUM, "an address: " + excerpt(text, match.start()))
        if len(told) == 5:
            return


def excerpt(text: str, start: int) -> str:
    """Return a short piece of the text from `start` on, for evidence."""
    return repr(text[start : start + EXCERPT_CHARS])
