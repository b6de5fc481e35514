# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter `rampart.ollama.approval`: a model's entry of the approvals file, or an error that says why
there is none.
"""

from __future__ import annotations

DOCUMENTATION = r"""
name: approval
author: Rampart contributors (@rampart)
short_description: The approval entry of a model
version_added: 0.1.0
description:
  - Reads an approvals file strictly (no duplicate keys, anchors, tags, unknown keys or wrong types) and
    returns the entry that approves a model for an environment and a use.
  - Fails with the finding that says why there is none, V(APPROVAL-MISSING) for example, and what to do next.
  - M(rampart.ollama.ollama_model_approval_info) does the same for all models of a deployment at once.
positional: _input, name, environment
options:
  _input:
    description: The text of models_registry.yaml, or its content as a dictionary.
    type: raw
    required: true
  name:
    description: The model, as a reference (C([host/][namespace/]model[:tag])) or as the entry's own name.
    type: str
    required: true
  environment:
    description: The environment the model is for.
    type: str
    choices: [dev, staging, prod, demo]
    required: true
  use:
    description:
      - What the model is used for, a text or a list; each has to be approved and none prohibited.
      - In V(staging) and V(prod) a model without a use is refused.
    type: raw
  signers_file:
    description: The C(allowed_signers) file of ssh-keygen.
    type: path
  revoked_keys_file:
    description: A key revocation list, or a file of public keys, that must not have signed.
    type: path
  signature_required:
    description:
      - Whether the entry has to be signed by an allowed signer who did not fetch it.
      - Without it, in V(staging) and V(prod) only.
    type: bool
"""

EXAMPLES = r"""
- name: Take the approval
  ansible.builtin.set_fact:
    entry: >-
      {{ lookup('ansible.builtin.file', 'models_registry.yaml')
         | rampart.ollama.approval('mistral:7b-instruct-v0.3-q4_K_M', 'prod', use='internal_chatbot',
                                   signers_file='allowed_signers') }}
"""

RETURN = r"""
_value:
  description: The entry, every value of its type, dates as texts.
  type: dict
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.plugin_utils.approval_policy import Judge, Policy
from ansible_collections.rampart.ollama.plugins.plugin_utils.approvals import load_registry


def approval(
    registry: Any,
    name: Any,
    environment: Any,
    use: Any = None,
    signers_file: Any = None,
    revoked_keys_file: Any = None,
    signature_required: bool | None = None,
) -> dict[str, Any]:
    """Return the entry of `name` for `environment`. Raises AnsibleFilterError with a finding's text."""
    if not isinstance(registry, (str, Mapping)):
        raise AnsibleFilterError(
            "APPROVAL-INVALID: the registry is neither text nor mapping. Give the file's text."
        )
    uses = [use] if isinstance(use, str) else list(use or ())
    policy = Policy(
        use=tuple(str(item) for item in uses if item),
        signers=str(signers_file or ""),
        revoked_keys=str(revoked_keys_file or ""),
        signature_required=signature_required,
    )
    try:
        return Judge(load_registry(registry), str(environment), policy).approve(str(name)).entry
    except FindingError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Ansible's way of finding the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"approval": approval}
