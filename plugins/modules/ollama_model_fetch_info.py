#!/usr/bin/python
# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say how far a model's download is."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_model_fetch_info
short_description: Say how far the download of a model is
version_added: 0.2.0
description:
  - Reads what the fetcher that M(rampart.ollama.ollama_model) has started writes into its part of the quarantine.
  - The fetcher is not trusted. No link is followed, and nothing is taken over but three plausible numbers.
extends_documentation_fragment:
  - rampart.ollama.attributes.reading
options:
  quarantine:
    description: The directory where a fetched model waits until it is published.
    type: path
    required: true
  digest:
    description: The digest of the model's manifest, as the approval entry has it.
    type: str
    required: true
seealso:
  - module: rampart.ollama.ollama_model
author:
  - Rampart contributors (@rampart)
"""

EXAMPLES = r"""
- name: See how far it is
  rampart.ollama.ollama_model_fetch_info:
    quarantine: /srv/rampart/quarantine
    digest: sha256:ecbdd49da9d51246f13d1fffd28d753a924632c4d2afbe6881732f77477c19b8
  register: fetch
"""

RETURN = r"""
progress:
  description: The bytes that are there, the bytes there will be, and the bytes a second of the last ten seconds.
  returned: when a fetch of this model runs
  type: dict
  sample: {done: 1889785610, total: 4372811001, rate: 32715571}
findings:
  description: On failure, the one finding that says why; empty otherwise.
  returned: always
  type: list
  elements: dict
  sample: []
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, as_dicts
from ansible_collections.rampart.ollama.plugins.module_utils.names import blob_file
from ansible_collections.rampart.ollama.plugins.module_utils.progress import read_progress

ARGUMENTS = {
    "quarantine": {"type": "path", "required": True},
    "digest": {"type": "str", "required": True},
}


def main() -> None:
    """Look, and say what was seen."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        part = blob_file(module.params["digest"])
    except FindingError as error:
        module.fail_json(msg=str(error), findings=as_dicts([error.finding]))
    seen = read_progress(Path(module.params["quarantine"]) / part)
    module.exit_json(changed=False, findings=[], **({"progress": seen} if seen else {}))


if __name__ == "__main__":
    main()
