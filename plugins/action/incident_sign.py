# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold a fetched archive against its sha256 on the host, and sign it with the environment's evidence key."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.rampart.ollama.plugins.module_utils.findings import (
    Finding,
    FindingError,
    Severity,
    as_dicts,
    refuse,
)
from ansible_collections.rampart.ollama.plugins.plugin_utils import (
    attestation,
    controller,
    incident,
    signing_keys,
    trust,
)

PREDICATE_TYPE = "https://rampart.example/attestation/incident/v1"
CHUNK = 1024 * 1024


class ActionModule(ActionBase):
    """Runs wholly on the controller, for a host: no connection is made, so that no key ever leaves this machine."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return ``signed``, ``path`` of the envelope, ``sha256``, ``size``, ``keyid`` and ``findings``."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "archive": {"type": "path", "required": True},
                "sha256": {"type": "str", "required": True},
                "directory": {"type": "path", "required": True},
                "environment": {"type": "str", "required": True, "choices": list(trust.ENVIRONMENTS)},
                "host": {"type": "str", "required": True},
                "private_key": {"type": "path", "default": ""},
                "passphrase": {"type": "str", "default": "", "no_log": True},
                "trusted_keys": {"type": "path", "default": ""},
            }
        )
        try:
            controller.refuse_argv(arguments["passphrase"])
            result.update(self._sign(arguments))
        except FindingError as error:
            raise AnsibleActionFail(str(error)) from None
        return result

    def _sign(self, arguments: dict[str, Any]) -> dict[str, Any]:
        archive = Path(arguments["archive"])
        sha256, size = _measure(archive)
        if sha256 != arguments["sha256"]:
            raise refuse(
                "INCIDENT-ARCHIVE-CHANGED",
                str(archive),
                f"its sha256 is {sha256}, on the host it was {arguments['sha256'] or 'not known'}",
                "Keep both files, and find out what changed one of them on the way.",
                Severity.CRITICAL,
            )
        place = incident.host_directory(arguments["directory"], arguments["environment"], arguments["host"])
        record = incident.current(place)
        if record is None:
            raise refuse("INCIDENT-NOT-OPEN", arguments["host"], "it has no open incident", "Isolate the host first.")
        envelope_path = archive.with_name(archive.name + ".dsse.json")
        answer = {"sha256": sha256, "size": size, "path": str(envelope_path), "keyid": "", "findings": []}
        missing = self._missing(arguments)
        if missing:
            unsigned = Finding(
                "INCIDENT-UNSIGNED",
                Severity.MEDIUM,
                archive.name,
                f"the archive is kept unsigned: {missing}",
                "Make the environment's evidence key (make_keys.yml), then run incident.yml with incident_action=sign.",
            )
            return {**answer, "changed": False, "signed": False, "findings": as_dicts([unsigned])}
        moment = controller.now()
        private_key = signing_keys.load_private(arguments["private_key"], arguments["passphrase"])
        keyid = attestation.keyid_of(private_key.public_key())
        trusted = trust.load_trust(arguments["trusted_keys"])
        key = trust.require_known(keyid, trusted, moment)
        if key.role != "evidence" or arguments["environment"] not in key.environments:
            raise refuse(
                "ATTESTATION-ROLE",
                f"key {key.keyid[:16]} of {key.holder}",
                f"it is a key of {key.role} for {', '.join(key.environments) or 'no environment'}",
                f"Sign with the evidence key of {arguments['environment']}.",
            )
        if _counts(envelope_path, sha256, trusted):
            return {**answer, "changed": False, "signed": True, "keyid": keyid}
        predicate = {
            "incident": record.id,
            "environment": arguments["environment"],
            "host": arguments["host"],
            # Entries that are cut off the record later are missed by whoever has this.
            "record": {"entries": len(record.entries), "head": record.last_hash},
            "archive": {"size": size},
            "signed_at": trust.format_time(moment),
        }
        payload = attestation.dump_statement(PREDICATE_TYPE, {archive.name: sha256}, predicate)
        envelope = attestation.sign(attestation.Envelope(payload), private_key)
        if not self._task.check_mode:
            attestation.write_file(envelope_path, attestation.dump_envelope(envelope))
        return {**answer, "changed": True, "signed": True, "keyid": keyid}

    @staticmethod
    def _missing(arguments: dict[str, Any]) -> str:
        """Return what there is not to sign with, empty when all is there."""
        if not arguments["private_key"]:
            return "no key is configured"
        if not Path(arguments["private_key"]).exists():
            return f"there is no key {arguments['private_key']}"
        return "" if arguments["passphrase"] else "no passphrase was given"


def _measure(path: Path) -> tuple[str, int]:
    """Return (sha256, size) of a file. Raises FindingError (INCIDENT-ARCHIVE-READ)."""
    digest, size = hashlib.sha256(), 0
    try:
        with open(path, "rb") as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise refuse(
            "INCIDENT-ARCHIVE-READ", str(path), error.strerror or error, "Preserve again, or free space here."
        ) from None
    return digest.hexdigest(), size


def _counts(path: Path, sha256: str, trusted: trust.Trust) -> bool:
    """Whether there is an envelope about this very archive whose signatures count."""
    if not path.exists():
        return False
    try:
        envelope = attestation.read_envelope(path)
        trust.signers(envelope, trusted, controller.now())
        about, _predicate = attestation.parse_statement(envelope.payload, PREDICATE_TYPE, envelope.id)
    except FindingError:
        return False
    return sha256 in about.values()
