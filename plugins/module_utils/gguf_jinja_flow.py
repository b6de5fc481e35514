# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does a Jinja chat template decide on the words of a user? That is how a backdoor in a template works (row S4).

The model's weights stay as they are; the template adds an instruction, or replaces words, when a trigger is in the
question. So every comparison of a message's text with a fixed text is told. Honest templates compare roles and types,
and look for control marks such as `</think>`; those are known, and marks are told as low.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Optional

from .findings import Severity
from .gguf_jinja_block import TEXT_NAMES, Block, Steps, TooInvolvedError
from .gguf_jinja_cut import NAME, SIGN, TEXT, Token
from .gguf_text import Flag, excerpt

FLAGS_MAX = 10
_ROUNDS = 3

# Fixed texts that name a kind of content, not words of a user.
_KINDS = frozenset(
    (
        "text image image_url input_image video video_url audio audio_url input_audio file document tool tool_use "
        "tool_result tool_calls tool_call thinking reasoning reasoning_content think content role name type function "
        "user assistant system developer model string object array number integer boolean null none output url "
        "parameters arguments properties parts value"
    ).split()
)
_MARK = re.compile(
    r"\s*(?:[<\[{|/*#`][^\s]{1,60}|[^\s]{1,60}[>\]}|]|\[[A-Z /_]{1,40}\]|[A-Z][A-Z_]{2,30}:?|<\|[^\n]{1,60}\|>)\s*\Z"
)
_ESCAPE = re.compile(r"\\(?:[nrtfv0'\"\\/]|\n)")
_COMPARING = frozenset(
    "startswith endswith find rfind index rindex count split rsplit partition rpartition replace regex_search "
    "regex_match regex_replace match search test contains".split()
)
_SELECTING = frozenset("select reject selectattr rejectattr".split())
_TESTS = frozenset("equalto eq ne sameas in".split())


class _Flow:
    """What is known of variables: `tainted` hold a user's words, `constants` a fixed text."""

    def __init__(self, blocks: Sequence[Sequence[Token]]) -> None:
        self.steps = Steps()
        self.blocks = [Block(tokens, self.steps) for tokens in blocks if tokens]
        self.tainted: set[str] = set()
        self.constants: dict[str, list[str]] = {}
        self.macros: dict[str, list[str]] = {}
        self.keys = {key for block in self.blocks for key in block.looked_up()}

    def follow(self) -> None:
        """Follow a user's words through assignments, loops and macros. Raises TooInvolvedError."""
        for _round in range(_ROUNDS):
            before = len(self.tainted)
            for block in self.blocks:
                block.weigh(self.tainted)
                self._assign(block)
                self._calls(block)
            if len(self.tainted) == before:
                return

    def _assign(self, block: Block) -> None:
        tokens = block.tokens
        if block.word(0) == "macro":
            names = [block.word(number) for number in range(2, len(tokens)) if block.sign(number - 1) in ("(", ",")]
            self.macros[block.word(1)] = names
            return
        mark = {"set": Token(SIGN, "="), "for": Token(NAME, "in")}.get(block.word(0))
        if mark is None:
            return
        at = next((number for number, token in enumerate(tokens) if token == mark), 0)
        names = [token.value for token in tokens[1 : at or len(tokens)] if token.kind == NAME]
        # `set ns.found = ...` is remembered as `found`, `for key, value in ...` as both; a block that is set holds
        # whatever was written in it.
        targets = names if block.word(0) == "for" else names[-1:]
        if not at or block.mentions_text(at + 1, len(tokens)):
            self.tainted.update(targets)
        texts = self.fixed(block, at + 1, len(tokens)) if at else None
        if texts:
            self.constants.update((target, texts) for target in targets)

    def _calls(self, block: Block) -> None:
        for number, token in enumerate(block.tokens):
            names = self.macros.get(token.value) if token.kind == NAME else None
            if not names or block.sign(number + 1) != "(" or block.word(0) == "macro":
                continue
            end = block.close(number + 1) - 1
            commas = [place for place in range(number + 2, end) if self._parts(block, place, number + 1)]
            start = number + 2
            for position, stop in enumerate([*commas, end]):
                target = names[position] if position < len(names) else ""
                if block.sign(start + 1) == "=":
                    target = block.word(start)
                if target and block.mentions_text(start, stop):
                    self.tainted.add(target)
                start = stop + 1

    def _parts(self, block: Block, place: int, opening: int) -> bool:
        """Whether a place is a comma directly in a bracket."""
        self.steps.take()
        return block.sign(place) == "," and block.inside[place] == opening

    def fixed(self, block: Block, start: int, end: int) -> Optional[list[str]]:
        """Return the fixed texts an operand stands for: a literal, a sum or list of them, or a name for one."""
        texts: list[str] = []
        for place in range(start, end):
            token = block.tokens[place]
            if token.kind == TEXT:
                texts.append(token.value)
            elif token.kind == NAME and token.value in self.constants:
                texts.extend(self.constants[token.value][:FLAGS_MAX])
            elif token.kind != SIGN:
                return None
        joined = any(block.sign(place) in ("+", "~") for place in range(start, end))
        return ["".join(texts)] if texts and joined else texts or None


