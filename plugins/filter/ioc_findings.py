# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that names the indicators of compromise of a model."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, as_dicts
from ansible_collections.rampart.ollama.plugins.module_utils.indicators import (
    DEFAULT_TOLERANCE,
    date_of,
    indicators,
    policy_from,
)


def ioc_findings(
    entry: Any,
    gguf_info: Any,
    policy: Any = None,
    first: bool = False,
    tolerance: float = DEFAULT_TOLERANCE,
    published: Any = None,
) -> list[dict[str, str]]:
    """Return the indicators as dictionaries. Raises AnsibleFilterError for what is no entry, information or policy."""
    if not isinstance(entry, Mapping) or not isinstance(gguf_info, Mapping):
        raise AnsibleFilterError("ioc_findings: give an approval's entry and what ollama_gguf_info returned")
    if not isinstance(tolerance, (int, float)) or isinstance(tolerance, bool):
        raise AnsibleFilterError("ioc_findings: tolerance is a number from 0 up to 1")
    day = date_of(published)
    if published and day is None:
        raise AnsibleFilterError("ioc_findings: published is no date (YYYY-MM-DD)")
    now = datetime.datetime.now(datetime.UTC)
    try:
        known = policy_from(policy or {})
        return as_dicts(indicators(entry, gguf_info, None, now, tolerance, known, bool(first), day))
    except FindingError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"ioc_findings": ioc_findings}
