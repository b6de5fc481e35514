# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter `rampart.ollama.model_reference`: the parts of a model's name."""

from __future__ import annotations

DOCUMENTATION = r"""
name: model_reference
author: Rampart contributors (@rampart)
short_description: The parts of a model's name
version_added: 0.1.0
description:
  - Parses every form of name that Ollama accepts and fills in its defaults.
  - Refuses C(http://), C(name@sha256:...), C(:cloud) and whatever is no name.
options:
  _input:
    description: The name, as C([host/][namespace/]model[:tag]).
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show the host a model comes from
  ansible.builtin.debug:
    msg: "{{ ('mistral:7b' | rampart.ollama.model_reference).host }}"
"""

RETURN = r"""
_value:
  description:
    - The parts host, namespace, model and tag.
    - The whole name as C(full), and the shortest text that means it as C(short).
  type: dict
  sample:
    host: registry.ollama.ai
    namespace: library
    model: mistral
    tag: 7b
    full: registry.ollama.ai/library/mistral:7b
    short: mistral:7b
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.module_utils.names import parse_name


def model_reference(name: Any) -> dict[str, str]:
    """Return the parts of a name, and it whole and short. Raises AnsibleFilterError with a finding's text."""
    try:
        parsed = parse_name(name)
        return {**parsed.as_dict(), "full": parsed.full, "short": parsed.short}
    except FindingError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Ansible's way of finding the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"model_reference": model_reference}
