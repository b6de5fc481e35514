# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin ollama_model_approval."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_model_approval
short_description: Add, update, sign, remove or revoke an approval in models_registry.yaml
version_added: 0.2.0
description:
  - Makes the entry of a model from its manifest, which is fetched from the registry over verified TLS or comes from a
    verified store, and from what a person decided. Nothing is invented.
  - Changes the lines of that one entry and leaves every other line of the file as it is. A result that would not read
    back as what was meant is not written.
  - Signs the entry with C(ssh-keygen -Y sign), which asks for what it needs (a passphrase, a token's touch) through the
    agent, C(SSH_ASKPASS) or the terminal. The file is written once, with the signature in it.
  - Commits the file, and that file only, when asked to; signed when git has a C(user.signingkey).
  - Runs wholly on the controller. The playbooks C(approve_model) and C(revoke_model) show an entry and ask before they
    write it.
extends_documentation_fragment:
  - rampart.ollama.attributes
options:
  path:
    description: The approvals file on the controller. It has to be there, as a plain file; C(models:) C([]) is enough.
    type: path
    required: true
  state:
    description:
      - V(present) adds the entry of O(reference), or updates it. What is not named stays as it is.
      - V(absent) takes the entry away; the model is no longer approved. Its digest may be approved again.
      - V(revoked) adds a revocation, which is never taken back. The entry stays, as history.
    type: str
    choices: [present, absent, revoked]
    default: present
  reference:
    description: The model, as C([host/][namespace/]model[:tag]). Required unless a revocation names digests.
    type: str
  fetch:
    description:
      - Whether the manifest is fetched from the registry, through the proxy that E(HTTPS_PROXY) names, if there is one.
      - No redirect is followed. Not together with O(manifest).
    type: bool
    default: false
  manifest:
    description:
      - The manifest, as base64 of its bytes (as M(ansible.builtin.slurp) returns a store's file) or as its JSON text.
      - A dictionary is accepted only if, written out again, it has O(digest).
    type: raw
  digest:
    description:
      - For O(state=present), the digest that the manifest must have.
      - For O(state=revoked), the digest of the manifest that is revoked. Without it and without O(blob), that of the
        entry of O(reference).
    type: str
  verified:
    description:
      - The result of M(rampart.ollama.ollama_model_verify) for the store that O(manifest) lies in.
      - It has to name the model under the manifest's digest, and to have found nothing wrong with it, apart from its
        not being approved yet.
    type: dict
  config:
    description: Whether the config blob is fetched too, to show what the weights are and to refuse a cloud stub.
    type: bool
    default: false
  allowed_sources:
    description: Sources a model may come from, as C(host/namespace/) or C(host/).
    type: list
    elements: str
    default: [registry.ollama.ai/library/]
  redirect_hosts:
    description: Hosts the registry may redirect to for the config blob.
    type: list
    elements: str
    default: [dd20bb891979d25aebc8bec07b2b3bbc.r2.cloudflarestorage.com]
  ca_bundle:
    description: A PEM file with the certificate authorities to trust for the registry, instead of the system's.
    type: path
  timeout:
    description: How many seconds a fetch may take.
    type: int
    default: 30
  name:
    description: What people call the model. A new entry has the model's part of O(reference) without it.
    type: str
  version:
    description: Its version. A new entry has the tag of O(reference) without it.
    type: str
  licence:
    description: Its licence.
    type: str
  verified_by:
    description: Who looked at the model and answers for it. Required for a new entry and for new bytes.
    type: str
  verified_date:
    description: When, as YYYY-MM-DD. Today for a new entry, for new bytes and for another O(verified_by).
    type: str
  fetched_by:
    description:
      - The person or machine that brings the digests in, and that therefore cannot sign.
      - Required for a new entry and for new bytes.
    type: str
  risk_level:
    description: The risk as it was assessed. Required for a new entry.
    type: str
    choices: [LOW, MEDIUM, HIGH]
  risk_accepted_by:
    description: Who accepts a V(HIGH) risk in prod.
    type: str
  approved_uses:
    description: What the model may be used for. Required for a new entry.
    type: list
    elements: str
  prohibited_uses:
    description: What it must not be used for.
    type: list
    elements: str
  environments:
    description: The environments it is approved for. Required for a new entry.
    type: list
    elements: str
    choices: [dev, staging, prod, demo]
  signer:
    description: The principal, as C(allowed_signers) names it, who signs with O(key) or made O(signature).
    type: str
  key:
    description:
      - The file of the signing key, which may be encrypted, or the C(.pub) file of a key that ssh-agent holds. A
        security key (C(sk-ssh-ed25519)) works either way.
      - An entry that O(signer) has signed with this key already is not signed again.
    type: path
  signature:
    description: An armored signature made elsewhere, with C(ssh-keygen -Y sign -n rampart-approval@v1), over
      RV(payload).
    type: str
  signers_file:
    description: The C(allowed_signers) file. With it, a signature that would not count is refused before it is written.
    type: path
  revoked_keys_file:
    description: A key revocation list, or a file of public keys, whose signatures do not count.
    type: path
  blob:
    description: For O(state=revoked), the digest of a blob. It revokes every model that has this blob.
    type: str
  reason:
    description: For O(state=revoked), why.
    type: str
  revoked_by:
    description: For O(state=revoked), who.
    type: str
  revoked_date:
    description: For O(state=revoked), when, as YYYY-MM-DD; today without it.
    type: str
  commit:
    description:
      - Whether the file is committed. Other staged files are not part of the commit and stay staged.
      - Refused before anything is written when the file has other changes that nobody committed.
    type: bool
    default: false
  commit_message:
    description: The commit's message; without it, one that names the model and what changed.
    type: str
  push:
    description: Whether the commit is pushed to where the branch is pushed to. Implies O(commit).
    type: bool
    default: false
seealso:
  - module: rampart.ollama.ollama_model_approval_info
  - module: rampart.ollama.ollama_model_verify
author:
  - Rampart contributors (@rampart)
"""

EXAMPLES = r"""
- name: Approve a model from the registry's manifest
  rampart.ollama.ollama_model_approval:
    path: inventories/dev/models_registry.yaml
    reference: mistral:7b-instruct-v0.3-q4_K_M
    fetch: true
    fetched_by: alice@example.org
    verified_by: alice@example.org
    risk_level: LOW
    approved_uses: [internal_chatbot]
    prohibited_uses: [customer_data_processing]
    environments: [dev]

- name: Sign it, as another person, with a key in the agent
  rampart.ollama.ollama_model_approval:
    path: inventories/prod/models_registry.yaml
    reference: mistral:7b-instruct-v0.3-q4_K_M
    signer: bob@example.org
    key: ~/.ssh/id_ed25519_sk.pub
    signers_file: inventories/prod/allowed_signers
    commit: true

- name: Revoke a model by the digest that its entry has
  rampart.ollama.ollama_model_approval:
    path: inventories/prod/models_registry.yaml
    state: revoked
    reference: mistral:7b-instruct-v0.3-q4_K_M
    reason: its publisher withdrew it
    revoked_by: security@example.org
"""

RETURN = r"""
entry:
  description: The entry as it is now, or would be in check mode. Empty unless O(state=present).
  returned: always
  type: dict
  sample:
    name: smollm2
    version: 135m-instruct-q4_1
    reference: registry.ollama.ai/library/smollm2:135m-instruct-q4_1
    digest: sha256:ecbdd49da9d51246f13d1fffd28d753a924632c4d2afbe6881732f77477c19b8
before:
  description: The entry as it was; empty when there was none.
  returned: always
  type: dict
  sample: {}
revocation:
  description: The revocation, for O(state=revoked).
  returned: always
  type: dict
  sample: {}
changes:
  description: What is different now, a line each, sizes readable.
  returned: always
  type: list
  elements: str
  sample: ["risk_level: LOW -> MEDIUM"]
summary:
  description: The whole entry, or the revocation, in lines for a person.
  returned: always
  type: list
  elements: str
  sample: ["name: smollm2", "size: 98363007 bytes (98.36 MB)"]
payload:
  description: The text that a signature of the entry is over (UTF-8, no line end at its end).
  returned: always
  type: str
  sample: '{"approved_uses":["laboratory"],"blobs":[]}'
manifest:
  description: The manifest that was fetched or given, in base64, to write later what was shown.
  returned: always
  type: str
  sample: eyJzY2hlbWFWZXJzaW9uIjoyfQ==
config:
  description: The config blob, with O(config=true).
  returned: always
  type: dict
  sample: {model_type: 7.2B, file_type: Q4_K_M}
due:
  description: Whether anything is to be written, signed or committed, or was.
  returned: always
  type: bool
  sample: true
commit:
  description: The id of the commit that was made; empty when there was nothing to commit.
  returned: always
  type: str
  sample: 0f5c5b6a3d1f4f4e8f0d9a2b7c6d5e4f3a2b1c0d
path:
  description: The approvals file.
  returned: always
  type: str
  sample: inventories/prod/models_registry.yaml
findings:
  description: On failure, the one finding that says why; empty otherwise.
  returned: always
  type: list
  elements: dict
  sample: []
"""
