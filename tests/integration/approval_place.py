# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository with an approvals file and the two actions on it, run as Ansible runs them (rows S6, T2)."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import yaml

from approval_rig import Keys, Repository, manifest

ALICE, BOB = "alice@example.org", "bob@example.org"
REFERENCE = "mistral:7b"
FULL = "registry.ollama.ai/library/mistral:7b"
RAW = manifest()
DECIDED = {
    "risk_level": "LOW",
    "approved_uses": ["internal_chatbot"],
    "environments": ["dev", "prod"],
    "verified_by": ALICE,
    "fetched_by": ALICE,
}


def act(name: str, arguments: dict[str, Any], check: bool = False, diff: bool = False) -> dict[str, Any]:
    """Run an action plugin and return its result."""
    module = importlib.import_module("ansible_collections.rampart.ollama.plugins.action." + name)
    task = SimpleNamespace(
        args=arguments, action=name, resolved_action=name, check_mode=check, diff=diff, async_val=0, delegate_to=None
    )
    connection = mock.MagicMock(transport="local")
    plugin = module.ActionModule(task, connection, None, None, None, None)
    result: dict[str, Any] = plugin.run(None, {"inventory_hostname": "localhost"})
    assert "Traceback" not in str(result)
    assert not connection.method_calls
    return result


class Place:
    """A repository with an approvals file, keys, and the two actions on them."""

    def __init__(self, root: Path) -> None:
        self.repository = Repository(root / "repository")
        self.file = self.repository.file
        self.keys = Keys(root / "keys")
        self.signers = self.repository.inventory / "allowed_signers"
        self.signers.write_text(self.keys.line(ALICE, "alice") + self.keys.line(BOB, "bob"))

    def do(self, check: bool = False, diff: bool = False, **arguments: Any) -> dict[str, Any]:
        asked = {"path": str(self.file), "reference": REFERENCE, **arguments}
        asked = {key: value for key, value in asked.items() if value is not None}
        return act("ollama_model_approval", asked, check, diff)

    def approve(self, check: bool = False, diff: bool = False, **arguments: Any) -> dict[str, Any]:
        return self.do(check, diff, **{"manifest": RAW.decode(), **DECIDED, **arguments})

    def sign(self, signer: str = BOB, key: str = "bob", **arguments: Any) -> dict[str, Any]:
        return self.do(signer=signer, key=str(self.keys.path(key)), signers_file=str(self.signers), **arguments)

    def judge(self, **arguments: Any) -> dict[str, Any]:
        asked = {
            "path": str(self.file),
            "models": [REFERENCE],
            "environment": "prod",
            "use": ["internal_chatbot"],
            "signers_file": str(self.signers),
        }
        return act("ollama_model_approval_info", {**asked, **arguments})

    def entries(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = yaml.safe_load(self.file.read_text())["models"]
        return found


def refused(result: dict[str, Any]) -> str:
    """The code of a refusal that is one clear message."""
    assert result["failed"], result
    assert len(result["findings"]) >= 1
    code: str = result["findings"][0]["code"]
    assert result["msg"].startswith(code + ": ")
    assert result["findings"][0]["remedy"] in result["msg"]
    return code
