# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify an envelope and say what it says, before somebody signs it or relies on it."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.plugin_utils import attestation, controller, trust
from ansible_collections.rampart.ollama.plugins.plugin_utils import statement as statements


class ActionModule(ActionBase):
    """Runs wholly on the controller; needs public keys only."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return ``id``, ``signers``, ``subjects`` and a ``summary``; ``changed`` is always false."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "envelope": {"type": "path", "required": True},
                "trusted_keys": {"type": "path", "required": True},
            }
        )
        try:
            envelope = attestation.read_envelope(arguments["envelope"])
            signed_by = trust.signers(envelope, trust.load_trust(arguments["trusted_keys"]), controller.now())
            statement = statements.parse(envelope)
        except FindingError as error:
            raise AnsibleActionFail(str(error)) from None
        result.update(
            changed=False,
            id=envelope.id,
            environment=statement.environment,
            promotes_to=statement.promotes_to,
            signers=[key.as_dict() for key in signed_by],
            subjects=dict(statement.subjects),
            summary=statements.describe(statement, signed_by, envelope.id),
        )
        return result
