# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S5: the module ollama_model_scan."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from clamd_stand_in import SIGNATURE, StandIn

pytestmark = pytest.mark.row("S5")
MIB = 1 << 20


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[StandIn]:
    home = tmp_path / "clamd"
    home.mkdir()
    made = StandIn(home, 4 * MIB)
    # The module looks at the clock; these signatures have no date.
    made.version = "ClamAV 1.4.6"
    yield made
    made.close()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    made = tmp_path / "store"
    (made / "blobs").mkdir(parents=True)
    (made / "blobs" / "one").write_bytes(b"weights")
    (made / "manifest").write_bytes(b"{}")
    return made


@pytest.fixture
def ask(stand_in: StandIn, store: Path, run_module: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def call(check: bool = False, **changes: Any) -> dict[str, Any]:
        arguments = {
            "directory": str(store),
            "socket": str(stand_in.socket),
            "config": str(stand_in.config),
            "scratch": str(stand_in.config.parent),
            "timeout": 5,
            "allow_undated": True,
        }
        given = {key: value for key, value in {**arguments, **changes}.items() if value is not None}
        return run_module("ollama_model_scan", given, check=check)

    return call


def tree(root: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_ctime_ns) for path in root.rglob("*"))


@pytest.mark.parametrize("check", [False, True])
def test_s5_a_clean_store_passes_in_check_mode_too(
    ask: Callable[..., dict[str, Any]], store: Path, check: bool
) -> None:
    before = tree(store.parent)
    result = ask(check=check)
    assert (result["changed"], result["verdict"]) == (False, "passed")
    assert [(item["name"], item["verdict"]) for item in result["files"]] == [
        ("blobs/one", "clean"),
        ("manifest", "clean"),
    ]
    assert [(item["code"], item["severity"]) for item in result["findings"]] == [("SCAN-STALE", "info")]
    assert [(item["id"], item["status"]) for item in result["checks"]] == [("store-scanned", "passed")]
    assert result["counts"]["clean"] == 2
    assert result["engine"]["limit"] == 4 * MIB
    assert tree(store.parent) == before


def test_s5_an_infected_file_fails_the_task_with_its_code(ask: Callable[..., dict[str, Any]], store: Path) -> None:
    (store / "blobs" / "two").write_bytes(SIGNATURE)
    result = ask()
    assert result["failed"]
    assert result["msg"].startswith("SCAN-INFECTED: blobs/two: Test.Signature")
    reported = ask(on_failure="report")
    assert not reported.get("failed")
    assert (reported["verdict"], reported["files"][0]["signature"]) == ("failed", "Test.Signature")


def test_s5_windows_are_used_and_can_be_switched_off(ask: Callable[..., dict[str, Any]], store: Path) -> None:
    path = store / "blobs" / "two"
    path.write_bytes(bytes(5 * MIB) + SIGNATURE)
    found = ask(paths=[str(path)], directory=None, window_mib=2, on_failure="report")
    assert (found["files"][0]["verdict"], found["files"][0]["windows"]) == ("infected", 5)
    unread = ask(paths=[str(path)], directory=None, windows=False)
    assert unread["failed"]
    assert unread["msg"].startswith("SCAN-PARTIAL: ")
    assert unread["files"][0]["percent"] == 0.0


def test_s5_no_daemon_is_one_clear_message(ask: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    result = ask(socket=str(tmp_path / "none.sock"))
    assert result["failed"]
    assert result["msg"].startswith("SCAN-UNAVAILABLE: ")
    assert "clamav-daemon" in result["msg"]
    assert {item["verdict"] for item in result["files"]} == {"error"}
    assert result["checks"][0]["status"] == "unknown"


@pytest.mark.parametrize("kind", ["missing", "file", "symlink"])
def test_s5_what_is_no_directory_is_one_clear_message(
    ask: Callable[..., dict[str, Any]], store: Path, tmp_path: Path, kind: str
) -> None:
    path = {"missing": tmp_path / "none", "file": store / "manifest", "symlink": tmp_path / "link"}[kind]
    if kind == "symlink":
        path.symlink_to(store)
    result = ask(directory=str(path))
    assert result["msg"].startswith("SCAN-ERROR: ")
    assert (result["files"], result["checks"][0]["status"]) == ([], "unknown")


@pytest.mark.parametrize(
    "wrong", [{"window_mib": 1}, {"window_mib": -5}, {"timeout": 0}, {"max_signature_age": 0}, {"workers": -1}]
)
def test_s5_settings_that_make_no_sense_are_refused(
    ask: Callable[..., dict[str, Any]], stand_in: StandIn, wrong: dict[str, int]
) -> None:
    result = ask(**wrong)
    assert result["failed"]
    assert result["msg"].startswith("SCAN-SETTINGS-INVALID: ")
    assert stand_in.commands == []


def test_s5_either_paths_or_a_directory(ask: Callable[..., dict[str, Any]], store: Path) -> None:
    assert ask(directory=None)["failed"]
    assert ask(paths=[str(store / "manifest")])["failed"]
