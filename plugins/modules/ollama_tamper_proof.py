#!/usr/bin/python
# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prove on a host that verification finds a flipped byte."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_tamper_proof
short_description: Proves on a host that verification finds a flipped byte
description:
  - Copies a blob of the served store into a scratch store, flips one bit of it at a random place, verifies
    the scratch store and removes it again.
  - The served store is only read.
version_added: "0.1.0"
author:
  - Rampart contributors (@rampart)
attributes:
  check_mode:
    support: full
    description: In check mode nothing is copied and no check is reported.
  diff_mode:
    support: none
    description: Nothing is changed.
  idempotent:
    support: full
    description: Never reports a change. The copy is removed again.
options:
  store:
    description: The served store.
    type: path
    default: /srv/rampart/store
  scratch:
    description: A directory in which the copy is made for the time of the proof.
    type: path
    default: /srv/rampart
  max_bytes:
    description: The largest blob of at most this many bytes is copied.
    type: int
    default: 536870912
"""

EXAMPLES = r"""
- name: Prove that a flipped byte is found
  rampart.ollama.ollama_tamper_proof:
    store: /srv/rampart/store
  register: proof
"""

RETURN = r"""
checks:
  description: The check C(store-tamper-found), with C(id), C(status) and C(evidence).
  returned: success
  type: list
  elements: dict
  sample:
    - id: store-tamper-found
      status: passed
      evidence: "one bit of byte 51235 of 98362432 flipped in a copy of sha256:b179c9523d0e: found"
findings:
  description: What is wrong, with C(code), C(severity), C(subject), C(evidence) and C(remedy).
  returned: success
  type: list
  elements: dict
  sample: []
measures:
  description: Measured figures, with C(name), C(value) and C(unit).
  returned: success
  type: list
  elements: dict
  sample:
    - name: Tampered copy verified
      value: 98362432
      unit: bytes
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rampart.ollama.plugins.module_utils.findings import as_dicts
from ansible_collections.rampart.ollama.plugins.module_utils.tamper import prove


def main() -> None:
    """Run the proof and return what came out."""
    module = AnsibleModule(
        argument_spec={
            "store": {"type": "path", "default": "/srv/rampart/store"},
            "scratch": {"type": "path", "default": "/srv/rampart"},
            "max_bytes": {"type": "int", "default": 536870912},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=False, checks=[], findings=[], measures=[])
    proof = prove(module.params["store"], module.params["scratch"], module.params["max_bytes"])
    module.exit_json(
        changed=False,
        checks=as_dicts([proof.check]),
        findings=as_dicts([proof.finding] if proof.finding else []),
        measures=[{"name": "Tampered copy verified", "value": proof.size, "unit": "bytes"}],
    )


if __name__ == "__main__":
    main()
