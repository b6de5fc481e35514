# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that builds the seccomp profile of the containers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.rampart.ollama.plugins.module_utils.seccomp import DIGESTS, build, digest, render


def seccomp_profile(default: Any, reviewed: Any, gpu: bool = False) -> str:
    """Return the profile's text; one that is not what hosts know by its digest is refused."""
    try:
        text = render(build(default, reviewed, gpu=bool(gpu)))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError(f"CONFINE-SECCOMP: the data describes no profile: {error}") from error
    name = "rampart-gpu" if gpu else "rampart"
    if digest(text) != DIGESTS[name]:
        raise AnsibleFilterError(
            f"CONFINE-SECCOMP: the profile {name} that the data describes has the digest {digest(text)}, and hosts know"
            f" {DIGESTS[name]}. Review the change and record it in module_utils/seccomp.py."
        )
    return text


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"seccomp_profile": seccomp_profile}
