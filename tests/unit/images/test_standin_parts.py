# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in's parts: names, settings, templates, GGUF headers, the store."""

from __future__ import annotations

import hashlib
import os
import pathlib
import time

import model
import pytest
from ollama_standin import gguf, names, settings, template
from ollama_standin.errors import ApiError
from ollama_standin.store import Store


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("smollm2", "registry.ollama.ai/library/smollm2:latest"),
        ("smollm2:135m-instruct-q4_1", "registry.ollama.ai/library/smollm2:135m-instruct-q4_1"),
        ("me/x:1", "registry.ollama.ai/me/x:1"),
        ("host.example:5000/me/x", "host.example:5000/me/x:latest"),
    ],
)
def test_names(text: str, full: str) -> None:
    name = names.parse(text)
    assert name is not None
    assert name.full() == full
    assert names.parse(name.short()) == name


@pytest.mark.parametrize(
    "text", ["", "../../etc/passwd", "a/b/c/d", "/x", "x/", "x:", ":x", "a b", "x@sha256:" + "0" * 64, "..", "n.s/x"]
)
def test_bad_names(text: str) -> None:
    assert names.parse(text) is None


@pytest.mark.parametrize(("value", "seconds"), [("5m", 300), ("1h30m", 5400), (0, 0), ("0", 0), (-1, "inf")])
def test_durations(value: str | int, seconds: float | str) -> None:
    assert settings.duration(value) == float(seconds)


@pytest.mark.parametrize("value", ["soon", "", "5x", "m5"])
def test_bad_durations(value: str) -> None:
    with pytest.raises(settings.SettingsError, match="invalid duration"):
        settings.duration(value)


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("", ("127.0.0.1", 11434)),
        ("0.0.0.0:11434", ("0.0.0.0", 11434)),
        (":8080", ("0.0.0.0", 8080)),
        ("http://127.0.0.1:1234", ("127.0.0.1", 1234)),
        ("[::1]:11434", ("::1", 11434)),
    ],
)
def test_host_and_port(value: str, address: tuple[str, int]) -> None:
    assert settings.host_and_port(value) == address


def test_settings_from_the_environment() -> None:
    read = settings.from_environment({"HOME": "/h", "OLLAMA_MODELS": "/models", "OLLAMA_NOPRUNE": "1"})
    assert (str(read.models), read.no_prune) == ("/models", True)
    plain = settings.from_environment({"HOME": "/h"})
    assert (str(plain.models), plain.no_prune) == ("/h/.ollama/models", False)
    with pytest.raises(settings.SettingsError, match="OLLAMA_MAX_QUEUE"):
        settings.from_environment({"OLLAMA_MAX_QUEUE": "many"})


MESSAGES = {"Messages": [{"Role": "system", "Content": "Be brief."}, {"Role": "user", "Content": "Hi"}]}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            model.TEMPLATE,
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
        ),
        ('{{ range .Messages }}{{ if eq .Role "user" }}U{{ else if eq .Role "system" }}S{{ end }}{{ end }}', "SU"),
        ("{{ range $i, $m := .Messages }}{{ $i }}{{ $m.Role }} {{ end }}", "0system 1user "),
        ("a {{- /* nothing */ -}} b", "ab"),
        ("{{ if and .System .Prompt }}x{{ else }}{{ len .Messages }}{{ end }}", "2"),
        ("{{ with .Messages }}{{ range . }}{{ .Role }}{{ end }}{{ end }}", "systemuser"),
        ('{{ if or (not .System) (ne .A "b") }}{{ "q\\"" }}{{ end }}', 'q"'),
        ("{{ range .None }}x{{ else }}empty{{ end }}", "empty"),
        ("{{ $x := len .Messages }}{{ $x }}", "2"),
    ],
)
def test_templates(source: str, text: str) -> None:
    assert template.render(source, MESSAGES) == text


@pytest.mark.parametrize(
    "source",
    ["{{ if .X }}", "{{ end }}", "{{ slice .Messages 1 }}", "{{ }}", "{{ if .X }}{{ else }}{{ else }}{{ end }}"],
)
def test_templates_outside_the_subset_are_refused(source: str) -> None:
    with pytest.raises(template.TemplateError):
        template.render(source, MESSAGES)


def test_gguf_header(tmp_path: pathlib.Path, tiny_gguf: bytes) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(tiny_gguf)
    header = gguf.read_header(path)
    assert header.metadata["llama.epsilon"] == 1e-05
    assert header.metadata["tokens"] is None
    assert header.metadata["general.parameter_count"] == 6
    assert header.number("context_length") == 8192
    assert header.tensors == [("weight", "Q4_1", [2, 3])]


def test_cut_gguf_headers_are_refused(tmp_path: pathlib.Path, tiny_gguf: bytes) -> None:
    for length in range(len(tiny_gguf)):
        path = tmp_path / f"{length}.gguf"
        path.write_bytes(tiny_gguf[:length])
        with pytest.raises(gguf.GgufError):
            gguf.read_header(path)


def test_store_lists_and_finds(store: Store) -> None:
    broken = store.manifests / "registry.ollama.ai" / "library" / "broken"
    broken.mkdir()
    (broken / "latest").write_text("{", encoding="ascii")
    found = store.models()
    assert [entry.name.short() for entry in found] == ["tiny:1"]
    assert found[0].digest == hashlib.sha256(found[0].manifest_path.read_bytes()).hexdigest()
    assert found[0].parameters == {"stop": ["x"]}


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [
        ("", 400, "model is required"),
        ("../x", 400, "invalid model name"),
        ("gpt-oss:120b-cloud", 403, "ollama cloud is disabled: remote model is unavailable"),
        ("nope", 404, "model 'nope' not found"),
    ],
)
def test_store_refuses(store: Store, name: str, status: int, text: str) -> None:
    with pytest.raises(ApiError) as caught:
        store.find(name)
    assert (caught.value.status, caught.value.message) == (status, text)


def test_prune_removes_old_unreferenced_blobs_only(store: Store) -> None:
    used = set(store.blobs.iterdir())
    old, fresh = store.blobs / ("sha256-" + "0" * 64), store.blobs / ("sha256-" + "1" * 64)
    for path in (old, fresh):
        path.write_bytes(b"x")
    for path in {old, *used}:
        os.utime(path, (time.time() - 7200, time.time() - 7200))
    assert store.prune() == 1
    assert set(store.blobs.iterdir()) == used | {fresh}
