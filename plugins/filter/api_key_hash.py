# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter `rampart.ollama.api_key_hash`: what the gateway stores of a user's key."""

from __future__ import annotations

DOCUMENTATION = r"""
name: api_key_hash
author: Rampart contributors (@rampart)
short_description: The keyed hash of a gateway API key
version_added: 0.1.0
description:
  - Returns the HMAC-SHA256 of a user's API key under the gateway's secret, all that the gateway stores of it.
  - Refuses a key or secret that is too short to be random enough. Neither ever appears in an error.
positional: _input, secret
options:
  _input:
    description: The API key, C(rmp_) followed by 43 characters of URL-safe base64 (256 random bits).
    type: str
    required: true
  secret:
    description: The gateway's hash key, 64 hexadecimal digits (32 random bytes).
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Note a user's key for the gateway
  ansible.builtin.set_fact:
    key_hash: "{{ vault_alice_key | rampart.ollama.api_key_hash(vault_gateway_hash_key) }}"
  no_log: true
"""

RETURN = r"""
_value:
  description: The hash, C(hmac-sha256:) followed by 64 hexadecimal digits.
  type: str
  sample: hmac-sha256:88aab3ede8d3adf94d26ab90d3bafd4a2083070c3bcce9c014ee04a443847c0b
"""

import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

_KEY = re.compile(r"\Armp_[A-Za-z0-9_-]{43}\Z")
_SECRET = re.compile(r"\A[0-9a-fA-F]{64}\Z")


def api_key_hash(key: Any, secret: Any) -> str:
    """Return the keyed hash of an API key. Raises AnsibleFilterError, never naming key or secret."""
    if not isinstance(key, str) or not _KEY.match(key):
        raise AnsibleFilterError(
            "GW-KEY-INVALID: an API key is rmp_ and 43 characters of A-Z a-z 0-9 _ -. Make a new one."
        )
    if not isinstance(secret, str) or not _SECRET.match(secret):
        raise AnsibleFilterError(
            "GW-SECRET-INVALID: the gateway's hash key is 64 hexadecimal digits. Make a new one."
        )
    # A text even when Ansible hands over a tagged one: the digest must not depend on its origin.
    digest = hmac.new(bytes.fromhex(str(secret)), str(key).encode("ascii"), hashlib.sha256).hexdigest()
    return "hmac-sha256:" + digest


class FilterModule:
    """Ansible's way of finding the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"api_key_hash": api_key_hash}
