# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin incident_record."""

from __future__ import annotations

DOCUMENTATION = r"""
module: incident_record
short_description: Reads, opens, continues or closes the record of an incident
description:
  - Keeps C(<directory>/<environment>/<host>/<time>/incident.json) on the controller. Each entry holds the hash of the
    one before, so that an entry that was changed, moved or taken out is seen when the record is read.
  - A host has one open incident at most. Nothing is added to a closed one.
  - Runs on the controller. The host is not asked.
version_added: "0.3.0"
author:
  - Rampart contributors (@rampart)
attributes:
  check_mode:
    support: full
    description: In check mode everything is looked at and nothing is written.
  diff_mode:
    support: full
    description: Says which entry is added.
  idempotent:
    support: partial
    description: With O(state=opened) an open incident is left alone. Each O(state=added) adds an entry.
options:
  directory:
    description: Directory of all incidents.
    type: path
    required: true
  environment:
    description: The environment of the host.
    type: str
    required: true
  host:
    description: The host's name in the inventory.
    type: str
    required: true
  state:
    description:
      - V(read) only looks. V(opened) opens an incident, unless one is open. V(added) adds an entry to the open one.
        V(closed) closes it.
      - A record that is broken never stops V(opened). A new one is opened, and the finding is returned.
    type: str
    choices: [read, opened, added, closed]
    default: read
  action:
    description: What was done, for O(state=added).
    type: str
    default: ""
  reason:
    description: Why the incident is opened. O(state=opened) asks for it.
    type: str
    default: ""
  cause:
    description: What happened. O(state=closed) asks for it, unless it was recorded before.
    type: str
    default: ""
  force_reason:
    description: Why an incident is closed without a cause.
    type: str
    default: ""
  details:
    description: What else belongs in the entry.
    type: dict
    default: {}
  id:
    description: The incident's id. O(state=closed) refuses another one.
    type: str
    default: ""
seealso:
  - module: rampart.ollama.incident_sign
  - module: rampart.ollama.ollama_incident_preserve
"""

EXAMPLES = r"""
- name: Open an incident
  rampart.ollama.incident_record:
    directory: reports/incidents
    environment: prod
    host: ollama1.prod.example.org
    state: opened
    reason: a process that nobody knows
"""

RETURN = r"""
incident:
  description: The open incident; empty where there is none.
  returned: success
  type: dict
  sample:
    id: prod-ollama1-20261124T170512Z
    open: true
    path: reports/incidents/prod/ollama1/20261124T170512Z/incident.json
    directory: reports/incidents/prod/ollama1/20261124T170512Z
    opened_by: alice
    opened_at: "2026-11-24T17:05:12Z"
    reason: a process that nobody knows
    cause: ""
    archives:
      - file: prod-ollama1-20261124T170512Z-20261124T170540Z.tar.gz
        sha256: 5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9
        size: 1843201
    signed: [5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9]
    head: ecbdd49da9d51246f13d1fffd28d753a924632c4d2afbe6881732f77477c19b8
    actions:
      - {at: "2026-11-24T17:05:12Z", by: alice, action: opened}
findings:
  description: What is wrong with an older record (C(INCIDENT-RECORD-BROKEN)).
  returned: success
  type: list
  elements: dict
  sample: []
"""
