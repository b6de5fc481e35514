# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S3: bad models leave the store in one step, and good ones are not touched."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from quarantine_scene import Scene

from ansible_collections.rampart.ollama.plugins.module_utils import quarantine_files
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.module_utils.publish import store_lock
from ansible_collections.rampart.ollama.plugins.module_utils.verify_report import verdict_of

pytestmark = pytest.mark.row("S3")


@pytest.fixture
def scene(maker: Any, model: Callable[..., Any], tmp_path: Path) -> Scene:
    return Scene(maker, model, tmp_path)


def test_a_bad_model_leaves_and_what_others_use_stays(scene: Scene) -> None:
    before = scene.kept()
    data = scene.flip()
    outcome = scene.clear()
    assert outcome.changed
    assert [move.name for move in outcome.moves] == ["registry.ollama.ai/library/bad:1"]
    shared = next(digest for digest, content in scene.bad.blobs.items() if content == b"shared")
    gone = {"blobs/" + digest.replace(":", "-") for digest in scene.bad.blobs if digest != shared}
    gone |= {"manifests/registry.ollama.ai/library/bad", "manifests/registry.ollama.ai/library/bad/1"}
    assert scene.kept() == {name: seen for name, seen in before.items() if name not in gone}
    assert outcome.remaining == []
    report = scene.look()
    assert report.findings == []
    assert {model.name.rpartition("/")[2] for model in report.models} == {"good:1", "other:1"}
    # The evidence: the very bytes, and why.
    (directory,) = (scene.quarantine / "store-evidence").iterdir()
    assert directory.name.startswith(scene.bad.digest[7:] + "-")
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "manifest").read_bytes() == scene.bad.manifest
    assert (directory / "blobs" / scene.weights.name).read_bytes() == data
    said = json.loads((directory / "findings.json").read_text())
    assert (said["model"], said["digest"]) == ("registry.ollama.ai/library/bad:1", scene.bad.digest)
    assert [item["code"] for item in said["findings"]] == ["STORE-DIGEST-MISMATCH"]
    assert (said["kept"], len(said["moved"])) == ([shared], 3)
    assert said["bad_blobs"][0]["digest"] == scene.bad.weights


def test_a_second_run_finds_nothing_to_move(scene: Scene) -> None:
    scene.flip()
    scene.clear()
    before, evidence = scene.kept(), scene.evidence()
    outcome = scene.clear()
    assert (outcome.changed, outcome.moves) == (False, [])
    assert (scene.kept(), scene.evidence()) == (before, evidence)


def test_a_good_store_is_left_alone_and_no_evidence_directory_is_made(scene: Scene) -> None:
    before = scene.kept()
    outcome = scene.clear()
    assert (outcome.changed, outcome.moves, outcome.remaining) == (False, [], [])
    assert scene.kept() == before
    assert list(scene.quarantine.iterdir()) == []


def test_a_prediction_says_the_same_and_changes_nothing(scene: Scene) -> None:
    scene.flip()
    tree = scene.maker.tree()
    predicted = scene.clear(predict=True)
    assert scene.maker.tree() == tree, "not even the lock"
    assert list(scene.quarantine.iterdir()) == []
    done = scene.clear()
    assert (predicted.moves, predicted.changed, predicted.remaining) == (done.moves, done.changed, done.remaining)
    assert predicted.as_diff(scene.quarantine) == done.as_diff(scene.quarantine)
    diff = done.as_diff(scene.quarantine)
    for line in diff["after"].splitlines():
        assert Path(line).exists(), line
    for line in diff["before"].splitlines():
        assert not (scene.maker.root / line).exists(), line


def test_a_bad_blob_takes_every_model_that_uses_it_and_no_other(scene: Scene) -> None:
    shared = next(digest for digest, content in scene.bad.blobs.items() if content == b"shared")
    scene.maker.rewrite(scene.maker.blob(shared), b"SHARED")
    outcome = scene.clear()
    assert {move.name.rpartition("/")[2] for move in outcome.moves} == {"good:1", "bad:1"}
    assert not scene.maker.blob(shared).exists()
    assert [model.name.rpartition("/")[2] for model in scene.look().models] == ["other:1"]
    assert scene.look().findings == []


