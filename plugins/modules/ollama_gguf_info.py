#!/usr/bin/python
# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inspect a GGUF file without loading it, and hold it against a policy."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_gguf_info
short_description: Inspect a GGUF model file without loading it
version_added: 0.2.0
description:
  - Reads header, metadata and tensor table of a GGUF file in bounded time and memory, whatever the file holds.
  - Looks at counts and lengths against the file's size, overflows, offsets, overlaps, gaps, padding, appended data and
    archives or executables hidden in it.
  - Holds architecture, author, file type, size and context length against a policy, and searches chat templates for
    red flags. A template is never rendered.
  - A structure that is whole says nothing about the weights; no check of this kind finds poisoned ones.
  - All finding codes are described in the collection's C(docs/gguf.md).
extends_documentation_fragment:
  - rampart.ollama.attributes.reading
options:
  path:
    description: The file, for example a blob of a store. Links are not followed.
    type: path
    required: true
  role:
    description: What the file is there for; an adapter and a projector are held against rules of their own.
    type: str
    choices: [model, draft, adapter, projector]
    default: model
  policy:
    description:
      - What the file has to be like; a key that is not given has its default.
      - The keys and their defaults are described in the role P(rampart.ollama.model_store#role), in
        C(files/gguf_policy.yml).
    type: dict
    default: {}
  on_failure:
    description:
      - What a finding of medium severity or more does.
      - V(fail) fails the task with the findings; V(report) returns them and lets the play decide.
    type: str
    choices: [fail, report]
    default: fail
author:
  - Rampart contributors (@rampart)
"""

EXAMPLES = r"""
- name: Inspect a downloaded model
  rampart.ollama.ollama_gguf_info:
    path: /srv/rampart/quarantine/mistral-7b-instruct-v0.3.Q4_K_M.gguf

- name: Look with a policy of one's own, and decide in the play
  rampart.ollama.ollama_gguf_info:
    path: "{{ model_blob }}"
    policy:
      architectures: [llama, qwen3]
      template_unlisted: high
    on_failure: report
  register: inspected
"""

RETURN = r"""
verdict:
  description: V(passed), or V(failed) from the first finding of medium severity on.
  returned: always
  type: str
  sample: passed
info:
  description:
    - What the file says of itself and what was counted; empty texts, zeros and nulls where nothing could be read.
    - C(parameters), C(bits_per_weight) (over the layers) and C(quantisation) (weights of each tensor type) are computed
      from the tensor table.
  returned: always
  type: dict
  sample:
    size: 98362432
    version: 3
    architecture: llama
    type: model
    name: Smollm2 135M 8k Lc100K Mix1 Ep2
    author: ""
    organization: HuggingFaceTB
    license: apache-2.0
    file_type: Q4_1
    parameters: 134515008
    bits_per_weight: 5.01
    tensors: 272
    keys: 33
    context_length: 8192
    vocabulary: 49152
    quantisation: {Q8_0: 28311552, F32: 35136, Q4_1: 106168320}
    templates:
      - key: tokenizer.chat_template
        digest: sha256:872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788
        size: 368
findings:
  description: What was found, structure first, then policy and templates.
  returned: always
  type: list
  elements: dict
  sample:
    - code: GGUF-TENSOR-OVERLAP
      severity: high
      subject: /srv/rampart/quarantine/model.gguf
      evidence: blk.0.attn_q.weight begins at 4096, the tensor before it ends at 8192
      remedy: "Do not load it: no honest writer makes such a file. Ask its publisher, or take another one."
checks:
  description: The properties that were looked for (C(gguf-structure), C(gguf-policy), C(gguf-template)), for the
    control report.
  returned: always
  type: list
  elements: dict
  sample:
    - id: gguf-structure
      status: passed
      evidence: 33 keys, 272 tensors, 1 templates
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rampart.ollama.plugins.module_utils.findings import summary
from ansible_collections.rampart.ollama.plugins.module_utils.gguf_inspect import inspect_gguf
from ansible_collections.rampart.ollama.plugins.module_utils.gguf_policy import ROLES

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "role": {"type": "str", "choices": list(ROLES), "default": "model"},
    "policy": {"type": "dict", "default": {}},
    "on_failure": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
}


def main() -> None:
    """Inspect the file and say what was found."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    asked = module.params
    report = inspect_gguf(asked["path"], asked["policy"], asked["role"])
    if report.verdict == "failed" and asked["on_failure"] == "fail":
        module.fail_json(msg=summary(report.findings), **report.as_result())
    module.exit_json(changed=False, **report.as_result())


if __name__ == "__main__":
    main()
