#!/usr/bin/python
# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what a host is, whether it is fit for the rest, and how it is guarded."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_host_facts
short_description: Says what a host is, whether it is fit for Ollama, and how it is guarded
description:
  - Looks at operating system, hardware, disks, Docker Engine, our own firewall table and automatic updates.
  - RV(ansible_facts.ollama_host.verdict) says whether the other roles may begin. V(blocked) follows from an
    operating system that is not supported or not recognised, too little memory or disk, and, for
    O(profile=prod), a missing TPM 2.0. What a later role puts right does not block.
  - Nothing is changed. A look that cannot be taken is V(unknown), which is never a pass.
version_added: "0.1.0"
author:
  - Rampart contributors (@rampart)
attributes:
  check_mode:
    support: full
    description: The module only reads.
  diff_mode:
    support: none
    description: Nothing is changed.
  idempotent:
    support: full
    description: Never reports a change.
  facts:
    support: full
    description: Returns RV(ignore:ansible_facts) alone.
options:
  profile:
    description: How strict the verdict is. A missing TPM 2.0 blocks V(prod) and is a warning elsewhere.
    type: str
    choices: [dev, staging, prod]
    default: dev
  min_memory_mb:
    description: Memory that is needed, in MB.
    type: int
    default: 2048
  min_disk_gb:
    description: Free space that is needed where models and Docker's data go, in GB.
    type: int
    default: 5
  min_cpus:
    description: Processors that should be there. Fewer are a finding and do not block.
    type: int
    default: 2
  layout_root:
    description: Where models, logs and state go. It need not exist yet.
    type: path
    default: /srv/rampart
  docker_socket:
    description: The Unix socket of the Docker Engine.
    type: path
    default: /var/run/docker.sock
seealso:
  - module: rampart.ollama.ollama_isolation_facts
"""

EXAMPLES = r"""
- name: Look at the host
  rampart.ollama.ollama_host_facts:
    profile: prod
    min_memory_mb: 16384
  become: true

- name: Stop before anything is changed
  ansible.builtin.assert:
    that: ansible_facts['ollama_host'].verdict == 'ready'
"""

RETURN = r"""
ansible_facts:
  description: What was seen.
  returned: always
  type: dict
  contains:
    ollama_host:
      description: Facts, findings, checks and verdict.
      returned: always
      type: dict
      contains:
        schema:
          description: The version of this shape. It grows when a key changes its meaning or goes.
          returned: always
          type: int
          sample: 1
        facts:
          description: What was read. A key is null or absent when it could not be seen.
          returned: always
          type: dict
          sample:
            os: {id: debian, version: "13", name: Debian GNU/Linux 13 (trixie), supported: true}
            kernel: 6.12.0
            cpus: 8
            memory_mb: 32768
            disk_free_gb: {/srv/rampart: 200, /var/lib/docker: 60}
            tpm: "2.0"
            uefi: true
            secure_boot: true
            gpt: true
            virtualisation: none
            gpus: []
            npus: []
            encrypted: {/: true, /srv/rampart: true, /var/lib/docker: true}
            swap: []
            native_ollama: []
            ssh_connection: {peer: 192.0.2.10, peer_port: 50022, server: 192.0.2.20, server_port: 22}
            docker: {version: 26.1.5, group_members: []}
            firewall: {table: inet rampart, policies: {input: drop, forward: drop}, rules: 12}
            listeners: [{address: 0.0.0.0, port: 22, loopback: false}]
        findings:
          description: What is wrong, worst first.
          returned: always
          type: list
          elements: dict
          sample:
            - code: HOST-TPM-MISSING
              severity: low
              subject: host
              evidence: no TPM
              remedy: Switch the TPM on in the firmware.
        checks:
          description: Each property that was looked at, with status V(passed), V(failed) or V(unknown).
          returned: always
          type: list
          elements: dict
          sample:
            - id: host-supported-os
              status: passed
              evidence: debian 13
        verdict:
          description: V(ready) or V(blocked).
          returned: always
          type: str
          sample: ready
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rampart.ollama.plugins.module_utils.engine import Engine
from ansible_collections.rampart.ollama.plugins.module_utils.hostinfo import Host
from ansible_collections.rampart.ollama.plugins.module_utils.hostinfo_report import inspect_host

ENGINE_SECONDS = 10.0


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "profile": {"type": "str", "choices": ["dev", "staging", "prod"], "default": "dev"},
            "min_memory_mb": {"type": "int", "default": 2048},
            "min_disk_gb": {"type": "int", "default": 5},
            "min_cpus": {"type": "int", "default": 2},
            "layout_root": {"type": "path", "default": "/srv/rampart"},
            "docker_socket": {"type": "path", "default": "/var/run/docker.sock"},
        },
        supports_check_mode=True,
    )
    host = Host(
        engine=Engine(module.params["docker_socket"], ENGINE_SECONDS),
        profile=module.params["profile"],
        min_memory_mb=module.params["min_memory_mb"],
        min_disk_gb=module.params["min_disk_gb"],
        min_cpus=module.params["min_cpus"],
        layout_root=module.params["layout_root"],
    )
    module.exit_json(changed=False, ansible_facts={"ollama_host": inspect_host(host)})


if __name__ == "__main__":
    main()