@pytest.mark.parametrize("what", ["unapproved", "edited", "broken", "no name", "cloud", "missing blob"])
def test_every_kind_of_bad_model_leaves(scene: Scene, model: Callable[..., Any], what: str) -> None:
    manifest = scene.maker.manifest(scene.bad)
    if what == "unapproved":
        scene.maker.models.remove(scene.bad)
    elif what == "edited":
        scene.maker.rewrite(manifest, scene.bad.manifest + b"\n")
    elif what == "broken":
        scene.maker.rewrite(manifest, b"{")
    elif what == "no name":
        manifest = manifest.parent / "evil-cloud"
        manifest.write_bytes(scene.bad.manifest)
        manifest.chmod(0o444)
    elif what == "cloud":
        made = model("stub:1", b"w", config={"remote_host": "https://ollama.com", "remote_model": "x"})
        manifest = scene.maker.manifest(scene.maker.put(made))
    else:
        scene.weights.unlink()
    good = scene.maker.tree()["manifests/registry.ollama.ai/library/good/1"]
    outcome = scene.clear()
    assert len(outcome.moves) == 1
    assert not manifest.exists()
    assert verdict_of(outcome.remaining) == "passed", outcome.remaining
    assert scene.maker.tree()["manifests/registry.ollama.ai/library/good/1"] == good
    assert all(scene.maker.blob(digest).read_bytes() == data for digest, data in scene.good.blobs.items())
    (directory,) = (scene.quarantine / "store-evidence").iterdir()
    assert (directory / "manifest").exists()
    assert json.loads((directory / "findings.json").read_text())["findings"]


def test_what_no_move_settles_remains(scene: Scene) -> None:
    scene.flip()
    (scene.maker.root / "blobs" / "stray").touch()
    scene.maker.blob(scene.good.weights).chmod(0o666)
    outcome = scene.clear()
    assert sorted(finding.code for finding in outcome.remaining) == ["STORE-MODE", "STORE-UNEXPECTED-FILE"]
    assert scene.maker.blob(scene.good.weights).exists()


def test_two_models_with_one_manifest_each_get_a_place(scene: Scene, model: Callable[..., Any]) -> None:
    path = scene.maker.root / "manifests/registry.ollama.ai/library/bad/2"
    path.write_bytes(scene.bad.manifest)
    path.chmod(0o444)
    scene.flip()
    outcome = scene.clear()
    assert len({move.evidence for move in outcome.moves}) == 2
    assert len(list((scene.quarantine / "store-evidence").iterdir())) == 2


def test_the_same_incident_again_does_not_overwrite_the_first(scene: Scene) -> None:
    scene.flip()
    scene.clear()
    first = scene.evidence()
    scene.maker.put(scene.bad)
    scene.maker.rewrite(scene.weights, b"another attack")
    (move,) = scene.clear().moves
    assert move.evidence.endswith(".2")
    second = scene.evidence()
    assert {name: data for name, data in second.items() if name in first} == first
    assert len(second) == 2 * len(first)


def test_a_model_published_under_capital_letters_leaves_too(scene: Scene) -> None:
    path = scene.maker.root / "manifests/Registry.Ollama.AI/library/bad/1"
    path.parent.mkdir(parents=True)
    path.write_bytes(scene.bad.manifest)
    path.chmod(0o444)
    (move,) = scene.clear().moves
    assert move.path == "manifests/Registry.Ollama.AI/library/bad/1"
    assert not path.exists()
    assert scene.maker.manifest(scene.bad).exists(), "the one written as approved is good"
    assert scene.look().findings == []


def test_while_another_run_writes_nothing_is_moved(scene: Scene) -> None:
    scene.flip()
    with store_lock(scene.maker.store), pytest.raises(FindingError) as caught:
        scene.clear()
    assert caught.value.finding.code == "STORE-BUSY"
    assert scene.maker.manifest(scene.bad).exists()


