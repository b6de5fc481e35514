# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look whether what a host is about to get was promoted to its environment."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, as_dicts
from ansible_collections.rampart.ollama.plugins.plugin_utils import (
    controller,
    promotion,
    promotion_lookup,
    subjects,
    trust,
)


class ActionModule(ActionBase):
    """Runs wholly on the controller: no connection is made and no host is changed."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return ``checks``, ``findings`` and the promotion's ``id``; ``changed`` is always false."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "environment": {"type": "str", "required": True, "choices": list(trust.ENVIRONMENTS)},
                "models": {"type": "list", "elements": "str", "required": True},
                "approvals": {"type": "path", "required": True},
                "images": {"type": "path", "required": True},
                "trusted_keys": {"type": "path", "required": True},
                "directory": {"type": "path", "required": True},
                "valid_days": {"type": "int", "default": 90},
                "allow_rollback": {"type": "str", "default": ""},
                "rollback_reason": {"type": "str", "default": ""},
                "catalogue": {"type": "path"},
            }
        )
        try:
            looked = self._look(arguments)
        except FindingError as error:
            raise AnsibleActionFail(str(error)) from None
        result.update(
            changed=False,
            checks=looked.checks(),
            findings=as_dicts(looked.findings),
            id=looked.found.envelope.id if looked.found else "",
            signers=[key.as_dict() for key in looked.found.signers] if looked.found else [],
        )
        return result

    @staticmethod
    def _look(arguments: dict[str, Any]) -> promotion_lookup.Lookup:
        promotion.require_target(arguments["environment"])
        wanted = subjects.expected(
            arguments["models"],
            controller.approvals_text(arguments["approvals"]),
            arguments["environment"],
            subjects.read_lock(arguments["images"]),
            arguments["images"],
        )
        return promotion_lookup.lookup(
            arguments["directory"],
            arguments["environment"],
            wanted,
            trust.load_trust(arguments["trusted_keys"]),
            controller.catalogue(arguments["catalogue"]),
            controller.now(),
            arguments["valid_days"],
            promotion_lookup.Rollback(arguments["allow_rollback"], arguments["rollback_reason"]),
        )
