# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S8: the action writes one valid bill a host, or nothing and one finding."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import yaml

from ansible_collections.rampart.ollama.plugins.action import sbom as action
from ansible_collections.rampart.ollama.plugins.modules import sbom as stub
from ansible_collections.rampart.ollama.plugins.plugin_utils import sbom_document

pytestmark = pytest.mark.row("S8")

LIST = (
    "[os-release]\nID=debian\nVERSION_ID=13\n[dpkg]\nlibc6\t2.41\tamd64\tinstalled\tglibc\t2.41\n"
    "[python]\n/opt/gateway/lib/python3.13/site-packages/foo-1.0.dist-info\n[end]\n"
)
HASH = "1" * 64


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def arguments(tmp_path: Path, model: Callable[..., Any]) -> dict[str, Any]:
    lists = tmp_path / "packages"
    lists.mkdir()
    for key in ("relay", "ollama"):
        (lists / (digest(key)[7:] + ".txt")).write_text(LIST)
    (tmp_path / "requirements.txt").write_text("foo==1.0 --hash=sha256:" + HASH + "\n")
    return {
        "environment": "dev",
        "host": "h1",
        "directory": str(tmp_path / "reports"),
        "images": {
            "archive_sha256": "a" * 64,
            "bases": {"debian": {"name": "debian:13-slim"}, "ollama": {"name": "ollama/ollama:0.32.10"}},
            "images": {
                key: {"name": "rampart/{0}:0.1.0".format(key), "id": digest(key)} for key in ("relay", "ollama")
            },
        },
        "package_lists": str(lists),
        "python_requirements": str(tmp_path / "requirements.txt"),
        "host_packages": {"bash": [{"name": "bash", "version": "5.2", "arch": "amd64", "source": "apt"}]},
        "distribution": "Debian",
        "distribution_version": "12",
        "approvals": [model("test:1", b"weights").entry()],
        "ollama_version": "0.32.10",
    }


@pytest.fixture
def run() -> Callable[..., dict[str, Any]]:
    def call(arguments: dict[str, Any], check_mode: bool = False) -> dict[str, Any]:
        task = MagicMock(args=dict(arguments), check_mode=check_mode, async_val=0, diff=False)
        made = action.ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
        result: dict[str, Any] = made.run(task_vars={})
        return result

    return call


def files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def test_s8_a_valid_bill_is_written_once(
    run: Callable[..., dict[str, Any]], arguments: dict[str, Any], tmp_path: Path
) -> None:
    result = run(arguments)
    assert not result.get("failed")
    assert result["changed"]
    path = tmp_path / "reports/dev/h1/sbom.cdx.json"
    assert result["path"] == str(path)
    assert result["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    document = json.loads(path.read_text())
    sbom_document.validate(document)
    assert document["serialNumber"] == result["serial_number"]
    # The version is the collection's own where none is given.
    galaxy = yaml.safe_load((Path(__file__).parents[4] / "galaxy.yml").read_text())
    assert document["metadata"]["tools"]["components"][0]["version"] == galaxy["version"]
    assert result["counts"] == {"components": len(document["components"]), "images": 2, "models": 1}
    assert [item["status"] for item in result["checks"]] == ["passed"]
    assert result["findings"] == []
    again = run(arguments)
    assert not again["changed"]
    assert again["sha256"] == result["sha256"]
    assert again["diff"]["before"] == again["diff"]["after"] != ""
    assert files(tmp_path / "reports") == ["dev/h1/sbom.cdx.json"]
    assert path.stat().st_mode & 0o777 == 0o640


def test_s8_check_mode_predicts_and_writes_nothing(
    run: Callable[..., dict[str, Any]], arguments: dict[str, Any], tmp_path: Path
) -> None:
    result = run(arguments, check_mode=True)
    assert result["changed"]
    assert result["checks"][0]["status"] == "unknown"
    assert not (tmp_path / "reports").exists()
    assert run(arguments)["changed"]
    after = run(arguments, check_mode=True)
    assert not after["changed"]
    assert after["checks"][0]["status"] == "passed"


def test_s8_a_missing_list_is_a_finding_and_no_pass(
    run: Callable[..., dict[str, Any]], arguments: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "packages" / (digest("relay")[7:] + ".txt")).unlink()
    result = run(arguments)
    assert [item["code"] for item in result["findings"]] == ["SBOM-IMAGE-UNKNOWN"]
    assert result["checks"][0]["status"] == "unknown"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"images": {}}, "SBOM-INPUT"),
        ({"host_packages": {"bash": [{"source": "apt"}]}}, "SBOM-INPUT"),
        ({"timestamp": "today"}, "SBOM-INPUT"),
        ({"python_requirements": "/nonexistent/requirements.txt"}, "SBOM-REQUIREMENTS"),
        ({"python_requirements": "/etc/hostname"}, "SBOM-REQUIREMENTS"),
        ({"approvals": [{"name": "mistral"}]}, "APPROVAL-INCOMPLETE"),
        ({"host": "../../etc"}, "EVIDENCE-NAME"),
        ({"directory": "/proc/nowhere"}, "EVIDENCE-WRITE"),
    ],
)
def test_s8_bad_input_is_one_line_and_leaves_nothing(
    run: Callable[..., dict[str, Any]], arguments: dict[str, Any], tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    result = run({**arguments, **changes})
    assert result["failed"]
    assert not result["changed"]
    assert result["msg"].startswith(code + ": ")
    assert "\n" not in result["msg"]
    assert not (tmp_path / "reports").exists()


def test_s8_a_bill_that_the_schema_refuses_is_not_written(
    run: Callable[..., dict[str, Any]], arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sbom_document._Builder, "document", lambda self: {"components": [], "metadata": {}})
    result = run(arguments)
    assert result["msg"].startswith("SBOM-INVALID: ")
    assert not (tmp_path / "reports").exists()


def test_s8_the_documentation_names_the_options_of_the_action(
    run: Callable[..., dict[str, Any]], arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def look(self: Any, argument_spec: dict[str, Any]) -> Any:
        seen.update(argument_spec)
        raise RuntimeError("seen")

    monkeypatch.setattr(action.ActionModule, "validate_argument_spec", look)
    with pytest.raises(RuntimeError):
        run(arguments)
    documented = yaml.safe_load(stub.DOCUMENTATION)["options"]
    assert set(documented) == set(seen)
    for name, option in documented.items():
        for key in ("type", "default", "choices", "elements"):
            assert option.get(key) == seen[name].get(key), name
        assert option.get("required", False) == seen[name].get("required", False)
