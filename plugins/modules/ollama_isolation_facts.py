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
    every network namespace, strangers in a container's namespace, servers outside their container, networks and
    their members, the firewall, and the modes of socket directories and store.
  - The containers of a download (fetcher and egress proxy) are looked at while they run.
  - Every hardening option has a check for each component, named after it (V(ollama-no-interface-but-lo)), and
    a finding code.
  - Probes are independent of each other. What cannot be seen is V(unknown), which is never a pass. This holds
    when Docker is down or a container is absent too.
  - A network namespace may hold tunnel devices that kernel modules put into every namespace (such as C(tunl0)
    or C(sit0)). They count as no interface as long as they are down. Every other device but C(lo) is a
    finding.
  - A container that was renamed is found by its label C(rampart.component), or by its image id where it has no
    label. It is looked at, and reported as absent under its name.
  - The items of section 5 (container runtime) of the CIS Docker Benchmark 1.6 are judged for all these
    containers together, as checks V(cis-5-1) to V(cis-5-32).
  - What answers behind the Docker socket gets little time and little memory. An answer that is slow, endless or
    no answer at all is reported as an engine that does not answer.
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
      - Roles are V(relay), V(ollama) and V(gateway). Those of a download are found by their label.
    type: dict
    default:
      relay: rampart-relay
      ollama: rampart-ollama
      gateway: rampart-gateway
  uids:
    description:
      - The uid that each role's processes must have.
      - Roles that are left out keep their default, which is 10003 for V(fetcher) and 10004 for V(egress).
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
    description: Devices of the host that the server may have (a GPU), as paths or CDI names. No other container may.
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
  firewall:
    description:
      - Look at the host's table C(inet rampart) by C(nft -j), and whether it drops what no rule admits.
      - Where there is no C(nft), the check is V(unknown).
    type: bool
    default: true
  egress:
    description:
      - Try to get out from inside server and gateway. Each attempt has to be refused.
      - This sends a packet to a documentation address where a container has a way out.
    type: bool
    default: false
  egress_timeout:
    description: Seconds for each of these attempts. One that is refused takes no time.
    type: float
    default: 1.0
  engine_timeout:
    description: Seconds for everything that is asked of the Docker Engine.
    type: float
    default: 10.0
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

- name: Look again after a change, and try to get out
  rampart.ollama.ollama_isolation_facts:
    store: /srv/rampart/store
    egress: true

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
          description: The version of this shape. It grows when a key changes its meaning or goes, not when one comes.
          returned: always
          type: int
          sample: 1
        facts:
          description: What was read. Texts are printable and at most 4096 characters long, lists hold at most 1000.
          returned: always
          type: dict
          contains:
            containers:
              description: What the kernel and the engine show of each role's container.
              returned: always
              type: dict
              sample:
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
            transient:
              description: The same of the containers of a download, while it runs.
              returned: always
              type: list
              elements: dict
              sample: []
            listeners:
              description: What listens on port 11434, in any network namespace.
              returned: always
              type: list
              elements: dict
              sample:
                - address: 127.0.0.1
                  namespace: "net:[4026532500]"
                  server: true
            foreign_connections:
              description: Connections off loopback of what is isolated, and of port 11434.
              returned: always
              type: list
              elements: dict
              sample: []
            native_processes:
              description: Servers that run outside the server's container.
              returned: always
              type: list
              elements: dict
              sample: []
            second_servers:
              description: Other containers that run from the server's image. Null when it could not be seen.
              returned: always
              type: list
              elements: str
              sample: []
            networks:
              description:
                - The engine's networks, their running members, and which roles of ours are members.
                - Null when it could not be seen.
              returned: always
              type: list
              elements: dict
              sample:
                - name: bridge
                  driver: bridge
                  internal: false
                  members: [registry-mirror]
                  ours: []
            firewall:
              description: The host's own table. Null when it was not asked for or could not be seen.
              returned: always
              type: dict
              sample:
                table: inet rampart
                policies: {input: drop, forward: drop}
                rules: 21
            egress:
              description: Each attempt to get out by role. Null when it was not asked for.
              returned: always
              type: dict
              sample:
                ollama:
                  ipv4: "refused: ENETUNREACH x 1"
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
        cis:
          description:
            - The items of section 5 of the CIS Docker Benchmark 1.6, in our words.
            - An item that is V(explained) is done otherwise, or has nothing to apply to, for the reason given. Its
              check passes and says so.
          returned: always
          type: list
          elements: dict
          sample:
            - id: "5.3"
              check: cis-5-3
              title: SELinux labels confine each container where the kernel has SELinux
              status: explained
              evidence: no SELinux in this kernel
              explanation: The supported distributions confine by AppArmor, which 5.2 judges.
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
)
from ansible_collections.rampart.ollama.plugins.module_utils.isolation_host import SocketDirectory
from ansible_collections.rampart.ollama.plugins.module_utils.isolation_survey import (
    TRANSIENT_MOUNTS,
    TRANSIENT_UIDS,
    Wishes,
    survey,
)
from ansible_collections.rampart.ollama.plugins.module_utils.procfs import ProcFS

