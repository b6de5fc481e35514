# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S1, S2: a model that is carried in (a bundle, a directory) is verified like a download, without any network."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import copying, sources
from ansible_collections.rampart.ollama.plugins.module_utils.approval import approval_from_entry
from ansible_collections.rampart.ollama.plugins.module_utils.names import parse_name
from ansible_collections.rampart.ollama.plugins.module_utils.store import ModelStore
from ansible_collections.rampart.ollama.plugins.module_utils.verify import verify

pytestmark = pytest.mark.row("S2")


@pytest.fixture
def host(maker: Any, run_module: Any, tmp_path: Path, unjudged: None) -> Any:
    """A host without engine and proxy; `lay(model, kind)` puts a source there, `call(model, kind)` runs the module."""
    quarantine = tmp_path / "quarantine"
    quarantine.mkdir(mode=0o700)
    places = {"bundle": tmp_path / "model.tar", "file": tmp_path / "copy"}

    def lay(made: Any, kind: str) -> Path:
        copy = places["file"]
        for digest, data in made.blobs.items():
            path = ModelStore(copy).blob_path(digest)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        path = ModelStore(copy).manifest_path(parse_name(made.reference))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made.manifest)
        if kind == "bundle":
            arguments = {"dest": str(places[kind]), "name": made.reference, "approval": made.entry()}
            arguments.update(approval_text="- name: test\n", store=str(copy))
            assert run_module("ollama_model_bundle", arguments)["changed"]
            shutil.rmtree(copy)
        return places[kind]

    def call(made: Any, kind: str, check: bool = False, **changes: Any) -> dict[str, Any]:
        arguments = {
            "name": made.reference,
            "approval": made.entry(),
            "source": kind,
            "src": str(places[kind]),
            "store": str(maker.root),
            "quarantine": str(quarantine),
            "egress_socket": "/nonexistent",
            "docker_socket": "/nonexistent",
            "owner_uid": os.getuid(),
            "owner_gid": os.getgid(),
        }
        arguments.update(changes)
        result: dict[str, Any] = run_module("ollama_model", arguments, check=check, diff=True)
        return result

    return SimpleNamespace(call=call, lay=lay, maker=maker, quarantine=quarantine)


def approvals(*models: Any) -> dict[str, Any]:
    return {item.name.key: item for item in (approval_from_entry(made.entry()) for made in models)}


def refused(result: dict[str, Any]) -> str:
    assert result["failed"]
    assert len(result["findings"]) == 1
    code: str = result["findings"][0]["code"]
    assert result["msg"].startswith(code + ": ")
    assert result["findings"][0]["remedy"]
    return code


both = pytest.mark.parametrize("kind", ["bundle", "file"])


@both
def test_s2_it_is_predicted_published_verified_and_then_left_alone(
    host: Any, model: Callable[..., Any], kind: str
) -> None:
    made = model("test:1", os.urandom(3_000_000), b"license", b"")
    # The prediction needs no source: a play asks before it carries one over.
    assert host.call(made, kind, check=True)["changed"]
    host.lay(made, kind)
    assert host.maker.tree() == {}
    result = host.call(made, kind)
    assert (result["changed"], result["fetched"], result["source_needed"]) == (True, sorted(made.blobs), True)
    assert "transfer" not in result
    assert verify(host.maker.store, approvals(made)).findings == []
    assert list(host.quarantine.iterdir()) == []
    again = host.call(made, kind, src="/nonexistent")
    assert (again["changed"], again["source_needed"]) == (False, False)


@both
def test_s2_only_what_is_missing_is_taken(host: Any, model: Callable[..., Any], kind: str) -> None:
    first, second = model("test:1", b"one", b"shared"), model("test:2", b"two", b"shared")
    host.maker.put(first)
    host.lay(second, kind)
    assert host.call(second, kind)["fetched"] == sorted(set(second.blobs) - set(first.blobs))
    assert verify(host.maker.store, approvals(first, second)).findings == []


