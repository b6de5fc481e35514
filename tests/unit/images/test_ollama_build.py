# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which image ends up in the engine under the pinned name, told with an engine that only remembers."""

from __future__ import annotations

import importlib.util
import pathlib
import subprocess
from typing import Any

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]


@pytest.fixture
def build() -> Any:
    # By path: `build` is also the name of a package on PyPI.
    path = CHECKOUT / "tests" / "images" / "ollama" / "build.py"
    specification = importlib.util.spec_from_file_location("rampart_ollama_build", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


class Engine:
    """Answers `image inspect` as Docker does."""

    def __init__(self, label: str | None) -> None:
        self.label = label  # None: no image; "": official; else the stand-in's inputs

    def __call__(self, *arguments: str, **_: Any) -> subprocess.CompletedProcess[bytes]:
        assert arguments[:2] == ("image", "inspect")
        if self.label is None:
            return subprocess.CompletedProcess(arguments, 1, b"", b"No such image")
        return subprocess.CompletedProcess(arguments, 0, f"sha256:1 {self.label or '<no value>'}\n".encode(), b"")


@pytest.fixture
def did(build: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    steps: list[str] = []

    def pull(docker: Engine) -> bool:
        steps.append("pull")
        return False

    def make(docker: Engine, paths: Any, inputs: str) -> None:
        steps.append("build")
        docker.label = inputs

    monkeypatch.setattr(build, "pull", pull)
    monkeypatch.setattr(build, "build", make)
    return steps


@pytest.mark.parametrize(
    ("label", "steps", "kind"),
    [
        (None, ["pull", "build"], "stand-in"),  # nothing there: the official image is preferred
        ("0123", ["build"], "stand-in"),  # a stand-in of older sources
        ("", [], "official"),  # an official image is never replaced
        ("current", [], "stand-in"),
    ],
)
def test_ensure(build: Any, did: list[str], label: str | None, steps: list[str], kind: str) -> None:
    engine = Engine(build.inputs_hash() if label == "current" else label)
    answer = build.ensure(engine, None)
    assert did == steps
    assert answer == {"image": "ollama/ollama:0.32.10", "id": "sha256:1", "kind": kind}


def test_a_pulled_image_is_official(build: Any, did: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def pull(docker: Engine) -> bool:
        docker.label = ""
        return True

    monkeypatch.setattr(build, "pull", pull)
    assert build.ensure(Engine(None), None)["kind"] == "official"
    assert did == []


def test_without_a_registry_nothing_is_pulled(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "registry_answers", lambda: False)
    assert build.pull(Engine(None)) is False


def test_only_a_unix_socket_is_taken(build: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build.main(["--docker-host", "tcp://127.0.0.1:2375"])
    assert "unix:///path" in capsys.readouterr().err
