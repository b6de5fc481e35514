# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row C11: the tool chain can be made again after it failed half-way."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PRETENDER = """#!/bin/sh
case "$2" in *version_info*%d*) echo 31400;; esac
"""


@pytest.mark.row("C11")
def test_a_half_made_environment_is_not_made_again_from_itself(tmp_path: Path) -> None:
    programs = tmp_path / "tools/.venv/bin"
    programs.mkdir(parents=True)
    (programs / "python3.14").write_text(PRETENDER)
    (programs / "python3.14").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "RAMPART_TOOLS": str(tmp_path / "tools"),
        "RAMPART_CACHE": str(tmp_path / "cache"),
        # Nothing is to be installed here: how the interpreter was chosen is all that is asked.
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": "",
    }
    done = subprocess.run(
        ["scripts/bootstrap"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert "making .venv with " in done.stdout, done.stderr
    assert str(programs) not in done.stdout
    assert done.returncode != 0
