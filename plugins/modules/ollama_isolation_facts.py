#!/usr/bin/python
# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say how isolated the language model of a host is, from the kernel and from the engine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_isolation_facts
short_description: Says how isolated the language model of a host is
description:
  - Looks at the containers of relay, server and gateway as the kernel sees them, in C(/proc), and as Docker
    describes them, through its Unix socket. Looks at the host around them too, for listeners on port 11434 in
    every network namespace, strangers in a container's namespace, servers outside their container, and the
    modes of socket directories and store.
  - Every hardening option has a check for each component, named after it (V(ollama-no-interface-but-lo)), and
    a finding code.
  - Probes are independent of each other. What cannot be seen is V(unknown), which is never a pass. This holds
    when Docker is down or a container is absent too.
  - A network namespace may hold tunnel devices that kernel modules put into every namespace (such as C(tunl0)
    or C(sit0)). They count as no interface as long as they are down. Every other device but C(lo) is a
    finding.
  - Nothing is changed. Whoever is root on the host can lie to every probe, so looks from a neighbour
    complement this module. See M(rampart.ollama.ollama_isolation_attack).
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
  containers:
    description:
      - Name of the container of each role. Roles that are left out are not looked at.
      - Roles are V(relay), V(ollama) and V(gateway).
    type: dict
    default:
      relay: rampart-relay
      ollama: rampart-ollama
      gateway: rampart-gateway
  uids:
    description: The uid that each role's processes must have.
    type: dict
    default:
      relay: 10005
      ollama: 10001
      gateway: 10002
  images:
    description: The image id (C(sha256:...)) that each role must run. Roles without one must be started from
      a digest.
    type: dict
    default: {}
  mounts:
    description:
      - For each role the directories of the host that may be mounted, path inside and V(ro) or V(rw).
      - Roles that are left out keep what this collection's roles mount.
    type: dict
    default: {}
  devices:
    description: Devices of the host that containers may have (a GPU), as paths or CDI names.
    type: list
    elements: str
    default: []
  store:
    description: The model store on the host, whose owner and modes are checked. Empty means not checked.
    type: path
    default: ""
  socket_directories:
    description: Directories of Unix sockets that only their owner and group may enter.
    type: list
    elements: dict
    default: []
    suboptions:
      role:
        description: The role whose socket lies there, V(relay) or V(gateway).
        type: str
        required: true
      path:
        description: The directory on the host.
        type: path
        required: true
      uid:
        description: The owner of the directory and of what is in it.
        type: int
      gid:
        description: The group of the directory and of what is in it.
        type: int
  docker_socket:
    description: The Unix socket of the Docker Engine.
    type: path
    default: /var/run/docker.sock
  proc:
    description: Where the proc file system is mounted.
    type: path
    default: /proc
seealso:
  - module: rampart.ollama.ollama_isolation_attack
  - module: rampart.ollama.ollama_host_facts
"""

EXAMPLES = r"""
- name: Look at the isolation
  rampart.ollama.ollama_isolation_facts:
    store: /srv/rampart/store

- name: Refuse to go on with a server that has a way out
  ansible.builtin.assert:
    that: ansible_facts['ollama_isolation'].verdict == 'passed'
    fail_msg: "{{ ansible_facts['ollama_isolation'].findings | map(attribute='code') | join(', ') }}"
