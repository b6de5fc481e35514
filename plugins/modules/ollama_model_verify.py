#!/usr/bin/python
# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify an Ollama store against its approvals, every byte of it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_model_verify
short_description: Verify an Ollama model store against its approvals
version_added: 0.1.0
description:
  - Hashes every blob of a store, referenced or not, and compares each model's manifest, blobs and sizes with
    its approval entry.
  - Looks at owners, modes, symbolic links, hard links, unexpected and unreferenced files, cloud stubs and
    ambiguous manifests.
  - Ollama itself verifies nothing when it loads or lists a model.
  - Changes nothing, ever.
extends_documentation_fragment:
  - rampart.ollama.attributes.reading
options:
  store:
    description: The store's directory, the one Ollama knows as E(OLLAMA_MODELS).
    type: path
    required: true
  approvals:
    description:
      - The approval entries of the models that belong in the store, as the filter
        P(rampart.ollama.approval#filter) returns them.
      - Of each entry, C(reference), C(digest) and C(blobs) are used.
    type: list
    elements: dict
    required: true
  on_failure:
    description:
      - What a failed verification does.
      - V(fail) fails the task with the findings; V(report) returns them and lets the play decide.
    type: str
    choices: [fail, report]
    default: fail
  workers:
    description: How many threads hash at once; V(0) means one for each processor core.
    type: int
    default: 0
  allow_absent:
    description: Whether an approved model may be missing from the store without a finding.
    type: bool
    default: false
  owner_uid:
    description: The numeric user that must own everything in the store.
    type: int
    default: 0
  owner_gid:
    description: The numeric group that must own everything in the store.
    type: int
    default: 0
author:
  - Rampart contributors (@rampart)
"""

EXAMPLES = r"""
- name: Verify the served store
  rampart.ollama.ollama_model_verify:
    store: /srv/rampart/store
    approvals: "{{ model_store_approvals }}"

- name: Look, and decide in the play
  rampart.ollama.ollama_model_verify:
    store: /srv/rampart/store
    approvals: "{{ model_store_approvals }}"
    on_failure: report
  register: verified
"""

RETURN = r"""
verdict:
  description: V(passed), or V(failed) from the first finding of medium severity on.
  returned: always
  type: str
  sample: passed
findings:
  description: What is wrong, worst first in the message of a failure, in the order it was found here.
  returned: always
  type: list
  elements: dict
  sample:
    - code: STORE-DIGEST-MISMATCH
      severity: critical
      subject: sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
      evidence: its 98362432 bytes hash to
        sha256:5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9
      remedy: "Run ollama_model again: it fetches the approved bytes and publishes them anew."
checks:
  description: The properties that were looked for, for the control report.
  returned: always
  type: list
  elements: dict
  sample:
    - id: store-blobs-verified
      status: passed
      evidence: 4 blobs, 98363007 bytes hashed
models:
  description: The models in the store.
  returned: always
  type: list
  elements: dict
  sample:
    - name: registry.ollama.ai/library/smollm2:135m-instruct-q4_1
      digest: sha256:ecbdd49da9d51246f13d1fffd28d753a924632c4d2afbe6881732f77477c19b8
      size: 98363007
      blobs: 4
      verified: true
bytes_hashed:
  description: How many bytes were read and hashed.
  returned: always
  type: int
  sample: 98363007
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rampart.ollama.plugins.module_utils.approval import approvals_from_entries
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, as_dicts, summary
from ansible_collections.rampart.ollama.plugins.module_utils.store import ModelStore
from ansible_collections.rampart.ollama.plugins.module_utils.verify import VerifyReport, verify

ARGUMENTS = {
    "store": {"type": "path", "required": True},
    "approvals": {"type": "list", "elements": "dict", "required": True},
    "on_failure": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
    "workers": {"type": "int", "default": 0},
    "allow_absent": {"type": "bool", "default": False},
    "owner_uid": {"type": "int", "default": 0},
    "owner_gid": {"type": "int", "default": 0},
}


def main() -> None:
    """Verify the store and say what was found."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    asked = module.params
    store = ModelStore(asked["store"], asked["owner_uid"], asked["owner_gid"])
    try:
        approvals = approvals_from_entries(asked["approvals"])
    except FindingError as error:
        # Nothing can be held against a broken entry: that is a failure of the question, not of the store.
        report = VerifyReport(findings=[error.finding])
        module.fail_json(msg=str(error), **{**report.as_result(), "findings": as_dicts([error.finding])})
    report = verify(store, approvals, asked["workers"], asked["allow_absent"])
    if report.verdict == "failed" and asked["on_failure"] == "fail":
        module.fail_json(msg=summary(report.findings), **report.as_result())
    module.exit_json(changed=False, **report.as_result())


if __name__ == "__main__":
    main()
