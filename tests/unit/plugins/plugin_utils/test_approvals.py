# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S6: the approvals file is read as strictly as a contract, and never with a traceback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.plugin_utils.approvals import find_approval, load_registry, parse_yaml

GUIDE = """\
# models_registry.yaml
models:
  - name: mistral-7b-instruct
    version: v0.3-q4_K_M
    sha256: abcd1234efgh5678...
    source: registry.ollama.ai
    verified_date: 2025-11-09
    verified_by: security_team@company.com
    risk_level: LOW
    approved_uses:
      - internal_chatbot
      - document_analysis
    prohibited_uses:
      - customer_data_processing
      - external_api
"""


def code(action: Callable[[], object]) -> str:
    with pytest.raises(FindingError) as caught:
        action()
    assert caught.value.finding.remedy
    assert len(str(caught.value)) < 2000
    return caught.value.finding.code


def registry(*entries: dict[str, Any]) -> str:
    return yaml.safe_dump({"models": list(entries)})


def test_s6_the_guides_own_example_is_accepted_with_findings() -> None:
    loaded = load_registry(GUIDE)
    assert loaded.entries[0]["name"] == "mistral-7b-instruct"
    assert loaded.entries[0]["verified_date"] == "2025-11-09"
    assert {finding.code for finding in loaded.findings} == {"APPROVAL-INCOMPLETE"}
    said = " ".join(finding.evidence for finding in loaded.findings)
    assert "reference" in said
    assert "environments" in said


def test_s6_the_guides_own_example_approves_nothing_yet() -> None:
    assert code(lambda: find_approval(load_registry(GUIDE), "mistral-7b-instruct", "prod")) == "APPROVAL-MISSING"
    there = GUIDE + "    environments: [prod]\n"
    assert code(lambda: find_approval(load_registry(there), "mistral-7b-instruct", "prod")) == "APPROVAL-INCOMPLETE"


def test_s6_a_complete_entry_is_found_by_reference_and_by_name(model: Callable[..., Any]) -> None:
    made = model("mistral:7b", b"w")
    loaded = load_registry(registry(made.entry(name="mistral-7b")))
    assert loaded.findings == ()
    for name in ("mistral:7b", "registry.ollama.ai/library/Mistral:7B", "mistral-7b"):
        assert find_approval(loaded, name, "demo")["digest"] == made.digest


@pytest.mark.parametrize(
    ("name", "environment", "expected"),
    [
        ("other:7b", "demo", "APPROVAL-MISSING"),
        ("../../etc", "demo", "APPROVAL-MISSING"),
        ("", "demo", "APPROVAL-MISSING"),
        ("mistral:7b", "prod", "APPROVAL-MISSING"),
        ("mistral:7b", "production", "APPROVAL-INVALID"),
    ],
)
def test_s6_what_is_not_approved_here_is_refused(
    model: Callable[..., Any], name: str, environment: str, expected: str
) -> None:
    loaded = load_registry(registry(model("mistral:7b", b"w").entry()))
    assert code(lambda: find_approval(loaded, name, environment)) == expected


def test_s6_a_parsed_registry_is_accepted_too(model: Callable[..., Any]) -> None:
    made = model("mistral:7b", b"w")
    assert find_approval(load_registry({"models": [made.entry()]}), "mistral:7b", "dev")["digest"] == made.digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "models",
        "[]",
        "models: 5",
        "models: {}",
        "models: [5]",
        "models: [[]]",
        "models: [{}]",
        "models: []\nmodels: []",
        "models: []\nother: 1",
        "models: [{name: a, name: b}]",
        "models: [{name: a, colour: red}]",
        "models: &anchor []",
        "models: [&a {name: x}, *a]",
        "models: [{name: a, <<: {version: b}}]",
        "models: !!python/object/apply:os.system ['true']",
        "models: !!set {}",
        "models: [{name: !!str 5}]",
        "models: [{5: a}]",
        "models: [{[a]: b}]",
        "models: [{name: 5}]",
        "models: [{name: a, version: 0.3}]",
        "models: [{name: a, environments: prod}]",
        "models: [{name: a, environments: [production]}]",
        "models: [{name: a, risk_level: FINE}]",
        "models: [{name: a, size: '5'}]",
        "models: [{name: a, size: true}]",
        "models: [{name: a, verified_date: yesterday}]",
        "models: [{name: a, verified_date: 2025-13-45}]",
        "models: [{name: a, verified_date: 2025-01-01 10:00:00}]",
        "models: [{name: a, approved_uses: [1]}]",
        "models: [{name: a, blobs: {}}]",
        "models: [{name: a, reference: '../x'}]",
        "models: [{name: a, reference: 'x:cloud'}]",
        "models: [{name: a, reference: x, digest: nonsense, blobs: [{digest: x, size: 1}]}]",
        "models: [{name: a, reference: x}, {name: b, reference: X}]",
        "models: []\n---\nmodels: []",
        "models: [}",
        "models: \x00",
        "models: '\ud800'",
        "\tmodels: []",
        "[" * 5000,
        "{a: " * 5000,
        "- " * 5000,
        "a: &a [x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n",
        "models: [{name: a, verified_date: 99999999999999999999-01-01}]",
        "models: " + "9" * 10_000,
        "x" * (4 * 1024 * 1024 + 1),
    ],
)
def test_s6_a_hostile_or_broken_file_is_one_clear_error(text: str) -> None:
    assert code(lambda: load_registry(text)) == "APPROVAL-INVALID"


def test_s6_the_error_names_line_and_column() -> None:
    with pytest.raises(FindingError, match="line 3, column 5: the key 'name' is there twice"):
        parse_yaml("models:\n  - name: a\n    name: b\n")


def test_s6_a_size_that_is_not_its_blobs_sum_is_refused(model: Callable[..., Any]) -> None:
    made = model("mistral:7b", b"w")
    assert code(lambda: load_registry(registry(made.entry(size=5)))) == "APPROVAL-INVALID"
    right = sum(len(data) for data in made.blobs.values())
    assert load_registry(registry(made.entry(size=right))).findings == ()
