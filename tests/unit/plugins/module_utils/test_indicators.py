# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S7: what does not fit is named; what is not told is never in order; an honest model raises nothing."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, Severity
from ansible_collections.rampart.ollama.plugins.module_utils.indicators import (
    IocPolicy,
    date_of,
    indicators,
    ioc_check,
    policy_from,
)
from ansible_collections.rampart.ollama.plugins.module_utils.manifest import LAYER_PREFIX, Manifest, parse_manifest

pytestmark = pytest.mark.row("S7")

ROOT = Path(__file__).parents[4]
NOW = datetime.date(2026, 11, 24)
DIGEST = "sha256:" + "ab" * 32
MISTRAL_SIZE = 4_372_811_904
POLICY = policy_from(
    {
        "publishers": ["registry.ollama.ai/library", "hf.co/mistralai"],
        "authors": ["Mistral AI", "mistralai"],
        "families": {"mistral": "2023-09-27", "mixtral": datetime.date(2023, 12, 8), "llama": None},
    }
)
INFO = {
    "architecture": "llama",
    "name": "Mistral-7B-Instruct-v0.3",
    "author": "Mistral AI",
    "organization": "mistralai",
    "file_type": 15,
    "parameters": 7_248_023_552,
    "tensors": 291,
    "size": MISTRAL_SIZE,
}


def blob(kind: str, size: int = 100, digest: str = DIGEST) -> dict[str, Any]:
    return {"digest": digest, "size": size, "media_type": LAYER_PREFIX + kind}


def entry_of(**changes: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": "mistral",
        "reference": "registry.ollama.ai/library/mistral:7b-instruct-v0.3-q4_K_M",
        "digest": DIGEST,
        "blobs": [blob("model", MISTRAL_SIZE), blob("template"), blob("params"), blob("license")],
        "size": MISTRAL_SIZE + 300,
        "source": "registry.ollama.ai",
        "verified_date": "2026-11-20",
        "verified_by": "security@example.org",
    }
    entry.update(changes)
    return {key: value for key, value in entry.items() if value is not None}


def info_of(**changes: Any) -> dict[str, Any]:
    return {key: value for key, value in {**INFO, **changes}.items() if value is not None}


def codes(
    entry: dict[str, Any] | None = None,
    info: dict[str, Any] | None = None,
    manifest: Manifest | None = None,
    policy: IocPolicy = POLICY,
    **more: Any,
) -> list[str]:
    found = indicators(
        entry_of() if entry is None else entry, INFO if info is None else info, manifest, NOW, policy=policy, **more
    )
    assert all(finding.remedy and finding.code.startswith("IOC-") for finding in found)
    return [finding.code for finding in found]


def test_s7_an_honest_model_raises_nothing_at_first_and_later() -> None:
    assert codes(first=True) == []
    assert codes() == []
    assert ioc_check([]).status == "passed"


def test_s7_the_demonstrations_model_raises_nothing() -> None:
    entry = yaml.safe_load((ROOT / "inventories/demo/models_registry.yaml").read_text(encoding="utf-8"))["models"][0]
    # What ollama_gguf_info says of it.
    info = {
        "size": 98_362_432,
        "architecture": "llama",
        "name": "Smollm2 135M 8k Lc100K Mix1 Ep2",
        "author": "",
        "organization": "HuggingFaceTB",
        "file_type": "Q4_1",
        "parameters": 134_515_008,
        "tensors": 272,
    }
    policy = policy_from({"authors": ["HuggingFaceTB"], "families": {"smollm2": "2024-10-31"}})
    for first in (True, False):
        assert codes(entry, info, policy=policy, first=first) == []


# --- author


@pytest.mark.parametrize("key", ["author", "organization"])
def test_s7_an_author_who_is_not_listed(key: str) -> None:
    assert codes(info=info_of(**{key: "Eve"})) == ["IOC-AUTHOR-UNLISTED"]


@pytest.mark.parametrize("author", ["mistral ai", "MISTRAL  AI", " Mistral AI "])
def test_s7_case_and_spaces_do_not_make_another_author(author: str) -> None:
    assert codes(info=info_of(author=author)) == []


@pytest.mark.parametrize("nobody", [None, "", 0, []])
def test_s7_no_author_is_unknown_and_no_pass(nobody: Any) -> None:
    found = indicators(entry_of(), info_of(author=nobody, organization=nobody), None, NOW, policy=POLICY)
    assert [finding.code for finding in found] == ["IOC-AUTHOR-UNKNOWN"]
    assert ioc_check(found).status == "unknown"


def test_s7_a_source_may_answer_for_a_missing_author_and_for_no_wrong_one() -> None:
    policy = policy_from({"authors": ["Mistral AI"], "vouching_sources": ["registry.ollama.ai/library/"]})
    nobody = info_of(author=None, organization=None)
    assert codes(info=nobody, policy=policy) == []
    assert codes(info=info_of(author="Eve", organization=None), policy=policy) == ["IOC-AUTHOR-UNLISTED"]
    elsewhere = entry_of(reference="registry.ollama.ai/library2/mistral:7b")
    assert codes(elsewhere, nobody, policy=policy) == ["IOC-AUTHOR-UNKNOWN"]
    assert "IOC-AUTHOR-UNKNOWN" in codes(entry_of(reference=None), nobody, policy=policy)


