# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the evidence report of an environment on the controller."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.rampart.ollama.plugins.plugin_utils import collection_digest, controls, evidence, report


class ActionModule(ActionBase):
    """Runs wholly on the controller: no connection is made and no host is changed."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the paths of the report and the counts by host; ``changed`` is always false."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "environment": {"type": "str", "required": True, "choices": list(controls.ENVIRONMENTS)},
                "hosts": {"type": "list", "elements": "str", "required": True},
                "catalogue": {"type": "path", "required": True},
                "template": {"type": "path", "required": True},
                "directory": {"type": "path", "required": True},
                "collection_version": {"type": "str", "default": ""},
            }
        )
        try:
            catalogue = controls.load_catalogue(arguments["catalogue"])
            document = report.build(
                catalogue,
                arguments["directory"],
                arguments["environment"],
                arguments["hosts"],
                arguments["collection_version"] or collection_digest.collection_version(),
            )
            paths = (
                {}
                if self._task.check_mode
                else report.write(document, arguments["template"], arguments["directory"])
            )
        except (controls.CatalogueError, evidence.EvidenceError) as error:
            raise AnsibleActionFail(str(error)) from None
        result.update(
            changed=False,
            paths=paths,
            hosts=[
                {"host": entry["host"], "verdict": entry["verdict"], "counts": entry["counts"]}
                for entry in document["hosts"]
            ],
            checklist_counts={
                status: sum(line["status"] == status for line in document["checklist"])
                for status in controls.CONTROL_STATUSES
            },
        )
        return result