@both
def test_s1_the_source_of_the_name_is_judged_as_for_a_download(
    host: Any, model: Callable[..., Any], kind: str
) -> None:
    made = model("evil.example/library/test:1", b"w")
    host.lay(made, kind)
    assert refused(host.call(made, kind)) == "SOURCE-REFUSED"
    made = model("test:1", b"w")
    host.lay(made, kind)
    assert refused(host.call(made, kind, approval=made.entry(source=None))) == "APPROVAL-INCOMPLETE"
    assert refused(host.call(made, kind, approval=made.entry(source=""))) == "APPROVAL-INCOMPLETE"
    assert refused(host.call(made, kind, approval={})) == "APPROVAL-MISSING"
    assert refused(host.call(made, kind, approval=made.entry(digest=None))) == "APPROVAL-INCOMPLETE"
    assert host.maker.tree() == {}


@both
def test_s2_another_version_is_refused(host: Any, model: Callable[..., Any], kind: str) -> None:
    host.lay(model("test:1", b"another"), kind)
    made = model("test:1", b"approved")
    assert refused(host.call(made, kind)) in ("BUNDLE-INVALID", "IMPORT-DIGEST-MISMATCH")
    assert set(host.maker.tree()) == {".lock"}
    assert list(host.quarantine.iterdir()) == []


@both
def test_s2_one_flipped_bit_is_refused_and_leaves_nothing(host: Any, model: Callable[..., Any], kind: str) -> None:
    made = model("test:1", os.urandom(100_000), b"license")
    path = host.lay(made, kind)
    if kind == "file":
        path = ModelStore(path).blob_path(made.weights)
    data = bytearray(path.read_bytes())
    at = bytes(data).index(made.blobs[made.weights]) + 50_000
    data[at] ^= 1
    path.write_bytes(data)
    assert refused(host.call(made, kind)) == "IMPORT-DIGEST-MISMATCH"
    assert set(host.maker.tree()) == {".lock"}
    assert list(host.quarantine.iterdir()) == []


@both
@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("nothing", "IMPORT-MISSING"),
        ("link", "IMPORT-UNSAFE-FILE"),
        ("fifo", "IMPORT-UNSAFE-FILE"),
        ("other", "IMPORT-"),
    ],
)
def test_s2_a_source_that_is_none_is_refused(
    host: Any, model: Callable[..., Any], tmp_path: Path, kind: str, place: str, code: str
) -> None:
    made = model("test:1", b"w")
    real = host.lay(made, kind)
    path = tmp_path / "place"
    if place == "link":
        path.symlink_to(real)
    elif place == "fifo":
        os.mkfifo(path)
    elif place == "other":
        path = host.lay(made, "file") if kind == "bundle" else tmp_path / "plain"
        if kind == "file":
            path.write_bytes(b"")
    assert refused(host.call(made, kind, src=str(path))).startswith(code)
    assert set(host.maker.tree()) == {".lock"}


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "device", "missing", "short", "long"])
def test_s2_a_blob_of_a_directory_is_taken_only_if_it_is_a_plain_file_of_that_size(
    host: Any, model: Callable[..., Any], tmp_path: Path, kind: str
) -> None:
    made = model("test:1", b"w" * 1000)
    path = ModelStore(host.lay(made, "file")).blob_path(made.weights)
    path.rename(tmp_path / "moved")
    if kind == "link":
        path.symlink_to(tmp_path / "moved")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind != "missing":
        path.write_bytes(b"w" * (999 if kind == "short" else 1001))
    code = refused(host.call(made, "file"))
    assert code == {"missing": "IMPORT-MISSING", "short": "IMPORT-SIZE-MISMATCH", "long": "IMPORT-SIZE-MISMATCH"}.get(
        kind, "IMPORT-UNSAFE-FILE"
    )
    assert set(host.maker.tree()) == {".lock"}
    assert list(host.quarantine.iterdir()) == []


@pytest.mark.parametrize(
    "part", ["blobs", "manifests", "manifests/registry.ollama.ai", "manifests/registry.ollama.ai/library"]
)
def test_s2_a_link_in_the_way_to_a_file_is_not_followed(
    host: Any, model: Callable[..., Any], tmp_path: Path, part: str
) -> None:
    made = model("test:1", b"w")
    path = host.lay(made, "file") / part
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    assert refused(host.call(made, "file")) == "IMPORT-UNSAFE-FILE"