def test_when_a_manifest_cannot_be_read_every_blob_stays(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be a good model behind it that uses them."""
    scene.flip()
    real = os.scandir

    def refusing(path: Any) -> Any:
        if str(path).endswith("library/good"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", refusing)
        outcome = scene.clear()
    assert [move.blobs for move in outcome.moves] == [()]
    assert not scene.maker.manifest(scene.bad).exists()
    assert all(scene.maker.blob(digest).exists() for digest in {**scene.good.blobs, **scene.bad.blobs})


# Where evidence may go.


def refused(scene: Scene, predict: bool = False) -> str:
    tree = scene.kept()
    with pytest.raises(FindingError) as caught:
        scene.clear(predict)
    assert caught.value.finding.code == "QUARANTINE-REFUSED"
    assert scene.kept() == tree
    return caught.value.finding.evidence


@pytest.mark.parametrize("predict", [True, False])
@pytest.mark.parametrize(
    "what", ["missing", "file", "link", "writable", "store", "evidence", "evidence mode", "evidence file"]
)
def test_a_place_that_is_not_safe_is_refused_and_nothing_is_moved(
    scene: Scene, tmp_path: Path, what: str, predict: bool
) -> None:
    scene.flip()
    if what in ("missing", "file", "link"):
        scene.quarantine.rmdir()
    if what == "file":
        scene.quarantine.touch()
    elif what == "link":
        (tmp_path / "elsewhere").mkdir()
        scene.quarantine.symlink_to(tmp_path / "elsewhere")
    elif what == "writable":
        scene.quarantine.chmod(0o770)
    elif what == "store":
        scene.quarantine = scene.maker.root / "blobs"
    elif what == "evidence":
        (scene.quarantine / "store-evidence").symlink_to(tmp_path)
    elif what == "evidence mode":
        (scene.quarantine / "store-evidence").mkdir(mode=0o755)
    elif what == "evidence file":
        (scene.quarantine / "store-evidence").touch(mode=0o700)
    refused(scene, predict)
    if what == "link":
        assert list((tmp_path / "elsewhere").iterdir()) == []


def test_another_file_system_is_refused_before_anything_moves(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.flip()
    real = os.lstat

    def other_device(path: Any, **options: Any) -> Any:
        status = real(path, **options)
        if Path(path) == scene.quarantine:
            values = list(status)
            values[2] += 1
            return os.stat_result(values)
        return status

    monkeypatch.setattr(os, "lstat", other_device)
    assert "another file system" in refused(scene)


def test_a_rename_that_fails_leaves_the_model_and_tells(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two mounts of one file system have the same device, and yet no rename between them."""
    scene.flip()
    before = scene.kept()
    real = os.rename

    def failing(source: Any, target: Any, **options: Any) -> None:
        if target == "manifest":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, target, **options)

    monkeypatch.setattr(quarantine_files.os, "rename", failing)
    outcome = scene.clear()
    assert (outcome.moves, outcome.changed) == ([], False)
    assert "QUARANTINE-FAILED" in [finding.code for finding in outcome.remaining]
    assert scene.kept() == before
    assert scene.evidence() == {}


def test_foreign_things_among_the_evidence_are_one_clear_refusal(scene: Scene) -> None:
    directory = scene.quarantine / "store-evidence" / "x.part"
    directory.mkdir(parents=True, mode=0o700)
    directory.parent.chmod(0o700)
    (directory / "theirs").touch()
    assert "not ours" in refused(scene)
    assert (directory / "theirs").exists()


def test_a_missing_store_is_told_and_nothing_is_made(scene: Scene, tmp_path: Path) -> None:
    scene.maker.root = tmp_path / "none"
    outcome = scene.clear()
    assert [finding.code for finding in outcome.remaining] == ["STORE-MISSING"]
    assert not scene.maker.root.exists()


def test_a_socket_in_the_store_is_neither_moved_nor_waited_on(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(scene.maker.root / "blobs")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s")
        outcome = scene.clear()
    assert [finding.code for finding in outcome.remaining] == ["STORE-UNEXPECTED-FILE"]
