# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that names the known vulnerabilities of a version of Ollama."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.rampart.ollama.plugins.module_utils.cve import parse_table, version_findings
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, as_dicts


def cve_findings(version: Any, table: Any, subject: str = "ollama") -> list[dict[str, str]]:
    """Return the findings about a version as dictionaries. Raises AnsibleFilterError for a bad table."""
    try:
        return as_dicts(version_findings(version, parse_table(table), subject))
    except FindingError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"cve_findings": cve_findings}
