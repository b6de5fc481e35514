# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A desk where an approval is written and signed: an entry, three people's keys, allowed_signers (rows S6, T2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.plugin_utils.approval_policy import Judge, Policy
from ansible_collections.rampart.ollama.plugins.plugin_utils.approvals import load_registry
from approval_rig import Keys, payload

ALICE, BOB, CAROL = "alice@example.org", "bob@example.org", "carol@example.org"
USES = ["internal_chatbot"]


class Desk:
    """An entry fetched by Alice, the keys of three people, and the files beside the inventory."""

    def __init__(self, directory: Path, entry: dict[str, Any]) -> None:
        self.keys = Keys(directory / "keys")
        self.signers = directory / "allowed_signers"
        self.krl = directory / "revoked_keys"
        self.entry: dict[str, Any] = {
            **entry,
            "fetched_by": ALICE,
            "approved_uses": USES,
            "environments": ["dev", "staging", "prod", "demo"],
        }
        self.allow(self.keys.line(BOB, "bob"))

    def allow(self, *lines: str) -> None:
        """Write allowed_signers with these lines and Alice's: she fetched it, and has a key of her own."""
        self.allow_only(self.keys.line(ALICE, "alice"), *lines)

    def allow_only(self, *lines: str) -> None:
        self.signers.write_text("# who may sign\n\n" + "".join(lines))

    def sign(self, signer: str, key: str, entry: dict[str, Any] | None = None, **options: str) -> None:
        text = self.keys.sign(payload(entry or self.entry), key, **options)
        self.entry.setdefault("signatures", []).append({"signer": signer, "signature": text})

    def ask(self, environment: str = "prod", **policy: Any) -> str:
        """Return the code of the refusal, empty when the entry approves."""
        asked = {"use": tuple(USES), "signers": str(self.signers), **policy}
        registry = load_registry({"models": [self.entry]})
        try:
            Judge(registry, environment, Policy(**asked)).approve("m:1")
        except FindingError as error:
            self.said = str(error)
            assert len(self.said) < 1200
            assert "Traceback" not in self.said
            return error.finding.code
        return ""

    def findings(self, environment: str, **policy: Any) -> list[tuple[str, str]]:
        asked = Policy(use=tuple(USES), signers=str(self.signers), **policy)
        found = Judge(load_registry({"models": [self.entry]}), environment, asked).approve("m:1").findings
        return [(finding.code, finding.severity.value) for finding in found]
