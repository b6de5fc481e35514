# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One block of a Jinja template: where its operands begin and end, and which of them are a user's words (row S4)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .gguf_jinja_cut import NAME, SIGN, TEXT, Token

# A template of 1,600 tokens takes some 2,500 steps.
STEPS_MAX = 50_000

# What holds the words of a message, as variable, attribute or key.
TEXT_NAMES = frozenset("content text query prompt question user_input user_message user_prompt utterance".split())
# Messages themselves become text by one of these filters.
_MESSAGES = re.compile(r"(?:\A|_)(?:messages?|msgs?|conversation|history|turns?|m)(?:\Z|_)")
_TO_TEXT = frozenset("string tojson join lower upper title trim list map first last e escape urlencode".split())
# Keys beside the text: comparing them is what templates are for.
_STRUCTURE = frozenset(
    (
        "type role name id tool_call_id call_id tool_calls tool_responses function arguments parameters properties "
        "index index0 revindex revindex0 length first last key mime_type format status recipient channel"
    ).split()
)
_WORDS = frozenset("and or not if else elif in is for set macro call filter recursive".split())
_ARITHMETIC = ("+", "~", "-", "*", "/", "//", "%", "**")


class TooInvolvedError(Exception):
    """The template is made to be hard to follow; it never leaves this module."""


class Steps:
    """How many steps may still be taken over one template."""

    def __init__(self) -> None:
        self.left = STEPS_MAX

    def take(self) -> None:
        """Take one. Raises TooInvolvedError when none is left."""
        self.left -= 1
        if self.left < 0:
            raise TooInvolvedError


class Block:
    """The tokens of one block with their brackets matched, and which of them stand for a user's words."""

    def __init__(self, tokens: Sequence[Token], steps: Steps) -> None:
        self.tokens = list(tokens)
        self.steps = steps
        self.partner: dict[int, int] = {}
        # The bracket each token lies in, -1 for none.
        self.inside: list[int] = []
        opened: list[int] = []
        for number, token in enumerate(self.tokens):
            if token.kind == SIGN and token.value in ")]}" and opened:
                self.partner[number] = opened.pop()
                self.partner[self.partner[number]] = number
            self.inside.append(opened[-1] if opened else -1)
            if token.kind == SIGN and token.value in "([{":
                opened.append(number)
        self.sums = [0]

    def weigh(self, tainted: set[str]) -> None:
        """Count, up to each token, how many of those before it stand for a user's words."""
        self.sums = [0]
        for number, token in enumerate(self.tokens):
            follows = self.sign(number - 1)
            if token.kind == NAME:
                # `content=...` names an argument, and what follows a bar is a filter.
                known = token.value in TEXT_NAMES or token.value in tainted
                hot = known and follows != "|" and self.sign(number + 1) != "="
            else:
                hot = token.kind == TEXT and token.value in ("content", "text") and follows in ("[", "(", "=", ",")
            self.sums.append(self.sums[-1] + hot)

    def looked_up(self) -> set[str]:
        """Return the keys that are looked up in anything: `x.key`, `x['key']`."""
        found = {self.word(number) for number in range(len(self.tokens)) if self.sign(number - 1) == "."}
        for number, token in enumerate(self.tokens):
            index = self.sign(number - 1) == "[" and self.sign(number + 1) == "]" and self._hangs(number - 2)
            if token.kind == TEXT and index:
                found.add(token.value)
        return found

    def sign(self, number: int) -> str:
        """Return the sign at a place, "" when there is none."""
        if 0 <= number < len(self.tokens) and self.tokens[number].kind == SIGN:
            return self.tokens[number].value
        return ""

    def word(self, number: int) -> str:
        """Return the name at a place, "" when there is none."""
        if 0 <= number < len(self.tokens) and self.tokens[number].kind == NAME:
            return self.tokens[number].value
        return ""

    def close(self, opening: int) -> int:
        """Return the place behind the bracket that opens at a place."""
        return self.partner.get(opening, len(self.tokens) - 1) + 1

    def value(self, start: int) -> int:
        """Return the end of the value that begins at `start`, with all that hangs on it."""
        if start >= len(self.tokens) or self.word(start) in _WORDS:
            return start
        if self.sign(start) in ("(", "[", "{"):
            place = self.close(start)
        elif self.sign(start):
            return start
        else:
            place = start + 1
        while True:
            self.steps.take()
            if self.sign(place) in (".", "|") and place + 1 < len(self.tokens):
                place += 2
            elif self.sign(place) in ("(", "["):
                place = self.close(place)
            else:
                return place

    def forward(self, start: int) -> int:
        """Return the end of the operand of a comparison that begins at `start`."""
        place = self.value(start)
        while place > start and self.sign(place) in _ARITHMETIC:
            after = self.value(place + 1)
            if after == place + 1:
                return place
            place = after
        return place

    def backward(self, end: int) -> int:
        """Return the beginning of the operand of a comparison that ends before `end`."""
        place = end
        while place > 0:
            self.steps.take()
            last = place - 1
            if self.sign(last) in (")", "]", "}") and last in self.partner:
                place = self.partner[last]
                # What stands before a bracket belongs to it, unless it is an operator or a word.
                if self.sign(place) != "{" and (self._hangs(place - 1)):
                    continue
            elif self.sign(last) or self.word(last) in _WORDS:
                return place
            else:
                place = last
            if self.sign(place - 1) not in _ARITHMETIC + (".", "|"):
                return place
            place -= 1
        return place

    def _hangs(self, number: int) -> bool:
        """Whether a bracket behind this token is its index or its arguments."""
        return number >= 0 and self.sign(number) in ("", ")", "]") and self.word(number) not in _WORDS

    def mentions_text(self, start: int, end: int) -> bool:
        """Whether any value in a range is a user's words."""
        for place in range(start, end):
            self.steps.take()
            word = self.word(place)
            begins = word and word not in _WORDS and self.sign(place - 1) not in (".", "|")
            if begins and self._is_text(place, min(self.value(place), end)):
                return True
        return False

    def _is_text(self, start: int, end: int) -> bool:
        """Whether a value is a user's words, and not a role, a type or another key beside them."""
        key, filters = "", []
        place = start + 1
        while place < end:
            self.steps.take()
            if self.sign(place) == "." and self.sign(place + 2) != "(":
                key = self.word(place + 1)
                place += 2
            elif self.sign(place) in (".", "|"):
                filters.append(self.word(place + 1))
                place += 2
            else:
                close = self.close(place)
                if self.sign(place) == "[" and close == place + 3 and self.tokens[place + 1].kind == TEXT:
                    key = self.tokens[place + 1].value
                place = close
        if key in _STRUCTURE or "length" in filters:
            return False
        if self.sums[end] > self.sums[start]:
            return True
        return not key and bool(_MESSAGES.search(self.word(start)) and _TO_TEXT.intersection(filters))
