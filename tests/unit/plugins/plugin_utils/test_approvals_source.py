# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S1, S6: an entry's digests are those of a manifest's bytes, and what a person decides is never made up."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.plugin_utils import approval_entry, approval_source
from ansible_collections.rampart.ollama.plugins.plugin_utils.approval_config import describe_config, fetch_config
from ansible_collections.rampart.ollama.plugins.plugin_utils.approval_source import (
    from_manifest,
    from_registry,
    require_verified,
)
from approval_rig import CDN, CONFIG, REGISTRY, Registry, digest_of, manifest

pytestmark = pytest.mark.row("S6")

SOURCES = ["registry.ollama.ai/library/"]
RAW = manifest()
FULL = "registry.ollama.ai/library/mistral:7b"


def code(action: Callable[[], object]) -> str:
    with pytest.raises(FindingError) as caught:
        action()
    assert len(str(caught.value)) < 1500
    return caught.value.finding.code


def given(value: Any, digest: str | None = None, reference: str = "mistral:7b") -> approval_source.Source:
    return from_manifest(reference, SOURCES, value, digest)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    made = Registry(tmp_path)
    yield made
    made.close()


# --- where the bytes come from


@pytest.mark.parametrize("value", [base64.b64encode(RAW).decode(), base64.encodebytes(RAW).decode(), RAW.decode()])
def test_s6_a_manifests_bytes_give_digest_size_and_blobs(value: str) -> None:
    facts = given(value, digest_of(RAW)).facts()
    parsed = json.loads(RAW)
    assert facts["digest"] == digest_of(RAW)
    assert facts["reference"] == FULL
    assert facts["source"] == REGISTRY
    assert [blob["digest"] for blob in facts["blobs"]] == [parsed["config"]["digest"], parsed["layers"][0]["digest"]]
    assert facts["size"] == sum(blob["size"] for blob in facts["blobs"])


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_s6_a_parsed_manifest_counts_only_when_it_gives_its_digest_back(separators: tuple[str, str]) -> None:
    parsed = json.loads(RAW)
    raw = json.dumps(parsed, separators=separators).encode()
    assert given(parsed, digest_of(raw)).raw == raw
    assert code(lambda: given(parsed)) == "APPROVAL-SOURCE"
    assert code(lambda: given(parsed, digest_of(b"other"))) == "APPROVAL-SOURCE"


@pytest.mark.parametrize(
    "value", ["", "   ", "%%%", "AAAA", "{", "[]", 5, [], None, "A" * 2_100_000, "{" + "x" * 2_100_000]
)
def test_s6_what_is_no_manifest_is_refused(value: Any) -> None:
    assert code(lambda: given(value)) == "APPROVAL-SOURCE"


def test_s6_another_digest_than_expected_is_refused() -> None:
    assert code(lambda: given(RAW.decode(), digest_of(b"other"))) == "APPROVAL-SOURCE"
    assert code(lambda: given(RAW.decode(), "sha256:x")) == "DIGEST-INVALID"


def test_s6_a_model_without_weights_is_refused() -> None:
    parsed = json.loads(RAW)
    parsed["layers"] = []
    assert code(lambda: given(json.dumps(parsed))) == "APPROVAL-SOURCE"


@pytest.mark.row("S1")
@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("evil.example.org/library/mistral:7b", "SOURCE-REFUSED"),
        ("somebody/mistral:7b", "SOURCE-REFUSED"),
        ("mistral:cloud", "NAME-CLOUD"),
        ("../../x", "NAME-INVALID"),
        ("http://registry.ollama.ai/library/mistral:7b", "NAME-SCHEME"),
    ],
)
def test_s1_no_entry_for_a_source_that_is_not_listed(reference: str, expected: str, registry: Registry) -> None:
    assert code(lambda: given(RAW.decode(), reference=reference)) == expected
    assert code(lambda: from_registry(reference, SOURCES, str(registry.ca), proxy=registry.proxy)) == expected
    # Refused before anybody was asked.
    assert registry.asked == []


def test_s6_the_registrys_manifest_comes_through_the_proxy(registry: Registry) -> None:
    source = from_registry("mistral:7b", SOURCES, str(registry.ca), proxy=registry.proxy)
    assert source.raw == RAW
    assert base64.b64decode(source.encoded) == RAW
    assert registry.asked == [(REGISTRY, "/v2/library/mistral/manifests/7b")]


def test_s1_no_redirect_is_followed_for_a_manifest(registry: Registry) -> None:
    registry.answer = lambda host, path: (307, {"Location": "https://elsewhere.example.org/x"}, b"")
    assert (
        code(lambda: from_registry("mistral:7b", SOURCES, str(registry.ca), proxy=registry.proxy))
        == "FETCH-REDIRECT-REFUSED"
    )
    assert {host for host, _path in registry.asked} == {REGISTRY}


