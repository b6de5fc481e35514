# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row I6: the action reads the files and hands the module what starts at one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.rampart.ollama.plugins.action.ollama_isolation_attack import ActionModule


def action(arguments: dict[str, Any]) -> tuple[ActionModule, MagicMock]:
    task = MagicMock(args=arguments, async_val=0, check_mode=False, action="rampart.ollama.ollama_isolation_attack")
    made = ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
    execute = MagicMock(
        return_value={"changed": False, "invocation": {"module_args": {"definitions": [1], "from": "x"}}}
    )
    made._execute_module = execute
    return made, execute


def test_the_module_is_given_the_attacks_of_the_place_and_no_directory() -> None:
    made, execute = action({"from": "gateway", "timeout": 2})
    result = made.run(task_vars={})
    given = execute.call_args.kwargs["module_args"]
    assert all("gateway" in item["origins"] for item in given["definitions"])
    assert len(given["definitions"]) >= 22
    assert set(given) == {"from", "timeout", "definitions"}
    assert "definitions" not in result["invocation"]["module_args"]


def test_files_that_are_none_stop_the_run_before_a_host_is_asked(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.yml").write_text("id: [")
    made, execute = action({"from": "server", "directory": str(tmp_path)})
    with pytest.raises(AnsibleActionFail, match="ATTACK-FILE"):
        made.run(task_vars={})
    assert not execute.called


def test_definitions_come_from_files_alone() -> None:
    made, execute = action({"from": "server", "definitions": [{"id": "x"}]})
    with pytest.raises(AnsibleActionFail, match="ATTACK-FILE"):
        made.run(task_vars={})
    assert not execute.called
