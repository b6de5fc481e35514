# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask VirusTotal about hashes from the controller: hosts have no way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.rampart.ollama.plugins.module_utils.findings import summary
from ansible_collections.rampart.ollama.plugins.plugin_utils import virustotal
from ansible_collections.rampart.ollama.plugins.plugin_utils.virustotal_state import DAY, Quota


class ActionModule(ActionBase):
    """Runs wholly on the controller: no connection is made and no host is changed."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return ``verdict``, ``files``, ``findings`` and ``checks``; ``changed`` is always false."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "digests": {"type": "list", "elements": "str", "required": True},
                "api_key": {"type": "str", "required": True, "no_log": True},
                "state_file": {"type": "path", "default": "~/.cache/rampart/virustotal.json"},
                "per_minute": {"type": "int", "default": 4},
                "per_day": {"type": "int", "default": 500},
                "max_wait": {"type": "int", "default": 300},
                "max_age": {"type": "int", "default": 7},
                "timeout": {"type": "int", "default": 30},
                "ca_bundle": {"type": "path"},
                "on_failure": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
            }
        )
        settings = virustotal.Settings(
            api_key=arguments["api_key"],
            state=Path(arguments["state_file"]).expanduser(),
            quota=Quota(max(1, arguments["per_minute"]), max(1, arguments["per_day"])),
            max_wait=arguments["max_wait"],
            timeout=max(1, arguments["timeout"]),
            answers_seconds=arguments["max_age"] * DAY,
            ca_bundle=arguments["ca_bundle"],
            cached_only=self._task.check_mode,
        )
        report = virustotal.look_up(arguments["digests"], settings)
        result.update(report.as_result(), changed=False)
        if report.verdict == "failed" and arguments["on_failure"] == "fail":
            result.update(failed=True, msg=summary(report.findings))
        return result
