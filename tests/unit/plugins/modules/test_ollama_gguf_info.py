# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S4: the module ollama_gguf_info."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from ansible_collections.rampart.ollama.plugins.modules import ollama_gguf_info

HOME = Path(__file__).parents[4]
make: Any = SimpleNamespace(**runpy.run_path(str(HOME / "tests/fuzz/gguf_files.py"), run_name="gguf_files"))
POLICY = {"file_bytes": {"min": 0, "max": 100_000}, "parameters": {"min": 0, "max": 100_000}}

pytestmark = pytest.mark.row("S4")


@pytest.fixture
def ask(tmp_path: Path, run_module: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def call(data: bytes, check: bool = False, **changes: Any) -> dict[str, Any]:
        path = tmp_path / "model.gguf"
        path.write_bytes(data)
        before = path.stat()
        result = run_module("ollama_gguf_info", {"path": str(path), "policy": POLICY, **changes}, check=check)
        after = path.stat()
        assert (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
        assert sorted(item.name for item in tmp_path.iterdir()) == ["model.gguf"]
        return result

    return call


@pytest.mark.parametrize("check", [False, True])
def test_s4_a_good_file_passes_in_check_mode_too(ask: Callable[..., dict[str, Any]], check: bool) -> None:
    result = ask(make.build(), check=check)
    assert (result["changed"], result["verdict"]) == (False, "passed")
    assert {item["id"]: item["status"] for item in result["checks"]} == {
        "gguf-structure": "passed",
        "gguf-policy": "passed",
        "gguf-template": "passed",
    }
    info = result["info"]
    assert (info["architecture"], info["name"], info["organization"]) == ("llama", "Tiny", "Mistral AI")
    assert (info["version"], info["file_type"], info["context_length"]) == (3, "F16", 4096)
    assert (info["parameters"], info["tensors"], info["keys"], info["vocabulary"]) == (6720, 5, 14, 6)
    assert info["quantisation"] == {"F16": 6592, "F32": 128}
    assert [item["code"] for item in result["findings"]] == ["TEMPLATE-UNLISTED"]


def test_s4_a_bad_file_fails_the_task_with_its_codes(ask: Callable[..., dict[str, Any]]) -> None:
    data = make.build(tail=make.archive())
    result = ask(data)
    assert result["failed"]
    assert result["msg"].startswith("GGUF-EMBEDDED-FILE: ")
    reported = ask(data, on_failure="report")
    assert not reported.get("failed")
    assert reported["verdict"] == "failed"
    assert reported["findings"] == result["findings"]


def test_s4_the_role_decides_what_is_expected(ask: Callable[..., dict[str, Any]]) -> None:
    result = ask(make.build(), role="projector", on_failure="report")
    assert "GGUF-POLICY-ARCHITECTURE" in [item["code"] for item in result["findings"]]


def test_s4_a_broken_policy_is_one_clear_message(ask: Callable[..., dict[str, Any]]) -> None:
    result = ask(make.build(), policy={"architectures": "llama"})
    assert result["msg"].startswith("POLICY-INVALID: ")
    assert [item["status"] for item in result["checks"]] == ["passed", "unknown", "unknown"]


@pytest.mark.parametrize("path", ["/nonexistent/model.gguf", "/dev/zero", "/"])
def test_s4_what_is_no_file_is_one_clear_message(run_module: Callable[..., dict[str, Any]], path: str) -> None:
    result = run_module("ollama_gguf_info", {"path": path})
    assert result["msg"].startswith("GGUF-UNREADABLE: " + path + ": ")
    assert "passed" not in {item["status"] for item in result["checks"]}
    assert result["info"]["size"] == 0


def test_s4_everything_returned_is_documented_and_the_sample_is_of_that_shape(
    ask: Callable[..., dict[str, Any]],
) -> None:
    documented = yaml.safe_load(ollama_gguf_info.RETURN)
    result = ask(make.build())
    assert set(result) - {"changed", "invocation"} == set(documented)
    assert list(documented["info"]["sample"]) == list(result["info"])
