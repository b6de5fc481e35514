#!/usr/bin/python
# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attack the isolation, from inside a container or from a neighbour, and say what was refused."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_isolation_attack
short_description: Attacks the isolation of the language model and says what was refused
description:
  - With O(from=server) or O(from=gateway) each attack runs in a child process which joins the namespaces of
    the container's first process and takes its ids, groups, capability sets and no-new-privileges bit. It can
    do what that process could do. Its seccomp filter and AppArmor profile cannot be joined, so a refusal
    holds without them.
  - With O(from=host) the module runs on a neighbour host and tries the ports of the host under test. With
    C(delegate_to) O(targets) must say which addresses these are.
  - A packet that leaves a container counts as success, answered or not. From a neighbour only an answered
    connection does.
  - An attack without a target, or one that could not be run, proves nothing. Its outcome is V(error) and its
    check V(unknown).
  - Nothing but attempts to connect is sent, and what an attack could create it removes again.
version_added: "0.1.0"
author:
  - Rampart contributors (@rampart)
attributes:
  check_mode:
    support: full
    description: In check mode nothing is tried and no result is returned.
  diff_mode:
    support: none
    description: Nothing is changed.
  idempotent:
    support: full
    description: Never reports a change.
options:
  from:
    description: Where the attacks start.
    type: str
    choices: [server, gateway, host]
    required: true
  container:
    description: The container to attack from. By default C(rampart-ollama) or C(rampart-gateway).
    type: str
  targets:
    description:
      - What is tried. Keys that are left out keep their defaults, which are documentation addresses
        (nobody's).
      - Lists of addresses are V(ipv4), V(ipv6), V(dns), V(metadata) and V(host_addresses). The last one is by
        default all addresses of the host for attacks from inside, and must be given for O(from=host).
      - Ports are V(port), and the lists V(host_ports), V(docker_ports), V(ollama_ports), V(edge_ports). Those
        in V(expected_ports) may answer a neighbour.
      - V(name) is the name that is resolved. V(models), V(root) and V(temporary) are lists of directories.
    type: dict
    default: {}
  attacks:
    description: The attacks to run. Empty means all that can start there.
    type: list
    elements: str
    default: []
  timeout:
    description: How long one attack may take, in seconds.
    type: int
    default: 3
  docker_socket:
    description: The Unix socket of the Docker Engine.
    type: path
    default: /var/run/docker.sock
seealso:
  - module: rampart.ollama.ollama_isolation_facts
"""

EXAMPLES = r"""
- name: Attack from inside the server
  rampart.ollama.ollama_isolation_attack:
    from: server
  register: __from_server
  become: true

- name: Attack from a neighbour
  rampart.ollama.ollama_isolation_attack:
    from: host
    targets:
      host_addresses: [192.0.2.20, "2001:db8::20"]
  delegate_to: neighbour.example.org
  register: __from_neighbour
"""

RETURN = r"""
results:
  description: What was tried and how it went. The outcome is V(refused), V(succeeded) or V(error).
  returned: always
  type: list
  elements: dict
  sample:
    - id: egress-ipv4
      tried: connect to an IPv4 address
      expected: refused
      outcome: refused
      evidence: ENETUNREACH x 1
findings:
  description: What got through (V(ATTACK-SUCCEEDED)) and what could not be tried (V(ATTACK-NOT-RUN)).
  returned: always
  type: list
  elements: dict
  sample: []
checks:
  description: One check for each attack, V(passed) when it was refused.
  returned: always
  type: list
  elements: dict
  sample:
    - id: attack-egress-ipv4
      status: passed
      evidence: "connect to an IPv4 address: ENETUNREACH x 1"
"""

from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rampart.ollama.plugins.module_utils.attack import (
    INSIDE,
    attacks_for,
    judge,
    own_addresses,
    run_attacks,
)
from ansible_collections.rampart.ollama.plugins.module_utils.engine import Engine, EngineError
from ansible_collections.rampart.ollama.plugins.module_utils.findings import as_dicts
from ansible_collections.rampart.ollama.plugins.module_utils.isolation_report import dig
from ansible_collections.rampart.ollama.plugins.module_utils.procfs import ProcFS

CONTAINERS = {"server": "rampart-ollama", "gateway": "rampart-gateway"}
ENGINE_SECONDS = 10.0


def first_process(engine: Engine, name: str) -> Optional[int]:
    """Return the process id of a running container, or None. Raises EngineError when the engine does not answer."""
    inspect = engine.container_or_none(name)
    pid = dig(inspect, "State", "Pid")
    return pid if dig(inspect, "State", "Running") is True and isinstance(pid, int) and pid > 0 else None


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "from": {"type": "str", "choices": ["server", "gateway", "host"], "required": True},
            "container": {"type": "str"},
            "targets": {"type": "dict", "default": {}},
            "attacks": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 3},
            "docker_socket": {"type": "path", "default": "/var/run/docker.sock"},
        },
        supports_check_mode=True,
    )
    origin: str = module.params["from"]
    targets: dict[str, Any] = dict(module.params["targets"])
    subject = module.params["container"] or CONTAINERS.get(origin, "host")
    try:
        attacks = attacks_for(origin, module.params["attacks"])
    except ValueError as error:
        module.fail_json(msg="ATTACK-UNKNOWN: {0}. Name attacks of the module's documentation.".format(error))
    if module.check_mode:
        module.exit_json(changed=False, results=[], findings=[], checks=[])
    pid = None
    proc = ProcFS()
    if origin in INSIDE:
        try:
            pid = first_process(Engine(module.params["docker_socket"], ENGINE_SECONDS), subject)
        except EngineError as error:
            module.fail_json(msg=error.as_finding().as_text())
        if pid is None:
            module.fail_json(
                msg="ISO-CONTAINER-ABSENT: {0} does not run. Start it (run phase 3 again) and attack again.".format(
                    subject
                )
            )
        targets["host_addresses"] = targets.get("host_addresses") or own_addresses(proc)
    results = run_attacks(origin, attacks, targets, float(module.params["timeout"]), pid, proc)
    findings, checks = judge(origin, results, subject)
    module.exit_json(changed=False, results=results, findings=as_dicts(findings), checks=as_dicts(checks))


if __name__ == "__main__":
    main()