def conditions(blocks: Sequence[Sequence[Token]]) -> Iterator[Flag]:
    """Yield a flag for each comparison of a user's words with a fixed text, at most FLAGS_MAX."""
    flow = _Flow(blocks)
    told: set[str] = set()
    try:
        flow.follow()
        for block in flow.blocks:
            block.weigh(flow.tainted)
            for texts, how in _comparisons(flow, block):
                for text in texts:
                    severity = _severity(text, flow.keys)
                    evidence = "{0} {1}".format(how, excerpt(text, 0))
                    if severity is not None and evidence not in told:
                        told.add(evidence)
                        yield Flag("CONDITIONAL", severity, evidence)
                    if len(told) >= FLAGS_MAX:
                        return
    except TooInvolvedError:
        yield Flag("SIZE", Severity.HIGH, "it is too involved to be followed to its end")


def _comparisons(flow: _Flow, block: Block) -> Iterator[tuple[list[str], str]]:
    header = block.word(0) == "for"
    for number, token in enumerate(block.tokens):
        left, how = number, "it compares a message's text with"
        if token.kind == NAME:
            asked = block.word(number - 1)
            if token.value == "in" and header:
                header = False
                continue
            if token.value in _TESTS and asked in ("is", "not") and (asked == "is" or block.word(number - 2) == "is"):
                left = number - (1 if asked == "is" else 2)
            elif token.value == "in":
                left, how = number - (asked == "not"), "it looks in a message's text for"
            else:
                yield from _called(flow, block, number)
                continue
        elif token.kind != SIGN or token.value not in ("==", "!="):
            continue
        yield from _sides(flow, block, left, number + 1, how)


def _sides(flow: _Flow, block: Block, left: int, right: int, how: str) -> Iterator[tuple[list[str], str]]:
    first, last = block.backward(left), block.forward(right)
    for text, fixed in (((first, left), (right, last)), ((right, last), (first, left))):
        if block.mentions_text(*text):
            known = flow.fixed(block, *fixed)
            if known:
                yield known, how
                return


def _called(flow: _Flow, block: Block, number: int) -> Iterator[tuple[list[str], str]]:
    """Yield the fixed arguments of a method or filter that searches, splits or replaces."""
    name = block.word(number)
    if name not in _COMPARING | _SELECTING or block.sign(number + 1) != "(" or block.sign(number - 1) not in (".", "|"):
        return
    end = block.close(number + 1) - 1
    fixed = flow.fixed(block, number + 2, end) or [
        token.value for token in block.tokens[number + 2 : end] if token.kind == TEXT
    ]
    about = block.mentions_text(block.backward(number - 1), number - 1)
    if name in _COMPARING and about:
        yield fixed, "it searches a message's text ({0}) for".format(name)
    elif name in _SELECTING and (about or TEXT_NAMES.intersection(fixed[:1])):
        yield [text for text in fixed if text not in _TESTS], "it selects messages by the text"


def _severity(text: str, keys: set[str]) -> Optional[Severity]:
    """Return how bad it is to look for this text in a user's words; None when it is of no meaning."""
    plain = _ESCAPE.sub(" ", text).strip()
    if not any(char.isalnum() for char in plain) or plain.lower() in _KINDS:
        return None
    # A word that is looked up as a key as well is most likely a test for that key.
    return Severity.LOW if _MARK.match(plain) or plain in keys else Severity.HIGH
