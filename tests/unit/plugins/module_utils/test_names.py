# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S1, S2: model names, digests and the allow-list of sources."""

from __future__ import annotations

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.module_utils.names import (
    blob_file,
    digest_of_file,
    parse_digest,
    parse_name,
    require_source,
    source_allowed,
)

HEX = "ab" * 32


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("mistral", "registry.ollama.ai/library/mistral:latest"),
        ("mistral:7b-instruct-v0.3-q4_K_M", "registry.ollama.ai/library/mistral:7b-instruct-v0.3-q4_K_M"),
        ("someone/mistral", "registry.ollama.ai/someone/mistral:latest"),
        ("hf.co/mistralai/Mistral-7B:Q4_K_M", "hf.co/mistralai/Mistral-7B:Q4_K_M"),
        ("https://registry.ollama.ai/library/mistral:7b", "registry.ollama.ai/library/mistral:7b"),
        ("HTTPS://Registry.Ollama.AI/library/mistral", "registry.ollama.ai/library/mistral:latest"),
        ("localhost:5000/library/m.odel:v1.0_x-y", "localhost:5000/library/m.odel:v1.0_x-y"),
        ("_a", "registry.ollama.ai/library/_a:latest"),
        ("h/" + "n" * 80 + "/" + "m" * 80 + ":" + "t" * 80, "h/" + "n" * 80 + "/" + "m" * 80 + ":" + "t" * 80),
    ],
)
def test_s1_every_form_of_name_ollama_accepts_is_completed(text: str, full: str) -> None:
    assert parse_name(text).full == full


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "NAME-INVALID"),
        (None, "NAME-INVALID"),
        (7, "NAME-INVALID"),
        ("../../etc/passwd", "NAME-INVALID"),
        ("..", "NAME-INVALID"),
        ("library/..", "NAME-INVALID"),
        ("host/../model", "NAME-INVALID"),
        ("a/b/c/d", "NAME-INVALID"),
        ("model:", "NAME-INVALID"),
        ("model:tag:other", "NAME-INVALID"),
        (":tag", "NAME-INVALID"),
        ("/model", "NAME-INVALID"),
        ("a//b", "NAME-INVALID"),
        ("name.space/model", "NAME-INVALID"),
        ("host:99999/ns/model", "NAME-INVALID"),
        ("host:x/ns/model", "NAME-INVALID"),
        ("ho..st/ns/model", "NAME-INVALID"),
        ("host./ns/model", "NAME-INVALID"),
        ("model\n", "NAME-INVALID"),
        ("mod el", "NAME-INVALID"),
        ("mistr\u0430l", "NAME-INVALID"),
        ("m" * 81, "NAME-INVALID"),
        ("m:" + "t" * 81, "NAME-INVALID"),
        ("-model", "NAME-INVALID"),
        ("m" * 10_000_000, "NAME-INVALID"),
        ("https://mistral", "NAME-INVALID"),
        ("http://registry.ollama.ai/library/mistral", "NAME-SCHEME"),
        ("file:///etc/passwd", "NAME-SCHEME"),
        ("user@host/ns/model", "NAME-DIGEST"),
        ("mistral@sha256:" + HEX, "NAME-DIGEST"),
        ("gpt-oss:cloud", "NAME-CLOUD"),
        ("gpt-oss:120b-cloud", "NAME-CLOUD"),
        ("gpt-oss:120b-CLOUD", "NAME-CLOUD"),
        ("mistral:local", "NAME-CLOUD"),
    ],
)
def test_s1_dangerous_and_malformed_names_are_refused_by_code(text: object, code: str) -> None:
    with pytest.raises(FindingError) as caught:
        parse_name(text)
    assert caught.value.finding.code == code
    assert caught.value.finding.remedy
    assert len(str(caught.value)) < 1500


def test_s1_names_are_the_same_whatever_their_case() -> None:
    assert parse_name("Mistral:7B").key == parse_name("mistral:7b").key
    assert parse_name("mistral:7b").short == "mistral:7b"
    assert parse_name("hf.co/a/b").short == "hf.co/a/b:latest"
    assert parse_name("a/b").short == "a/b:latest"


@pytest.mark.parametrize(
    ("name", "sources", "admitted"),
    [
        ("mistral", ["registry.ollama.ai/library/"], True),
        ("someone/mistral", ["registry.ollama.ai/library/"], False),
        ("mistral", ["registry.ollama.ai/lib"], False),
        ("registry.ollama.ai.evil.org/library/mistral", ["registry.ollama.ai/library/"], False),
        ("registry.ollama.ai:444/library/mistral", ["registry.ollama.ai/library/"], False),
        ("hf.co/MistralAI/x", ["hf.co/mistralai/"], True),
        ("hf.co/mistralai-evil/x", ["hf.co/mistralai/"], False),
        ("anyone/x", ["registry.ollama.ai/"], True),
        ("mistral", [""], False),
        ("mistral", ["/"], False),
        ("mistral", [], False),
    ],
)
def test_s1_only_listed_sources_are_admitted(name: str, sources: list[str], admitted: bool) -> None:
    assert source_allowed(parse_name(name), sources) is admitted
    if not admitted:
        with pytest.raises(FindingError, match=r"^SOURCE-REFUSED: "):
            require_source(parse_name(name), sources)


def test_s2_digests_have_one_form() -> None:
    assert parse_digest("sha256-" + HEX.upper()) == "sha256:" + HEX
    assert blob_file("sha256:" + HEX) == "sha256-" + HEX
    assert digest_of_file("sha256-" + HEX) == "sha256:" + HEX
    assert digest_of_file("sha256-" + HEX.upper()) == ""
    assert digest_of_file("sha256-" + HEX + "-partial") == ""


@pytest.mark.parametrize(
    "text", ["", None, "sha256:" + HEX[:-1], "sha256:" + HEX + "\n", "md5:" + HEX, "sha256:../" + HEX]
)
def test_s2_what_is_no_digest_is_refused(text: object) -> None:
    with pytest.raises(FindingError, match=r"^DIGEST-INVALID: "):
        parse_digest(text)
