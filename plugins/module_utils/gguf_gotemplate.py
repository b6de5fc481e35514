# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Red flags of an Ollama template (Go's text/template), from its tokens alone: nothing is rendered (rows S3, S4).

Go's templates reach nothing but the functions they are given; what is left to look for is a function that Ollama does
not have, and a comparison of a user's words with a fixed text: the way a backdoor in a template works.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from .findings import Severity
from .gguf_text import Flag, excerpt

TOKENS_MAX = 20_000
FLAGS_MAX = 10

_TOKEN = re.compile(
    r"\s*(?:(?P<text>\"(?:[^\"\\\n]|\\.)*\"|`[^`]*`)|(?P<char>'(?:[^'\\\n]|\\.)+')|(?P<end>(?:\s-)?\}\})"
    r"|(?P<comment>/\*.*?\*/)|(?P<field>(?:\$\w*)?(?:\.\w+)+|\$\w*|\.)|(?P<name>[^\W\d]\w*)"
    r"|(?P<number>[-+]?\d[\w.]*)|(?P<sign>:=|[=|,()]))",
    re.DOTALL,
)
_KEYWORDS = frozenset("if else end range with break continue define block template nil true false".split())
# text/template's own functions, and those that Ollama adds.
_FUNCTIONS = frozenset(
    (
        "and or not len index slice print printf println html js urlquery call eq ne lt le gt ge "
        "json currentDate yesterdayDate toTypeScriptType"
    ).split()
)
_COMPARING = frozenset("eq ne lt le gt ge".split())
_ABOUT = _COMPARING | {"len", "and", "or", "not"}
# Fields that hold the words of a message, of the user or of a document.
_TEXT_FIELDS = frozenset("Content Prompt Query Document Instruction Suffix".split())


@dataclass
class _Group:
    """One pair of parentheses in an action, or the action itself: what is called in it, and on what."""

    called: set[str] = field(default_factory=set)
    texts: list[str] = field(default_factory=list)
    words: bool = False


@dataclass
class _Known:
    """Variables that hold a user's `words`, the dot among them, and those that hold a `fixed` text."""

    words: set[str] = field(default_factory=set)
    fixed: dict[str, list[str]] = field(default_factory=dict)


def go_flags(text: str) -> Iterator[Flag]:
    """Yield the red flags of a template; those of what it says by itself are the caller's."""
    told: set[str] = set()
    for flag in _all_flags(text):
        if flag.evidence not in told:
            told.add(flag.evidence)
            yield flag
            if len(told) == FLAGS_MAX:
                return


def go_texts(text: str) -> str:
    """Return all that a template can say by itself: the text outside of actions, and the literals in them."""
    parts: list[str] = []
    for data, action, _whole in _cut(text)[0]:
        parts.append(data)
        parts.extend(value[1:-1] for kind, value in action if kind == "text")
    return "\n".join(parts)


def _all_flags(text: str) -> Iterator[Flag]:
    actions, read = _cut(text)
    # Two rounds, for a definition may stand before what it is used with.
    known = _Known()
    for _round in range(2):
        for _data, action, _whole in actions:
            _learn(action, known)
    for _data, action, whole in actions:
        if not whole:
            yield Flag("SYNTAX", Severity.MEDIUM, "an action has no end, or holds what Go does not read")
        for kind, value in action:
            if kind == "name" and value not in _KEYWORDS and value not in _FUNCTIONS:
                yield Flag("FUNCTION", Severity.MEDIUM, "Ollama has no function {0}".format(value[:60]))
            elif kind == "name" and value == "call":
                yield Flag("FUNCTION", Severity.MEDIUM, "it calls a function value")
        for group in _groups(action, known):
            if group.words and group.called & _COMPARING:
                for literal in filter(_says_something, group.texts):
                    evidence = "it compares a message's text with " + excerpt(literal, 0)
                    yield Flag("CONDITIONAL", Severity.HIGH, evidence)
    if not read:
        yield Flag("SIZE", Severity.HIGH, "it has more than {0} tokens, and was not judged on".format(TOKENS_MAX))


def _cut(text: str) -> tuple[list[tuple[str, list[tuple[str, str]], bool]], bool]:
    """Return the parts, each (text before an action, the action's tokens, whether it is whole), and whether the
    text was read to its end; the last part has no tokens.
    """
    parts: list[tuple[str, list[tuple[str, str]], bool]] = []
    place = count = 0
    while count < TOKENS_MAX:
        start = text.find("{{", place)
        if start < 0:
            return [*parts, (text[place:], [], True)], True
        data, place = text[place:start], start + 2
        if text[place : place + 2] in ("- ", "-\n", "-\t"):
            place += 2
        tokens: list[tuple[str, str]] = []
        kind = ""
        while kind != "end" and count < TOKENS_MAX:
            match = _TOKEN.match(text, place)
            if not match:
                break
            count += 1
            place = match.end()
            kind = str(match.lastgroup)
            if kind not in ("end", "comment"):
                tokens.append((kind, match.group(kind)))
        parts.append((data, tokens, kind == "end"))
        if kind != "end" and count < TOKENS_MAX:
            return parts, True
    return [*parts, (text[place:], [], True)], False


def _learn(action: list[tuple[str, str]], known: _Known) -> None:
    """Remember what is given a user's words, a variable or the dot itself, and what a fixed text."""
    groups = _groups(action, known)
    targets = [value for number, (_kind, value) in enumerate(action) if _assigns(action, number)]
    if any(group.words for group in groups):
        known.words.update(targets)
        if action[0][1] in ("with", "range", "template", "block"):
            known.words.add(".")
    elif targets:
        texts = [text for group in groups for text in group.texts][:FLAGS_MAX]
        known.fixed.update((target, texts) for target in targets)


def _groups(action: list[tuple[str, str]], known: _Known) -> list[_Group]:
    """Return the action's groups of parentheses, itself the last."""
    opened = [_Group()]
    closed: list[_Group] = []
    for number, (kind, value) in enumerate(action):
        group = opened[-1]
        if kind == "name":
            group.called.add(value)
        elif kind == "text":
            group.texts.append(value[1:-1])
        elif kind == "field" and not _assigns(action, number):
            base, *keys = value.split(".")
            hot = bool(keys and keys[-1] in _TEXT_FIELDS) or (value if value == "." else base) in known.words
            group.words = group.words or hot
            group.texts.extend(known.fixed.get(value, ()))
        elif value == "(":
            opened.append(_Group())
        elif value == ")" and len(opened) > 1:
            # What a call in parentheses returns is made of the same words, unless it counted or compared them.
            inner = opened.pop()
            closed.append(inner)
            opened[-1].words = opened[-1].words or (inner.words and not inner.called & _ABOUT)
    return closed + opened[::-1]


def _assigns(action: list[tuple[str, str]], number: int) -> bool:
    values = [value for _kind, value in action[number + 1 : number + 4]]
    return values[:1] in ([":="], ["="]) or (values[:1] == [","] and values[2:3] in ([":="], ["="]))


def _says_something(text: str) -> bool:
    return any(char.isalnum() for char in text)
