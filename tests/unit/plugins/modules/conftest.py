# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running a module as Ansible does, in this process: arguments in, its JSON out."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args


@pytest.fixture
def run_module(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Return run(name, arguments, check=False, diff=False) -> the module's result; fails on a traceback."""

    def run(name: str, arguments: dict[str, Any], check: bool = False, diff: bool = False) -> dict[str, Any]:
        module = importlib.import_module("ansible_collections.rampart.ollama.plugins.modules." + name)
        settings = {"_ansible_check_mode": check, "_ansible_diff": diff}
        with patch_module_args({**arguments, **settings}), pytest.raises(SystemExit) as ended:
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert bool(ended.value.code) == bool(result.get("failed", False))
        return result

    return run


@pytest.fixture
def run_fetcher(fetcher_package: Path) -> Callable[[dict[str, Any]], tuple[int, str, str]]:
    """Run the real fetcher for a container's config, its mounts translated to the paths they stand for."""

    def run(config: dict[str, Any]) -> tuple[int, str, str]:
        environment = dict(item.split("=", 1) for item in config["Env"])
        job = environment["RAMPART_JOB"]
        for mount in config["HostConfig"]["Mounts"]:
            job = job.replace('"' + mount["Target"], '"' + mount["Source"])
        done = subprocess.run(
            [sys.executable, "-m", "rampart_fetcher"],
            env={"RAMPART_JOB": job, "PYTHONPATH": str(fetcher_package), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def unjudged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers without a meaning are let through: what a look at them finds is tested elsewhere."""
    name = "ansible_collections.rampart.ollama.plugins.module_utils.screen"
    monkeypatch.setattr(importlib.import_module(name), "inspect_files", lambda *_arguments: [])
