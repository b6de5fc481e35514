# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Add a signature to an envelope: with a key of this machine, or with one that never leaves another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, Severity, refuse
from ansible_collections.rampart.ollama.plugins.plugin_utils import (
    attestation,
    controller,
    promotion,
    signing_keys,
    trust,
)
from ansible_collections.rampart.ollama.plugins.plugin_utils import statement as statements


class ActionModule(ActionBase):
    """Runs wholly on the controller, and only for localhost: where a key is used, no host is near."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return ``path``, ``id``, ``keyid`` and ``signers``; the envelope's payload is never changed."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "envelope": {"type": "path", "required": True},
                "dest": {"type": "path"},
                "trusted_keys": {"type": "path", "required": True},
                "private_key": {"type": "path"},
                "passphrase": {"type": "str", "no_log": True},
                "signature": {"type": "path"},
                "keyid": {"type": "str"},
                "pae": {"type": "path"},
                "id": {"type": "str"},
            },
            mutually_exclusive=[["private_key", "signature", "pae"]],
            required_one_of=[["private_key", "signature", "pae"]],
            required_by={"private_key": ["passphrase"], "signature": ["keyid"]},
        )
        try:
            controller.require_controller(task_vars, self._connection.transport)
            result.update(self._sign(arguments))
        except FindingError as error:
            raise AnsibleActionFail(str(error)) from None
        return result

    def _sign(self, arguments: dict[str, Any]) -> dict[str, Any]:
        moment = controller.now()
        trusted = trust.load_trust(arguments["trusted_keys"])
        envelope = attestation.read_envelope(arguments["envelope"])
        # Nobody puts a name under what somebody unknown has signed, or changed since.
        signed_by = trust.signers(envelope, trusted, moment)
        statements.parse(envelope)
        if arguments["id"] and arguments["id"] != envelope.id:
            raise refuse(
                "ATTESTATION-CHANGED",
                arguments["envelope"],
                f"it is {envelope.id} now, shown was {arguments['id']}",
                "Find out who replaced it while you were reading; then read and sign anew.",
                Severity.CRITICAL,
            )
        if arguments["pae"]:
            return self._write(arguments["pae"], envelope.pae, envelope, signed_by, "")
        if arguments["private_key"]:
            controller.refuse_argv(arguments["passphrase"])
            private_key = signing_keys.load_private(arguments["private_key"], arguments["passphrase"])
            key = trust.require_known(attestation.keyid_of(private_key.public_key()), trusted, moment)
            signed = attestation.sign(envelope, private_key)
        else:
            key = trust.require_known(arguments["keyid"], trusted, moment)
            raw = attestation.read_bytes(arguments["signature"], attestation.SIGNATURE_BYTES)
            signed = attestation.attach(envelope, key.public_key, raw)
        dest = arguments["dest"] or arguments["envelope"]
        signed_by = trust.signers(signed, trusted, moment)
        for finding in promotion.one_role_each(signed_by):
            raise FindingError(finding)
        return self._write(dest, attestation.dump_envelope(signed), signed, signed_by, key.keyid)

    def _write(
        self,
        path: str,
        data: bytes,
        envelope: attestation.Envelope,
        signed_by: tuple[trust.TrustedKey, ...],
        keyid: str,
    ) -> dict[str, Any]:
        target = Path(path)
        changed = not target.exists() or attestation.read_bytes(target, len(data)) != data
        if changed and not self._task.check_mode:
            attestation.write_file(target, data)
        return {
            "changed": changed,
            "path": path,
            "id": envelope.id,
            "keyid": keyid,
            "signers": [key.as_dict() for key in signed_by],
        }
