# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin attestation_sign."""

from __future__ import annotations

DOCUMENTATION = r"""
module: attestation_sign
short_description: Adds a signature to an envelope
description:
  - Adds a second signature to a signed envelope, whose payload is never changed. The signatures that are there have
    to be good first, and nobody signs in a second role.
  - The key may be a file of this machine, or one that never leaves another machine. Then O(pae) writes the bytes that
    are signed, and O(signature) takes what C(openssl pkeyutl -sign -rawin) made of them.
version_added: "0.2.0"
author:
  - Rampart contributors (@rampart)
extends_documentation_fragment:
  - rampart.ollama.attestation
  - rampart.ollama.attestation.trust
options:
  envelope:
    description: The envelope.
    type: path
    required: true
  dest:
    description: File that receives the envelope with the new signature; default is O(envelope).
    type: path
  private_key:
    description: The key that signs, of mode 0600 and encrypted.
    type: path
  passphrase:
    description: Decrypts the key. Prompt for it or keep it in Ansible vault.
    type: str
  signature:
    description: File with the 64 bytes of a signature that was made elsewhere.
    type: path
  keyid:
    description: The keyid of the key that made O(signature).
    type: str
  id:
    description:
      - The envelope's identity as it was shown (RV(rampart.ollama.attestation_verify#module:id)). Another one is
        refused, so that what is signed is what was read.
    type: str
  pae:
    description: File that receives the bytes to sign elsewhere. Nothing is signed.
    type: path
"""

EXAMPLES = r"""
- name: Approve dev's evidence for staging
  rampart.ollama.attestation_sign:
    envelope: evidence.dsse.json
    trusted_keys: inventories/trusted_keys.yaml
    private_key: ~/.config/rampart/keys/staging-reviewer.pem
    passphrase: "{{ answer.user_input }}"
  no_log: true

- name: Write what the security officer signs offline
  rampart.ollama.attestation_sign:
    envelope: evidence.dsse.json
    trusted_keys: inventories/trusted_keys.yaml
    pae: /media/usb/evidence.pae

- name: Attach the officer's signature
  rampart.ollama.attestation_sign:
    envelope: evidence.dsse.json
    trusted_keys: inventories/trusted_keys.yaml
    signature: /media/usb/evidence.sig
    keyid: 5d1f7a2c9e0b4c8d6f3a1e5b7c9d0f2a4b6c8e0d1f3a5b7c9e1d3f5a7b9c1e3d
"""

RETURN = r"""
path:
  description: The file that was written.
  returned: success
  type: str
  sample: evidence.dsse.json
id:
  description: The first 32 hexadecimal digits of the payload's sha256; a signature does not change it.
  returned: success
  type: str
  sample: 0f3b5d7c9e1a2b4c6d8e0f1a3b5c7d9e
keyid:
  description: The key that signed; empty with O(pae).
  returned: success
  type: str
  sample: 5d1f7a2c9e0b4c8d6f3a1e5b7c9d0f2a4b6c8e0d1f3a5b7c9e1d3f5a7b9c1e3d
signers:
  description: Who has signed now; each with C(keyid), C(role), C(holder).
  returned: success
  type: list
  elements: dict
  sample:
    - keyid: 5d1f7a2c9e0b4c8d6f3a1e5b7c9d0f2a4b6c8e0d1f3a5b7c9e1d3f5a7b9c1e3d
      role: reviewer
      holder: bob@example.org
"""
