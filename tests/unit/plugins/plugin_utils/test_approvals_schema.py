# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S6: the schema is a JSON Schema, and this collection judges by it as another implementation does."""

from __future__ import annotations

import copy
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.rampart.ollama.plugins.plugin_utils import approval_schema
from ansible_collections.rampart.ollama.plugins.plugin_utils.approval_schema import (
    load_schema,
    plain,
    structure_errors,
)
from approval_rig import GUIDE

pytestmark = pytest.mark.row("S6")

CHECKOUT = Path(__file__).parents[4]
DIGEST = "sha256:" + "a" * 64
REVOKED = {"digest": DIGEST, "reason": "r", "revoked_date": "2026-01-01", "revoked_by": "a@example.org"}
FULL: dict[str, Any] = {
    "version": 1,
    "models": [
        {
            "name": "m",
            "version": "1",
            "reference": "m:1",
            "digest": DIGEST,
            "sha256": "x",
            "size": 3,
            "blobs": [{"digest": DIGEST, "size": 3, "media_type": "t"}],
            "source": "registry.ollama.ai",
            "licence": "MIT",
            "verified_date": "2026-01-31",
            "verified_by": "A person",
            "fetched_by": "a@example.org",
            "risk_level": "HIGH",
            "risk_accepted_by": "b@example.org",
            "approved_uses": ["chat"],
            "prohibited_uses": [],
            "environments": ["dev", "prod"],
            "signatures": [{"signer": "b@example.org", "signature": "s"}],
        }
    ],
    "revocations": [REVOKED, {**REVOKED, "blob": DIGEST, "reference": None}],
}
ODD: list[Any] = [
    None, "", "x", "x" * 1001, "a b", "a\n", "-a", "*", DIGEST, DIGEST + "\n", DIGEST.upper(), 0, 1, -1, 2**47, True,
    "2026-02-30", "2026-01-31", "20260131", "2026-W05-6", [], ["x"], [""], ["dev"], ["dev"] * 5, [1], {}, {"x": 1},
    "HIGH", [{"signer": "a", "signature": ""}], [{}], "\u0661" * 4 + "-01-01",
]  # fmt: skip


def theirs(document: Any) -> bool:
    """The verdict of the jsonschema library, formats included."""
    checker = jsonschema.Draft202012Validator(
        load_schema(), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    return bool(checker.is_valid(document))


def ours(document: Any) -> bool:
    return not list(structure_errors(document))


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += paths(item, (*path, key))
    return found


def put(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = copy.deepcopy(document)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


def without(document: Any, path: tuple[Any, ...]) -> Any:
    changed = copy.deepcopy(document)
    place = changed
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return changed


def corpus() -> list[Any]:
    """A good document, and it with every value in turn missing, joined by a stranger, or replaced by something odd."""
    documents: list[Any] = [FULL, {"models": []}, {}, [], None, "models"]
    for path in paths(FULL):
        documents += [put(FULL, path, value) for value in ODD]
        if path:
            documents.append(without(FULL, path))
    documents += [put(FULL, (*path, "stranger"), 1) for path in paths(FULL) if isinstance(at(FULL, path), dict)]
    documents.append(put(FULL, ("models",), FULL["models"] * 2001))
    return documents


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


def test_s6_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(load_schema())


def test_s6_both_judges_agree_on_good_and_bad_documents() -> None:
    verdicts = [(ours(document), theirs(document)) for document in corpus()]
    assert [pair for pair in verdicts if pair[0] != pair[1]] == []
    # The corpus is one: it holds both kinds.
    assert sum(good for good, _why in verdicts) > 50
    assert sum(not good for good, _why in verdicts) > 500


LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["LOW", "dev", DIGEST])
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["models", "name", "size", "blobs", "revocations", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(DOCUMENTS)
def test_s6_both_judges_agree_on_whatever_is_thrown_at_them(document: Any) -> None:
    assert ours(document) == theirs(document)


def test_s6_a_keyword_that_is_not_understood_is_never_left_out_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = copy.deepcopy(load_schema())
    schema["$defs"]["entry"]["properties"]["name"]["minProperties"] = 1
    with pytest.raises(ValueError, match="minProperties"):
        approval_schema._require_known(schema)


@pytest.mark.parametrize("environment", ["demo", "dev", "staging", "prod"])
def test_s6_the_inventories_files_pass_both(environment: str) -> None:
    text = (CHECKOUT / "inventories" / environment / "models_registry.yaml").read_text(encoding="utf-8")
    document = plain(yaml.safe_load(text))
    assert ours(document)
    assert theirs(document)


def test_s6_the_guides_example_passes_both() -> None:
    document = plain(yaml.safe_load(GUIDE))
    assert ours(document)
    assert theirs(document)


def test_s6_every_key_is_described_in_the_document() -> None:
    text = (CHECKOUT / "docs/models_registry.md").read_text(encoding="utf-8")
    definitions = load_schema()["$defs"]
    keys = {key for name in ("entry", "revocation", "signature") for key in definitions[name]["properties"]}
    assert [key for key in sorted(keys) if "`{0}`".format(key) not in text] == []


def test_s6_dates_become_texts_and_moments_stay_what_they_are() -> None:
    moment = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    value = {"a": datetime.date(2026, 1, 31), "b": [moment, 5, True]}
    assert plain(value) == {"a": "2026-01-31", "b": [moment, 5, True]}


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("models", 0, "size"), "5", "size is a text, not a number"),
        (("models", 0, "version"), 0.3, "version is a fraction, not a text (quote it)"),
        (("models", 0, "risk_level"), "FINE", "risk_level is 'FINE', none of LOW, MEDIUM, HIGH"),
        (("models", 0, "blobs", 0, "size"), -1, "blobs[0].size is out of range"),
    ],
)
def test_s6_what_is_wrong_is_said_in_words(
    path: tuple[Any, ...], value: Any, said: str, refused: Callable[..., str]
) -> None:
    assert said in refused(put(FULL, path, value))


@pytest.fixture
def refused() -> Callable[[Any], str]:
    from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
    from ansible_collections.rampart.ollama.plugins.plugin_utils.approvals import load_registry

    def ask(document: Any) -> str:
        with pytest.raises(FindingError) as caught:
            load_registry(document)
        assert "entry 1 (m)" in str(caught.value)
        return str(caught.value)

    return ask