"""

RETURN = r"""
ansible_facts:
  description: What was seen.
  returned: always
  type: dict
  contains:
    ollama_isolation:
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
          description:
            - What was read. RV(ignore:containers) by role, RV(ignore:listeners) on port 11434,
              RV(ignore:foreign_connections) and RV(ignore:native_processes).
          returned: always
          type: dict
          sample:
            containers:
              ollama:
                name: rampart-ollama
                running: true
                pid: 4711
                uids: [10001]
                interfaces: [lo]
                seccomp: [2]
                no_new_privs: true
                root_read_only: true
                host_mounts: [/models]
                network_mode: "container:0f1e"
            listeners:
              - address: 127.0.0.1
                namespace: "net:[4026532500]"
                server: true
            foreign_connections: []
            native_processes: []
        findings:
          description: What is wrong, worst first.
          returned: always
          type: list
          elements: dict
          sample:
            - code: ISO-INTERFACE
              severity: critical
              subject: rampart-ollama
              evidence: "interfaces: lo, eth0"
              remedy: "Start the container with network_mode none and disconnect networks."
        checks:
          description: Each property that was looked at, with status V(passed), V(failed) or V(unknown).
          returned: always
          type: list
          elements: dict
          sample:
            - id: ollama-no-interface-but-lo
              status: passed
              evidence: "interfaces: lo"
        verdict:
          description: V(failed) when a check failed, else V(unknown) when one is unknown, else V(passed).
          returned: always
          type: str
          sample: passed
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rampart.ollama.plugins.module_utils.engine import Engine
from ansible_collections.rampart.ollama.plugins.module_utils.isolation import (
    DEFAULT_CONTAINERS,
    DEFAULT_MOUNTS,
    DEFAULT_UIDS,
    ROLES,
    Expectation,
    inspect_isolation,
)
from ansible_collections.rampart.ollama.plugins.module_utils.isolation_host import SocketDirectory
from ansible_collections.rampart.ollama.plugins.module_utils.procfs import ProcFS

ENGINE_SECONDS = 10.0


def expectation(params: dict[str, Any]) -> Expectation:
    """Return what the parameters ask for. Raises ValueError, with a message for people, where they make no sense."""
    for option in ("containers", "uids", "images", "mounts"):
        strange = sorted(set(params[option]) - set(ROLES))
        if strange:
            raise ValueError("{0} names {1}; roles are {2}".format(option, ", ".join(strange), ", ".join(ROLES)))
    uids = dict(DEFAULT_UIDS)
    for role, uid in params["uids"].items():
        if isinstance(uid, bool) or not str(uid).isdigit():
            raise ValueError("uids: {0!r} of {1} is no number".format(uid, role))
        uids[role] = int(uid)
    mounts = {role: dict(expected) for role, expected in DEFAULT_MOUNTS.items()}
    for role, expected in params["mounts"].items():
        if not isinstance(expected, dict) or not set(map(str, expected.values())) <= {"ro", "rw"}:
            raise ValueError("mounts of {0} must map paths to ro or rw".format(role))
        mounts[role] = {str(path): str(mode) for path, mode in expected.items()}
    for item in params["socket_directories"]:
        if item["role"] not in ROLES:
            raise ValueError("socket_directories names {0}; roles are {1}".format(item["role"], ", ".join(ROLES)))
    return Expectation(
        containers={role: str(params["containers"][role]) for role in ROLES if role in params["containers"]},
        uids=uids,
        mounts=mounts,
        images={role: str(image) for role, image in params["images"].items()},
        devices=tuple(params["devices"]),
        store=params["store"] or None,
        socket_directories=[
            SocketDirectory(item["role"], item["path"], item.get("uid"), item.get("gid"))
            for item in params["socket_directories"]
        ],
        docker_socket=params["docker_socket"],
    )


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "containers": {"type": "dict", "default": dict(DEFAULT_CONTAINERS)},
            "uids": {"type": "dict", "default": dict(DEFAULT_UIDS)},
            "images": {"type": "dict", "default": {}},
            "mounts": {"type": "dict", "default": {}},
            "devices": {"type": "list", "elements": "str", "default": []},
            "store": {"type": "path", "default": ""},
            "socket_directories": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "role": {"type": "str", "required": True},
                    "path": {"type": "path", "required": True},
                    "uid": {"type": "int"},
                    "gid": {"type": "int"},
                },
            },
            "docker_socket": {"type": "path", "default": "/var/run/docker.sock"},
            "proc": {"type": "path", "default": "/proc"},
        },
        supports_check_mode=True,
    )
    try:
        expected = expectation(module.params)
    except ValueError as error:
        module.fail_json(msg="ISO-PARAMETERS: {0}. Correct the parameter and run again.".format(error))
    report = inspect_isolation(expected, Engine(expected.docker_socket, ENGINE_SECONDS), ProcFS(module.params["proc"]))
    module.exit_json(changed=False, ansible_facts={"ollama_isolation": report.as_dict()})


if __name__ == "__main__":
    main()
