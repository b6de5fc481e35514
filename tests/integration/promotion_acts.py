# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The actions about attestations and promotions as Ansible runs them, and what they are asked (rows S9, T2)."""

from __future__ import annotations

import datetime
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from ansible_collections.rampart.ollama.plugins.plugin_utils import attestation
from promotion_rig import MODEL, Company

PASSPHRASE = "seven-wet-lemons-argue"
NOW = datetime.datetime(2026, 11, 24, 12, 0, tzinfo=datetime.UTC)
KEY_ACTIONS = ("attestation_key", "attestation_evidence", "attestation_sign")
Act = Callable[..., dict[str, Any]]


def run_action(
    name: str,
    arguments: dict[str, Any],
    check: bool = False,
    diff: bool = False,
    host: str = "localhost",
    transport: str = "local",
) -> dict[str, Any]:
    """Return the result of a task that calls an action, as Ansible would run it."""
    module = importlib.import_module("ansible_collections.rampart.ollama.plugins.action." + name)
    task = SimpleNamespace(args=arguments, check_mode=check, diff=diff, async_val=0, action=name, delegate_to=None)
    connection = SimpleNamespace(transport=transport, _shell=SimpleNamespace(tmpdir="/nonexistent"))
    plugin = module.ActionModule(task, connection, None, None, None, None)
    result: dict[str, Any] = plugin.run(task_vars={"inventory_hostname": host})
    assert PASSPHRASE not in json.dumps(result)
    return result


def key_file(company: Company, name: str) -> str:
    path = company.root / f"{name}.pem"
    path.touch(0o600)
    encryption = BestAvailableEncryption(PASSPHRASE.encode())
    path.write_bytes(company.keys[name].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return str(path)


def refused(code: str, run: Callable[[], Any]) -> None:
    with pytest.raises(AnsibleActionFail) as failed:
        run()
    assert str(failed.value).startswith(code + ": ")
    assert PASSPHRASE not in str(failed.value)


def making(company: Company, **changes: Any) -> dict[str, Any]:
    return {
        "role": "reviewer",
        "holder": "eve@example.org",
        "environments": ["staging"],
        "private_key": str(company.root / "keys/new.pem"),
        "passphrase": PASSPHRASE,
        "trusted_keys": str(company.trusted_keys),
        **changes,
    }


def signing(company: Company, **changes: Any) -> dict[str, Any]:
    return {
        "environment": "dev",
        "hosts": ["h1"],
        "directory": str(company.reports_of("dev")),
        "dest": str(company.root / "evidence.dsse.json"),
        "private_key": key_file(company, "dev"),
        "passphrase": PASSPHRASE,
        "trusted_keys": str(company.trusted_keys),
        "promotions": str(company.promotions),
        **changes,
    }


def countersigning(company: Company, **changes: Any) -> dict[str, Any]:
    return {
        "envelope": str(company.root / "evidence.dsse.json"),
        "trusted_keys": str(company.trusted_keys),
        "private_key": key_file(company, "reviewer"),
        "passphrase": PASSPHRASE,
        **changes,
    }


def looking(company: Company, environment: str = "staging", **changes: Any) -> dict[str, Any]:
    return {
        "environment": environment,
        "models": [MODEL],
        "approvals": str(company.approvals),
        "images": str(company.images),
        "trusted_keys": str(company.trusted_keys),
        "directory": str(company.promotions),
        **changes,
    }


def promoting(company: Company, target: str = "staging", **changes: Any) -> dict[str, Any]:
    own = {"target": target, "envelope": str(company.root / "evidence.dsse.json")}
    return {**looking(company, target), **own, **changes}


def put(company: Company, envelope: attestation.Envelope) -> Path:
    path = company.root / "evidence.dsse.json"
    path.write_bytes(attestation.dump_envelope(envelope))
    return path


def tree(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}
