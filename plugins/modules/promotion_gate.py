# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin promotion_gate."""

from __future__ import annotations

DOCUMENTATION = r"""
module: promotion_gate
short_description: Promotes models, images and the collection by signed evidence
description:
  - Holds a signed envelope against the rules of the target and against what the target is about to get, byte for byte,
    and keeps it in the directory of the promotions.
  - Staging needs dev's evidence of phases 1 to 4 with every control that is mandatory there and no failed test, signed
    by dev's evidence key and by a reviewer.
  - Prod needs staging's evidence of phases 1 to 5 with every control that is mandatory in staging or prod, signed by
    staging's evidence key and by the security officer. It carries the promotion by which staging got the same bytes.
  - All reasons are told at once, each with its code.
version_added: "0.2.0"
author:
  - Rampart contributors (@rampart)
extends_documentation_fragment:
  - rampart.ollama.attestation
  - rampart.ollama.attestation.trust
  - rampart.ollama.attestation.promoted
options:
  target:
    description: The environment that is promoted to. V(dev) and V(demo) are refused; nothing flows back.
    type: str
    required: true
    choices: [dev, staging, prod, demo]
  environment:
    description: The environment of the inventory that is in use; it has to be the target.
    type: str
    required: true
    choices: [dev, staging, prod, demo]
  envelope:
    description: The signed evidence.
    type: path
    required: true
  max_age_days:
    description: How many days old the oldest phase of any host may be.
    type: int
    default: 14
"""

EXAMPLES = r"""
- name: Promote to prod
  rampart.ollama.promotion_gate:
    target: prod
    environment: "{{ rampart_environment }}"
    envelope: evidence.dsse.json
    models: "{{ rampart_models }}"
    approvals: inventories/prod/models_registry.yaml
    images: ~/.local/share/rampart/artifacts/images.json
    trusted_keys: inventories/trusted_keys.yaml
    directory: inventories/promotions
"""

RETURN = r"""
path:
  description: Where the promotion lies.
  returned: success
  type: str
  sample: inventories/promotions/prod/0f3b5d7c9e1a2b4c6d8e0f1a3b5c7d9e.dsse.json
id:
  description: The first 32 hexadecimal digits of the payload's sha256.
  returned: success
  type: str
  sample: 0f3b5d7c9e1a2b4c6d8e0f1a3b5c7d9e
signers:
  description: Who has signed; each with C(keyid), C(role), C(holder).
  returned: success
  type: list
  elements: dict
  sample:
    - keyid: 5d1f7a2c9e0b4c8d6f3a1e5b7c9d0f2a4b6c8e0d1f3a5b7c9e1d3f5a7b9c1e3d
      role: security_officer
      holder: carol@example.org
subjects:
  description: Sha256 (hexadecimal) by name of what the target is about to get.
  returned: success
  type: dict
  sample:
    collection/rampart.ollama: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
findings:
  description: Why the promotion was refused.
  returned: failure
  type: list
  elements: dict
  sample:
    - code: PROMOTION-UNAPPROVED
      severity: critical
      subject: prod
      evidence: no security_officer for prod signed
      remedy: Have a security_officer who is not the author read it and sign it (countersign.yml).
"""
