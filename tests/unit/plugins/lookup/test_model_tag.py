# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S1, S6: the look-up says what a tag names, and whether an approved one has moved; the playbook tells a timer."""

from __future__ import annotations

import http.server
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trustme
import yaml
from ansible.errors import AnsibleLookupError

from ansible_collections.rampart.ollama.plugins.lookup import model_tag
from ansible_collections.rampart.ollama.plugins.module_utils.findings import refuse
from ansible_collections.rampart.ollama.plugins.module_utils.manifest import parse_manifest
from ansible_collections.rampart.ollama.plugins.plugin_utils import registry_tag

pytestmark = pytest.mark.row("S6")

ROOT = Path(__file__).parents[4]
OTHER = "sha256:" + "ab" * 32


@pytest.fixture
def asked() -> list[tuple[Any, dict[str, Any]]]:
    """What the look-up asked for."""
    return []


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch, asked: list[Any], model: Callable[..., Any]) -> Callable[..., list[Any]]:
    """Use the look-up, with the options as they are documented, against a registry that has test:1."""
    options = yaml.safe_load(model_tag.DOCUMENTATION)["options"]
    made = model("test:1", b"weights")

    def answer(reference: Any, sources: Any, **settings: Any) -> registry_tag.ManifestAnswer:
        asked.append((reference, {"sources": sources, **settings}))
        if reference != "test:1":
            raise refuse("FETCH-NOT-FOUND", str(reference), "the registry does not have it (404)", "Check the name.")
        return registry_tag.ManifestAnswer(made.digest, made.manifest, parse_manifest(made.manifest, "test:1"))

    monkeypatch.setattr(registry_tag, "fetch_manifest", answer)

    def run(*terms: Any, **settings: Any) -> list[Any]:
        plugin = model_tag.LookupModule()
        assert set(settings) <= set(options)
        chosen = {name: option.get("default") for name, option in options.items()} | settings
        monkeypatch.setattr(plugin, "set_options", lambda **given: None)
        monkeypatch.setattr(plugin, "get_option", chosen.__getitem__)
        result: list[Any] = plugin.run(list(terms), {})
        return result

    return run


@pytest.fixture
def made(model: Callable[..., Any]) -> Any:
    return model("test:1", b"weights")


def test_s6_the_digest_of_a_name(look: Callable[..., list[Any]], asked: list[Any], made: Any) -> None:
    assert look("test:1", "test:1") == [made.digest, made.digest]
    assert asked[0] == (
        "test:1",
        {
            "sources": ["registry.ollama.ai/library/"],
            "ca_bundle": None,
            "proxy": None,
            "timeout": 30,
            "redirect_hosts": [],
        },
    )


def test_s6_a_dictionary_of_a_name(look: Callable[..., list[Any]], made: Any) -> None:
    (answer,) = look("test:1", wantdict=True)
    assert answer["digest"] == made.digest
    assert answer["size"] == sum(len(data) for data in made.blobs.values())
    assert {blob["digest"]: blob["size"] for blob in answer["blobs"]} == {
        digest: len(data) for digest, data in made.blobs.items()
    }
    assert (answer["approved"], answer["moved"], answer["findings"]) == (None, None, [])


def test_s6_an_approval_whose_tag_stayed_or_moved(look: Callable[..., list[Any]], made: Any) -> None:
    stayed, moved = look(made.entry(), made.entry(digest=OTHER), wantdict=True)
    assert (stayed["moved"], stayed["findings"]) == (False, [])
    assert (moved["moved"], moved["approved"], moved["digest"]) == (True, OTHER, made.digest)
    assert [finding["code"] for finding in moved["findings"]] == ["APPROVAL-TAG-MOVED"]


def test_s6_an_error_ends_the_look_up_with_its_finding(look: Callable[..., list[Any]]) -> None:
    with pytest.raises(AnsibleLookupError, match=r"^FETCH-NOT-FOUND: gone:1: "):
        look("test:1", "gone:1")


def test_s6_an_error_is_reported_where_that_is_asked_for(look: Callable[..., list[Any]], made: Any) -> None:
    gone, there = look(made.entry(reference="gone:1"), "test:1", wantdict=True, on_error="report")
    assert (gone["reference"], gone["digest"], gone["moved"]) == ("gone:1", "", None)
    assert [finding["code"] for finding in gone["findings"]] == ["FETCH-NOT-FOUND"]
    assert there["digest"] == made.digest


def test_s6_a_report_is_never_taken_for_a_digest(look: Callable[..., list[Any]], asked: list[Any]) -> None:
    with pytest.raises(AnsibleLookupError, match="wantdict"):
        look("gone:1", on_error="report")
    assert asked == []


@pytest.mark.row("S1")
@pytest.mark.parametrize("term", [None, 5, {}, {"reference": None}, [], "test:cloud", "evil.example/a/b:1"])
def test_s1_a_term_that_is_no_allowed_name_is_refused(look: Callable[..., list[Any]], term: Any) -> None:
    with pytest.raises(AnsibleLookupError):
        look(term)


# --- the playbook, against a registry on this machine


class Registry(http.server.BaseHTTPRequestHandler):
    manifests: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        data = self.manifests.get(self.path)
        self.send_response(200 if data is not None else 404)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A registry's `host:port`; its authority is in tmp_path/ca.pem."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(Registry, "manifests", {})
    yield "localhost:{0}".format(server.server_address[1])
    server.shutdown()
    server.server_close()


def play(directory: Path, registry: str, *more: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    settings = {
        "model_store_approvals_file": str(directory / "models_registry.yaml"),
        "check_tags_sources": [registry + "/library/"],
        "check_tags_ca_bundle": str(directory / "ca.pem"),
        "rampart_environment": "dev",
    }
    (directory / "settings.yml").write_text(yaml.safe_dump(settings))
    return subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"),
            str(ROOT / "playbooks/check_tags.yml"),
            "-e",
            "@{0}".format(directory / "settings.yml"),
            *more,
        ],
        cwd=ROOT,
        env={**kept, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_s6_the_playbook_says_when_a_tag_has_moved(tmp_path: Path, registry: str, model: Callable[..., Any]) -> None:
    references = ["{0}/library/test:{1}".format(registry, tag) for tag in ("1", "2", "3")]
    models = [model(reference, reference.encode()) for reference in references]
    path = "/v2/library/test/manifests/"
    Registry.manifests = {path + str(number): made.manifest for number, made in enumerate(models, start=1)}
    entries = [made.entry(name="test{0}".format(number)) for number, made in enumerate(models)]
    text = yaml.safe_dump({"models": entries})
    (tmp_path / "models_registry.yaml").write_text(text)

    quiet = play(tmp_path, registry, "--check")
    assert quiet.returncode == 0, quiet.stdout + quiet.stderr
    assert "3 tags name what was approved" in quiet.stdout
    assert "changed=0" in quiet.stdout

    Registry.manifests[path + "2"] = models[0].manifest
    del Registry.manifests[path + "3"]
    loud = play(tmp_path, registry)
    assert loud.returncode == 2, loud.stdout + loud.stderr
    assert "APPROVAL-TAG-MOVED: {0}".format(references[1]) in loud.stdout
    assert "FETCH-NOT-FOUND: {0}".format(references[2]) in loud.stdout
    assert references[0] not in loud.stdout
    # It tells; the approvals are a person's to change.
    assert (tmp_path / "models_registry.yaml").read_text() == text

    told = play(tmp_path, registry, "-e", '{"check_tags_fail": false}')
    assert told.returncode == 0, told.stdout + told.stderr
    assert "APPROVAL-TAG-MOVED" in told.stdout
