# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge the approvals of a deployment on the controller, before anything moves."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.rampart.ollama.plugins.module_utils.findings import (
    Finding,
    FindingError,
    as_dicts,
    summary,
)
from ansible_collections.rampart.ollama.plugins.module_utils.revocation import parse_revocations
from ansible_collections.rampart.ollama.plugins.plugin_utils import approval_policy, approvals

ARGUMENTS: dict[str, dict[str, Any]] = {
    "path": {"type": "path", "required": True},
    "models": {"type": "list", "elements": "str", "default": []},
    "environment": {"type": "str", "required": True, "choices": list(approvals.ENVIRONMENTS)},
    "use": {"type": "list", "elements": "str", "default": []},
    "signers_file": {"type": "path"},
    # No secret: a list of public keys.
    "revoked_keys_file": {"type": "path", "no_log": False},
    "signature_required": {"type": "bool"},
    "revocations": {"type": "list", "elements": "dict", "default": []},
    "on_failure": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
}


class ActionModule(ActionBase):
    """Runs wholly on the controller: no connection is made and nothing is changed."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return ``approvals``, ``revocations``, ``findings``, ``refused`` and ``checks``."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        _validation, asked = self.validate_argument_spec(argument_spec=ARGUMENTS)
        result["changed"] = False
        try:
            registry = approvals.read_registry(asked["path"])
            policy = approval_policy.Policy(
                use=tuple(asked["use"]),
                signers=asked["signers_file"] or "",
                revoked_keys=asked["revoked_keys_file"] or "",
                signature_required=asked["signature_required"],
                revocations=parse_revocations(asked["revocations"]),
            )
        except FindingError as error:
            result.update(_failure([error.finding]))
            return result
        verdict = approval_policy.judge(registry, asked["models"], asked["environment"], policy)
        if verdict.refusals and asked["on_failure"] == "fail":
            result.update(_failure(verdict.refusals))
        result.update(
            approvals=verdict.entries,
            revocations=[revocation.as_dict() for revocation in registry.revocations],
            refused=as_dicts(verdict.refusals),
            findings=as_dicts([*verdict.refusals, *verdict.findings]),
            checks=as_dicts(verdict.checks()),
        )
        return result


def _failure(refusals: list[Finding]) -> dict[str, Any]:
    return {"failed": True, "msg": summary(refusals), "findings": as_dicts(refusals)}
