#!/usr/bin/python
# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the gateway what it must answer and what it must refuse."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_gateway_probe
short_description: Asks the gateway what it must answer and what it must refuse
description:
  - Sends a user's requests through the edge, from the host itself.
  - One question must be answered by the model. Requests without a key, with an unknown key, for
    administration routes, unknown models, refused fields, a smuggled system message and an over-long prompt
    must be refused.
  - The audit log must hold the question's record and none of its text. The metrics must be served on
    their own socket alone.
  - Requests count against the limits of the user whose key is given. Give that user a limit of its own.
version_added: "0.1.0"
author:
  - Rampart contributors (@rampart)
attributes:
  check_mode:
    support: full
    description: In check mode nothing is asked and no check is reported.
  diff_mode:
    support: none
    description: Nothing is changed.
  idempotent:
    support: full
    description: Never reports a change.
options:
  url:
    description: The edge's address.
    type: str
    default: https://127.0.0.1:8443
  ca_path:
    description: File with the certificate that signed the edge's. Empty means the system's certificates.
    type: path
    default: ""
  api_key:
    description: The key of the user who asks.
    type: str
    required: true
  limited_api_key:
    description:
      - The key of a user with a limit so small that it can be hit here.
      - Empty leaves the rate limit unknown.
    type: str
    default: ""
  model:
    description: The model that is asked.
    type: str
    required: true
  question:
    description: The question that is asked.
    type: str
    default: What is the capital of France?
  max_prompt_chars:
    description: The gateway's limit of a prompt, in characters.
    type: int
    default: 5000
  upstream_socket:
    description: The server's socket. The tokens of a prompt with and without the gateway are compared.
    type: path
    default: /run/rampart/ollama/ollama.sock
  metrics_socket:
    description: The gateway's metrics socket.
    type: path
    default: /run/rampart/gateway/metrics.sock
  audit_log:
    description: The gateway's audit log.
    type: path
    default: /srv/rampart/log/gateway/audit.jsonl
  timeout:
    description: How long one answer may take, in seconds.
    type: int
    default: 120
"""

EXAMPLES = r"""
- name: Ask the gateway what it must answer and what it must refuse
  rampart.ollama.ollama_gateway_probe:
    ca_path: /etc/rampart/edge/tls.crt
    api_key: "{{ vault_security_tests_api_key }}"
    limited_api_key: "{{ vault_security_tests_limited_api_key }}"
    model: mistral:7b-instruct-v0.3-q4_K_M
  register: probe
"""

RETURN = r"""
answer:
  description: What the model answered.
  returned: success
  type: str
  sample: The capital of France is Paris.
checks:
  description: One entry for each property, with C(id), C(status) and C(evidence).
  returned: success
  type: list
  elements: dict
  sample:
    - id: gateway-pull-refused
      status: passed
      evidence: "POST /api/pull: HTTP 403 GW-ROUTE-REFUSED"
findings:
  description: What did not hold, with C(code), C(severity), C(subject), C(evidence) and C(remedy).
  returned: success
  type: list
  elements: dict
  sample: []
measures:
  description: Measured figures, with C(name), C(value) and C(unit).
  returned: success
  type: list
  elements: dict
  sample:
    - name: Answer through the gateway
      value: 1.5
      unit: s
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, as_dicts
from ansible_collections.rampart.ollama.plugins.module_utils.gateway_probe import (
    GatewayProbe,
    Report,
    Settings,
)


def main() -> None:
    """Run the probe and return what was seen."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "default": "https://127.0.0.1:8443"},
            "ca_path": {"type": "path", "default": ""},
            "api_key": {"type": "str", "required": True, "no_log": True},
            "limited_api_key": {"type": "str", "default": "", "no_log": True},
            "model": {"type": "str", "required": True},
            "question": {"type": "str", "default": "What is the capital of France?"},
            "max_prompt_chars": {"type": "int", "default": 5000},
            "upstream_socket": {"type": "path", "default": "/run/rampart/ollama/ollama.sock"},
            "metrics_socket": {"type": "path", "default": "/run/rampart/gateway/metrics.sock"},
            "audit_log": {"type": "path", "default": "/srv/rampart/log/gateway/audit.jsonl"},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    report = Report()
    if not module.check_mode:
        try:
            report = GatewayProbe(Settings(**module.params)).run()
        except FindingError as error:
            module.fail_json(msg=str(error), findings=[error.finding.as_dict()])
    module.exit_json(
        changed=False,
        answer=report.answer,
        checks=as_dicts(report.checks),
        findings=as_dicts(report.findings),
        measures=report.measures,
    )


if __name__ == "__main__":
    main()
