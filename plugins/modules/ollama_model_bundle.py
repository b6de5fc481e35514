#!/usr/bin/python
# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make one file of an approved model, to carry it to a host that reaches no registry."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_model_bundle
short_description: Make a bundle of an approved model
version_added: 0.2.0
description:
  - Writes one file with a model's manifest and blobs, the approval entry, and signatures. It carries the model to a
    host that reaches no registry. M(rampart.ollama.ollama_model) takes it there with O(ignore:source=bundle).
  - The file is a tar with an OCI image layout in it. The manifest is the one the registry sent, byte for byte.
    The entry's text is C(rampart/approval.yaml), what else is given lies beside it.
  - Every blob is hashed while it is written, and nothing is left behind unless all of it is what was approved. The
    same model, entry and signatures always make the same bytes.
extends_documentation_fragment:
  - rampart.ollama.attributes
  - ansible.builtin.files
options:
  state:
    description:
      - V(present) has the bundle at O(dest). A file that is this very bundle, to the last byte, is left alone.
      - V(absent) removes it.
    type: str
    choices: [present, absent]
    default: present
  dest:
    description:
      - The bundle. Its directory has to be there.
      - Its mode is C(0600) unless O(mode) says otherwise.
    type: path
    required: true
  name:
    description: The model, as C([host/][namespace/]model[:tag]). Required for O(state=present).
    type: str
  approval:
    description:
      - The approval entry of this model, as the filter P(rampart.ollama.approval#filter) returns it. Required for
        O(state=present).
    type: dict
  approval_text:
    description:
      - The text of the entry as it stands in C(models_registry.yaml), as the filter
        P(rampart.ollama.approval_text#filter) returns it. It is for the people who receive the bundle. Required for
        O(state=present).
    type: str
  signatures:
    description: Small files that go along, such as detached signatures.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: A plain file name.
        type: str
        required: true
      content:
        description: The file's text.
        type: str
        required: true
  store:
    description: The store's directory the model is taken from. Required for O(state=present).
    type: path
seealso:
  - module: rampart.ollama.ollama_model
author:
  - Rampart contributors (@rampart)
"""

EXAMPLES = r"""
- name: Make a bundle
  rampart.ollama.ollama_model_bundle:
    dest: /var/tmp/mistral.rampart.tar
    name: mistral:7b-instruct-v0.3-q4_K_M
    approval: "{{ model_store_approvals | first }}"
    approval_text: >-
      {{ lookup('ansible.builtin.file', 'models_registry.yaml')
         | rampart.ollama.approval_text('mistral:7b-instruct-v0.3-q4_K_M', 'prod') }}
    store: /srv/rampart/store
  register: bundle
"""

RETURN = r"""
bundle:
  description: The bundle's sha256 (not in check mode, unless it is there already) and its size in bytes.
  returned: success and O(state=present)
  type: dict
  sample:
    sha256: sha256:3b8cf5f9fcbd8d2c2b1a1b5d0bfa0d7ad7d3f0fb9d8e6ec5f8a3d4a9e1c6b7f2
    size: 98374144
model:
  description: The model's full name and the digest of its manifest.
  returned: success and O(state=present)
  type: dict
  sample:
    name: registry.ollama.ai/library/smollm2:135m-instruct-q4_1
    digest: sha256:ecbdd49da9d51246f13d1fffd28d753a924632c4d2afbe6881732f77477c19b8
findings:
  description: On failure, the one finding that says why; empty otherwise.
  returned: always
  type: list
  elements: dict
  sample: []
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rampart.ollama.plugins.module_utils import bundling
from ansible_collections.rampart.ollama.plugins.module_utils.approval import approval_for
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, as_dicts
from ansible_collections.rampart.ollama.plugins.module_utils.names import parse_name
from ansible_collections.rampart.ollama.plugins.module_utils.store import ModelStore

ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "dest": {"type": "path", "required": True},
    "name": {"type": "str"},
    "approval": {"type": "dict"},
    "approval_text": {"type": "str"},
    "signatures": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "content": {"type": "str", "required": True},
        },
    },
    "store": {"type": "path"},
}


def have(module: AnsibleModule, dest: Path) -> dict[str, Any]:
    """Return the result of state present: predicted in check mode, done otherwise. Raises FindingError."""
    asked = module.params
    approval = approval_for(parse_name(asked["name"]), asked["approval"])
    extras = [(item["name"], item["content"]) for item in asked["signatures"]]
    plan = bundling.plan(ModelStore(asked["store"]), approval, asked["approval_text"], extras, dest)
    digest = plan.digest if plan.digest or module.check_mode else bundling.make(plan)
    result: dict[str, Any] = {
        "changed": plan.digest is None,
        "bundle": {"size": plan.contents.size, **({"sha256": digest} if digest else {})},
        "model": {"name": approval.name.full, "digest": approval.digest},
    }
    if module._diff:
        after = plan.as_text()
        result["diff"] = {"before": after if plan.digest else "", "after": after, "after_header": str(dest)}
    if not (module.check_mode and result["changed"]):
        attributes = module.load_file_common_arguments(module.params, path=str(dest))
        result["changed"] = module.set_fs_attributes_if_different(attributes, result["changed"])
    return result


def have_not(module: AnsibleModule, dest: Path) -> dict[str, Any]:
    """Return the result of state absent: predicted in check mode, done otherwise. Raises FindingError."""
    there = bundling.exists(dest)
    if there and not module.check_mode:
        bundling.remove(dest)
    result: dict[str, Any] = {"changed": there}
    if module._diff:
        result["diff"] = {"before": "{0}\n".format(dest) if there else "", "after": ""}
    return result


def main() -> None:
    """Do what the arguments ask, and end with one finding when it cannot be done."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        add_file_common_args=True,
        required_if=[("state", "present", ("name", "approval", "approval_text", "store"))],
    )
    dest = Path(module.params["dest"])
    try:
        result = have(module, dest) if module.params["state"] == "present" else have_not(module, dest)
    except FindingError as error:
        module.fail_json(msg=str(error), findings=as_dicts([error.finding]))
    module.exit_json(findings=[], **result)


if __name__ == "__main__":
    main()
