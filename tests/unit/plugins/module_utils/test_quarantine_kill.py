# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S3: a kill half-way through the move of a bad model is made good by the next run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from quarantine_scene import Scene

from ansible_collections.rampart.ollama.plugins.module_utils import quarantine_files

pytestmark = pytest.mark.row("S3")


class Killed(BaseException):
    """What a kill looks like from inside: nothing catches it."""


@pytest.fixture
def scene(maker: Any, model: Callable[..., Any], tmp_path: Path) -> Scene:
    return Scene(maker, model, tmp_path)


@pytest.mark.parametrize("call", ["rename", "fsync", "mkdir", "unlink", "open"])
def test_after_a_kill_at_any_step_the_next_run_ends_the_move(
    scene: Scene, maker: Any, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    scene.flip()
    whole = scene.kept()
    data = {name: (maker.root / name).read_bytes() for name in whole if (maker.root / name).is_file()}
    scene.clear()
    wanted, evidence = scene.kept(), scene.evidence()
    real = getattr(os, call)
    for after in range(200):
        for path in sorted(scene.quarantine.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        for name, content in data.items():
            if not (maker.root / name).exists():
                maker._file(maker.root / name, content)
        assert scene.kept() == whole
        calls = 0

        def killing(*arguments: Any, _after: int = after, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > _after:
                raise Killed
            return real(*arguments, **options)

        with monkeypatch.context() as patched:
            patched.setattr(quarantine_files.os, call, killing)
            try:
                scene.clear()
                ended = True
            except Killed:
                ended = False
        # Whatever was cut: the model is listed whole, or not listed at all; the good ones are whole.
        report = scene.look()
        assert {item.name.rpartition("/")[2] for item in report.models if item.verified} == {"good:1", "other:1"}
        if not ended:
            predicted = scene.clear(predict=True)
            outcome = scene.clear()
            assert outcome.changed == predicted.changed
            assert outcome.settled == predicted.settled
        assert scene.kept() == wanted, (call, after)
        assert scene.evidence() == evidence, (call, after)
        if ended:
            return
    raise AssertionError("the run never ended by itself")


def test_a_blob_that_came_back_into_use_after_a_kill_is_not_taken(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.flip()
    real = os.rename

    def killing(source: Any, target: Any, **options: Any) -> None:
        if str(target).startswith("sha256-"):
            raise Killed
        real(source, target, **options)

    with monkeypatch.context() as patched:
        patched.setattr(quarantine_files.os, "rename", killing)
        with pytest.raises(Killed):
            scene.clear()
    # Fetched again in between, as its finding's remedy says.
    scene.maker.rewrite(scene.weights, scene.bad.blobs[scene.bad.weights])
    scene.maker.put(scene.bad)
    outcome = scene.clear()
    assert (outcome.moves, outcome.settled) == ([], [])
    assert len(scene.look().models) == 3
    assert scene.look().findings == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"moved": 7, "path": 1}', b'{"moved": ["../../x"], "path": "/"}']
)
def test_a_cut_moves_document_that_says_nothing_takes_nothing(scene: Scene, content: bytes) -> None:
    directory = scene.quarantine / "store-evidence" / "x.part"
    directory.mkdir(parents=True, mode=0o700)
    directory.parent.chmod(0o700)
    (directory / "manifest").touch()
    (directory / "findings.json").write_bytes(content)
    before = scene.kept()
    outcome = scene.clear()
    assert (outcome.settled, outcome.changed) == ([], True)
    assert scene.kept() == before
    assert (scene.quarantine / "store-evidence" / "x" / "manifest").exists()