# --- a verified store vouches


def report(**changes: Any) -> dict[str, Any]:
    made = {
        "models": [{"name": FULL, "digest": digest_of(RAW), "verified": False}],
        "findings": [{"code": "STORE-UNAPPROVED-MODEL", "severity": "critical", "subject": FULL, "evidence": "x"}],
    }
    return {**made, **changes}


def test_s6_a_store_in_which_only_the_approval_is_missing_vouches() -> None:
    require_verified(given(RAW.decode()), report())


@pytest.mark.parametrize(
    "changes",
    [
        {"models": []},
        {"models": [{"name": FULL, "digest": digest_of(b"other")}]},
        {"models": [{"name": "registry.ollama.ai/library/other:7b", "digest": digest_of(RAW)}]},
        {"models": None},
    ],
)
def test_s6_a_store_without_these_bytes_does_not_vouch(changes: dict[str, Any]) -> None:
    assert code(lambda: require_verified(given(RAW.decode()), report(**changes))) == "APPROVAL-SOURCE"


@pytest.mark.parametrize(
    "subject",
    [
        json.loads(RAW)["layers"][0]["digest"],
        json.loads(RAW)["config"]["digest"],
        FULL,
        "manifests/registry.ollama.ai/library/mistral/7b",
    ],
)
def test_s6_a_store_with_a_flipped_byte_in_the_model_does_not_vouch(subject: str) -> None:
    found = [{"code": "STORE-DIGEST-MISMATCH", "severity": "critical", "subject": subject, "evidence": "x"}]
    assert code(lambda: require_verified(given(RAW.decode()), report(findings=found))) == "APPROVAL-SOURCE"
    # What is wrong with another model, or hardly worth a word, is none of this one's.
    found = [
        {"code": "STORE-DIGEST-MISMATCH", "severity": "critical", "subject": digest_of(b"other"), "evidence": "x"},
        {"code": "STORE-PARTIAL", "severity": "low", "subject": subject, "evidence": "x"},
    ]
    require_verified(given(RAW.decode()), report(findings=found))


# --- the config blob


def test_s6_the_config_says_what_the_weights_are(registry: Registry) -> None:
    config = fetch_config(given(RAW.decode()), [CDN], str(registry.ca), proxy=registry.proxy)
    assert config == CONFIG
    assert "model_type: 7.2B" in describe_config(config)
    assert [host for host, _path in registry.asked] == [REGISTRY, CDN]


@pytest.mark.row("S1")
def test_s1_a_cloud_stub_is_refused_before_it_is_approved(registry: Registry) -> None:
    stub = {**CONFIG, "remote_host": "https://ollama.com"}
    registry.config = json.dumps(stub).encode()
    source = given(manifest(config=stub).decode())
    assert code(lambda: fetch_config(source, [CDN], str(registry.ca), proxy=registry.proxy)) == "STORE-CLOUD-STUB"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((307, {"Location": "https://elsewhere.example.org/x"}, b""), "FETCH-REDIRECT-REFUSED"),
        ((307, {"Location": "http://" + CDN + "/x"}, b""), "FETCH-REDIRECT-REFUSED"),
        ((307, {"Location": "https://user@" + CDN + "/x"}, b""), "FETCH-REDIRECT-REFUSED"),
        ((307, {"Location": "https://" + CDN + ":99999/x"}, b""), "FETCH-REDIRECT-REFUSED"),
        ((307, {"Location": "https://" + CDN + "/x"}, b""), "FETCH-REDIRECT-REFUSED"),  # for ever
        ((307, {}, b""), "FETCH-REDIRECT-REFUSED"),
        ((404, {}, b""), "FETCH-REFUSED"),
        ((200, {}, b"{}"), "FETCH-DIGEST-MISMATCH"),
        ((200, {}, b"x" * 5_000_000), "FETCH-DIGEST-MISMATCH"),
    ],
)
def test_s1_a_config_that_is_not_the_manifests_is_refused(
    registry: Registry, answer: tuple[int, dict[str, str], bytes], expected: str
) -> None:
    registry.answer = lambda host, path: answer
    source = given(RAW.decode())
    assert code(lambda: fetch_config(source, [CDN], str(registry.ca), proxy=registry.proxy)) == expected
    assert "elsewhere.example.org" not in {host for host, _path in registry.asked}


