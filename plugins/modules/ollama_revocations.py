#!/usr/bin/python
# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have a host remember every revocation it has ever seen, and say which stored models are revoked."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_revocations
short_description: Have a host remember revoked models for good
version_added: 0.2.0
description:
  - Adds revocations to a file of the host that only root can write. The file grows only, and a revocation that is in it
    is enforced even when C(models_registry.yaml) no longer has it.
  - Without O(revocations), because C(models_registry.yaml) cannot be read, the host has what it remembers.
  - Notes beside that file, before anybody removes a revoked model, that the server has to be restarted, for it may hold
    the model in memory. The note stays until a call with O(state=restarted), whatever becomes of the run.
  - Says which models in the store have a revoked manifest or a revoked blob, for M(rampart.ollama.ollama_model)
    with O(rampart.ollama.ollama_model#module:state=absent) to remove. It removes nothing itself.
  - A file that is damaged, or that others can write, is an error and never taken for an empty one.
extends_documentation_fragment:
  - rampart.ollama.attributes
options:
  path:
    description: The host's file of revocations. Its directory has to be there.
    type: path
    default: /var/lib/rampart/revocations.json
  revocations:
    description:
      - The revocations of C(models_registry.yaml), as M(rampart.ollama.ollama_model_approval_info) returns them.
      - Each has C(digest) (of a manifest), C(blob) (a digest), or both, and C(reason), C(revoked_date),
        C(revoked_by), optionally C(reference).
      - Without it nothing is added, and what the list has lost is not known.
    type: list
    elements: dict
  store:
    description: The store that is searched for revoked models. Without it, or when it is not there, none are found.
    type: path
  state:
    description:
      - V(present) adds what is new. There is no way to have the host forget.
      - V(restarted) says that the server was restarted, or does not run, after O(restarted_for) had been removed.
    type: str
    choices: [present, restarted]
    default: present
  restarted_for:
    description: The digests of RV(restart_models), with O(state=restarted). What was noted since stays due.
    type: list
    elements: str
    default: []
seealso:
  - module: rampart.ollama.ollama_model
  - module: rampart.ollama.ollama_model_approval_info
author:
  - Rampart contributors (@rampart)
"""

EXAMPLES = r"""
- name: Remember what is revoked, and see what of it is in the store
  rampart.ollama.ollama_revocations:
    revocations: "{{ approved.revocations }}"
    store: /srv/rampart/store
  register: revoked

- name: Take revoked models out of the store
  rampart.ollama.ollama_model:
    name: "{{ item.name }}"
    store: /srv/rampart/store
    state: absent
  loop: "{{ revoked.models }}"

- name: Say that the server was restarted since
  rampart.ollama.ollama_revocations:
    state: restarted
    restarted_for: "{{ revoked.restart_models }}"
"""

RETURN = r"""
revocations:
  description: Every revocation the host has ever seen, sorted by digest.
  returned: success
  type: list
  elements: dict
  sample:
    - digest: sha256:ecbdd49da9d51246f13d1fffd28d753a924632c4d2afbe6881732f77477c19b8
      reference: registry.ollama.ai/library/smollm2:135m-instruct-q4_1
      reason: its publisher withdrew it
      revoked_date: "2026-02-01"
      revoked_by: security@example.org
added:
  description: Those that were new to the host, or worded otherwise.
  returned: success
  type: list
  elements: dict
  sample: []
lost:
  description: Those that the host knows and O(revocations) lacks. They are enforced all the same.
  returned: success
  type: list
  elements: dict
  sample: []
models:
  description: The models in the store that are revoked, with the digest that is (C(because)).
  returned: success
  type: list
  elements: dict
  sample:
    - name: registry.ollama.ai/library/smollm2:135m-instruct-q4_1
      digest: sha256:ecbdd49da9d51246f13d1fffd28d753a924632c4d2afbe6881732f77477c19b8
      because: sha256:ecbdd49da9d51246f13d1fffd28d753a924632c4d2afbe6881732f77477c19b8
      reason: "revoked 2026-02-01 by security@example.org: its publisher withdrew it"
restart_due:
  description: Whether the server may hold a revoked model in memory, because of RV(models) or of an earlier run that
    did not get to restart it.
  returned: success and O(state=present)
  type: bool
  sample: true
restart_models:
  description: The digests of the manifests that it may hold.
  returned: success and O(state=present)
  type: list
  elements: str
  sample: [sha256:ecbdd49da9d51246f13d1fffd28d753a924632c4d2afbe6881732f77477c19b8]
findings:
  description: >-
    APPROVAL-REVOCATION-LOST for each revocation in RV(lost), STORE-REVOKED-MODEL for each model in RV(models),
    STORE-REVOKED-BLOB for each revoked blob that no model in the store names; on failure, the one that says why.
  returned: always
  type: list
  elements: dict
  sample: []
checks:
  description: The properties that were looked for, for the control report.
  returned: success
  type: list
  elements: dict
  sample:
    - id: store-revocations-kept
      status: passed
      evidence: 1 revocations remembered, none lost
    - id: store-no-revoked-model
      status: passed
      evidence: none of 1 revocations concerns a model in the store
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, as_dicts
from ansible_collections.rampart.ollama.plugins.module_utils.revocation import look_for_revoked, parse_revocations
from ansible_collections.rampart.ollama.plugins.module_utils.revocation_memory import remember
from ansible_collections.rampart.ollama.plugins.module_utils.revocation_restart import (
    note_restart,
    restart_due,
    settle_restart,
)
from ansible_collections.rampart.ollama.plugins.module_utils.store import ModelStore

ARGUMENTS = {
    "path": {"type": "path", "default": "/var/lib/rampart/revocations.json"},
    "revocations": {"type": "list", "elements": "dict"},
    "store": {"type": "path"},
    "state": {"type": "str", "choices": ["present", "restarted"], "default": "present"},
    "restarted_for": {"type": "list", "elements": "str", "default": []},
}


def work(module: AnsibleModule) -> dict[str, Any]:
    """Return the module's result. Raises FindingError."""
    asked = module.params
    if asked["state"] == "restarted":
        due, _digests = restart_due(asked["path"])
        settled = due if module.check_mode else settle_restart(asked["path"], asked["restarted_for"])
        return {"changed": settled, "findings": []}
    listed = None if asked["revocations"] is None else parse_revocations(asked["revocations"])
    memory = remember(asked["path"], listed, write=not module.check_mode)
    store = ModelStore(asked["store"]) if asked["store"] else None
    seen = look_for_revoked(store, memory.all)
    due, noted = restart_due(asked["path"])
    holding = sorted({*noted, *(model.digest for model in seen.models)})
    more = bool(seen.models) and (not due or len(holding) > len(noted))
    if more and not module.check_mode:
        note_restart(asked["path"], holding)
    result = {
        "changed": memory.changed or more,
        "revocations": [item.as_dict() for item in memory.all],
        "added": [item.as_dict() for item in memory.added],
        "lost": [item.as_dict() for item in memory.lost],
        "models": [model.as_dict() for model in seen.models],
        "restart_due": due or more,
        "restart_models": holding,
        "findings": as_dicts([*memory.findings(), *seen.findings()]),
        "checks": as_dicts([memory.check(), seen.check()]),
    }
    if module._diff:
        result["diff"] = {"before": memory.before or "", "after": memory.after or ""}
    return result


def main() -> None:
    """Do what the arguments ask, and end with one finding when it cannot be done."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result = work(module)
    except FindingError as error:
        module.fail_json(msg=str(error), findings=as_dicts([error.finding]))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
