# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Jinja chat template cut into tokens, in linear time; nothing is rendered or compiled (row S4)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

# The longest honest templates have some 5,000 tokens.
TOKENS_MAX = 20_000

NAME, TEXT, NUMBER, SIGN = "name", "text", "number", "sign"
_OPENING = re.compile(r"\{[%{#]")
_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")|(?P<name>[^\W\d]\w*)|(?P<number>\d[\d_]*(?:\.\d+)?)"
    r"|(?P<end>[-+]?(?:%\}|\}\}))|(?P<sign>\*\*|//|==|!=|<=|>=|[^\s\w'\"]))",
    re.DOTALL,
)
_RAW_END = re.compile(r"\{%[-+]?\s*endraw\s*[-+]?%\}")


class Token(NamedTuple):
    """One token of a block: its kind, and its text; of a TEXT the content without quotes."""

    kind: str
    value: str


@dataclass
class Jinja:
    """A template in pieces: the tokens of each block, the text outside of blocks, and whether it ends in the
    middle of one (`broken`) or has too many tokens to be judged (`too_long`).
    """

    blocks: list[list[Token]] = field(default_factory=list)
    statements: list[bool] = field(default_factory=list)
    data: list[str] = field(default_factory=list)
    broken: bool = False
    too_long: bool = False


def cut(text: str) -> Jinja:
    """Cut a template into blocks and text. Comments are left out: they reach no prompt."""
    result = Jinja()
    place = count = 0
    while True:
        opening = _OPENING.search(text, place)
        result.data.append(text[place : opening.start() if opening else len(text)])
        if not opening:
            return result
        place = opening.end()
        if opening.group() == "{#":
            place = text.find("#}", place) + 2
            result.broken = place < 2
        else:
            place, tokens = _block(text, place, opening.group() == "{%", TOKENS_MAX - count)
            count += len(tokens)
            result.too_long = count >= TOKENS_MAX
            result.broken = place < 0
            result.blocks.append(tokens)
            result.statements.append(opening.group() == "{%")
            if tokens[:1] == [Token(NAME, "raw")] and result.statements[-1] and place >= 0:
                end = _RAW_END.search(text, place)
                result.data.append(text[place : end.start() if end else len(text)])
                result.broken = end is None
                place = end.end() if end else -1
        if result.broken or result.too_long:
            return result


def _block(text: str, place: int, statement: bool, budget: int) -> tuple[int, list[Token]]:
    """Return (where the block ends, its tokens); -1 when it never does."""
    tokens: list[Token] = []
    closing = "%}" if statement else "}}"
    depth = 0
    if text[place : place + 1] in "-+":
        place += 1
    while len(tokens) < budget:
        match = _TOKEN.match(text, place)
        if not match:
            return -1, tokens
        kind, value = str(match.lastgroup), match.group(str(match.lastgroup))
        place = match.end()
        if kind == "end":
            if value.endswith(closing) and (statement or not depth):
                return place, tokens
            # The braces of a mapping, or a percent sign before one: only the first character is taken.
            kind, value = SIGN, value[0]
            place = match.start("end") + 1
        if value in ("{", "}"):
            depth = max(0, depth + (1 if value == "{" else -1))
        tokens.append(Token(kind, value[1:-1] if kind == TEXT else value))
    return place, tokens
