# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S4: scripts/gguf-inspect, as a person calls it."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

HOME = Path(__file__).parents[4]
make: Any = SimpleNamespace(**runpy.run_path(str(HOME / "tests/fuzz/gguf_files.py"), run_name="gguf_files"))

pytestmark = pytest.mark.row("S4")


@pytest.fixture
def command(tmp_path: Path) -> Any:
    def run(*arguments: str, data: bytes | None = None) -> subprocess.CompletedProcess[str]:
        if data is not None:
            (tmp_path / "model.gguf").write_bytes(data)
        return subprocess.run(
            [sys.executable, "-S", str(HOME / "scripts/gguf_inspect.py"), *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    (tmp_path / "small.json").write_text(
        '{"file_bytes": {"min": 0, "max": 1000000}, "parameters": {"min": 0, "max": 1000000}}'
    )
    return run


def test_s4_a_good_file_is_shown_and_passes(command: Any) -> None:
    done = command("model.gguf", "--policy", "small.json", data=make.build())
    assert (done.returncode, done.stderr) == (0, "")
    assert "architecture   llama" in done.stdout
    assert done.stdout.endswith("verdict: passed\n")


def test_s4_a_bad_file_fails_and_cannot_reach_the_terminal(command: Any) -> None:
    keys = [*make.good_keys(make.BACKDOOR), ("general.license", make.STRING, "\x1b]0;mine\x07\x1b[2J")]
    done = command("model.gguf", "--policy", "small.json", data=make.build(keys))
    assert (done.returncode, done.stderr) == (1, "")
    assert "TEMPLATE-CONDITIONAL" in done.stdout
    assert "\x1b" not in done.stdout


def test_s4_json_is_the_modules_result(command: Any) -> None:
    done = command("model.gguf", "--json", data=make.build())
    assert done.returncode == 1
    assert '"verdict": "failed"' in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("missing.gguf",), "GGUF-UNREADABLE"),
        ((".",), "GGUF-UNREADABLE"),
        (("model.gguf", "--policy", "missing.json"), "POLICY-INVALID"),
        (("model.gguf", "--policy", "broken.json"), "POLICY-INVALID"),
        (("model.gguf", "--policy", "wrong.json"), "POLICY-INVALID"),
        ((), "usage:"),
    ],
)
def test_s4_a_question_that_cannot_be_asked_is_one_line(
    command: Any, tmp_path: Path, arguments: tuple[str, ...], code: str
) -> None:
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "wrong.json").write_text('{"architectures": "llama"}')
    done = command(*arguments, data=make.build())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(code)
    assert "Traceback" not in done.stderr
