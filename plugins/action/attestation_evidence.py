# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the evidence of an environment into one statement and sign it with the environment's evidence key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, refuse
from ansible_collections.rampart.ollama.plugins.plugin_utils import (
    attestation,
    controller,
    promotion_lookup,
    signing_keys,
    trust,
)
from ansible_collections.rampart.ollama.plugins.plugin_utils import statement as statements


class ActionModule(ActionBase):
    """Runs wholly on the controller, and only for localhost: hosts record, the controller signs."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return ``path``, ``id`` and the ``summary`` of what was signed."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "environment": {"type": "str", "required": True, "choices": list(trust.ENVIRONMENTS)},
                "hosts": {"type": "list", "elements": "str", "required": True},
                "directory": {"type": "path", "required": True},
                "dest": {"type": "path", "required": True},
                "private_key": {"type": "path", "required": True},
                "passphrase": {"type": "str", "required": True, "no_log": True},
                "trusted_keys": {"type": "path", "required": True},
                "promotions": {"type": "path", "required": True},
                "valid_days": {"type": "int", "default": 90},
                "catalogue": {"type": "path"},
            }
        )
        try:
            controller.require_controller(task_vars, self._connection.transport)
            controller.refuse_argv(arguments["passphrase"])
            result.update(self._sign(arguments))
        except FindingError as error:
            raise AnsibleActionFail(str(error)) from None
        return result

    def _sign(self, arguments: dict[str, Any]) -> dict[str, Any]:
        environment, moment = arguments["environment"], controller.now()
        trusted = trust.load_trust(arguments["trusted_keys"])
        catalogue = controller.catalogue(arguments["catalogue"])
        private_key = signing_keys.load_private(arguments["private_key"], arguments["passphrase"])
        key = trust.require_known(attestation.keyid_of(private_key.public_key()), trusted, moment)
        if key.role != "evidence" or environment not in key.environments:
            raise refuse(
                "ATTESTATION-ROLE",
                f"key {key.keyid[:16]} of {key.holder}",
                f"it is a key of {key.role} for {', '.join(key.environments) or 'no environment'}",
                f"Sign with the evidence key of {environment}.",
            )

        def find(wanted: Mapping[str, str]) -> attestation.Envelope | None:
            # Only staging hands on: its evidence carries dev's, so that prod sees the whole way.
            if statements.NEXT.get(environment) is None or environment not in statements.PREVIOUS:
                return None
            looked = promotion_lookup.lookup(
                arguments["promotions"], environment, wanted, trusted, catalogue, moment, arguments["valid_days"]
            )
            if looked.found is None:
                raise FindingError(looked.findings[0])
            return looked.found.envelope

        payload = statements.build(environment, arguments["hosts"], arguments["directory"], catalogue, moment, find)
        envelope = attestation.sign(attestation.Envelope(payload), private_key)
        dest = Path(arguments["dest"])
        there = self._there(dest, trusted)
        changed = there is None or not statements.same_but_for_time(there.payload, payload)
        if not changed and there is not None:
            envelope = there
        elif not self._task.check_mode:
            attestation.write_file(dest, attestation.dump_envelope(envelope))
        statement = statements.parse(envelope)
        signed_by = trust.signers(envelope, trusted, moment)
        return {
            "changed": changed,
            "path": str(dest),
            "id": envelope.id,
            "summary": statements.describe(statement, signed_by, envelope.id),
        }

    @staticmethod
    def _there(dest: Path, trusted: trust.Trust) -> attestation.Envelope | None:
        """Return the envelope of a former run, if it still counts: it may carry other people's signatures."""
        if not dest.exists():
            return None
        try:
            envelope = attestation.read_envelope(dest)
            trust.signers(envelope, trusted, controller.now())
            statements.parse(envelope)
        except FindingError:
            return None
        return envelope
