#!/usr/bin/python
# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say how the isolation watch of a host is, and what it has contained."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_watch_info
short_description: Say how the isolation watch is, and what it has contained
version_added: 0.2.0
description:
  - Looks at the services of the watch, at when the sensor last looked at everything, at the policy in force, and at the
    records of containments.
  - What cannot be seen is V(unknown), which is never a pass.
extends_documentation_fragment:
  - rampart.ollama.attributes.reading
options:
  config_directory:
    description: Where C(watch.json) lies.
    type: path
    default: /etc/rampart/watch
  records:
    description: The directory of the containment records.
    type: path
    default: /var/lib/rampart/watch/contained
  max_sweep_age:
    description: How old the last full sweep may be, in seconds.
    type: int
    default: 180
seealso:
  - module: rampart.ollama.ollama_watch_release
  - module: rampart.ollama.ollama_isolation_facts
author:
  - Rampart contributors (@rampart)
"""

EXAMPLES = r"""
- name: Ask the watch how it is
  rampart.ollama.ollama_watch_info:
  register: watch

- name: Show what is contained
  ansible.builtin.debug:
    msg: "{{ watch.containments | selectattr('open') | map(attribute='reason') | list }}"
"""

RETURN = r"""
containments:
  description: Every containment record, oldest first. RV(ignore:open) is false once somebody released it.
  returned: always
  type: list
  elements: dict
  sample:
    - name: 20260102T030405Z-container-00c0ffee.json
      open: true
      verb: container
      time: "2026-01-02T03:04:05Z"
      outcome: done
      reason: "stopped debug; set its restart policy from always to no"
      checked: ["it is privileged"]
      done: ["stopped debug", "set its restart policy from always to no"]
      seconds: 0.31
      release: start-container
      released: null
      finding:
        code: ISO-NAMESPACE-STRANGER
        severity: critical
        subject: rampart-ollama
        evidence: "others in its namespace: sh(4711)"
        remedy: Remove the container or process that joined the namespace.
checks:
  description: The properties that were looked at, for the control report.
  returned: always
  type: list
  elements: dict
  sample:
    - id: watch-sensor-running
      status: passed
      evidence: rampart-watch-sensor.service is active (running)
findings:
  description: >-
    What is wrong. WATCH-NOT-RUNNING, WATCH-SWEEP-OLD, WATCH-POLICY-WEAK, WATCH-CONTAINMENT-OPEN, WATCH-CONFIG,
    WATCH-RECORDS, WATCH-RECORD-INVALID.
  returned: always
  type: list
  elements: dict
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rampart.ollama.plugins.module_utils.findings import as_dicts
from ansible_collections.rampart.ollama.plugins.module_utils.watch_info import (
    ACTOR,
    GATE,
    SENSOR,
    WatchInfo,
    parse_units,
)

PROPERTIES = "--property=Id,ActiveState,SubState,ExecMainStartTimestamp"


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "config_directory": {"type": "path", "default": "/etc/rampart/watch"},
            "records": {"type": "path", "default": "/var/lib/rampart/watch/contained"},
            "max_sweep_age": {"type": "int", "default": 180},
        },
        supports_check_mode=True,
    )
    status, text, _error = module.run_command(
        ["systemctl", "show", "--timestamp=unix", PROPERTIES, SENSOR, ACTOR, GATE],
        environ_update={"LC_ALL": "C"},
        handle_exceptions=True,
    )
    units = parse_units(text) if status == 0 else None
    info = WatchInfo(
        module.params["config_directory"], module.params["records"], units, module.params["max_sweep_age"]
    ).look()
    module.exit_json(
        changed=False,
        containments=info.listing.summaries(),
        checks=as_dicts(info.checks),
        findings=as_dicts(info.findings),
    )


if __name__ == "__main__":
    main()
