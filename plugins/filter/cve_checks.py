# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that checks a version of Ollama against the lowest accepted one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.rampart.ollama.plugins.module_utils.cve import parse_table, version_check
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, as_dicts


def cve_checks(version: Any, table: Any) -> list[dict[str, str]]:
    """Return the check of a version as dictionaries. Raises AnsibleFilterError for a bad table."""
    try:
        return as_dicts([version_check(version, parse_table(table))])
    except FindingError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"cve_checks": cve_checks}
