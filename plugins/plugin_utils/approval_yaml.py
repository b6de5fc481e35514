# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the approvals file's YAML as strictly as a contract is read (row S6).

No duplicate keys, no anchors, aliases or tags, bounded in bytes, depth and number of values. What two parsers
could read differently, or what could make one work for minutes, is refused with its line and column.
"""

from __future__ import annotations

from typing import Any

import yaml

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, clean_text, refuse

REGISTRY_NAME = "models_registry.yaml"
REGISTRY_MAX_BYTES = 1024 * 1024
DEPTH_MAX = 20
# A thousand approvals have some 50,000 values; PyYAML reads so many in about a second.
VALUES_MAX = 100_000
_REMEDY = "Correct models_registry.yaml (docs/models_registry.md says how), then run again."


def invalid(subject: str, why: object) -> FindingError:
    """Return the refusal of a file, an entry or a document (APPROVAL-INVALID)."""
    return refuse("APPROVAL-INVALID", subject, why, _REMEDY)


class StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses what makes YAML ambiguous, dangerous or slow."""

    depth = 0
    values = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose one value, unless it is refused."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        self.values += 1
        self.depth += 1
        why = ""
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            why = "anchors and aliases are not allowed"
        elif getattr(event, "tag", None) is not None:
            why = "tags are not allowed"
        elif self.depth > DEPTH_MAX:
            why = "nested too deeply"
        elif self.values > VALUES_MAX:
            why = "more than {0} values".format(VALUES_MAX)
        if why:
            raise yaml.constructor.ConstructorError(None, None, why, event.start_mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping whose keys are texts, each there once."""
        seen = set()
        for key_node, _value in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
                raise yaml.constructor.ConstructorError(None, None, "a key is no text", key_node.start_mark)
            if key_node.value in seen:
                text = "the key {0!r} is there twice".format(clean_text(key_node.value, 60))
                raise yaml.constructor.ConstructorError(None, None, text, key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)


def parse_yaml(text: str, subject: str = REGISTRY_NAME) -> Any:
    """Return the value of one strict YAML document. Raises FindingError (APPROVAL-INVALID) with line and column."""
    return _load(text, subject)[1]


def compose_yaml(text: str, subject: str = REGISTRY_NAME) -> yaml.Node | None:
    """Return the node tree of one strict YAML document: where each value stands. Raises as `parse_yaml` does."""
    return _load(text, subject)[0]


def _load(text: str, subject: str) -> tuple[yaml.Node | None, Any]:
    if len(text.encode("utf-8", "surrogatepass")) > REGISTRY_MAX_BYTES:
        raise invalid(subject, "longer than {0} bytes".format(REGISTRY_MAX_BYTES))
    loader = None
    try:
        loader = StrictLoader(text)
        node = loader.get_single_node()
        # Twice-named keys and the like are only seen when the values are made.
        return node, None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "line {0}, column {1}: ".format(mark.line + 1, mark.column + 1) if mark else ""
        raise invalid(subject, where + (error.problem or error.context or "this is not YAML")) from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise invalid(subject, clean_text(error, 200) or "this is not YAML") from error
    finally:
        if loader is not None:
            loader.dispose()
