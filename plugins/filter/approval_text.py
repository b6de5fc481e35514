# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that takes one entry out of models_registry.yaml as it is written there."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.plugin_utils.approval_yaml import compose_yaml, parse_yaml
from ansible_collections.rampart.ollama.plugins.plugin_utils.approvals import find_number, load_registry


def approval_text(registry: Any, name: Any, environment: Any) -> str:
    """Return the text of the entry of `name` for `environment`, comments and all, as a list of one entry.

    Raises AnsibleFilterError with a finding's text.
    """
    if not isinstance(registry, str):
        raise AnsibleFilterError("APPROVAL-INVALID: the registry is no text. Give the file's text.")
    try:
        number = find_number(load_registry(registry), str(name), str(environment))
        return _item(registry, number)
    except FindingError as error:
        raise AnsibleFilterError(str(error)) from error


def _item(text: str, number: int) -> str:
    root = compose_yaml(text)
    if not isinstance(root, yaml.MappingNode):
        raise AssertionError("a registry that was loaded is a mapping")
    node = next(value for key, value in root.value if key.value == "models").value[number]
    # In block style an item's lines are its own: from its dash to the last one that is no comment on what follows.
    # Its end is marked where the next thing begins.
    lines = text.splitlines()
    end = node.end_mark
    inside = end.line < len(lines) and lines[end.line][: end.column].strip()
    lines = lines[node.start_mark.line : end.line + bool(inside)]
    while lines and (not lines[-1].strip() or lines[-1].lstrip().startswith("#")):
        lines.pop()
    whole = textwrap.dedent("\n".join(lines)) + "\n"
    try:
        same = parse_yaml(whole) == [parse_yaml(text)["models"][number]]
    except FindingError:
        same = False
    # In flow style it shares its lines with others.
    return whole if same else "- {0}\n".format(text[node.start_mark.index : node.end_mark.index])


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"approval_text": approval_text}
