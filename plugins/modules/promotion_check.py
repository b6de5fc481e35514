# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin promotion_check."""

from __future__ import annotations

DOCUMENTATION = r"""
module: promotion_check
short_description: Looks whether what a host is about to get was promoted to its environment
description:
  - Looks for a promotion that counts and names every model, image and the collection with its very digest.
  - The rules are those of M(rampart.ollama.promotion_gate), applied anew each time. A key that was revoked since takes
    its promotions with it.
  - Does not fail for what it finds; the role C(rampart.ollama.promotion) does.
version_added: "0.2.0"
author:
  - Rampart contributors (@rampart)
extends_documentation_fragment:
  - rampart.ollama.attestation.reading
  - rampart.ollama.attestation.trust
  - rampart.ollama.attestation.promoted
options:
  environment:
    description: The environment of the host.
    type: str
    required: true
    choices: [dev, staging, prod, demo]
  valid_days:
    description: For how many days a promotion counts, from the oldest phase of its evidence.
    type: int
    default: 90
  allow_rollback:
    description:
      - The newest promotion of the environment replaces the older ones. This is the RV(id) of one that counts all the
        same; its evidence may be older than the newest's, nothing else is let off.
      - Needs O(rollback_reason).
    type: str
    default: ""
  rollback_reason:
    description: Why, in at least 10 characters. It stands in the evidence of the check C(promotion-signed).
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Look for the promotion
  rampart.ollama.promotion_check:
    environment: prod
    models: "{{ rampart_models }}"
    approvals: inventories/prod/models_registry.yaml
    images: ~/.local/share/rampart/artifacts/images.json
    trusted_keys: inventories/trusted_keys.yaml
    directory: inventories/promotions
  register: promoted
"""

RETURN = r"""
checks:
  description: The checks C(promotion-signed) and C(promotion-digests).
  returned: success
  type: list
  elements: dict
  sample:
    - id: promotion-signed
      status: passed
      evidence: promotion 0f3b5d7c9e1a2b4c6d8e0f1a3b5c7d9e, signed by alice@example.org (evidence)
findings:
  description: Why no promotion counts; empty when one does.
  returned: success
  type: list
  elements: dict
  sample: []
id:
  description: The promotion that counts; empty when none does.
  returned: success
  type: str
  sample: 0f3b5d7c9e1a2b4c6d8e0f1a3b5c7d9e
signers:
  description: Who has signed it; each with C(keyid), C(role), C(holder).
  returned: success
  type: list
  elements: dict
  sample: []
"""
