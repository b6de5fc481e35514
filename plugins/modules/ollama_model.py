#!/usr/bin/python
# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have an approved model in the store, fetched pinned and published by copy and hash."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_model
short_description: Have an approved model in an Ollama store
version_added: 0.1.0
description:
  - Fetches a model whose manifest and blobs are pinned by an approval entry, and publishes it into a store in
    Ollama's own format.
  - The fetch is done by a short-lived container without network, capabilities or secrets, which reaches the
    source through the Unix socket of a filtering proxy. It is not trusted. After its end the files are copied
    into inodes that only root can write, those copies are hashed, and only then renamed into the store, the
    manifest last.
  - On any failure the store is as it was. A cut download is continued by the next run.
extends_documentation_fragment:
  - rampart.ollama.attributes
options:
  state:
    description:
      - V(present) has the approved bytes in the store, with their owner and modes.
      - V(absent) removes the manifest and the blobs that no other model in the store uses.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: The model, as C([host/][namespace/]model[:tag]).
    type: str
    required: true
  approval:
    description:
      - The approval entry of this model, as the filter P(rampart.ollama.approval#filter) returns it. Required
        for O(state=present).
      - Of the entry, C(reference), C(digest) and C(blobs) are used.
    type: dict
  store:
    description: The store's directory.
    type: path
    required: true
  quarantine:
    description: The directory where a fetched model waits until it is published. Required for
      O(state=present).
    type: path
  fetcher_image:
    description: The identity (C(sha256:...)) or name of the fetcher's image on the host. Needed only when
      something is to be fetched.
    type: str
  egress_socket:
    description: The Unix socket of the filtering proxy.
    type: path
    default: /run/rampart/egress/egress.sock
  ca_bundle:
    description:
      - A PEM file on the host with the certificate authorities to trust for the source.
      - Without it, those of the fetcher's image are trusted.
    type: path
  fetcher_uid:
    description: The numeric user and group the fetcher runs as and that owns its part of the quarantine.
    type: int
    default: 10003
  docker_socket:
    description: The Unix socket of the Docker Engine.
    type: path
    default: /var/run/docker.sock
  allowed_sources:
    description: Sources a model may come from, as C(host/namespace/) or C(host/).
    type: list
    elements: str
    default: [registry.ollama.ai/library/]
  redirect_hosts:
    description: The hosts a source may redirect a download to, beside itself.
    type: list
    elements: str
    default: [dd20bb891979d25aebc8bec07b2b3bbc.r2.cloudflarestorage.com]
  timeout:
    description: How many seconds the whole fetch may take.
    type: int
    default: 3600
  workers:
    description: How many threads hash at once; V(0) means one for each processor core.
    type: int
    default: 0
  owner_uid:
    description: The numeric user that owns the store's files.
    type: int
    default: 0
  owner_gid:
    description: The numeric group that owns the store's files.
    type: int
    default: 0
seealso:
  - module: rampart.ollama.ollama_model_verify
author:
  - Rampart contributors (@rampart)
"""

EXAMPLES = r"""
- name: Have the approved model
  rampart.ollama.ollama_model:
    name: mistral:7b-instruct-v0.3-q4_K_M
    approval: >-
      {{ lookup('ansible.builtin.file', 'models_registry.yaml')
         | rampart.ollama.approval('mistral:7b-instruct-v0.3-q4_K_M', 'prod') }}
    store: /srv/rampart/store
    quarantine: /srv/rampart/quarantine
    fetcher_image: "{{ images_lock.images.fetcher.id }}"

- name: Take a model out of service
  rampart.ollama.ollama_model:
    name: mistral:7b-instruct-v0.3-q4_K_M
    store: /srv/rampart/store
    state: absent
"""

RETURN = r"""
model:
  description: The model's full name, and what was asked to be there.
  returned: success
  type: dict
  sample:
    name: registry.ollama.ai/library/smollm2:135m-instruct-q4_1
    digest: sha256:ecbdd49da9d51246f13d1fffd28d753a924632c4d2afbe6881732f77477c19b8
    size: 98363007
    blobs: 4
fetched:
  description: The digests that were fetched, or would be in check mode.
  returned: success and O(state=present)
  type: list
  elements: str
  sample: ["sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"]
transfer:
  description: What the fetcher says it received (bytes, blobs, and how often it was cut).
  returned: success and something was fetched
  type: dict
  sample: {bytes: 98363007, blobs: 4, cuts: 0}
removed:
  description: The digests that were removed, or would be in check mode.
  returned: success and O(state=absent)
  type: list
  elements: str
  sample: []
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

from ansible_collections.rampart.ollama.plugins.module_utils import acquire
from ansible_collections.rampart.ollama.plugins.module_utils.approval import Approval, approval_for
from ansible_collections.rampart.ollama.plugins.module_utils.engine import Engine
from ansible_collections.rampart.ollama.plugins.module_utils.fetch_container import FetcherSettings
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, as_dicts
from ansible_collections.rampart.ollama.plugins.module_utils.names import (
    ModelName,
    parse_name,
    require_source,
)
from ansible_collections.rampart.ollama.plugins.module_utils.store import ModelStore

ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "name": {"type": "str", "required": True},
    "approval": {"type": "dict"},
    "store": {"type": "path", "required": True},
    "quarantine": {"type": "path"},
    "fetcher_image": {"type": "str"},
    "egress_socket": {"type": "path", "default": "/run/rampart/egress/egress.sock"},
    "ca_bundle": {"type": "path"},
    "fetcher_uid": {"type": "int", "default": 10003},
    "docker_socket": {"type": "path", "default": "/var/run/docker.sock"},
    "allowed_sources": {"type": "list", "elements": "str", "default": ["registry.ollama.ai/library/"]},
    "redirect_hosts": {
        "type": "list",
        "elements": "str",
        "default": ["dd20bb891979d25aebc8bec07b2b3bbc.r2.cloudflarestorage.com"],
    },
    "timeout": {"type": "int", "default": 3600},
    "workers": {"type": "int", "default": 0},
    "owner_uid": {"type": "int", "default": 0},
    "owner_gid": {"type": "int", "default": 0},
}


