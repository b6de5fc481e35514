# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the action plugins around signatures share: where they may run, how a refusal becomes a task's result."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.rampart.ollama.plugins.module_utils.findings import (
    Finding,
    Severity,
    as_dicts,
    refuse,
    summary,
)
from ansible_collections.rampart.ollama.plugins.plugin_utils import collection_digest, controls
from ansible_collections.rampart.ollama.plugins.plugin_utils.signing_keys import PASSPHRASE_MIN_CHARS


def now() -> datetime.datetime:
    """The present moment, UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def require_controller(task_vars: Mapping[str, Any] | None, transport: str) -> None:
    """Raise FindingError (ATTESTATION-NOT-LOCAL) unless the play runs on the controller, as localhost alone."""
    host = str((task_vars or {}).get("inventory_hostname", ""))
    if host != "localhost" or transport != "local":
        raise refuse(
            "ATTESTATION-NOT-LOCAL",
            host or "(no host)",
            f"the play runs on it over {transport}: private keys never touch a managed host",
            "Run it with hosts: localhost and connection: local, on the machine that keeps the key.",
            Severity.CRITICAL,
        )


def refuse_argv(passphrase: str) -> None:
    """Raise FindingError (ATTESTATION-PASSPHRASE-ARGV) when the passphrase stands in this process's arguments."""
    if len(passphrase) >= PASSPHRASE_MIN_CHARS and any(passphrase in argument for argument in sys.argv):
        raise refuse(
            "ATTESTATION-PASSPHRASE-ARGV",
            "passphrase",
            "it was given on the command line, where every user of this machine can read it",
            "Choose another one; type it when asked, or keep it in a file of ansible-vault and give -e @file.",
            Severity.CRITICAL,
        )


def catalogue(path: str | None) -> list[controls.Control]:
    """Return the control catalogue, the collection's own unless `path` names another.

    Raises FindingError (CATALOGUE-INVALID).
    """
    own = collection_digest.collection_root() / "roles" / "control_report" / "files" / "controls.yml"
    try:
        return controls.load_catalogue(path or own)
    except controls.CatalogueError as error:
        code, _colon, why = str(error).partition(": ")
        raise refuse(code, "catalogue", why, "Install the collection anew, or correct the catalogue.") from None


def read_text(path: str, code: str, remedy: str) -> str:
    """Return a text file's content. Raises FindingError with `code` when there is none."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "this is not UTF-8"
        raise refuse(code, path, why or "it cannot be read", remedy) from None


def approvals_text(path: str) -> str:
    """Return the text of models_registry.yaml. Raises FindingError (APPROVAL-FILE-MISSING)."""
    return read_text(
        path, "APPROVAL-FILE-MISSING", "Write it (docs/models_registry.md says how), or name another approvals file."
    )


def refusal(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the result of a task that was refused for these findings."""
    return {"failed": True, "msg": summary(findings, 20), "findings": as_dicts(findings)}
