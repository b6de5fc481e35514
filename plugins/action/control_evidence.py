# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluate the controls of a phase on the controller and record the evidence there."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.plugin_utils import collection_digest, controls, evidence


class ActionModule(ActionBase):
    """Runs wholly on the controller: no connection is made and no host is changed."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return ``verdict``, ``controls``, ``summary`` and ``path``; ``changed`` is always false."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "phase": {"type": "int", "required": True, "choices": list(controls.PHASES)},
                "environment": {"type": "str", "required": True, "choices": list(controls.ENVIRONMENTS)},
                "host": {"type": "str", "required": True},
                "catalogue": {"type": "path", "required": True},
                "directory": {"type": "path", "required": True},
                "collection_version": {"type": "str", "default": ""},
                "checks": {"type": "list", "elements": "dict", "required": True},
                "findings": {"type": "list", "elements": "dict", "default": []},
                "measures": {"type": "list", "elements": "dict", "default": []},
                "facts": {"type": "dict", "default": {}},
                "subjects": {"type": "dict", "default": {}},
                "override_reason": {"type": "str", "default": ""},
            }
        )
        try:
            result.update(self._evaluate(arguments))
        except (FindingError, controls.CatalogueError, evidence.EvidenceError) as error:
            raise AnsibleActionFail(str(error)) from None
        return result

    def _evaluate(self, arguments: dict[str, Any]) -> dict[str, Any]:
        phase, environment, host = arguments["phase"], arguments["environment"], arguments["host"]
        version = arguments["collection_version"] or collection_digest.collection_version()
        catalogue = controls.load_catalogue(arguments["catalogue"])
        path = evidence.evidence_path(arguments["directory"], environment, host, phase)
        checks = list(arguments["checks"])
        if phase == controls.PHASES[-1]:
            checks.append(evidence.completeness(arguments["directory"], environment, host))
        results = controls.evaluate(catalogue, checks, environment, phase)
        verdict = controls.verdict(results)
        if not self._task.check_mode:
            evidence.write_evidence(
                path,
                {
                    "phase": phase,
                    "environment": environment,
                    "host": host,
                    "collected_at": evidence.now(),
                    "collection_version": version,
                    "collection_digest": collection_digest.collection_digest(),
                    "subjects": arguments["subjects"],
                    "verdict": verdict,
                    "override_reason": arguments["override_reason"],
                    "checks": list(controls.merge_checks(checks).values()),
                    "findings": arguments["findings"],
                    "measures": arguments["measures"],
                    "facts": arguments["facts"],
                },
            )
        return {
            "changed": False,
            "verdict": verdict,
            "controls": results,
            "failed_controls": [
                item["id"]
                for item in results
                if item["mandatory"] and item["status"] in ("failed", "unknown")
            ],
            "summary": controls.summary(results, host, phase),
            "path": str(path),
            "collection_version": version,
        }