def have(module: AnsibleModule, store: ModelStore, name: ModelName) -> dict[str, Any]:
    """Return the result of state present: predicted in check mode, done otherwise. Raises FindingError."""
    asked = module.params
    require_source(name, asked["allowed_sources"])
    approval = approval_for(name, asked["approval"])
    quarantine = Path(asked["quarantine"])
    counts: dict[str, Any] = {}
    if module.check_mode:
        todo = acquire.plan(store, approval, asked["workers"])
        acquire.require_space(store, quarantine, todo)
    else:
        settings = FetcherSettings(
            image=asked["fetcher_image"] or "",
            uid=asked["fetcher_uid"],
            egress_socket=Path(asked["egress_socket"]),
            ca_bundle=Path(asked["ca_bundle"]) if asked["ca_bundle"] else None,
            timeout=float(asked["timeout"]),
        )
        engine = Engine(asked["docker_socket"])
        hosts = tuple(asked["redirect_hosts"])
        todo, counts = acquire.present(store, quarantine, engine, settings, hosts, approval, asked["workers"])
    result = {"changed": todo.changed, "model": describe(approval), "fetched": sorted(todo.fetch)}
    if counts:
        result["transfer"] = counts
    if module._diff:
        result["diff"] = todo.as_diff()
    return result


def describe(approval: Approval) -> dict[str, Any]:
    """Return name, digest, size in bytes and number of blobs of a model."""
    return {
        "name": approval.name.full,
        "digest": approval.digest,
        "size": approval.size,
        "blobs": len(approval.blobs),
    }


def have_not(module: AnsibleModule, store: ModelStore, name: ModelName) -> dict[str, Any]:
    """Return the result of state absent: predicted in check mode, done otherwise. Raises FindingError."""
    there, removed = acquire.removal(store, name)
    if there and not module.check_mode:
        removed = acquire.absent(store, name)
    result = {"changed": there, "model": {"name": name.full}, "removed": removed}
    if module._diff:
        lines = ["manifest {0}".format(name.full), *removed] if there else []
        result["diff"] = {"before": "".join(line + "\n" for line in lines), "after": ""}
    return result


def main() -> None:
    """Do what the arguments ask, and end with one finding when it cannot be done."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        required_if=[("state", "present", ("quarantine",))],
    )
    asked = module.params
    store = ModelStore(asked["store"], asked["owner_uid"], asked["owner_gid"])
    try:
        name = parse_name(asked["name"])
        result = have(module, store, name) if asked["state"] == "present" else have_not(module, store, name)
    except FindingError as error:
        module.fail_json(msg=str(error), findings=as_dicts([error.finding]))
    module.exit_json(findings=[], **result)


if __name__ == "__main__":
    main()
