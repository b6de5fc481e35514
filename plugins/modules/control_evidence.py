# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin control_evidence."""

from __future__ import annotations

DOCUMENTATION = r"""
module: control_evidence
short_description: Evaluates the controls of a phase and records the evidence on the controller
description:
  - Turns the checks made on a host into the verdict of each control of the catalogue and of the phase.
  - Writes one JSON file per environment, host and phase on the controller. The host is not touched.
  - A control passes only if every check it names was made and passed.
version_added: "0.1.0"
author:
  - Rampart contributors (@rampart)
attributes:
  check_mode:
    support: full
    description: In check mode the controls are evaluated and nothing is written.
  diff_mode:
    support: none
    description: Evidence is no configuration.
  idempotent:
    support: full
    description: Never reports a change, because the host is not changed.
options:
  phase:
    description: The phase whose controls are evaluated.
    type: int
    required: true
    choices: [1, 2, 3, 4, 5]
  environment:
    description: The environment the host belongs to. It decides which controls are mandatory.
    type: str
    required: true
    choices: [dev, staging, prod, demo]
  host:
    description: The inventory name of the host.
    type: str
    required: true
  catalogue:
    description: Path of the control catalogue on the controller.
    type: path
    required: true
  directory:
    description: Directory on the controller that receives the evidence.
    type: path
    required: true
  collection_version:
    description: The version of the collection that made the checks. Empty for the version of the collection that runs.
    type: str
    default: ""
  checks:
    description:
      - What was seen, one dictionary a check.
      - Each has the keys C(id), C(status), C(evidence).
    type: list
    elements: dict
    required: true
  findings:
    description: The findings of the modules that looked.
    type: list
    elements: dict
    default: []
  measures:
    description:
      - Measured figures for the report.
      - Each has the keys C(name), C(value), C(unit).
    type: list
    elements: dict
    default: []
  facts:
    description: Facts about the host that the report shows.
    type: dict
    default: {}
  subjects:
    description:
      - What phase 2 verified, by digest (C(models), C(images)). Signed evidence speaks of these bytes and no others.
    type: dict
    default: {}
  override_reason:
    description: Why the order of the phases was overridden; recorded.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Evaluate the controls of phase 2
  rampart.ollama.control_evidence:
    phase: 2
    environment: dev
    host: "{{ inventory_hostname }}"
    catalogue: roles/control_report/files/controls.yml
    directory: reports
    checks:
      - id: store-blobs-verified
        status: passed
        evidence: 5 blobs, 98363007 bytes hashed
  register: evidence
"""

RETURN = r"""
verdict:
  description: C(passed), C(incomplete) (something not mandatory is open) or C(failed).
  returned: success
  type: str
  sample: incomplete
controls:
  description: The controls of the phase with their status and the checks that decided it.
  returned: success
  type: list
  elements: dict
  sample:
    - id: S3
      status: passed
failed_controls:
  description: Ids of the mandatory controls that failed or could not be decided.
  returned: success
  type: list
  elements: str
  sample: [S3]
summary:
  description: The phase in lines for a person.
  returned: success
  type: list
  elements: str
  sample: ["Phase 2 on h1: incomplete"]
path:
  description: Where the evidence lies on the controller.
  returned: success
  type: str
  sample: reports/dev/h1/phase2.json
"""
