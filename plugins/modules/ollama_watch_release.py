#!/usr/bin/python
# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take containments of the isolation watch back, once their cause is gone."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_watch_release
short_description: Take containments of the isolation watch back
version_added: 0.2.0
description:
  - A container that was stopped gets its former restart policy back and is started; a host in quarantine loses the
    quarantine's nftables table. Nothing is reconnected to a network, and nobody's process is started again.
  - Records are marked as released, never removed. One that is released already is left alone.
  - Refuses while the isolation facts of the host still fail, and to start a container that would violate again, unless
    O(force) is set.
  - The quarantine goes last, when everything else is in order.
extends_documentation_fragment:
  - rampart.ollama.attributes
attributes:
  diff_mode:
    support: none
    description: RV(released) says what is done.
options:
  records:
    description: Names of the records to release. Without it, all that are open.
    type: list
    elements: str
  released_by:
    description: Who decided it; kept in the records.
    type: str
    required: true
  force:
    description: Release although the isolation still fails. For a person who has looked.
    type: bool
    default: false
  config:
    description: The actor's configuration, which names records, engine, quarantine and what is expected of the host.
    type: path
    default: /etc/rampart/watch/actor.json
seealso:
  - module: rampart.ollama.ollama_watch_info
  - module: rampart.ollama.ollama_isolation_facts
author:
  - Rampart contributors (@rampart)
"""

EXAMPLES = r"""
- name: Release everything, now that the cause is gone
  rampart.ollama.ollama_watch_release:
    released_by: security@example.org

- name: Release one containment
  rampart.ollama.ollama_watch_release:
    records: [20260102T030405Z-container-00c0ffee.json]
    released_by: security@example.org
"""

RETURN = r"""
released:
  description: What was done for each record, or would be in check mode.
  returned: success
  type: dict
  sample:
    20260102T030405Z-container-00c0ffee.json: ["set the restart policy to unless-stopped", "started the container"]
findings:
  description: >-
    Empty, or on failure the one that says why. WATCH-RELEASE-UNSAFE, WATCH-RELEASE-UNKNOWN, WATCH-RELEASE-FAILED,
    WATCH-RECORDS, WATCH-CONFIG.
  returned: always
  type: list
  elements: dict
  sample: []
"""

from functools import partial

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rampart.ollama.plugins.module_utils.findings import Finding, FindingError, as_dicts
from ansible_collections.rampart.ollama.plugins.module_utils.isolation import inspect_isolation
from ansible_collections.rampart.ollama.plugins.module_utils.procfs import ProcFS
from ansible_collections.rampart.ollama.plugins.module_utils.watch_actor_config import ActorConfig, load
from ansible_collections.rampart.ollama.plugins.module_utils.watch_actor_engine import ContainmentEngine, EngineActs
from ansible_collections.rampart.ollama.plugins.module_utils.watch_actor_host import Quarantine
from ansible_collections.rampart.ollama.plugins.module_utils.watch_release import Releaser

ENGINE_SECONDS = 30.0


def look(config: ActorConfig, engine: ContainmentEngine) -> list[Finding]:
    """Return what is wrong with the isolation of this host now."""
    return inspect_isolation(config.expected, engine, ProcFS()).findings


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "records": {"type": "list", "elements": "str"},
            "released_by": {"type": "str", "required": True},
            "force": {"type": "bool", "default": False},
            "config": {"type": "path", "default": "/etc/rampart/watch/actor.json"},
        },
        supports_check_mode=True,
    )
    try:
        config = load(module.params["config"])
        engine = ContainmentEngine(config.engine_socket, ENGINE_SECONDS)
        see = partial(look, config, engine)
        releaser = Releaser(
            config.records,
            engine,
            Quarantine(config.quarantine_file, config.nft),
            see,
            EngineActs(config, engine, see, ProcFS()).violations,
            module.check_mode,
        )
        released = releaser.release(module.params["records"], module.params["released_by"], module.params["force"])
    except FindingError as error:
        module.fail_json(msg=str(error), findings=as_dicts([error.finding]))
    module.exit_json(changed=bool(released.done), released=released.done, findings=[])


if __name__ == "__main__":
    main()
