# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that turns indicators of compromise into a check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.rampart.ollama.plugins.module_utils.findings import Finding, as_dicts
from ansible_collections.rampart.ollama.plugins.module_utils.indicators import ioc_check


def ioc_checks(findings: Any) -> list[dict[str, str]]:
    """Return the check of a list of findings. Raises AnsibleFilterError for what is no list of findings."""
    if not isinstance(findings, list) or not all(isinstance(item, Mapping) for item in findings):
        raise AnsibleFilterError("ioc_checks: this is no list of findings")
    try:
        return as_dicts([ioc_check([Finding.from_dict(dict(item)) for item in findings])])
    except ValueError as error:
        raise AnsibleFilterError(f"ioc_checks: {error}") from error


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"ioc_checks": ioc_checks}
