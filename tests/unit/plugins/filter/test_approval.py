# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S6, T2: the filter approval asks for use and signatures as the action does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.rampart.ollama.plugins.filter.approval import FilterModule
from approval_rig import Keys, payload

pytestmark = pytest.mark.row("S6")

ALICE, BOB = "alice@example.org", "bob@example.org"


@pytest.fixture
def find() -> Callable[..., dict[str, Any]]:
    found: Callable[..., dict[str, Any]] = FilterModule().filters()["approval"]
    return found


def test_s6_prod_asks_for_a_use_and_a_signature(
    find: Callable[..., dict[str, Any]], model: Callable[..., Any], tmp_path: Path
) -> None:
    entry = {**model("mistral:7b", b"w").entry(), "environments": ["prod"], "fetched_by": ALICE}
    with pytest.raises(AnsibleFilterError, match="APPROVAL-USE: "):
        find({"models": [entry]}, "mistral:7b", "prod")
    with pytest.raises(AnsibleFilterError, match="APPROVAL-UNSIGNED: "):
        find({"models": [entry]}, "mistral:7b", "prod", use="tests")
    keys = Keys(tmp_path / "keys")
    signers = tmp_path / "allowed_signers"
    signers.write_text(keys.line(ALICE, "alice") + keys.line(BOB, "bob"))
    entry["signatures"] = [{"signer": BOB, "signature": keys.sign(payload(entry), "bob")}]
    with pytest.raises(AnsibleFilterError, match="APPROVAL-SIGNERS-MISSING: "):
        find({"models": [entry]}, "mistral:7b", "prod", use="tests")
    text = yaml.safe_dump({"models": [entry]})
    assert find(text, "mistral:7b", "prod", use=["tests"], signers_file=str(signers)) == entry
    krl = tmp_path / "krl"
    krl.write_bytes(keys.krl("bob"))
    with pytest.raises(AnsibleFilterError, match="APPROVAL-SIGNATURE-INVALID: "):
        find(text, "mistral:7b", "prod", use="tests", signers_file=str(signers), revoked_keys_file=str(krl))


def test_s6_dev_goes_without_unless_it_asks(find: Callable[..., dict[str, Any]], model: Callable[..., Any]) -> None:
    data = {"models": [model("mistral:7b", b"w").entry()]}
    assert find(data, "mistral:7b", "dev")["name"] == "test"
    with pytest.raises(AnsibleFilterError, match="APPROVAL-UNSIGNED: "):
        find(data, "mistral:7b", "dev", signature_required=True)
    with pytest.raises(AnsibleFilterError, match="APPROVAL-USE: "):
        find(data, "mistral:7b", "dev", use="external_api")
