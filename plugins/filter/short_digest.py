# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that shortens a digest to what a person compares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.module_utils.names import parse_digest

SHORTEST = 6
LONGEST = 64


def short_digest(digest: Any, length: int = 12) -> str:
    """Return `sha256:` and the first `length` hexadecimal digits. Raises AnsibleFilterError with a finding's text."""
    if not isinstance(length, int) or isinstance(length, bool) or not SHORTEST <= length <= LONGEST:
        raise AnsibleFilterError(f"short_digest: length is a whole number from {SHORTEST} to {LONGEST}")
    try:
        return parse_digest(digest)[: len("sha256:") + length]
    except FindingError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"short_digest": short_digest}
