# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S2: asking how far a download is reads three numbers, whoever wrote the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.row("S2")
DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize("check", [True, False])
def test_s2_it_says_how_far_a_fetch_is(run_module: Any, tmp_path: Path, check: bool) -> None:
    part = tmp_path / DIGEST.replace(":", "-")
    part.mkdir()
    asked = {"quarantine": str(tmp_path), "digest": DIGEST}
    (part / "progress.json").write_text(json.dumps({"version": 1, "done": 1, "total": 2, "rate": 3, "msg": "x"}))
    result = run_module("ollama_model_fetch_info", asked, check=check)
    assert result["progress"] == {"done": 1, "total": 2, "rate": 3}
    assert (result["changed"], result["findings"]) == (False, [])


@pytest.mark.parametrize("kind", ["nothing", "nonsense", "link", "no quarantine"])
def test_s2_where_there_is_nothing_to_read_there_is_nothing_to_say(run_module: Any, tmp_path: Path, kind: str) -> None:
    part = tmp_path / DIGEST.replace(":", "-")
    if kind != "no quarantine":
        part.mkdir()
    if kind == "nonsense":
        (part / "progress.json").write_text("{")
    elif kind == "link":
        (tmp_path / "other.json").write_text(json.dumps({"version": 1, "done": 1, "total": 2, "rate": 3}))
        (part / "progress.json").symlink_to(tmp_path / "other.json")
    result = run_module("ollama_model_fetch_info", {"quarantine": str(tmp_path), "digest": DIGEST})
    assert "progress" not in result
    assert not result["changed"]


@pytest.mark.parametrize("digest", ["", "../../etc", "sha256:abc", "sha256:" + "g" * 64])
def test_s2_a_digest_is_one_before_it_is_a_path(run_module: Any, tmp_path: Path, digest: str) -> None:
    result = run_module("ollama_model_fetch_info", {"quarantine": str(tmp_path), "digest": digest})
    assert result["failed"]
    assert result["findings"][0]["code"] == "DIGEST-INVALID"
