# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin incident_sign."""

from __future__ import annotations

DOCUMENTATION = r"""
module: incident_sign
short_description: Checks a fetched archive of evidence and signs it
description:
  - Holds the sha256 of an archive on the controller against the one it had on the host, then signs it (DSSE, in-toto
    statement) with the environment's evidence key, together with the head of the incident's record.
  - Without a key or a passphrase the archive is kept, and the finding C(INCIDENT-UNSIGNED) says so.
  - Runs on the controller. No connection is made, so that no key ever leaves it.
version_added: "0.3.0"
author:
  - Rampart contributors (@rampart)
attributes:
  check_mode:
    support: full
    description: In check mode everything is looked at and nothing is written.
  diff_mode:
    support: none
    description: What is written is signed, not edited.
  idempotent:
    support: full
    description: An archive with an envelope that counts is not signed again.
requirements:
  - cryptography
  - securesystemslib
options:
  archive:
    description: The archive on the controller. The envelope lies beside it, with C(.dsse.json) added.
    type: path
    required: true
  sha256:
    description: Its sha256 on the host.
    type: str
    required: true
  directory:
    description: Directory of all incidents.
    type: path
    required: true
  environment:
    description: The environment of the host.
    type: str
    required: true
    choices: [dev, staging, prod, demo]
  host:
    description: The host's name in the inventory. It has an open incident.
    type: str
    required: true
  private_key:
    description: The environment's evidence key, of mode 0600 and encrypted. Empty for none.
    type: path
    default: ""
  passphrase:
    description: Decrypts the key. Prompt for it or keep it in Ansible vault.
    type: str
    default: ""
  trusted_keys:
    description: The file of trusted keys. The key that signs has to be in it, as this environment's evidence key.
    type: path
    default: ""
seealso:
  - module: rampart.ollama.attestation_verify
  - module: rampart.ollama.incident_record
"""

EXAMPLES = r"""
- name: Sign what was fetched
  rampart.ollama.incident_sign:
    archive: reports/incidents/prod/ollama1/20261124T170512Z/evidence.tar.gz
    sha256: "{{ preserved.sha256 }}"
    directory: reports/incidents
    environment: prod
    host: ollama1
    private_key: ~/.config/rampart/keys/prod-evidence.pem
    passphrase: "{{ vault_evidence_passphrase }}"
    trusted_keys: inventories/trusted_keys.yaml
"""

RETURN = r"""
signed:
  description: Whether there is an envelope that counts.
  returned: success
  type: bool
  sample: true
path:
  description: The envelope.
  returned: success
  type: str
  sample: reports/incidents/prod/ollama1/20261124T170512Z/evidence.tar.gz.dsse.json
sha256:
  description: The archive's sha256, the same on both sides.
  returned: success
  type: str
  sample: 5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9
size:
  description: The archive's size in bytes.
  returned: success
  type: int
  sample: 1843201
keyid:
  description: The key that signed; empty for none.
  returned: success
  type: str
  sample: 5d1f7a2c9e0b4c8d6f3a1e5b7c9d0f2a4b6c8e0d1f3a5b7c9e1d3f5a7b9c1e3d
findings:
  description: C(INCIDENT-UNSIGNED) with what is missing, or nothing.
  returned: success
  type: list
  elements: dict
  sample: []
"""