@both
def test_s2_what_an_earlier_run_left_in_quarantine_is_in_nobodys_way(
    host: Any, model: Callable[..., Any], tmp_path: Path, kind: str
) -> None:
    made = model("test:1", b"w" * 1000)
    host.lay(made, kind)
    left = host.quarantine / (made.digest.replace(":", "-") + ".import")
    left.mkdir()
    (left / made.weights.replace(":", "-")).write_bytes(b"v" * 1000)
    (tmp_path / "precious").write_text("precious")
    (left / "manifest").symlink_to(tmp_path / "precious")
    assert host.call(made, kind)["changed"]
    assert (tmp_path / "precious").read_text() == "precious"
    assert list(host.quarantine.iterdir()) == []


@both
def test_s2_a_full_disk_is_one_finding(
    host: Any, model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    made = model("test:1", b"w" * 1000)
    host.lay(made, kind)

    def full(_descriptor: int, _data: memoryview) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sources, "_write_all", full)
    assert refused(host.call(made, kind)) == "DISK-FULL"
    assert list(host.quarantine.iterdir()) == []


@both
def test_s2_a_source_that_cannot_be_read_is_one_finding(
    host: Any, model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    made = model("test:1", b"w" * 1000)
    host.lay(made, kind)

    def broken(*_arguments: Any) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(copying.os, "preadv", broken)
    assert refused(host.call(made, kind)) == "IMPORT-READ-ERROR"
    assert list(host.quarantine.iterdir()) == []


@both
def test_s1_a_cloud_stub_is_never_published(host: Any, model: Callable[..., Any], kind: str) -> None:
    made = model("test:1", b"w", config={"remote_host": "https://ollama.com", "remote_model": "x"})
    host.lay(made, kind)
    assert refused(host.call(made, kind)) == "STORE-CLOUD-STUB"
    assert set(host.maker.tree()) == {".lock"}
    assert list(host.quarantine.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda layers: layers[0].update(digest="sha256:../../../../etc/passwd"),
        lambda layers: layers[0].update(name="../../../../etc/passwd"),
        lambda layers: layers.append({**layers[0], "size": layers[0]["size"] + 1}),
        lambda layers: layers[0].update(size=10**30),
        lambda layers: layers[0].update(size=-1),
        lambda layers: layers.extend(layers * 5000),
        lambda layers: layers.append({**layers[0], "digest": "sha256:" + "0" * 64, "size": 10**10}),
    ],
)
def test_s1_a_hostile_manifest_is_refused_even_if_somebody_approved_it(
    host: Any, model: Callable[..., Any], change: Callable[[list[dict[str, Any]]], Any]
) -> None:
    made = model("test:1", b"w" * 1000)
    document = json.loads(made.manifest)
    change(document["layers"])
    made.manifest = json.dumps(document).encode()
    host.lay(made, "file")
    assert refused(host.call(made, "file")) in (
        "STORE-MANIFEST-INVALID",
        "STORE-MANIFEST-MISMATCH",
        "IMPORT-DIGEST-MISMATCH",
    )
    assert set(host.maker.tree()) == {".lock"}
    assert list(host.quarantine.iterdir()) == []


@both
def test_s2_a_source_needs_a_path(host: Any, model: Callable[..., Any], run_module: Any, kind: str) -> None:
    made = model("test:1", b"w")
    arguments = {"name": "test:1", "approval": made.entry(), "source": kind, "store": "/s", "quarantine": "/q"}
    assert "src" in run_module("ollama_model", arguments)["msg"]


def test_s2_a_directorys_other_models_stay_where_they_are(host: Any, model: Callable[..., Any]) -> None:
    made, stranger = model("test:1", b"w"), model("other:1", b"o")
    host.lay(stranger, "file")
    host.lay(made, "file")
    host.call(made, "file")
    assert verify(host.maker.store, approvals(made)).findings == []
