# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing one item of models_registry.yaml and nothing else (row S6).

Only the lines of the item that changes are rewritten, by ruamel.yaml, which keeps the comments and the quoting in
them; every other line of the file stays byte for byte. A result that does not read back as what was meant is
refused, and nothing is written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import StringIO
from typing import Any

import yaml

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, clean_text, refuse

from .approval_schema import key_order, plain
from .approval_yaml import REGISTRY_NAME, compose_yaml, parse_yaml

_KIND = {"models": "entry", "revocations": "revocation"}
_RESOLVER = yaml.resolver.Resolver()
_TEXT_TAG = "tag:yaml.org,2002:str"
_BLANK = re.compile(r"\A\s*(#.*)?\Z")
_DASH = re.compile(r"\A( *)-( +)\Z")


_REMEDY = "Write the file in block style (one key a line), or edit it by hand. Nothing was written."


def refusal(why: object, remedy: str = _REMEDY) -> FindingError:
    """Return the refusal of an edit (APPROVAL-EDIT)."""
    return refuse("APPROVAL-EDIT", REGISTRY_NAME, why, remedy)


def set_item(text: str, key: str, number: int | None, item: Mapping[str, Any]) -> str:
    """Return `text` with an item of the list `key` replaced by `item`, or with it added when `number` is None.

    Raises FindingError: APPROVAL-EDIT when the file is laid out in a way that cannot be changed safely.
    """
    document = _Document(text)
    lines = document.added(key, item) if number is None else document.replaced(key, number, item)
    return _checked(text, document.join(lines), key, number, item)


def remove_item(text: str, key: str, number: int) -> str:
    """Return `text` without an item of the list `key`. Raises FindingError (APPROVAL-EDIT)."""
    document = _Document(text)
    return _checked(text, document.join(document.removed(key, number)), key, number, None)


def _checked(before: str, after: str, key: str, number: int | None, item: Mapping[str, Any] | None) -> str:
    """Return `after` when it reads as `before` with that one change, and refuse it otherwise."""
    wanted = plain(parse_yaml(before))
    items = list(wanted.get(key) or [])
    if number is None:
        items.append(plain(item))
    else:
        items[number : number + 1] = [] if item is None else [plain(item)]
    wanted[key] = items
    try:
        same = plain(parse_yaml(after)) == wanted
    except FindingError as error:
        raise refusal("the result would not read back: {0}".format(error.finding.evidence)) from error
    if not same:
        raise refusal("the result would not read back as what was meant")
    return after


class _Document:
    """The lines of a file, and where its items stand."""

    def __init__(self, text: str) -> None:
        self.crlf = "\r\n" in text
        plain = text.replace("\r\n", "\n")
        if "\r" in plain or (self.crlf and "\n" in text.replace("\r\n", "")):
            raise refusal("its line ends are mixed", "Give the file one kind of line ends, then run again.")
        self.lines = plain.split("\n")
        if self.lines[-1] == "":
            self.lines.pop()
        root = compose_yaml(plain)
        if not isinstance(root, yaml.MappingNode) or root.flow_style:
            raise refusal("it is no mapping in block style")
        self.lists = {name.value: (name, value) for name, value in root.value}

    def join(self, lines: list[str]) -> str:
        return "".join(line + ("\r\n" if self.crlf else "\n") for line in lines)

    def added(self, key: str, item: Mapping[str, Any]) -> list[str]:
        pair = self.lists.get(key)
        order = key_order(_KIND[key])
        block = _block(_dump({}, item, order), 2, 2)
        if pair is None:
            return [*self.lines, "{0}:".format(key), *block]
        name, node = pair
        items = self._items(key)
        if not items:
            # `models: []`, perhaps with a comment behind it.
            number = name.start_mark.line
            if node.end_mark.line != number:
                raise refusal("{0} is laid out over several lines".format(key))
            line = self.lines[number]
            head = line[: node.start_mark.column].rstrip() + line[node.end_mark.column :].rstrip()
            return [*self.lines[:number], head, *block, *self.lines[number + 1 :]]
        _start, end, dash, inner = items[-1]
        block = _block(_dump({}, item, order, self._step(items)), dash, inner - dash)
        return [*self.lines[:end], *block, *self.lines[end:]]

    def replaced(self, key: str, number: int, item: Mapping[str, Any]) -> list[str]:
        items = self._items(key)
        start, end, dash, inner = items[number]
        own = [" " * inner + self.lines[start][inner:], *self.lines[start + 1 : end]]
        order = key_order(_KIND[key])
        block = _block(_dump(_parse(own, inner), item, order, self._step(items)), dash, inner - dash)
        return [*self.lines[:start], *block, *self.lines[end:]]

    def removed(self, key: str, number: int) -> list[str]:
        items = self._items(key)
        start, end, _dash, _inner = items[number]
        lines = [*self.lines[:start], *self.lines[end:]]
        if len(items) == 1:
            head = self.lists[key][0].start_mark.line
            lines[head] = lines[head].replace("{0}:".format(key), "{0}: []".format(key), 1)
        return lines

    def _items(self, key: str) -> list[tuple[int, int, int, int]]:
        """Return (first line, line after the last, column of the dash, column of the keys) of each item."""
        _name, node = self.lists[key]
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            return []
        found = []
        for number, child in enumerate(node.value):
            start, column = child.start_mark.line, child.start_mark.column
            dash = _DASH.match(self.lines[start][:column])
            if node.flow_style or not isinstance(child, yaml.MappingNode) or child.flow_style or not dash:
                raise refusal("item {0} of {1} is not in block style".format(number + 1, key))
            end = max(_last_line(child), start) + 1
            while end > start + 1 and _BLANK.match(self.lines[end - 1]):
                end -= 1
            found.append((start, end, len(dash[1]), column))
        return found

    def _step(self, items: list[tuple[int, int, int, int]]) -> int:
        """Return how far lists inside an item are indented, as the file has it: 0 or 2 columns."""
        for start, end, _dash, inner in items:
            for line in self.lines[start + 1 : end]:
                match = re.match(r"\A( *)- ", line)
                if match:
                    return 0 if len(match[1]) <= inner else 2
        return 2


