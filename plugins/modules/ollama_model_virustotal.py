# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin ollama_model_virustotal."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_model_virustotal
short_description: Asks VirusTotal, from the controller, what it knows of the hashes of a model
description:
  - Sends the sha256 of files and nothing else. There is no way to make it upload one.
  - Runs on the controller, because hosts have no way out. E(HTTPS_PROXY) and E(NO_PROXY) are honoured.
  - Keeps within the quota of a key over all runs and hosts, and remembers answers, in one file on the controller.
  - Most models are too large for VirusTotal to have seen. An unknown hash is told as such, and is no pass.
version_added: "0.2.0"
notes:
  - The key is in no message and no result. With E(ANSIBLE_DISPLAY_ARGS_TO_STDOUT) on, set C(no_log) on the task too.
author:
  - Rampart contributors (@rampart)
attributes:
  check_mode:
    support: full
    description: In check mode nobody is asked and nothing is written; only remembered answers are returned.
  diff_mode:
    support: none
    description: Nothing is configured.
  idempotent:
    support: full
    description: Never reports a change, because the host is not changed.
options:
  digests:
    description: The hashes to ask about, as they stand in an approval (C(sha256:) and 64 hexadecimal digits).
    type: list
    elements: str
    required: true
  api_key:
    description: The key of a VirusTotal account. Keep it in Ansible Vault.
    type: str
    required: true
  state_file:
    description: The file on the controller that holds when VirusTotal was asked, and what it said. One for each key.
    type: path
    default: ~/.cache/rampart/virustotal.json
  per_minute:
    description: How often a minute the key may ask.
    type: int
    default: 4
  per_day:
    description: How often within 24 hours the key may ask.
    type: int
    default: 500
  max_wait:
    description: Seconds that the task may wait for its turn within the quota; beyond them it is C(VT-QUOTA).
    type: int
    default: 300
  max_age:
    description: For how many days an answer is good.
    type: int
    default: 7
  timeout:
    description: Seconds that one answer may take.
    type: int
    default: 30
  ca_bundle:
    description: A PEM file with certificate authorities, for a controller whose own company intercepts its way out.
    type: path
  on_failure:
    description:
      - What a finding of medium severity or worse does.
      - V(fail) fails the task with the findings; V(report) returns them and lets the play decide.
    type: str
    choices: [fail, report]
    default: fail
"""

EXAMPLES = r"""
- name: Ask what is known of the approved blobs
  rampart.ollama.ollama_model_virustotal:
    digests: "{{ model_store_approvals | map(attribute='blobs') | flatten | map(attribute='digest') | unique }}"
    api_key: "{{ vault_virustotal_key }}"
    on_failure: report
  run_once: true
  register: reputation
"""

RETURN = r"""
verdict:
  description: V(passed), or V(failed) from the first finding of medium severity on.
  returned: always
  type: str
  sample: passed
files:
  description: What is known of each hash that has an answer; how many of how many engines call the file bad.
  returned: always
  type: list
  elements: dict
  sample:
    - digest: sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
      known: false
      malicious: 0
      suspicious: 0
      engines: 0
findings:
  description:
    - C(VT-MALICIOUS) is critical, C(VT-SUSPICIOUS) medium, C(VT-UNKNOWN) info.
    - C(VT-UNAVAILABLE), C(VT-QUOTA), C(VT-KEY-REFUSED) and C(VT-STATE) are medium, C(VT-DIGEST-INVALID) is high; each
      says that hashes have no answer.
  returned: always
  type: list
  elements: dict
  sample:
    - code: VT-UNKNOWN
      severity: info
      subject: sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
      evidence: VirusTotal has never seen this file, which says nothing about it
      remedy: "Nothing to do: most models are too large for it."
checks:
  description: Passed only when every hash is known and nothing speaks against any.
  returned: always
  type: list
  elements: dict
  sample:
    - id: store-hash-reputation
      status: unknown
      evidence: 4 hashes, 1 known to VirusTotal, 0 without an answer
"""
