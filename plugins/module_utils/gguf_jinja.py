# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Red flags of a Jinja chat template, from its tokens alone (row S4).

A chat template is a program that runs on every request. What reaches for the interpreter, what computes without end
and what depends on the words of a user is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .findings import Severity
from .gguf_jinja_cut import NAME, NUMBER, SIGN, TEXT, TOKENS_MAX, Jinja, Token
from .gguf_jinja_flow import conditions
from .gguf_text import Flag, excerpt

NESTED_LOOPS_MAX = 6
NUMBER_MAX = 1_000_000
RANGE_MAX = 10_000

_STATEMENTS = ("import", "from", "include", "extends", "debug")
_BASES = (
    "cycler joiner lipsum self get_flashed_messages url_for globals locals getattr setattr eval exec compile open "
    "popen subprocess os importlib builtins"
).split()
_ATTRIBUTES = (
    "mro popen subclasses func_globals func_code gi_frame gi_code cr_frame ag_frame f_globals f_builtins f_back "
    "tb_frame im_func im_class format_map"
).split()
_DUNDER = re.compile(r"__\w+__\Z")
# A name in pieces ('__cl' ~ 'ass__'), in an attribute path, or written in escapes.
_DUNDER_TEXT = re.compile(r"\A__+\Z|\A__\w+\Z|\A\w+__\Z|[.\[]__\w|\\x5f|\\u005f|\\137", re.IGNORECASE)


def jinja_flags(template: Jinja) -> Iterator[Flag]:
    """Yield the red flags of a template that was cut; those of its texts are the caller's."""
    if template.broken:
        yield Flag("SYNTAX", Severity.MEDIUM, "it ends in the middle of a block")
    if template.too_long:
        yield Flag("SIZE", Severity.HIGH, "it has more than {0} tokens, and was not judged on".format(TOKENS_MAX))
    yield from _code(template)
    yield from _loops(template)
    yield from conditions(template.blocks)


def texts(template: Jinja) -> str:
    """Return all that a template can say by itself: the text outside of blocks, and the literals in them."""
    literals = (token.value for tokens in template.blocks for token in tokens if token.kind == TEXT)
    return "\n".join([*template.data, *literals])


def _code(template: Jinja) -> Iterator[Flag]:
    """Yield what reaches out of the template into the interpreter."""
    told: set[str] = set()
    for tokens, statement in zip(template.blocks, template.statements):
        for number, token in enumerate(tokens):
            before = tokens[number - 1].value if number else ""
            after = tokens[number + 1].value if number + 1 < len(tokens) else ""
            why = _reaches_out(token, before, after, statement and not number)
            if why and why not in told:
                told.add(why)
                yield Flag("CODE", Severity.CRITICAL, why)
                if len(told) == 10:
                    return


def _reaches_out(token: Token, before: str, after: str, first: bool) -> str:
    value = token.value
    if token.kind == TEXT:
        return "a text that names interpreter internals: " + excerpt(value, 0) if _DUNDER_TEXT.search(value) else ""
    if token.kind != NAME:
        return ""
    if first and value in _STATEMENTS:
        return "the statement {0}".format(value)
    if _DUNDER.match(value):
        return "the attribute {0}".format(value)
    if (before == "." and value in _ATTRIBUTES) or (before == "|" and value == "attr"):
        return "the attribute or filter {0}".format(value)
    # `open=...` names an argument, `open` alone reaches for the object.
    if before not in (".", "|") and value in _BASES and after != "=":
        return "the name {0}".format(value)
    return ""


def _loops(template: Jinja) -> Iterator[Flag]:
    """Yield what makes a short template compute for long, or grow without end."""
    depth = deepest = 0
    why = ""
    for tokens, statement in zip(template.blocks, template.statements):
        word = tokens[0].value if statement and tokens else ""
        depth += (word == "for") - (word == "endfor")
        deepest = max(deepest, depth)
        why = why or _large(tokens)
    if deepest > NESTED_LOOPS_MAX:
        why = why or "{0} loops in each other".format(deepest)
    if why:
        yield Flag("LOOP", Severity.HIGH, why)


def _large(tokens: list[Token]) -> str:
    """Return what is too large in a block: a number, the product of several, a power."""
    product, ranged = 1, Token(NAME, "range") in tokens
    for number, token in enumerate(tokens):
        if token == Token(SIGN, "**"):
            return "a power (**)"
        if token.kind != NUMBER:
            continue
        around = {tokens[other].value for other in (number - 1, number + 1) if 0 <= other < len(tokens)}
        value = int(token.value.partition(".")[0].replace("_", "")[:20] or 0)
        product *= value if "*" in around else 1
        if max(value, product) > (RANGE_MAX if ranged else NUMBER_MAX):
            return "the number {0}".format(max(value, product))
    return ""
