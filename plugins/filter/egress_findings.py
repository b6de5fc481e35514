# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that finds unexpected network attempts in the egress proxy's log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.rampart.ollama.plugins.module_utils.findings import as_dicts
from ansible_collections.rampart.ollama.plugins.module_utils.indicator_egress import egress_indicators, read_log


def egress_findings(log: Any, hosts: Any) -> list[dict[str, str]]:
    """Return the indicators in a log as dictionaries. Raises AnsibleFilterError for what is no log or no list."""
    if not isinstance(log, str):
        raise AnsibleFilterError("egress_findings: the log is a text")
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        raise AnsibleFilterError("egress_findings: hosts is a list of names")
    records, unread = read_log(log)
    return as_dicts(egress_indicators(records, hosts, unread))


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"egress_findings": egress_findings}
