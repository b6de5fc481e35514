# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin attestation_key."""

from __future__ import annotations

DOCUMENTATION = r"""
module: attestation_key
short_description: Makes a signing key on the controller, or trusts one that was made elsewhere
description:
  - Makes an Ed25519 key pair and adds its public half to the trusted keys, with its holder, role and time.
  - The private key is written as encrypted PKCS#8 PEM, mode 0600, beside a file C(.pub). It is never overwritten and
    never leaves the controller. The play has to run as C(localhost) over the connection C(local).
  - With O(public_key), only the entry is added. This is the way for keys of tokens and offline machines.
version_added: "0.2.0"
author:
  - Rampart contributors (@rampart)
attributes:
  check_mode:
    support: full
    description: In check mode everything is looked at, no key is made and nothing is written.
  diff_mode:
    support: full
    description: Shows the trusted keys, which are public.
  idempotent:
    support: partial
    description: Trusting the same public key again changes nothing. Making a key that exists is refused.
requirements:
  - cryptography
options:
  role:
    description:
      - What the key may sign.
      - V(evidence) signs what an environment's controller collected; V(reviewer) approves for staging,
        V(security_officer) for prod; V(release) signs the collection's archive and no promotion.
    type: str
    required: true
    choices: [evidence, reviewer, security_officer, release]
  holder:
    description: Address of the one person who answers for the key.
    type: str
    required: true
  environments:
    description:
      - The environments that the key speaks for. Exactly one for V(evidence); the targets for
        V(reviewer) and V(security_officer).
    type: list
    elements: str
    default: []
  private_key:
    description: File that receives the private key. It must not exist.
    type: path
  passphrase:
    description: Encrypts the private key; 12 characters at least. Prompt for it or keep it in Ansible vault.
    type: str
  public_key:
    description: File with a public key in PEM that was made elsewhere.
    type: path
  trusted_keys:
    description: The file of trusted keys. It is made where there is none; its lines are kept.
    type: path
    required: true
  valid_days:
    description: For how many days from now the key is valid.
    type: int
    default: 365
"""

EXAMPLES = r"""
- name: Make the evidence key of dev
  rampart.ollama.attestation_key:
    role: evidence
    holder: alice@example.org
    environments: [dev]
    private_key: ~/.config/rampart/keys/dev-evidence.pem
    passphrase: "{{ vault_evidence_passphrase }}"
    trusted_keys: inventories/trusted_keys.yaml
  no_log: true

- name: Trust the security officer's key, which was made on an offline machine
  rampart.ollama.attestation_key:
    role: security_officer
    holder: carol@example.org
    environments: [prod]
    public_key: /media/usb/officer.pub
    trusted_keys: inventories/trusted_keys.yaml
"""

RETURN = r"""
keyid:
  description: Sha256 of the public key's DER form. Empty in check mode for a key that would be made.
  returned: success
  type: str
  sample: 5d1f7a2c9e0b4c8d6f3a1e5b7c9d0f2a4b6c8e0d1f3a5b7c9e1d3f5a7b9c1e3d
public_key:
  description: The public key in PEM.
  returned: success
  type: str
  sample: "-----BEGIN PUBLIC KEY-----\n..."
trusted_keys:
  description: The file of trusted keys.
  returned: success
  type: str
  sample: inventories/trusted_keys.yaml
"""