def _last_line(node: yaml.Node) -> int:
    """Return the last line that belongs to a node: a block's own end lies where the next thing begins."""
    if isinstance(node, yaml.MappingNode) and node.value and not node.flow_style:
        return max(_last_line(node.value[-1][0]), _last_line(node.value[-1][1]))
    if isinstance(node, yaml.SequenceNode) and node.value and not node.flow_style:
        return _last_line(node.value[-1])
    mark = node.end_mark
    return int(mark.line) if mark.column or mark.line == node.start_mark.line else int(mark.line) - 1


def _block(lines: list[str], dash: int, gap: int) -> list[str]:
    """Return the lines of a mapping as a list's item: the dash in column `dash`, the keys `gap` columns behind."""
    indented = [" " * (dash + gap) + line if line else "" for line in lines]
    return [" " * dash + "-" + " " * (gap - 1) + lines[0], *indented[1:]]


def _ruamel(step: int) -> Any:
    try:
        from ruamel.yaml import YAML
    except ImportError as error:
        raise refuse(
            "APPROVAL-EDIT",
            "ruamel.yaml",
            "the Python library is not installed on the controller",
            "pip install ruamel.yaml, for the Python that runs Ansible, then run again.",
        ) from error
    editor = YAML(typ="rt")
    editor.preserve_quotes = True
    # No line is folded: what a person wrote on one line stays there.
    editor.width = 1 << 20
    editor.indent(mapping=2, sequence=2 + step, offset=step)
    return editor


def _parse(lines: list[str], column: int) -> Any:
    """Return ruamel's editable mapping of an item's lines, its keys in `column`."""
    cut = [line[column:] if not line[:column].strip() else line.lstrip() for line in lines]
    return _ruamel(2).load("\n".join(cut) + "\n")


def _dump(present: Any, wanted: Mapping[str, Any], order: tuple[str, ...], step: int = 2) -> list[str]:
    """Return the lines of `present` (ruamel's mapping, or {}) changed into `wanted`; what is equal is not touched."""
    editor = _ruamel(step)
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.error import YAMLError

    mapping = present or CommentedMap()
    for key in [key for key in mapping if key not in wanted]:
        del mapping[key]
    for key in sorted(wanted, key=order.index):
        if key not in mapping:
            # A file's own order is kept; a new key comes before the first that belongs behind it.
            later = [place for place, other in enumerate(mapping) if order.index(other) > order.index(key)]
            mapping.insert(later[0] if later else len(mapping), key, _editable(wanted[key]))
        elif plain(mapping[key]) != plain(wanted[key]):
            _change(mapping, key, wanted[key])
    stream = StringIO()
    try:
        editor.dump(mapping, stream)
    except YAMLError as error:
        raise refusal(clean_text(error, 200)) from error
    return stream.getvalue().rstrip("\n").split("\n")


def _change(mapping: Any, key: str, wanted: Any) -> None:
    """Change a value; a list of texts item by item, so that the comments of those that stay do too."""
    present = mapping[key]
    if isinstance(present, list) and isinstance(wanted, list) and all(isinstance(item, str) for item in wanted):
        new = [item for item in wanted if item not in present]
        if [item for item in present if item in wanted] + new == wanted:
            for place in range(len(present) - 1, -1, -1):
                if present[place] not in wanted:
                    del present[place]
            present.extend(_editable(item) for item in new)
            return
    mapping[key] = _editable(wanted)


def _resolved(text: str) -> str:
    tag: str = _RESOLVER.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return tag


def _editable(value: Any) -> Any:
    """Return a plain value in ruamel's types: armor as a literal block; quoted what would else be no text."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

    if isinstance(value, Mapping):
        return CommentedMap((key, _editable(item)) for key, item in value.items())
    if isinstance(value, list):
        return CommentedSeq(_editable(item) for item in value)
    if isinstance(value, str) and "\n" in value:
        return LiteralScalarString(value)
    # ruamel follows YAML 1.2; readers of 1.1 take 2026-01-31 for a date and "on" for a yes.
    if isinstance(value, str) and _resolved(value) != _TEXT_TAG:
        return DoubleQuotedScalarString(value)
    return value
