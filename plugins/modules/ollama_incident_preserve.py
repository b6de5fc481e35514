#!/usr/bin/python
# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Preserve the evidence of an incident in one archive on the host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_incident_preserve
short_description: Preserves the evidence of an incident in one archive
version_added: "0.3.0"
description:
  - Collects processes and their programs' hashes, sockets of every network namespace, mounts, rule sets, containers
    with changed files and logs, images, logins, services, journal, log files, package changes, and a full
    verification of the store, into one compressed archive of mode 0600.
  - Collectors are independent. One that fails, hangs or dies leaves an entry in the manifest and a finding, and never
    stops the rest.
  - Environments are never read, and the values of containers' environments are removed. Values in command lines that
    look like secrets are masked. The failed logins of C(btmp) are left out, because passwords end up there.
  - The archive appears whole or not at all. One that is there is never replaced.
  - Whoever is root on the host can lie to every collector.
author:
  - Rampart contributors (@rampart)
attributes:
  check_mode:
    description: Says that an archive would be made, and collects nothing.
    support: full
  diff_mode:
    description: Nothing is edited.
    support: none
  idempotent:
    description: An archive whose name is there is left alone, and its sha256 is returned.
    support: full
options:
  directory:
    description: The directory on the host that receives the archive, made with mode 0700.
    type: path
    required: true
  name:
    description: The archive's name without C(.tar.gz), of letters, digits, dots, dashes and underscores.
    type: str
    required: true
  incident:
    description: The incident's id, for the manifest.
    type: str
    default: ""
  files:
    description: Files to copy, a name and a glob pattern each. The sha256 of each whole file is in the manifest.
    type: dict
    default: {}
  store:
    description: The model store to verify in full. Empty for none.
    type: path
    default: ""
  approvals:
    description: The approval entries of the store's models, as M(rampart.ollama.ollama_model_approval_info) returns
      them.
    type: list
    elements: dict
    default: []
  docker_socket:
    description: The Unix socket of the Docker Engine.
    type: path
    default: /var/run/docker.sock
  journal_since:
    description: From when on the journal is kept, as C(journalctl --since) takes it.
    type: str
    default: "-24h"
  file_max_bytes:
    description: The most that is kept of one file. Of a longer one the end is kept.
    type: int
    default: 67108864
  max_bytes:
    description: The most that is kept in all, before compression.
    type: int
    default: 536870912
  collector_seconds:
    description: How long one collector may take, unless it is known to take longer.
    type: int
    default: 60
  store_seconds:
    description: How long the verification of the store may take.
    type: int
    default: 3600
seealso:
  - module: rampart.ollama.incident_record
  - module: rampart.ollama.incident_sign
"""

EXAMPLES = r"""
- name: Preserve the evidence
  rampart.ollama.ollama_incident_preserve:
    directory: /srv/rampart/incidents
    name: prod-ollama1-20261124T170512Z
    files:
      audit: /srv/rampart/log/gateway/*.jsonl*
    store: /srv/rampart/store
  register: preserved
"""

RETURN = r"""
path:
  description: The archive.
  returned: success
  type: str
  sample: /srv/rampart/incidents/prod-ollama1-20261124T170512Z.tar.gz
sha256:
  description: Its sha256; empty in check mode.
  returned: success
  type: str
  sample: 5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9
size:
  description: Its size in bytes.
  returned: success
  type: int
  sample: 1843201
files:
  description: How many files the manifest lists.
  returned: success
  type: int
  sample: 143
findings:
  description: What could not be had (C(INCIDENT-EVIDENCE-INCOMPLETE)), or why there is no archive.
  returned: always
  type: list
  elements: dict
  sample: []
"""

import hashlib
import re
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rampart.ollama.plugins.module_utils.approval import approvals_from_entries
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, as_dicts, refuse
from ansible_collections.rampart.ollama.plugins.module_utils.incident_archive import CHUNK, Limits, preserve, utc
from ansible_collections.rampart.ollama.plugins.module_utils.incident_host import Wanted, jobs

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


def check_names(name: str, files: dict[str, str]) -> None:
    """Raise FindingError (INCIDENT-PARAMETERS) for a name that could leave the directory."""
    for item in (name, *files):
        if not NAME.fullmatch(str(item)):
            raise refuse("INCIDENT-PARAMETERS", str(item), "this is no name of a file", "Use letters, digits, . _ -")


def there(path: Path) -> dict[str, object]:
    """Return sha256 and size of an archive that was made before."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while True:
            chunk = stream.read(CHUNK)
            if not chunk:
                break
            digest.update(chunk)
    return {"sha256": digest.hexdigest(), "size": path.stat().st_size}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "incident": {"type": "str", "default": ""},
            "files": {"type": "dict", "default": {}},
            "store": {"type": "path", "default": ""},
            "approvals": {"type": "list", "elements": "dict", "default": []},
            "docker_socket": {"type": "path", "default": "/var/run/docker.sock"},
            "journal_since": {"type": "str", "default": "-24h"},
            "file_max_bytes": {"type": "int", "default": 67108864},
            "max_bytes": {"type": "int", "default": 536870912},
            "collector_seconds": {"type": "int", "default": 60},
            "store_seconds": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    )
    asked = module.params
    try:
        check_names(asked["name"], asked["files"])
        target = Path(asked["directory"]) / "{0}.tar.gz".format(asked["name"])
        if target.exists():
            module.exit_json(changed=False, path=str(target), files=0, findings=[], **there(target))
        if module.check_mode:
            module.exit_json(changed=True, path=str(target), sha256="", size=0, files=0, findings=[])
        wanted = Wanted(
            files={str(name): str(pattern) for name, pattern in asked["files"].items()},
            store=asked["store"] or None,
            approvals=approvals_from_entries(asked["approvals"]),
            docker_socket=asked["docker_socket"],
            journal_since=asked["journal_since"],
            store_seconds=asked["store_seconds"],
        )
        limits = Limits(asked["file_max_bytes"], asked["max_bytes"], asked["collector_seconds"])
        about = {"incident": asked["incident"], "started": utc()}
        made = preserve(Path(asked["directory"]), asked["name"], jobs(wanted), limits, about)
    except FindingError as error:
        module.fail_json(msg=str(error), findings=[error.finding.as_dict()])
    module.exit_json(
        changed=True,
        path=made.path,
        sha256=made.sha256,
        size=made.size,
        files=len(made.manifest["files"]),
        findings=as_dicts(made.findings),
    )


if __name__ == "__main__":
    main()
