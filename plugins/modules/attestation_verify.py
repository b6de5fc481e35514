# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin attestation_verify."""

from __future__ import annotations

DOCUMENTATION = r"""
module: attestation_verify
short_description: Verifies an envelope and says what it says
description:
  - Verifies every signature of an envelope against the trusted keys, and shows the statement to a person who is about
    to sign it.
  - Whether it is enough for a promotion is decided by M(rampart.ollama.promotion_gate).
version_added: "0.2.0"
author:
  - Rampart contributors (@rampart)
extends_documentation_fragment:
  - rampart.ollama.attestation.reading
  - rampart.ollama.attestation.trust
options:
  envelope:
    description: The envelope.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Read what is to be signed
  rampart.ollama.attestation_verify:
    envelope: evidence.dsse.json
    trusted_keys: inventories/trusted_keys.yaml
  register: read
"""

RETURN = r"""
id:
  description: The first 32 hexadecimal digits of the payload's sha256.
  returned: success
  type: str
  sample: 0f3b5d7c9e1a2b4c6d8e0f1a3b5c7d9e
environment:
  description: The environment whose evidence it is.
  returned: success
  type: str
  sample: dev
promotes_to:
  description: The environment it may be promoted to; empty for none.
  returned: success
  type: str
  sample: staging
signers:
  description: Who has signed; each with C(keyid), C(role), C(holder).
  returned: success
  type: list
  elements: dict
  sample:
    - keyid: 5d1f7a2c9e0b4c8d6f3a1e5b7c9d0f2a4b6c8e0d1f3a5b7c9e1d3f5a7b9c1e3d
      role: evidence
      holder: alice@example.org
subjects:
  description: Sha256 (hexadecimal) by name of what was tested.
  returned: success
  type: dict
  sample:
    collection/rampart.ollama: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
summary:
  description: The statement in lines for a person.
  returned: success
  type: list
  elements: str
  sample: ["Evidence 0f3b5d7c9e1a2b4c6d8e0f1a3b5c7d9e of dev, 2026-11-24T10:00:00Z, for staging"]
"""