def test_s7_without_a_list_every_author_is_unlisted() -> None:
    assert codes(policy=IocPolicy()) == ["IOC-AUTHOR-UNLISTED", "IOC-AUTHOR-UNLISTED"]


# --- dates


@pytest.mark.parametrize(
    ("verified", "expected"),
    [
        ("2026-11-24", []),
        ("2026-11-25", []),  # east of here
        ("2026-11-26", ["IOC-DATE-FUTURE"]),
        (datetime.date(2027, 1, 1), ["IOC-DATE-FUTURE"]),
        ("9999-12-31", ["IOC-DATE-FUTURE"]),
        ("2023-09-27", []),
        ("2023-09-26", ["IOC-DATE-BEFORE-FAMILY"]),
        ("0001-01-01", ["IOC-DATE-BEFORE-FAMILY"]),
        (None, ["IOC-DATE-UNKNOWN"]),
        ("", ["IOC-DATE-UNKNOWN"]),
        ("yesterday", ["IOC-DATE-UNKNOWN"]),
        ("2026-02-30", ["IOC-DATE-UNKNOWN"]),
        ("2026-11-24x", ["IOC-DATE-UNKNOWN"]),
        (20261124, ["IOC-DATE-UNKNOWN"]),
    ],
)
def test_s7_the_date_of_verification(verified: Any, expected: list[str]) -> None:
    assert codes(entry_of(verified_date=verified)) == expected


def test_s7_a_family_is_also_known_by_its_architecture() -> None:
    policy = policy_from({"authors": POLICY.authors, "families": {"llama": "2027-01-01"}})
    assert codes(policy=policy) == ["IOC-DATE-BEFORE-FAMILY"]


def test_s7_a_model_is_not_verified_before_it_is_published_nor_before_it_is_made() -> None:
    assert codes(published=datetime.date(2026, 11, 20)) == []
    assert codes(published=datetime.date(2026, 11, 21)) == ["IOC-DATE-BEFORE-PUBLISHED"]
    assert codes(info=info_of(date="2026-11-20T23:59:59Z")) == []
    assert codes(info=info_of(date="2026-11-21")) == ["IOC-DATE-AFTER-VERIFICATION"]
    assert codes(info=info_of(date="garbage")) == []


def test_s7_a_moment_counts_as_its_day() -> None:
    moment = datetime.datetime(2026, 11, 24, 23, 59, tzinfo=datetime.UTC)
    assert date_of(moment) == NOW
    assert [finding.code for finding in indicators(entry_of(), INFO, None, moment, policy=POLICY)] == []


# --- digests and layers


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": None},
        {"digest": ""},
        {"blobs": [{"size": MISTRAL_SIZE, "media_type": LAYER_PREFIX + "model"}]},
        {"blobs": [blob("model", MISTRAL_SIZE), blob("license", digest="")]},
    ],
)
def test_s7_a_missing_digest(changes: dict[str, Any]) -> None:
    assert codes(entry_of(**changes)) == ["IOC-DIGEST-MISSING"]


@pytest.mark.parametrize("blobs", [None, [], {}, "sha256:" + "ab" * 32, 5])
def test_s7_no_blobs_at_all(blobs: Any) -> None:
    assert codes(entry_of(blobs=blobs, size=None), first=True) == ["IOC-DIGEST-MISSING", "IOC-LAYERS-UNKNOWN"]


WEIGHTS = blob("model", MISTRAL_SIZE)


@pytest.mark.parametrize(
    ("extra", "odd"),
    [
        ([blob("license")] * 3, False),
        ([blob("projector"), blob("adapter")], False),
        ([{"digest": DIGEST, "size": 5, "media_type": "application/vnd.docker.container.image.v1+json"}], False),
        ([blob("template")] * 2, True),
        ([blob("system")] * 2, True),
        ([blob("params")] * 2, True),
        ([blob("license")] * 9, True),
        ([blob("adapter")] * 3, True),
        ([blob("tensor")], True),
    ],
)
def test_s7_layers_of_one_kind_are_counted(extra: list[dict[str, Any]], odd: bool) -> None:
    assert codes(entry_of(blobs=[WEIGHTS, *extra])) == (["IOC-LAYERS-ODD"] if odd else [])


def test_s7_two_weights_and_none_are_odd() -> None:
    assert "IOC-LAYERS-ODD" in codes(entry_of(blobs=[WEIGHTS, blob("model")]), first=True)
    assert "IOC-LAYERS-ODD" in codes(entry_of(blobs=[blob("license")]), first=True)
    assert codes(entry_of(blobs=[blob("tensor")] * 300), first=True) == []


def test_s7_layers_without_a_type_are_unknown_and_no_pass() -> None:
    blobs = [{"digest": DIGEST, "size": MISTRAL_SIZE}]
    assert codes(entry_of(blobs=blobs), first=True) == ["IOC-LAYERS-UNKNOWN"]