ALL_ROLES = (*ROLES, *TRANSIENT_UIDS)


def expectation(params: dict[str, Any]) -> Expectation:
    """Return what the parameters ask for. Raises ValueError, with a message for people, where they make no sense."""
    for option in ("containers", "uids", "images", "mounts"):
        roles = ROLES if option == "containers" else ALL_ROLES
        strange = sorted(set(params[option]) - set(roles))
        if strange:
            raise ValueError("{0} names {1}; roles are {2}".format(option, ", ".join(strange), ", ".join(roles)))
    uids = {**DEFAULT_UIDS, **TRANSIENT_UIDS}
    for role, uid in params["uids"].items():
        if isinstance(uid, bool) or not str(uid).isdigit():
            raise ValueError("uids: {0!r} of {1} is no number".format(uid, role))
        uids[role] = int(uid)
    mounts = {role: dict(expected) for role, expected in {**DEFAULT_MOUNTS, **TRANSIENT_MOUNTS}.items()}
    for role, expected in params["mounts"].items():
        if not isinstance(expected, dict) or not set(map(str, expected.values())) <= {"ro", "rw"}:
            raise ValueError("mounts of {0} must map paths to ro or rw".format(role))
        mounts[role] = {str(path): str(mode) for path, mode in expected.items()}
    for item in params["socket_directories"]:
        if item["role"] not in ROLES:
            raise ValueError("socket_directories names {0}; roles are {1}".format(item["role"], ", ".join(ROLES)))
    for option in ("engine_timeout", "egress_timeout"):
        if not 0 < params[option] <= 60:
            raise ValueError("{0} is {1:g}; it must be more than 0 and at most 60".format(option, params[option]))
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
            "firewall": {"type": "bool", "default": True},
            "egress": {"type": "bool", "default": False},
            "egress_timeout": {"type": "float", "default": 1.0},
            "engine_timeout": {"type": "float", "default": 10.0},
            "docker_socket": {"type": "path", "default": "/var/run/docker.sock"},
            "proc": {"type": "path", "default": "/proc"},
        },
        supports_check_mode=True,
    )
    try:
        expected = expectation(module.params)
    except ValueError as error:
        module.fail_json(msg="ISO-PARAMETERS: {0}. Correct the parameter and run again.".format(error))
    seconds = module.params["engine_timeout"]
    wishes = Wishes(
        firewall=module.params["firewall"],
        egress=module.params["egress"],
        egress_seconds=module.params["egress_timeout"],
        engine_seconds=seconds,
    )
    found = survey(expected, Engine(expected.docker_socket, seconds), wishes, ProcFS(module.params["proc"]))
    module.exit_json(changed=False, ansible_facts={"ollama_isolation": found})


if __name__ == "__main__":
    main()
