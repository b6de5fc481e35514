# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Add, update, sign, remove or revoke an entry of models_registry.yaml, on the controller."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, as_dicts
from ansible_collections.rampart.ollama.plugins.plugin_utils.approval_work import ARGUMENTS, RULES, Outcome, plan


class ActionModule(ActionBase):
    """Runs wholly on the controller: no connection is made and no host is changed."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return ``entry`` or ``revocation``, what ``changes``, ``payload``, ``manifest`` and ``commit``."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        _validation, asked = self.validate_argument_spec(argument_spec=ARGUMENTS, **RULES)
        outcome: Outcome | None = None
        try:
            outcome = plan(asked, signing=not self._task.check_mode)
            if not self._task.check_mode:
                outcome.carry_out()
        except FindingError as error:
            # What was written before git refused is said, not hidden.
            result.update(outcome.as_result() if outcome else {})
            result.update(failed=True, msg=str(error), findings=as_dicts([error.finding]))
            return result
        result.update(outcome.as_result(), findings=[])
        if self._task.diff:
            result["diff"] = outcome.as_diff()
        return result
