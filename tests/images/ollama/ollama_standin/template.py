# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluate the subset of Go's text/template that chat templates of small models use.

Known: text, `{{- -}}` trimming, comments, `.A.B`, `$`, `$x`, `$x := ...`, strings, integers, `if`, `else if`,
`else`, `range` (with `$i, $m :=`), `with`, `end`, and the functions eq, ne, and, or, not, len. Anything else
is refused by name, never guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_ACTION = re.compile(r"\{\{(-\s)?\s*(.*?)\s*(\s-)?\}\}", re.DOTALL)
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`|[()]|:=|,|[^\s(),]+')
Node = tuple[str, Any]  # ("text", str) | ("print", words) | ("set", (name, words)) | (block, parts)
Scope = dict[str, Any]


class TemplateError(ValueError):
    """The template uses something outside the subset, or is not well formed."""


def _tokens(source: str) -> Iterator[tuple[str, str]]:
    position, trim = 0, False
    for match in _ACTION.finditer(source):
        text = source[position : match.start()]
        text = text.lstrip() if trim else text
        yield "text", text.rstrip() if match[1] else text
        if not match[2].startswith("/*"):
            yield "action", match[2]
        position, trim = match.end(), bool(match[3])
    yield "text", source[position:].lstrip() if trim else source[position:]


def _parse(tokens: Iterator[tuple[str, str]], inside: bool) -> tuple[list[Node], str]:
    """Nodes up to the `end` or `else` that closes the block, and that closing action."""
    nodes: list[Node] = []
    for kind, text in tokens:
        if kind == "text":
            nodes.append(("text", text))
            continue
        words = _WORD.findall(text)
        if not words:
            raise TemplateError("empty action")
        if words[0] in ("end", "else"):
            if not inside:
                raise TemplateError(f"{words[0]} without a block")
            return nodes, text
        if words[0] in ("if", "range", "with"):
            nodes.append((words[0], (words[1:], *_branches(tokens))))
        elif len(words) > 2 and words[0].startswith("$") and words[1] in (":=", "="):
            nodes.append(("set", (words[0], words[2:])))
        else:
            nodes.append(("print", words))
    if inside:
        raise TemplateError("a block is not closed by end")
    return nodes, ""


def _branches(tokens: Iterator[tuple[str, str]]) -> tuple[list[Node], list[Node]]:
    body, closing = _parse(tokens, True)
    if closing == "end":
        return body, []
    if closing == "else":
        otherwise, last = _parse(tokens, True)
        if last != "end":
            raise TemplateError("a block has two else")
        return body, otherwise
    words = _WORD.findall(closing)
    if words[:2] != ["else", "if"]:
        raise TemplateError(f"unsupported action {closing!r}")
    return body, [("if", (words[2:], *_branches(tokens)))]


def _field(value: Any, path: str) -> Any:
    for part in [part for part in path.split(".") if part]:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _operand(word: str, scope: Scope) -> Any:
    if word.startswith(('"', "`")):
        return json.loads(word) if word[0] == '"' else word[1:-1]
    if re.fullmatch(r"-?\d+", word):
        return int(word)
    if word in ("true", "false", "nil"):
        return {"true": True, "false": False, "nil": None}[word]
    name, dot, path = word.partition(".")
    if name == "" and dot:
        return _field(scope["."], path)
    if name in scope:
        return _field(scope[name], path)
    raise TemplateError(f"unsupported word {word!r}")


def _evaluate(words: list[str], scope: Scope) -> Any:
    values: list[Any] = []
    function, index = "", 0
    if words and words[0] in ("eq", "ne", "and", "or", "not", "len"):
        function, index = words[0], 1
    while index < len(words):
        if words[index] == "(":
            depth, end = 1, index + 1
            while end < len(words) and depth:
                depth += {"(": 1, ")": -1}.get(words[end], 0)
                end += 1
            values.append(_evaluate(words[index + 1 : end - 1], scope))
            index = end
        else:
            values.append(_operand(words[index], scope))
            index += 1
    if not values or (not function and len(values) != 1) or (function in ("not", "len") and len(values) != 1):
        raise TemplateError(f"unsupported expression {' '.join(words)!r}")
    if function == "eq":
        return any(values[0] == value for value in values[1:])
    if function == "ne":
        return values[0] != values[1]
    if function == "and":
        return next((value for value in values if not value), values[-1])
    if function == "or":
        return next((value for value in values if value), values[-1])
    if function == "not":
        return not values[0]
    return len(values[0] or ()) if function == "len" else values[0]


def _loop(words: list[str], scope: Scope) -> Iterator[Scope]:
    variables: list[str] = []
    if ":=" in words:
        cut = words.index(":=")
        variables, words = [word for word in words[:cut] if word != ","], words[cut + 1 :]
    for index, item in enumerate(_evaluate(words, scope) or ()):
        inner = {**scope, ".": item}
        if variables:
            inner.update(zip(variables, (index, item) if len(variables) == 2 else (item,), strict=True))
        yield inner


def _render(nodes: list[Node], scope: Scope) -> str:
    output: list[str] = []
    for kind, content in nodes:
        if kind == "text":
            output.append(content)
        elif kind == "print":
            value = _evaluate(content, scope)
            output.append("" if value is None else str(value))
        elif kind == "set":
            scope[content[0]] = _evaluate(content[1], scope)
        elif kind == "range":
            words, body, otherwise = content
            rounds = [_render(body, inner) for inner in _loop(words, scope)]
            output.extend(rounds or [_render(otherwise, scope)])
        else:
            words, body, otherwise = content
            value = _evaluate(words, scope)
            inner = {**scope, ".": value} if kind == "with" and value else scope
            output.append(_render(body if value else otherwise, inner))
    return "".join(output)


def render(source: str, data: dict[str, Any]) -> str:
    """Render a template over `data` (`Messages`: list of {Role, Content}, `System`, `Prompt`, ...).

    Raises TemplateError when the template is outside the subset.
    """
    nodes, _rest = _parse(_tokens(source), False)
    return _render(nodes, {".": data, "$": data})
