# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Promote: hold a signed envelope against the rules of an environment and keep it beside that inventory."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, Severity, refuse
from ansible_collections.rampart.ollama.plugins.plugin_utils import (
    attestation,
    controller,
    promotion,
    promotion_lookup,
    subjects,
    trust,
)


class ActionModule(ActionBase):
    """Runs wholly on the controller; needs public keys only."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return ``path``, ``id``, ``signers`` and ``subjects`` of the promotion; fails with every reason at once."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "target": {"type": "str", "required": True, "choices": list(trust.ENVIRONMENTS)},
                "environment": {"type": "str", "required": True, "choices": list(trust.ENVIRONMENTS)},
                "envelope": {"type": "path", "required": True},
                "models": {"type": "list", "elements": "str", "required": True},
                "approvals": {"type": "path", "required": True},
                "images": {"type": "path", "required": True},
                "trusted_keys": {"type": "path", "required": True},
                "directory": {"type": "path", "required": True},
                "max_age_days": {"type": "int", "default": 14},
                "catalogue": {"type": "path"},
            }
        )
        try:
            result.update(self._promote(arguments))
        except FindingError as error:
            raise AnsibleActionFail(str(error)) from None
        return result

    def _promote(self, arguments: dict[str, Any]) -> dict[str, Any]:
        target = arguments["target"]
        promotion.require_target(target)
        if arguments["environment"] != target:
            raise refuse(
                "PROMOTION-INVENTORY",
                target,
                f"the inventory is {arguments['environment']}'s",
                f"Give the inventory of {target}: its models and approvals are what is promoted to.",
                Severity.CRITICAL,
            )
        wanted = subjects.expected(
            arguments["models"],
            controller.approvals_text(arguments["approvals"]),
            target,
            subjects.read_lock(arguments["images"]),
            arguments["images"],
        )
        judged = promotion.judge(
            attestation.read_envelope(arguments["envelope"]),
            target,
            trust.load_trust(arguments["trusted_keys"]),
            controller.catalogue(arguments["catalogue"]),
            controller.now(),
            arguments["max_age_days"],
        )
        findings = list(judged.findings)
        if judged.statement is not None:
            findings.extend(subjects.differences(wanted, judged.statement.subjects, "the evidence"))
        if findings:
            return controller.refusal(findings)
        data = attestation.dump_envelope(judged.envelope)
        path = promotion_lookup.record_path(arguments["directory"], target, judged.envelope)
        changed = not path.exists() or attestation.read_bytes(path, len(data)) != data
        if changed and not self._task.check_mode:
            attestation.write_file(path, data)
        return {
            "changed": changed,
            "path": str(path),
            "id": judged.envelope.id,
            "signers": [key.as_dict() for key in judged.signers],
            "subjects": wanted,
        }
