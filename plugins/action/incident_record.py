# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read, open, continue or close the record of an incident, on the controller."""

from __future__ import annotations

import getpass
import os
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.rampart.ollama.plugins.module_utils.findings import Finding, FindingError, as_dicts, refuse
from ansible_collections.rampart.ollama.plugins.plugin_utils import controller, incident

CAUSE_MIN_CHARS = 10


class ActionModule(ActionBase):
    """Runs wholly on the controller: no connection is made, and the host never sees the record."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return ``incident`` (empty where there is none), ``changed`` and ``findings``."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "directory": {"type": "path", "required": True},
                "environment": {"type": "str", "required": True},
                "host": {"type": "str", "required": True},
                "state": {"type": "str", "choices": ["read", "opened", "added", "closed"], "default": "read"},
                "action": {"type": "str", "default": ""},
                "reason": {"type": "str", "default": ""},
                "cause": {"type": "str", "default": ""},
                "force_reason": {"type": "str", "default": ""},
                "details": {"type": "dict", "default": {}},
                "id": {"type": "str", "default": ""},
            },
            required_if=[("state", "added", ("action",))],
        )
        try:
            result.update(self._record(arguments))
        except FindingError as error:
            raise AnsibleActionFail(str(error)) from None
        return result

    def _record(self, arguments: dict[str, Any]) -> dict[str, Any]:
        place = incident.host_directory(arguments["directory"], arguments["environment"], arguments["host"])
        if arguments["state"] == "read":
            found, notes = self._current(place)
            return self._answer(found, False, notes)
        if self._task.check_mode:
            return self._continue(place, arguments, write=False)
        with incident.locked(place):
            return self._continue(place, arguments, write=True)

    def _continue(self, place: Any, arguments: dict[str, Any], write: bool) -> dict[str, Any]:
        state, moment = arguments["state"], controller.now()
        notes: list[Finding] = []
        if state == "opened":
            # A host is taken out of service whatever became of an older record.
            found, notes = self._current(place)
            if found is not None:
                return self._answer(found, False, notes)
            if not arguments["reason"].strip():
                raise refuse("INCIDENT-REASON", arguments["host"], "no reason was given", "Give incident_reason.")
            found = incident.opened(place, arguments["environment"], arguments["host"], moment)
        else:
            found = incident.current(place)
            if found is None and not write and state == "added":
                # Check mode: the run that is predicted would have opened one.
                found = incident.opened(place, arguments["environment"], arguments["host"], moment)
            if found is None:
                raise refuse(
                    "INCIDENT-NOT-OPEN",
                    arguments["host"],
                    f"there is no open incident of it below {place}",
                    "Isolate the host first (incident_action=isolate), on the controller that keeps the records.",
                )
        if state == "closed":
            self._may_close(found, arguments)
        texts = {name: arguments[name] for name in ("reason", "cause", "force_reason")}
        action = state if state in (incident.OPENED, incident.CLOSED) else arguments["action"]
        after = incident.added(found, action, _person(), moment, arguments["details"], texts)
        if write:
            incident.write(after)
        answer = self._answer(after, True, notes)
        if self._task.diff:
            answer["diff"] = {"before": "", "after": f"{after.path}: {action} by {_person()}\n"}
        return answer

    @staticmethod
    def _may_close(found: incident.Incident, arguments: dict[str, Any]) -> None:
        """Raise FindingError (INCIDENT-ID, INCIDENT-CAUSE) unless a person named the incident and its cause."""
        if arguments["id"] != found.id:
            raise refuse(
                "INCIDENT-ID",
                arguments["host"],
                f"the incident is {found.id}, named was {arguments['id'] or 'none'}",
                f"Confirm with incident_id={found.id}.",
            )
        cause = arguments["cause"] or found.cause
        if len(cause.strip()) < CAUSE_MIN_CHARS and not arguments["force_reason"].strip():
            raise refuse(
                "INCIDENT-CAUSE",
                found.id,
                "no cause is recorded",
                f"Say what happened with incident_cause, in {CAUSE_MIN_CHARS} characters or more.",
            )

    @staticmethod
    def _current(place: Any) -> tuple[incident.Incident | None, list[Finding]]:
        """Return the open record; one that is broken is a finding, and counts as none."""
        try:
            return incident.current(place), []
        except FindingError as error:
            return None, [error.finding]

    @staticmethod
    def _answer(found: incident.Incident | None, changed: bool, notes: list[Finding]) -> dict[str, Any]:
        return {
            "changed": changed,
            "incident": found.as_dict() if found is not None else {},
            "findings": as_dicts(notes),
        }


def _person() -> str:
    """Return who runs this, through sudo too."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
