# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and check the attacks' files on the controller and run the module with those that start where it is asked to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.vars import merge_hash

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.plugin_utils.attack_catalogue import (
    DEFAULT_DIRECTORY,
    for_hosts,
    load_attacks,
)


class ActionModule(ActionBase):
    """The module ollama_isolation_attack, its attacks taken from files."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module returns."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        arguments = dict(self._task.args)
        directory = Path(arguments.pop("directory", None) or DEFAULT_DIRECTORY)
        if "definitions" in arguments:
            raise AnsibleActionFail("ATTACK-FILE: definitions are read from files; give their directory.")
        try:
            attacks = load_attacks(directory)
        except FindingError as error:
            raise AnsibleActionFail(str(error)) from None
        arguments["definitions"] = for_hosts(attacks, str(arguments.get("from")))
        done = self._execute_module(module_args=arguments, task_vars=task_vars or {})
        merged: dict[str, Any] = merge_hash(result, done)
        # The definitions are no argument anybody gave.
        (merged.get("invocation") or {}).get("module_args", {}).pop("definitions", None)
        return merged