def test_s1_a_config_from_an_untrusted_server_is_refused(registry: Registry) -> None:
    assert code(lambda: fetch_config(given(RAW.decode()), [CDN], proxy=registry.proxy)) == "FETCH-TLS"
    assert (
        code(lambda: fetch_config(given(RAW.decode()), [CDN], "/nonexistent", proxy=registry.proxy))
        == "FETCH-CA-BUNDLE"
    )


# --- the entry

DECIDED = {
    "risk_level": "LOW",
    "approved_uses": ["chat"],
    "environments": ["dev"],
    "verified_by": "alice@example.org",
    "fetched_by": "alice@example.org",
}


def made(present: dict[str, Any] | None = None, raw: bytes | None = RAW, **decided: Any) -> dict[str, Any]:
    source = given(raw.decode()) if raw is not None else None
    return approval_entry.make_entry(present, "mistral:7b", source, decided)


def test_s6_a_new_entry_holds_the_facts_and_the_decisions_and_nothing_else() -> None:
    entry = made(**DECIDED, prohibited_uses=[], licence=None)
    assert entry.pop("verified_date") == approval_entry.today()
    assert entry == {"name": "mistral", "version": "7b", **given(RAW.decode()).facts(), **DECIDED}


@pytest.mark.parametrize("missing", list(DECIDED))
def test_s6_what_a_person_decides_is_never_made_up(missing: str) -> None:
    with pytest.raises(FindingError, match=missing) as caught:
        made(**{key: value for key, value in DECIDED.items() if key != missing})
    assert caught.value.finding.code == "APPROVAL-DECISION"


def test_s6_without_bytes_there_is_no_entry() -> None:
    assert code(lambda: made(None, None, **DECIDED)) == "APPROVAL-SOURCE"


def test_s6_the_same_again_changes_nothing() -> None:
    entry = {**made(**DECIDED, verified_date="2025-01-01"), "signatures": [{"signer": "b", "signature": "s"}]}
    assert made(entry, **DECIDED) == entry
    assert made(entry) == entry
    assert made(entry, None) == entry


def test_s6_what_is_written_otherwise_and_means_the_same_stays() -> None:
    entry = made(**DECIDED)
    entry["reference"] = "Mistral:7B"
    entry["blobs"] = [{"size": blob["size"], "digest": blob["digest"]} for blob in reversed(entry["blobs"])]
    assert made(dict(entry)) == entry


def test_s6_new_bytes_need_somebody_who_fetched_and_looked_and_lose_the_signatures() -> None:
    entry = {**made(**DECIDED, verified_date="2025-01-01"), "signatures": [{"signer": "b", "signature": "s"}]}
    other = manifest(b"other weights")
    assert code(lambda: made(entry, other)) == "APPROVAL-DECISION"
    assert code(lambda: made(entry, other, verified_by="a")) == "APPROVAL-DECISION"
    new = made(entry, other, verified_by="a", fetched_by="a")
    assert new["digest"] == digest_of(other)
    assert new["verified_date"] == approval_entry.today()
    assert new["risk_level"] == "LOW"
    assert "signatures" not in new


def test_s6_another_decision_loses_the_signatures_too() -> None:
    entry = {**made(**DECIDED), "signatures": [{"signer": "b", "signature": "s"}]}
    assert "signatures" not in made(entry, environments=["dev", "prod"])


def test_s6_the_guides_entry_becomes_one_that_pins() -> None:
    guide = {
        "name": "mistral-7b-instruct",
        "version": "v0.3-q4_K_M",
        "sha256": "abcd1234efgh5678...",
        "risk_level": "LOW",
    }
    entry = made(guide, fetched_by="a", verified_by="a", environments=["dev"])
    assert (entry["name"], entry["sha256"], entry["digest"]) == (guide["name"], guide["sha256"], digest_of(RAW))


def test_s6_a_person_sees_the_whole_entry_and_what_changes() -> None:
    entry = made(**DECIDED)
    lines = "\n".join(approval_entry.describe({**entry, "signatures": [{"signer": "bob", "signature": "s"}]}))
    for value in (
        entry["digest"],
        entry["blobs"][1]["digest"],
        "(config)",
        "7 B (model)",
        "risk_level: LOW",
        "signed by: bob",
    ):
        assert value in lines
    changed = made(entry, manifest(b"other weights"), verified_by="x", fetched_by="x", risk_level="HIGH")
    told = "\n".join(approval_entry.changes(entry, changed))
    assert "risk_level: LOW -> HIGH" in told
    assert "blobs: - " + entry["blobs"][1]["digest"] in told
    assert "blobs: + " + changed["blobs"][1]["digest"] in told
    assert approval_entry.changes(entry, entry) == []
    assert approval_entry.changes({}, entry) == ["a new entry"]
