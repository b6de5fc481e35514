# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S1, S6, P1: the filters approval, model_reference and api_key_hash."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.rampart.ollama.plugins.filter import api_key_hash, approval, model_reference

KEY = "rmp_" + "aB3_-" * 8 + "xyz"
SECRET = "0f" * 32


def use(plugin: Any, name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = plugin.FilterModule().filters()[name]
    return found


def test_s6_the_approval_of_a_text_and_of_a_dictionary(model: Callable[..., Any]) -> None:
    made = model("mistral:7b", b"w")
    data = {"models": [made.entry()]}
    find = use(approval, "approval")
    assert find(yaml.safe_dump(data), "mistral:7b", "demo")["digest"] == made.digest
    assert find(data, "mistral:7b", "demo") == find(yaml.safe_dump(data), "mistral:7b", "demo")


@pytest.mark.parametrize(
    ("registry", "code"),
    [
        ("models: []", "APPROVAL-MISSING"),
        ("models: [", "APPROVAL-INVALID"),
        (None, "APPROVAL-INVALID"),
        (5, "APPROVAL-INVALID"),
    ],
)
def test_s6_a_refusal_is_a_filter_error_with_its_code(registry: Any, code: str) -> None:
    with pytest.raises(AnsibleFilterError, match=code + ": "):
        use(approval, "approval")(registry, "mistral:7b", "demo")


def test_s1_the_parts_of_a_name() -> None:
    assert use(model_reference, "model_reference")("hf.co/mistralai/M:Q4") == {
        "host": "hf.co",
        "namespace": "mistralai",
        "model": "M",
        "tag": "Q4",
        "full": "hf.co/mistralai/M:Q4",
        "short": "hf.co/mistralai/M:Q4",
    }
    with pytest.raises(AnsibleFilterError, match="NAME-CLOUD: "):
        use(model_reference, "model_reference")("m:cloud")


def test_p1_an_api_keys_hash_is_the_gateways() -> None:
    expected = hmac.new(bytes.fromhex(SECRET), KEY.encode(), hashlib.sha256).hexdigest()
    assert use(api_key_hash, "api_key_hash")(KEY, SECRET) == "hmac-sha256:" + expected


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        ("", SECRET),
        (None, SECRET),
        (KEY[:-1], SECRET),
        (KEY + "\n", SECRET),
        (KEY, ""),
        (KEY, SECRET[:-1]),
        (KEY, None),
    ],
)
def test_p1_a_weak_key_is_refused_and_never_named(key: Any, secret: Any) -> None:
    with pytest.raises(AnsibleFilterError, match=r"^GW-(KEY|SECRET)-INVALID: ") as caught:
        use(api_key_hash, "api_key_hash")(key, secret)
    assert not key or key.strip()[4:12] not in str(caught.value)
    assert not secret or secret[:8] not in str(caught.value)
