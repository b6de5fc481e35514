#!/usr/bin/python
# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have an approved model in the store, brought pinned and published by copy and hash."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_model
short_description: Have an approved model in an Ollama store
version_added: 0.1.0
description:
  - Brings a model whose manifest and blobs are pinned by an approval entry into quarantine, from a registry, a
    bundle or a directory, and publishes it into a store in Ollama's own format.
  - The fetch from a registry is done by a short-lived container without network, capabilities or secrets, which
    reaches the source through the Unix socket of a filtering proxy. Large blobs come in several ranges at once. It
    is not trusted.
  - When the files are in quarantine, whatever brought them there is gone. They are copied into inodes that only
    root can write, those copies are hashed, and only then renamed into the store, the manifest last.
  - On any failure the store is as it was. A cut download is continued by the next run.
  - While a download of more than 64 MiB runs, the controller shows how far it is, every 10 seconds. See
    O(progress).
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
  source:
    description:
      - Where the bytes come from.
      - V(registry) is the registry that O(name) says, through the fetcher and the filtering proxy.
      - V(bundle) is a file that M(rampart.ollama.ollama_model_bundle) made, on the host.
      - V(file) is a directory in Ollama's store format on the host, such as an offline copy or the store of
        another Ollama. Of it, the approved manifest and blobs are taken.
      - Each needs the approval entry, and O(name) has to be of an allowed source, wherever the bytes come from. For
        V(bundle) and V(file) the entry has to name its origin in C(source) as well.
    type: str
    version_added: 0.2.0
    choices: [registry, bundle, file]
    default: registry
  src:
    description: The bundle or the directory on the host. Required for O(source=bundle) and O(source=file).
    type: path
    version_added: 0.2.0
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
  seccomp_profile:
    description:
      - The seccomp profile that the fetcher runs under, as the role P(rampart.ollama.confinement#role) writes it.
      - One that is missing, or is not the collection's, ends the task with C(FETCH-CONFINEMENT). So does a missing
        AppArmor profile where the kernel has AppArmor.
    type: path
    default: /etc/rampart/seccomp/rampart.json
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
  connections:
    description: Over how many connections, 1 to 16, a large blob is fetched at once, and how many small ones.
    type: int
    version_added: 0.2.0
    default: 4
  split_from:
    description: From which size on, in bytes, a blob is fetched in several ranges at once.
    type: int
    version_added: 0.2.0
    default: 67108864
  progress:
    description:
      - Whether the controller shows how far a long download is. For that it runs the module as a job on the host and
        asks for it, as with C(async); result and failures are the same.
      - In check mode, for less than 64 MiB, for other sources than a registry, with C(async) of your own, and where
        a job cannot be started, the module is run in one go.
    type: bool
    version_added: 0.2.0
    default: true
  record:
    description:
      - The record of M(rampart.ollama.ollama_model_verify). With it, marks of the published blobs are kept there, so
        that a later difference can be located.
    type: path
    version_added: 0.2.0
  revocations:
    description:
      - The host's memory of revocations (M(rampart.ollama.ollama_revocations)), asked once more before anything is
        published. A model that was revoked while it was fetched is refused.
    type: path
  policy:
    description:
      - What the layers of a delivered model are judged by before it is published; keys that are not given keep their
        default. C(docs/gguf.md) lists them.
      - A finding of medium severity or more refuses the model.
    type: dict
    default: {}
  scan:
    description:
      - The ClamAV daemon that scans the delivered files before they are published, and with them the blobs of this
        model that the store has already because another model brought them. Without it nothing is scanned.
      - A scanner that does not answer, or did not read everything, refuses the model.
    type: dict
    suboptions:
      socket:
        description: The daemon's Unix socket.
        type: path
        default: /run/clamav/clamd.ctl
      config:
        description: The daemon's configuration.
        type: path
        default: /etc/clamav/clamd.conf
      scratch:
        description: Where copies of parts of large files lie while they are scanned.
        type: path
        default: /var/tmp
      max_signature_age:
        description: Days after which signatures are too old.
        type: int
        default: 7
      allow_undated:
        description: Whether signatures without a date (local ones only) are accepted.
        type: bool
        default: false
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
  - module: rampart.ollama.ollama_model_bundle
  - module: rampart.ollama.ollama_model_fetch_info
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

- name: Have it on a host without a way out
  rampart.ollama.ollama_model:
    name: mistral:7b-instruct-v0.3-q4_K_M
    approval: "{{ model_store_approvals | first }}"
    store: /srv/rampart/store
    quarantine: /srv/rampart/quarantine
    source: bundle
    src: /media/usb/mistral.rampart.tar

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
  description: The digests that were brought from the source, or would be in check mode.
  returned: success and O(state=present)
  type: list
  elements: str
  sample: ["sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"]
source_needed:
  description: Whether anything, be it the manifest alone, had to be brought from the source, or would have to be.
  returned: success and O(state=present)
  type: bool
  sample: true
transfer:
  description: What the fetcher says it received (bytes, blobs, and how often it was cut).
  returned: success and something was fetched from a registry
  type: dict
  sample: {bytes: 98363007, blobs: 4, cuts: 0}
removed:
  description: The digests that were removed, or would be in check mode.
  returned: success and O(state=absent)
  type: list
  elements: str
  sample: []
scanned:
  description: What the scanner read before publishing, as M(rampart.ollama.ollama_model_scan) returns it.
  returned: success, O(scan) was given, and something was fetched
  type: dict
  sample:
    verdict: passed
    counts: {infected: 0, error: 0, partial: 0, clean: 4}
findings:
  description: On failure, the one finding that says why; else what the model's layers show that is worth knowing.
  returned: always
  type: list
  elements: dict
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, as_dicts
from ansible_collections.rampart.ollama.plugins.module_utils.model_request import have, have_not

ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "name": {"type": "str", "required": True},
    "approval": {"type": "dict"},
    "source": {"type": "str", "choices": ["registry", "bundle", "file"], "default": "registry"},
    "src": {"type": "path"},
    "store": {"type": "path", "required": True},
    "quarantine": {"type": "path"},
    "fetcher_image": {"type": "str"},
    "egress_socket": {"type": "path", "default": "/run/rampart/egress/egress.sock"},
    "ca_bundle": {"type": "path"},
    "fetcher_uid": {"type": "int", "default": 10003},
    "seccomp_profile": {"type": "path", "default": "/etc/rampart/seccomp/rampart.json"},
    "docker_socket": {"type": "path", "default": "/var/run/docker.sock"},
    "allowed_sources": {"type": "list", "elements": "str", "default": ["registry.ollama.ai/library/"]},
    "redirect_hosts": {
        "type": "list",
        "elements": "str",
        "default": ["dd20bb891979d25aebc8bec07b2b3bbc.r2.cloudflarestorage.com"],
    },
    "timeout": {"type": "int", "default": 3600},
    "connections": {"type": "int", "default": 4},
    "split_from": {"type": "int", "default": 67108864},
    "progress": {"type": "bool", "default": True},
    "record": {"type": "path"},
    "revocations": {"type": "path"},
    "policy": {"type": "dict", "default": {}},
    "scan": {
        "type": "dict",
        "options": {
            "socket": {"type": "path", "default": "/run/clamav/clamd.ctl"},
            "config": {"type": "path", "default": "/etc/clamav/clamd.conf"},
            "scratch": {"type": "path", "default": "/var/tmp"},  # noqa: S108 - nameless files only
            "max_signature_age": {"type": "int", "default": 7},
            "allow_undated": {"type": "bool", "default": False},
        },
    },
    "workers": {"type": "int", "default": 0},
    "owner_uid": {"type": "int", "default": 0},
    "owner_gid": {"type": "int", "default": 0},
}


def main() -> None:
    """Do what the arguments ask, and end with one finding when it cannot be done."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        required_if=[
            ("state", "present", ("quarantine",)),
            ("source", "bundle", ("src",)),
            ("source", "file", ("src",)),
        ],
    )
    work = have if module.params["state"] == "present" else have_not
    try:
        result = work(module.params, check=module.check_mode, diff=module._diff)
    except FindingError as error:
        module.fail_json(msg=str(error), findings=as_dicts([error.finding]))
    module.exit_json(**{"findings": [], **result})


if __name__ == "__main__":
    main()
