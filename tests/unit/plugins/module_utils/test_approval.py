# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S2, S6: what a host needs of an approval entry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.approval import (
    approval_for,
    approval_from_entry,
    approvals_from_entries,
)
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.module_utils.manifest import parse_manifest
from ansible_collections.rampart.ollama.plugins.module_utils.names import parse_name

DIGEST = "sha256:" + "a" * 64


def code(action: Callable[[], object]) -> str:
    with pytest.raises(FindingError) as caught:
        action()
    return caught.value.finding.code


def test_s6_an_entry_pins_manifest_and_blobs(model: Callable[..., Any]) -> None:
    made = model("test:1", b"w", b"license")
    approval = approval_from_entry(made.entry())
    assert approval.digest == made.digest
    assert approval.blobs == {digest: len(data) for digest, data in made.blobs.items()}
    assert approval.difference(parse_manifest(made.manifest, "m")) is None


@pytest.mark.parametrize(
    "blobs",
    [
        lambda blobs: blobs[:-1],
        lambda blobs: [*blobs, {"digest": DIGEST, "size": 1}],
        lambda blobs: [{**blobs[0], "size": blobs[0]["size"] + 1}, *blobs[1:]],
    ],
)
def test_s2_a_manifest_that_departs_from_the_approval_is_told(model: Callable[..., Any], blobs: Any) -> None:
    made = model("test:1", b"w", b"license")
    approval = approval_from_entry(made.entry(blobs=blobs(made.entry()["blobs"])))
    assert "the approval" in str(approval.difference(parse_manifest(made.manifest, "m")))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"reference": None}, "APPROVAL-INCOMPLETE"),
        ({"digest": None}, "APPROVAL-INCOMPLETE"),
        ({"blobs": None}, "APPROVAL-INCOMPLETE"),
        ({"blobs": []}, "APPROVAL-INCOMPLETE"),
        ({"blobs": [{"digest": DIGEST}]}, "APPROVAL-INCOMPLETE"),
        ({"blobs": [{"size": 1}]}, "APPROVAL-INCOMPLETE"),
        ({"blobs": {"digest": DIGEST}}, "APPROVAL-INVALID"),
        ({"blobs": ["x"]}, "APPROVAL-INVALID"),
        ({"blobs": [{"digest": "sha256:../x", "size": 1}]}, "APPROVAL-INVALID"),
        ({"blobs": [{"digest": DIGEST, "size": -1}]}, "APPROVAL-INVALID"),
        ({"blobs": [{"digest": DIGEST, "size": "1"}]}, "APPROVAL-INVALID"),
        ({"blobs": [{"digest": DIGEST, "size": True}]}, "APPROVAL-INVALID"),
        ({"blobs": [{"digest": DIGEST, "size": 1}, {"digest": DIGEST, "size": 2}]}, "APPROVAL-INVALID"),
        ({"blobs": [{"digest": DIGEST, "size": 1}] * 5000}, "APPROVAL-INVALID"),
        ({"digest": "abcd1234efgh5678..."}, "APPROVAL-INVALID"),
        ({"digest": 5}, "APPROVAL-INVALID"),
        ({"reference": "test:cloud"}, "NAME-CLOUD"),
    ],
)
def test_s6_an_entry_that_pins_too_little_is_refused(
    model: Callable[..., Any], changes: dict[str, Any], expected: str
) -> None:
    assert code(lambda: approval_from_entry(model("test:1", b"w").entry(**changes))) == expected


@pytest.mark.parametrize("entry", [None, [], "x", 5])
def test_s6_what_is_no_entry_is_refused(entry: Any) -> None:
    assert code(lambda: approval_from_entry(entry)) == "APPROVAL-INVALID"


def test_s6_two_entries_of_one_name_are_refused_whatever_their_case(model: Callable[..., Any]) -> None:
    entries = [model("test:1", b"w").entry(), model("TEST:1", b"w").entry()]
    assert code(lambda: approvals_from_entries(entries)) == "APPROVAL-INVALID"


def test_s6_another_models_entry_approves_nothing(model: Callable[..., Any]) -> None:
    entry = model("test:1", b"w").entry()
    assert approval_for(parse_name("Test:1"), entry).digest == entry["digest"]
    assert code(lambda: approval_for(parse_name("test:2"), entry)) == "APPROVAL-MISSING"
    assert code(lambda: approval_for(parse_name("test:1"), None)) == "APPROVAL-MISSING"
