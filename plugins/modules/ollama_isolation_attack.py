#!/usr/bin/python
# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attack the isolation, from inside or from beside, and say what was refused and what was seen."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_isolation_attack
short_description: Attacks the isolation of the language model and says what was refused and seen
description:
  - Each attack is a YAML file on the controller. It says what is tried, from where, which refusal is expected and
    which trace the attempt leaves. The files are checked there, and the host is given those it needs.
  - With O(from=server) or O(from=gateway) each attack runs in a child process which joins the namespaces of
    the container's first process and takes its ids, groups, capability sets and no-new-privileges bit. It can
    do what that process could do. Its seccomp filter and AppArmor profile cannot be joined, so a refusal
    holds without them.
  - With O(from=clone) a program of a few dozen bytes runs inside a throw-away clone of O(container), which has its
    image, user, limits and seccomp filter, but no network. This is the one place from which bombs are tried. The
    program exists for x86_64. Elsewhere nothing is proven.
  - With O(from=fetcher) the attacks go through the egress proxy's socket, with the fetcher's uid and without a
    network. The proxy has to be up.
  - With O(from=user) they run as an unprivileged local user.
  - With O(from=neighbour-container) they run from a container that is started as anybody would start one by hand, on
    O(networks), and removed again.
  - With O(from=host) the module runs on a neighbour host and tries the host under test. With C(delegate_to)
    O(targets) must say which addresses these are. Traces are then read by
    M(rampart.ollama.ollama_isolation_trace) on the host itself.
  - A packet that leaves the server or the gateway counts as success, answered or not. Elsewhere only an answered
    connection does.
  - An attack without a target, one that could not be run, and one that was refused for another reason than its file
    expects, proves nothing. Its outcome is V(error) and its check V(unknown).
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
    choices: [server, gateway, fetcher, clone, user, neighbour-container, host]
    required: true
  container:
    description:
      - The container to attack from, the one that is cloned, or the one whose image a container by hand is made of.
      - By default C(rampart-gateway) for O(from=gateway), C(rampart-relay) for O(from=neighbour-container), else
        C(rampart-ollama).
    type: str
  directory:
    description: Directory on the controller with the attacks' files. By default those of the role C(security_tests).
    type: path
  definitions:
    description: The content of the files. Filled in on the controller, and refused in a task.
    type: list
    elements: dict
    default: []
  targets:
    description:
      - What is tried. Keys that are left out keep their defaults. Addresses are then documentation addresses
        (nobody's).
      - Lists of addresses are V(ipv4), V(ipv6), V(dns), V(metadata) and V(host_addresses). The last one is by
        default all addresses of the host, and must be given for O(from=host). There, link-local IPv6 addresses get
        the zone on which the host answers, and V(all_addresses) says that no address was left out.
      - V(container_addresses) are addresses behind the host that a neighbour tries as if it had a route there.
      - Ports are V(port), and the lists V(host_ports), V(docker_ports), V(ollama_ports), V(edge_ports). Those
        in V(expected_ports) may answer a neighbour.
      - V(name) is the name that is resolved. V(models), V(root) and V(temporary) are lists of directories.
      - V(upload_name) is the host to which V(upload_bytes) bytes may be sent through the proxy. Empty by default, so
        that nobody is sent anything.
      - All keys are listed in the collection's C(docs/attacks.md).
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
  uid:
    description: With O(from=user) the uid of the attacker, with O(from=fetcher) the fetcher's.
    type: int
  networks:
    description: With O(from=neighbour-container) the networks of that container. Those that do not exist are left out.
    type: list
    elements: str
    default: [bridge, rampart-egress]
  probe_directory:
    description:
      - Directory of root's in which the programs for inside lie while they are needed. Its file system must allow to
        execute.
    type: path
    default: /var/lib/rampart
  squid_log:
    description: The egress proxy's access log.
    type: path
    default: /srv/rampart/log/egress/access.json
seealso:
  - module: rampart.ollama.ollama_isolation_facts
  - module: rampart.ollama.ollama_isolation_trace
"""

EXAMPLES = r"""
- name: Attack from inside the server
  rampart.ollama.ollama_isolation_attack:
    from: server
  register: __from_server
  become: true

- name: Try a fork bomb and a memory bomb in a clone
  rampart.ollama.ollama_isolation_attack:
    from: clone
    attacks: [fork-bomb, memory-bomb]
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
  description:
    - What was tried and how it went. The outcome is V(refused), V(succeeded) or V(error).
    - Whether it was seen is V(seen), V(not seen), V(not observable) or V(unknown). C(trace) says by what, or why not.
  returned: always
  type: list
  elements: dict
  sample:
    - id: egress-ipv4
      tried: connect to an IPv4 address
      expected: refused
      outcome: refused
      evidence: ENETUNREACH x 1
      seen: seen
      trace: kernel OutNoRoutes +1
      seen_by: ["kernel:OutNoRoutes"]
table:
  description: One line for each attack, to be printed.
  returned: always
  type: list
  elements: str
  sample: ["server  egress-ipv4  refused  seen: kernel OutNoRoutes +1"]
findings:
  description: What got through (V(ATTACK-SUCCEEDED)) and what could not be tried (V(ATTACK-NOT-RUN)).
  returned: always
  type: list
  elements: dict
  sample: []
checks:
  description:
    - One check for each attack, V(passed) when it was refused.
    - The last one, C(attack-seen) or with the origin in its name, is V(passed) when every attack with a trace was
      seen. It is left out where no attack has one, and for O(from=host).
  returned: always
  type: list
  elements: dict
  sample:
    - id: attack-egress-ipv4
      status: passed
      evidence: "connect to an IPv4 address: ENETUNREACH x 1"
measures:
  description: How many attacks were refused, succeeded, not run, seen, and not observable, for the evidence.
  returned: always
  type: list
  elements: dict
  sample:
    - name: attacks-server
      unit: attacks
      value: 22
      refused: 22
      succeeded: 0
      not_run: 0
      seen: 11
      not_observable: 11
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rampart.ollama.plugins.module_utils.attack import (
    INSIDE,
    ORIGINS,
    Attack,
    attacks_for,
    judge,
    measure,
    table,
)
from ansible_collections.rampart.ollama.plugins.module_utils.attack_clone import Clone
from ansible_collections.rampart.ollama.plugins.module_utils.attack_places import (
    Fetcher,
    InClone,
    Inside,
    Place,
    Stranger,
    User,
    first_process,
    own_addresses,
)
from ansible_collections.rampart.ollama.plugins.module_utils.attack_run import run_attacks
from ansible_collections.rampart.ollama.plugins.module_utils.attack_traces import SQUID_LOG, Traces
from ansible_collections.rampart.ollama.plugins.module_utils.engine import Engine, EngineError
from ansible_collections.rampart.ollama.plugins.module_utils.findings import as_dicts
from ansible_collections.rampart.ollama.plugins.module_utils.procfs import ProcFS

CONTAINERS = {
    "server": "rampart-ollama",
    "gateway": "rampart-gateway",
    "clone": "rampart-ollama",
    "neighbour-container": "rampart-relay",
}
# A uid without an account, and the fetcher's as role layout declares it.
UIDS = {"user": 64999, "fetcher": 10003}
ENGINE_SECONDS = 30.0


class NoPlaceError(Exception):
    """The place from which the attacks start is not there."""


def place_for(params: dict[str, Any], subject: str, proc: ProcFS) -> Place:
    """Return the place that the parameters name. Raises EngineError or NoPlaceError."""
    origin = params["from"]
    uid = params["uid"] if params["uid"] is not None else UIDS.get(origin, 0)
    if origin == "user":
        return User(uid, proc)
    if origin == "fetcher":
        return Fetcher(uid, uid, proc)
    if origin == "host":
        return Place(proc)
    engine = Engine(params["docker_socket"], ENGINE_SECONDS)
    inspect, pid = engine.container_or_none(subject), first_process(engine, subject)
    if inspect is None or pid is None:
        raise NoPlaceError(
            "ISO-CONTAINER-ABSENT: {0} does not run. Start it (run phase 3 again) and attack again.".format(subject)
        )
    if origin in INSIDE:
        return Inside(pid, proc)
    if origin == "clone":
        return InClone(Clone(engine, inspect, params["probe_directory"], proc), proc)
    return Stranger(engine, str(inspect.get("Image")), params["networks"], params["probe_directory"], proc)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "from": {"type": "str", "choices": list(ORIGINS), "required": True},
            "container": {"type": "str"},
            "directory": {"type": "path"},
            "definitions": {"type": "list", "elements": "dict", "default": []},
            "targets": {"type": "dict", "default": {}},
            "attacks": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 3},
            "docker_socket": {"type": "path", "default": "/var/run/docker.sock"},
            "uid": {"type": "int"},
            "networks": {"type": "list", "elements": "str", "default": ["bridge", "rampart-egress"]},
            "probe_directory": {"type": "path", "default": "/var/lib/rampart"},
            "squid_log": {"type": "path", "default": SQUID_LOG},
        },
        supports_check_mode=True,
    )
    origin: str = module.params["from"]
    targets: dict[str, Any] = dict(module.params["targets"])
    subject = module.params["container"] or CONTAINERS.get(origin, origin)
    try:
        known = [Attack.from_dict(data) for data in module.params["definitions"]]
        attacks = attacks_for(origin, known, module.params["attacks"])
    except ValueError as error:
        module.fail_json(msg="ATTACK-UNKNOWN: {0}. Name attacks that have a file.".format(error))
    if module.check_mode:
        module.exit_json(changed=False, results=[], table=[], findings=[], checks=[], measures=[])
    proc = ProcFS()
    if origin != "host":
        targets["host_addresses"] = targets.get("host_addresses") or own_addresses(proc)
    try:
        with place_for(module.params, subject, proc) as place:
            traces = None
            if origin != "host":
                traces = Traces(proc, place.pid, module.params["squid_log"])
            results = run_attacks(origin, attacks, targets, float(module.params["timeout"]), place, traces)
    except EngineError as error:
        module.fail_json(msg=error.as_finding().as_text())
    except (NoPlaceError, OSError, ValueError) as error:
        text = str(error)
        module.fail_json(
            msg=text if text.startswith("ISO-") else "ATTACK-NOT-RUN: {0}. Mend that and attack again.".format(text)
        )
    findings, checks = judge(origin, results, subject)
    module.exit_json(
        changed=False,
        results=results,
        table=table(origin, results),
        findings=as_dicts(findings),
        checks=as_dicts(checks),
        measures=[measure(origin, results)],
    )


if __name__ == "__main__":
    main()
