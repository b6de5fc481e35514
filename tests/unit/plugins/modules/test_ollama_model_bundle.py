# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S2: a bundle is made of approved bytes only, whole or not at all, and made once."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import bundling

pytestmark = pytest.mark.row("S2")


@pytest.fixture
def host(maker: Any, run_module: Any, tmp_path: Path) -> Any:
    """A host with a store; `call(model, ...)` makes a bundle of it."""
    place = tmp_path / "place"
    place.mkdir()

    def call(made: Any, check: bool = False, **changes: Any) -> dict[str, Any]:
        arguments = {
            "dest": str(place / "model.tar"),
            "name": made.reference,
            "approval": made.entry(),
            "approval_text": "- name: test\n",
            "store": str(maker.root),
        }
        arguments.update(changes)
        given = {key: value for key, value in arguments.items() if value is not None}
        result: dict[str, Any] = run_module("ollama_model_bundle", given, check=check, diff=True)
        return result

    return SimpleNamespace(call=call, maker=maker, place=place, dest=place / "model.tar")


def refused(result: dict[str, Any]) -> str:
    assert result["failed"]
    assert len(result["findings"]) == 1
    assert result["findings"][0]["remedy"]
    code: str = result["findings"][0]["code"]
    return code


def test_s2_it_is_predicted_made_and_then_left_alone(host: Any, model: Callable[..., Any]) -> None:
    made = host.maker.put(model("test:1", os.urandom(2_500_000), b"license", b""))
    signatures = [{"name": "approval.sig", "content": "signature\n"}]
    predicted = host.call(made, check=True, signatures=signatures)
    assert predicted["changed"]
    assert "sha256" not in predicted["bundle"]
    assert list(host.place.iterdir()) == []
    result = host.call(made, signatures=signatures)
    assert result["changed"]
    assert made.weights in result["diff"]["after"]
    data = host.dest.read_bytes()
    assert result["bundle"] == {"sha256": "sha256:" + hashlib.sha256(data).hexdigest(), "size": len(data)}
    assert predicted["bundle"]["size"] == len(data)
    assert host.dest.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in host.place.iterdir()] == ["model.tar"]
    with tarfile.open(host.dest) as archive:
        stream = archive.extractfile("rampart/approval.sig")
        assert stream is not None
        assert stream.read() == b"signature\n"
    before = host.dest.stat()
    for check in (True, False):
        again = host.call(made, check=check, signatures=signatures)
        assert (again["changed"], again["bundle"]) == (False, result["bundle"])
        assert again["diff"]["before"] == again["diff"]["after"]
    assert (host.dest.stat().st_ino, host.dest.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_s2_what_is_there_and_differs_in_anything_is_made_anew(host: Any, model: Callable[..., Any]) -> None:
    made = host.maker.put(model("test:1", b"w" * 10_000))
    wanted = host.call(made)["bundle"]
    good = host.dest.read_bytes()
    for number, at in enumerate([0, 600, good.index(b"- name"), good.index(b"wwww") + 5000, len(good) - 1]):
        damaged = bytearray(good)
        damaged[at] ^= 1
        host.dest.write_bytes([damaged, damaged[:-512], damaged + b"\0" * 512][number % 3])
        assert host.call(made, check=True)["changed"]
        assert host.call(made)["bundle"] == wanted
        assert host.dest.read_bytes() == good
    assert host.call(made, approval_text="- name: another text\n")["changed"]
    assert host.call(made)["changed"]


def test_s2_mode_and_owner_are_as_asked(host: Any, model: Callable[..., Any]) -> None:
    made = host.maker.put(model("test:1", b"w"))
    assert host.call(made, mode="0644")["changed"]
    assert host.dest.stat().st_mode & 0o777 == 0o644
    assert not host.call(made, mode="0644")["changed"]
    assert host.call(made, mode="0600", check=True)["changed"]
    assert host.dest.stat().st_mode & 0o777 == 0o644
    assert host.call(made, mode="0600")["changed"]


@pytest.mark.parametrize("damage", ["flip", "short", "long", "missing", "link", "manifest", "no manifest", "no store"])
@pytest.mark.parametrize("there", [True, False])
def test_s2_a_store_that_is_not_as_approved_makes_no_bundle(
    host: Any, model: Callable[..., Any], tmp_path: Path, damage: str, there: bool
) -> None:
    made = host.maker.put(model("test:1", b"w" * 1000))
    if there:
        host.dest.write_bytes(b"an older one")
    path = host.maker.blob(made.weights)
    changes: dict[str, Any] = {}
    if damage == "flip":
        host.maker.rewrite(path, b"w" * 999 + b"x")
    elif damage in ("short", "long"):
        host.maker.rewrite(path, b"w" * (999 if damage == "short" else 1001))
    elif damage == "missing":
        path.unlink()
    elif damage == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    elif damage == "manifest":
        host.maker.rewrite(host.maker.manifest(made), model("test:1", b"another").manifest)
    elif damage == "no manifest":
        host.maker.manifest(made).unlink()
    else:
        changes["store"] = str(tmp_path / "nowhere")
    assert refused(host.call(made, **changes)) == "BUNDLE-SOURCE"
    assert [item.name for item in host.place.iterdir()] == (["model.tar"] if there else [])
    if there:
        assert host.dest.read_bytes() == b"an older one"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"approval": {"reference": "other:1", "digest": "x", "blobs": []}}, "APPROVAL-INCOMPLETE"),
        ({"approval": {}}, "APPROVAL-MISSING"),
        ({"name": "test:cloud"}, "NAME-CLOUD"),
        ({"name": "other:1"}, "APPROVAL-MISSING"),
        ({"signatures": [{"name": "../x", "content": ""}]}, "BUNDLE-CONTENT"),
        ({"signatures": [{"name": "a", "content": "1"}, {"name": "a", "content": "2"}]}, "BUNDLE-CONTENT"),
        ({"dest": "/nonexistent/model.tar"}, "BUNDLE-DEST"),
        ({"dest": "/"}, "BUNDLE-DEST"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_s2_bad_input_is_one_finding(
    host: Any, model: Callable[..., Any], changes: dict[str, Any], code: str, check: bool
) -> None:
    made = host.maker.put(model("test:1", b"w"))
    assert refused(host.call(made, check=check, **changes)) == code
    assert list(host.place.iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
@pytest.mark.parametrize("state", ["present", "absent"])
def test_s2_what_is_no_file_is_not_written_over(
    host: Any, model: Callable[..., Any], tmp_path: Path, kind: str, state: str
) -> None:
    made = host.maker.put(model("test:1", b"w"))
    (tmp_path / "precious").write_text("precious")
    if kind == "link":
        host.dest.symlink_to(tmp_path / "precious")
    elif kind == "fifo":
        os.mkfifo(host.dest)
    else:
        host.dest.mkdir()
    assert refused(host.call(made, state=state)) == "BUNDLE-DEST"
    assert (tmp_path / "precious").read_text() == "precious"


def test_s2_a_draft_that_was_left_behind_is_replaced_not_followed(
    host: Any, model: Callable[..., Any], tmp_path: Path
) -> None:
    made = host.maker.put(model("test:1", b"w"))
    (tmp_path / "precious").write_text("precious")
    (host.place / ".model.tar.new").symlink_to(tmp_path / "precious")
    assert host.call(made)["changed"]
    assert (tmp_path / "precious").read_text() == "precious"
    assert [path.name for path in host.place.iterdir()] == ["model.tar"]


def test_s2_a_full_disk_is_said_before_anything_is_written(
    host: Any, model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = host.maker.put(model("test:1", b"w"))
    monkeypatch.setattr(bundling.os, "statvfs", lambda path: SimpleNamespace(f_bavail=10, f_frsize=4096))
    for check in (True, False):
        assert refused(host.call(made, check=check)) == "DISK-FULL"
    assert list(host.place.iterdir()) == []


def test_s2_a_disk_that_fills_up_meanwhile_leaves_nothing(
    host: Any, model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = host.maker.put(model("test:1", b"w"))

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundling.os, "fsync", full)
    assert refused(host.call(made)) == "DISK-FULL"
    assert list(host.place.iterdir()) == []


def test_s2_removing_predicts_removes_and_then_changes_nothing(host: Any, model: Callable[..., Any]) -> None:
    made = host.maker.put(model("test:1", b"w"))
    host.call(made)
    gone = {"state": "absent", "name": None, "approval": None, "approval_text": None, "store": None}
    assert host.call(made, check=True, **gone)["changed"]
    assert host.dest.exists()
    assert host.call(made, **gone)["changed"]
    assert not host.dest.exists()
    assert not host.call(made, **gone)["changed"]
