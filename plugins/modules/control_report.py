# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin control_report."""

from __future__ import annotations

DOCUMENTATION = r"""
module: control_report
short_description: Writes the evidence report of an environment on the controller
description:
  - Gathers what M(rampart.ollama.control_evidence) recorded and writes it as one JSON and one HTML file.
  - Every control of the catalogue appears for every host. What is not covered yet is shown as not covered.
version_added: "0.1.0"
author:
  - Rampart contributors (@rampart)
attributes:
  check_mode:
    support: full
    description: In check mode the report is computed and nothing is written.
  diff_mode:
    support: none
    description: A report is no configuration.
  idempotent:
    support: full
    description: Never reports a change, because no host is changed.
options:
  environment:
    description: The environment whose hosts are reported.
    type: str
    required: true
    choices: [dev, staging, prod, demo]
  hosts:
    description: Inventory names of the hosts.
    type: list
    elements: str
    required: true
  catalogue:
    description: Path of the control catalogue on the controller.
    type: path
    required: true
  template:
    description: Path of the HTML template on the controller.
    type: path
    required: true
  directory:
    description: Directory on the controller that holds the evidence and receives the report.
    type: path
    required: true
  collection_version:
    description: The version of the collection that writes the report. Empty for the version of the one that runs.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Write the evidence report
  rampart.ollama.control_report:
    environment: dev
    hosts: "{{ ansible_play_hosts_all }}"
    catalogue: roles/control_report/files/controls.yml
    template: roles/control_report/templates/report.html.j2
    directory: reports
  run_once: true
"""

RETURN = r"""
paths:
  description: Paths of the two files and the sha256 of the JSON file. Empty in check mode.
  returned: success
  type: dict
  sample:
    html: reports/dev/report.html
    json: reports/dev/report.json
    sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
hosts:
  description: Verdict and counts of controls by host.
  returned: success
  type: list
  elements: dict
  sample:
    - host: h1
      verdict: incomplete
      counts: {passed: 20, failed: 1, unknown: 0, not_covered: 19}
checklist_counts:
  description: The guide's checklist lines by status.
  returned: success
  type: dict
  sample: {passed: 12, failed: 2, unknown: 0, not_covered: 14}
"""