def test_s7_the_manifests_layers_count_before_the_entrys(model: Callable[..., Any]) -> None:
    made = model("mistral:7b", b"weights", *(bytes([number]) for number in range(9)))
    entry = entry_of(size=None, blobs=[blob("model", 7)])
    manifest = parse_manifest(made.manifest, "mistral:7b")
    assert codes(entry, info_of(size=7), manifest) == ["IOC-LAYERS-ODD"]


# --- names (the likenesses themselves: test_indicator_names.py)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("hf.co/mistralai/mistral:q4", []),
        ("registry.ollama.ai/library/mixtral:8x7b", []),
        ("registry.ollama.ai/library/mistra1:7b", ["IOC-NAME-IMITATES"]),
        ("registry.ollama.ai/library/mistrral:7b", ["IOC-NAME-RESEMBLES"]),
        ("registry.ollama.ai/mistral-ai/mistral:7b", ["IOC-NAME-IMITATES"]),
        ("hf.co/mistra1ai/mistral:7b", ["IOC-NAME-IMITATES"]),
        ("hf.co/mistralal/mistral:7b", ["IOC-NAME-IMITATES"]),
        ("hf.co/mistralia/mistral:7b", ["IOC-NAME-RESEMBLES"]),
        ("registry.ollama.ai/mistralai/mistral:7b", ["IOC-NAME-RESEMBLES"]),
        ("hf.co/library/mistral:7b", ["IOC-NAME-RESEMBLES"]),
    ],
)
def test_s7_a_reference_that_pretends(reference: str, expected: list[str]) -> None:
    assert codes(entry_of(reference=reference)) == expected


def test_s7_an_author_who_pretends_is_named_for_it() -> None:
    assert codes(info=info_of(author="Mistra1 AI")) == ["IOC-AUTHOR-UNLISTED", "IOC-NAME-IMITATES"]


@pytest.mark.parametrize("key", ["name", "source", "verified_by"])
def test_s7_mixed_alphabets_and_invisible_characters(key: str) -> None:
    assert codes(entry_of(**{key: "m\u0456stral"})) == ["IOC-NAME-DISGUISED"]
    assert codes(entry_of(**{key: "mis\u200btral"})) == ["IOC-NAME-DISGUISED"]


# --- everything


def test_s7_one_finding_at_least_for_each_thing_that_is_wrong() -> None:
    entry = entry_of(
        reference="hf.co/mistra1ai/mistral:7b",
        digest=None,
        blobs=[WEIGHTS, blob("template"), blob("template")],
        verified_date="2001-01-01",
    )
    assert codes(entry, info_of(size=9, author="Eve")) == [
        "IOC-SIZE-CHANGED",
        "IOC-AUTHOR-UNLISTED",
        "IOC-DATE-BEFORE-FAMILY",
        "IOC-DIGEST-MISSING",
        "IOC-LAYERS-ODD",
        "IOC-NAME-IMITATES",
    ]


def test_s7_an_empty_description_is_unknown_in_everything() -> None:
    found = indicators({}, {}, None, NOW, first=True)
    assert {finding.code for finding in found} == {
        "IOC-SIZE-UNKNOWN",
        "IOC-AUTHOR-UNKNOWN",
        "IOC-DATE-UNKNOWN",
        "IOC-DIGEST-MISSING",
        "IOC-LAYERS-UNKNOWN",
    }


@pytest.mark.parametrize(
    "rubbish", [None, 5, True, -1.5, [], {}, ["x"], {"x": 1}, "\x00\x1b[2J", "a" * 1_000_000, "\ud800", b"bytes"]
)
def test_s7_rubbish_in_any_place_is_findings_and_no_error(rubbish: Any) -> None:
    for key in (*entry_of(), "blobs"):
        indicators({**entry_of(), key: rubbish}, INFO, None, NOW, policy=POLICY, first=True)
    indicators({**entry_of(), "blobs": [rubbish]}, INFO, None, NOW, policy=POLICY)
    for key in (*INFO, "date"):
        found = indicators(entry_of(), {**INFO, key: rubbish}, None, NOW, policy=POLICY)
        assert all(len(finding.evidence) <= 500 and finding.evidence.isprintable() for finding in found)


def test_s7_the_check_fails_on_what_is_serious_alone() -> None:
    serious = indicators(entry_of(digest=None), INFO, None, NOW, policy=POLICY)
    assert [finding.severity for finding in serious] == [Severity.HIGH]
    assert (ioc_check(serious).id, ioc_check(serious).status) == ("ioc-none", "failed")


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "publishers",
        {"publisher": []},
        {"authors": "Mistral AI"},
        {"authors": [5]},
        {"authors": [""]},
        {"publishers": ["library"]},
        {"publishers": ["a/b/c"]},
        {"vouching_sources": ["registry.ollama.ai"]},
        {"families": ["mistral"]},
        {"families": {"mistral": "2023"}},
        {"families": {"mistral": 2023}},
    ],
)
def test_s7_a_policy_that_is_none_is_refused(data: Any) -> None:
    with pytest.raises(FindingError) as caught:
        policy_from(data)
    assert caught.value.finding.code == "IOC-POLICY"
