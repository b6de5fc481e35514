# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a signing key on the controller, or trust one that was made elsewhere."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.plugin_utils import attestation, controller, signing_keys, trust

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class ActionModule(ActionBase):
    """Runs wholly on the controller, and only for localhost: a private key is made where it stays."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return ``keyid``, ``public_key`` and the paths that were written."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "role": {"type": "str", "required": True, "choices": list(trust.ROLES)},
                "holder": {"type": "str", "required": True},
                "environments": {"type": "list", "elements": "str", "default": []},
                "private_key": {"type": "path"},
                "passphrase": {"type": "str", "no_log": True},
                "public_key": {"type": "path"},
                "trusted_keys": {"type": "path", "required": True},
                "valid_days": {"type": "int", "default": 365},
            },
            mutually_exclusive=[["private_key", "public_key"]],
            required_one_of=[["private_key", "public_key"]],
            required_by={"private_key": ["passphrase"]},
        )
        try:
            controller.require_controller(task_vars, self._connection.transport)
            result.update(self._trust(arguments))
        except FindingError as error:
            raise AnsibleActionFail(str(error)) from None
        return result

    def _trust(self, arguments: dict[str, Any]) -> dict[str, Any]:
        path = Path(arguments["trusted_keys"])
        before = trust.read_text(path) if path.exists() else ""
        made = bool(arguments["private_key"])
        if made:
            controller.refuse_argv(arguments["passphrase"])
            signing_keys.check_passphrase(arguments["passphrase"])
            if Path(arguments["private_key"]).exists():
                raise signing_keys.key_exists(arguments["private_key"])
            # A rehearsal with a key that nobody keeps: what cannot be listed is refused before a key is made.
            self._listed(before, signing_keys.unkept_public(), arguments)
            if self._task.check_mode:
                return {"changed": True, "keyid": "", "public_key": "", "trusted_keys": str(path)}
            public_key = signing_keys.make_key(arguments["private_key"], arguments["passphrase"])
            pem = signing_keys.public_pem(public_key).encode()
            attestation.write_file(f"{arguments['private_key']}.pub", pem)
        else:
            pem_text = attestation.read_bytes(arguments["public_key"], signing_keys.KEY_MAX_BYTES)
            public_key = signing_keys.parse_public(pem_text.decode("utf-8", "replace"), arguments["public_key"])
        after = self._listed(before, public_key, arguments)
        if after != before and not self._task.check_mode:
            attestation.write_file(path, after.encode())
        found = {
            "changed": made or after != before,
            "keyid": attestation.keyid_of(public_key),
            "public_key": signing_keys.public_pem(public_key),
            "trusted_keys": str(path),
        }
        if self._task.diff:
            found["diff"] = {
                "before_header": str(path),
                "after_header": str(path),
                "before": before,
                "after": after,
            }
        return found

    @staticmethod
    def _listed(text: str, public_key: Ed25519PublicKey, arguments: dict[str, Any]) -> str:
        since = controller.now()
        until = since + datetime.timedelta(days=arguments["valid_days"])
        role, holder, places = arguments["role"], arguments["holder"], arguments["environments"]
        return trust.add_key(text, public_key, role, holder, places, since, until)
