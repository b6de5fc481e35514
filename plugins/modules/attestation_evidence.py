# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin attestation_evidence."""

from __future__ import annotations

DOCUMENTATION = r"""
module: attestation_evidence
short_description: Puts the evidence of an environment into one signed statement
description:
  - Reads what M(rampart.ollama.control_evidence) recorded of the hosts and makes one in-toto Statement v1 of it, in a
    DSSE envelope signed with the environment's evidence key.
  - Subjects are the models' manifests, the images and their archive, and the files of the collection.
  - Refuses evidence that is missing, out of order, of another host, or that does not say what it is about.
version_added: "0.2.0"
author:
  - Rampart contributors (@rampart)
extends_documentation_fragment:
  - rampart.ollama.attestation
  - rampart.ollama.attestation.trust
options:
  environment:
    description: The environment whose hosts the evidence is of.
    type: str
    required: true
    choices: [dev, staging, prod, demo]
  hosts:
    description: Inventory names of the hosts; all of them.
    type: list
    elements: str
    required: true
  directory:
    description: Directory on the controller that holds the evidence.
    type: path
    required: true
  dest:
    description: File that receives the envelope. A former one of the same evidence is kept, with its signatures.
    type: path
    required: true
  private_key:
    description: The evidence key of the environment, of mode 0600 and encrypted.
    type: path
    required: true
  passphrase:
    description: Decrypts the key. Prompt for it or keep it in Ansible vault.
    type: str
    required: true
  promotions:
    description: Directory of the promotions. Staging's evidence carries the promotion it was installed by.
    type: path
    required: true
  valid_days:
    description: For how many days a promotion counts, from the oldest phase of its evidence.
    type: int
    default: 90
  catalogue:
    description: Path of another control catalogue than the collection's own.
    type: path
"""

EXAMPLES = r"""
- name: Sign the evidence of dev
  rampart.ollama.attestation_evidence:
    environment: dev
    hosts: "{{ groups['ollama_hosts'] }}"
    directory: inventories/dev/reports
    dest: inventories/dev/reports/dev/evidence.dsse.json
    private_key: ~/.config/rampart/keys/dev-evidence.pem
    passphrase: "{{ vault_evidence_passphrase }}"
    trusted_keys: inventories/trusted_keys.yaml
    promotions: inventories/promotions
  no_log: true
"""

RETURN = r"""
path:
  description: Where the envelope lies.
  returned: success
  type: str
  sample: inventories/dev/reports/dev/evidence.dsse.json
id:
  description: The first 32 hexadecimal digits of the payload's sha256.
  returned: success
  type: str
  sample: 0f3b5d7c9e1a2b4c6d8e0f1a3b5c7d9e
summary:
  description: What was signed, in lines for a person.
  returned: success
  type: list
  elements: str
  sample: ["Evidence 0f3b5d7c9e1a2b4c6d8e0f1a3b5c7d9e of dev, 2026-11-24T10:00:00Z, for staging"]
"""
