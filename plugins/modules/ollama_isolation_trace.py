#!/usr/bin/python
# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read, on the attacked host, what attacks from a neighbour left behind."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_isolation_trace
short_description: Reads on the attacked host what attacks from a neighbour left behind
description:
  - Called before an attack it returns the counters of the host's firewall and the sizes of its logs, and the addresses
    behind the host that a neighbour can try.
  - Called again with O(before) and O(results) it says for each attack whether it was seen.
  - A counter cannot tell one packet from another. So an attack counts as seen when the counter rose by at least as
    many packets as there were attacks that it counts.
version_added: "0.3.0"
author:
  - Rampart contributors (@rampart)
attributes:
  check_mode:
    support: full
    description: Only looks, so that check mode and a real run do the same.
  diff_mode:
    support: none
    description: Nothing is changed.
  idempotent:
    support: full
    description: Never reports a change.
options:
  traces:
    description: The traces to read, each as C(kind:what).
    type: list
    elements: str
    default: ["nft:input_refused", "nft:forward_refused", "watch:drops"]
  before:
    description: RV(marks) of the call before the attack.
    type: dict
    default: {}
  results:
    description: What M(rampart.ollama.ollama_isolation_attack) returned from a neighbour.
    type: list
    elements: dict
    default: []
  docker_socket:
    description: The Unix socket of the Docker Engine.
    type: path
    default: /var/run/docker.sock
  watch_figures:
    description: The file in which the watch writes its figures.
    type: path
    default: /var/lib/rampart/watch/metrics/rampart_watch.prom
seealso:
  - module: rampart.ollama.ollama_isolation_attack
"""

EXAMPLES = r"""
- name: Read the counters
  rampart.ollama.ollama_isolation_trace:
  register: __before

- name: Attack from a neighbour
  rampart.ollama.ollama_isolation_attack:
    from: host
    targets:
      host_addresses: [192.0.2.20]
      container_addresses: "{{ __before.container_addresses }}"
  delegate_to: neighbour.example.org
  register: __from_neighbour

- name: Say what was seen
  rampart.ollama.ollama_isolation_trace:
    before: "{{ __before.marks }}"
    results: "{{ __from_neighbour.results }}"
"""

RETURN = r"""
marks:
  description: The counters and sizes as they are now.
  returned: always
  type: dict
  sample: {"nft:input_refused": 20, "nft:forward_refused": 0, "watch:drops": 12}
container_addresses:
  description: IPv4 addresses of Docker's bridges and of the containers on them. Empty when no engine answers.
  returned: always
  type: list
  elements: str
  sample: [172.17.0.1]
results:
  description: O(results), with C(seen) and C(trace) filled in.
  returned: always
  type: list
  elements: dict
  sample: []
table:
  description: One line for each attack, to be printed.
  returned: always
  type: list
  elements: str
  sample: ["host  ollama-ipv4  refused  seen: nft input_refused +12 for 6 attacks"]
checks:
  description: >-
    The check C(attack-neighbour-seen), and C(attack-neighbour-heard) (did the watch hear of the attacks?), when there
    are results.
  returned: always
  type: list
  elements: dict
  sample:
    - id: attack-neighbour-seen
      status: passed
      evidence: 7 of 7 attacks with a trace were seen
measures:
  description: How many attacks were refused, succeeded, not run, seen, and not observable, for the evidence.
  returned: always
  type: list
  elements: dict
  sample: []
"""

from contextlib import suppress

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rampart.ollama.plugins.module_utils.attack import measure, seen_check, table
from ansible_collections.rampart.ollama.plugins.module_utils.attack_places import container_addresses
from ansible_collections.rampart.ollama.plugins.module_utils.attack_traces import (
    KINDS,
    WATCH_FIGURES,
    Traces,
    heard_check,
    resolve,
)
from ansible_collections.rampart.ollama.plugins.module_utils.engine import Engine, EngineError
from ansible_collections.rampart.ollama.plugins.module_utils.findings import as_dicts

ORIGIN = "host"
ENGINE_SECONDS = 10.0


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "traces": {
                "type": "list",
                "elements": "str",
                "default": ["nft:input_refused", "nft:forward_refused", "watch:drops"],
            },
            "before": {"type": "dict", "default": {}},
            "results": {"type": "list", "elements": "dict", "default": []},
            "docker_socket": {"type": "path", "default": "/var/run/docker.sock"},
            "watch_figures": {"type": "path", "default": WATCH_FIGURES},
        },
        supports_check_mode=True,
    )
    wanted = [tuple(text.split(":", 1)) for text in module.params["traces"]]
    if any(len(trace) != 2 or trace[0] not in KINDS for trace in wanted):
        module.fail_json(msg="ATTACK-TRACE: a trace is kind:what, its kind one of {0}.".format(", ".join(KINDS)))
    traces = Traces(watch_figures=module.params["watch_figures"])
    results = resolve(traces, module.params["before"], module.params["results"])
    heard = heard_check(traces, module.params["before"], results) if results else None
    checks = [check for check in (seen_check(ORIGIN, results), heard) if results and check is not None]
    addresses = []
    with suppress(EngineError):
        addresses = container_addresses(Engine(module.params["docker_socket"], ENGINE_SECONDS))
    module.exit_json(
        changed=False,
        marks=traces.marks([(trace[0], trace[1]) for trace in wanted]),
        container_addresses=addresses,
        results=results,
        table=table(ORIGIN, results),
        checks=as_dicts(checks),
        measures=[measure(ORIGIN, results)] if results else [],
    )


if __name__ == "__main__":
    main()
