# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin ollama_model_approval_info."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_model_approval_info
short_description: The approvals of a deployment's models, judged on the controller
version_added: 0.2.0
description:
  - Reads C(models_registry.yaml) strictly and returns the entry of each model that approves it for the environment and
    the use, after its risk, its revocations and its signatures were judged.
  - Signatures are verified by C(ssh-keygen -Y verify) of the controller against an C(allowed_signers) file. Expiry
    (C(valid-before)), C(namespaces) and a key revocation list are honoured.
  - Runs wholly on the controller, before anything moves. Changes nothing, ever.
extends_documentation_fragment:
  - rampart.ollama.attributes.reading
options:
  path:
    description: The approvals file on the controller, a plain file of at most 1 MiB.
    type: path
    required: true
  models:
    description: The models, as references (C([host/][namespace/]model[:tag])) or as the entries' own names.
    type: list
    elements: str
    default: []
  environment:
    description: The environment the models are for.
    type: str
    choices: [dev, staging, prod, demo]
    required: true
  use:
    description:
      - What the models are used for in this deployment. Each has to be among C(approved_uses) of the entry and not
        among C(prohibited_uses), whatever the case of the letters.
      - In V(staging) and V(prod) a model without a declared use is refused.
    type: list
    elements: str
    default: []
  signers_file:
    description:
      - The C(allowed_signers) file of ssh-keygen.
      - Lines with C(cert-authority) are refused, for a certificate does not tell one person from another.
    type: path
  revoked_keys_file:
    description: A key revocation list (KRL), or a file of public keys, whose signatures do not count.
    type: path
  signature_required:
    description:
      - Whether an entry has to be signed by an allowed signer other than C(fetched_by), and C(fetched_by) has to be a
        name of O(signers_file).
      - Without it, in V(staging) and V(prod). Elsewhere what is missing is a finding.
    type: bool
  revocations:
    description: Revocations that count in addition to the file's own, as M(rampart.ollama.ollama_revocations) returns
      those a host remembers.
    type: list
    elements: dict
    default: []
  on_failure:
    description:
      - What happens when a model is refused.
      - V(fail) fails the task with the findings; V(report) returns them and lets the play decide.
    type: str
    choices: [fail, report]
    default: fail
seealso:
  - module: rampart.ollama.ollama_model_approval
  - plugin: rampart.ollama.approval
    plugin_type: filter
author:
  - Rampart contributors (@rampart)
"""

EXAMPLES = r"""
- name: Take the approvals of the models that this host serves
  rampart.ollama.ollama_model_approval_info:
    path: "{{ inventory_dir }}/models_registry.yaml"
    models: [mistral:7b-instruct-v0.3-q4_K_M]
    environment: prod
    use: [internal_chatbot]
    signers_file: "{{ inventory_dir }}/allowed_signers"
  register: approved

- name: Read the revocations only
  rampart.ollama.ollama_model_approval_info:
    path: "{{ inventory_dir }}/models_registry.yaml"
    environment: prod
  register: approved
"""

RETURN = r"""
approvals:
  description: The entries that approve the models, in the order of O(models), dates as texts.
  returned: when the file can be read
  type: list
  elements: dict
  sample:
    - name: smollm2
      reference: registry.ollama.ai/library/smollm2:135m-instruct-q4_1
      digest: sha256:ecbdd49da9d51246f13d1fffd28d753a924632c4d2afbe6881732f77477c19b8
      risk_level: LOW
revocations:
  description: The revocations of the file, for M(rampart.ollama.ollama_revocations).
  returned: when the file can be read
  type: list
  elements: dict
  sample: []
refused:
  description: Why models were refused, one finding each.
  returned: when the file can be read
  type: list
  elements: dict
  sample: []
findings:
  description: RV(refused), and what else is to be said of the entries that approve.
  returned: always
  type: list
  elements: dict
  sample:
    - code: APPROVAL-UNSIGNED
      severity: low
      subject: registry.ollama.ai/library/smollm2:135m-instruct-q4_1
      evidence: nobody has signed the entry (not required in dev)
      remedy: Have an allowed signer who did not fetch it review and sign the entry (playbook approve_model).
checks:
  description: >-
    The properties that were looked for, for the control report: approval-present, approval-not-revoked,
    approval-risk-accepted, approval-use-allowed, approval-signed.
  returned: when the file can be read
  type: list
  elements: dict
  sample:
    - id: approval-signed
      status: failed
      evidence: "APPROVAL-UNSIGNED: nobody has signed the entry (not required in dev)"
"""
