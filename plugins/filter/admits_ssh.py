# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that says whether a rule set lets the present SSH connection in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.rampart.ollama.plugins.module_utils.ssh_peer import admits


def admits_ssh(rules: Any, connection: Any) -> bool:
    """Whether one of `rules` admits `connection`; what cannot be understood admits nothing."""
    return admits(rules, connection)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"admits_ssh": admits_ssh}
