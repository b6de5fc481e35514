# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S6: the approvals file is read as strictly as a contract, and never with a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.module_utils.revocation import Revoked, parse_revocation
from ansible_collections.rampart.ollama.plugins.plugin_utils.approval_file import read_text
from ansible_collections.rampart.ollama.plugins.plugin_utils.approvals import (
    find_approval,
    find_number,
    load_registry,
    parse_yaml,
    read_registry,
)
from approval_rig import GUIDE, GUIDE_AS_PRINTED

pytestmark = pytest.mark.row("S6")


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


def test_s6_the_guides_example_as_it_is_printed_is_read_too_and_told_to_be_indented() -> None:
    loaded = load_registry(GUIDE_AS_PRINTED)
    assert loaded.entries == load_registry(GUIDE).entries
    assert not loaded.indented
    assert {finding.code for finding in loaded.findings} == {"APPROVAL-INCOMPLETE"}
    assert "beside models" in loaded.findings[0].evidence


def test_s6_an_entry_that_lost_its_indentation_approves_nothing_however_complete(model: Callable[..., Any]) -> None:
    entry = model("mistral:7b", b"w").entry()
    flat = {"models": [{"name": entry.pop("name")}], **entry}
    loaded = load_registry(yaml.safe_dump(flat))
    assert code(lambda: find_approval(loaded, "mistral:7b", "demo")) == "APPROVAL-INCOMPLETE"


@pytest.mark.parametrize(
    "text",
    [
        "models: [{name: a}, {name: b}]\nsource: x",  # whose is it?
        "models: [{name: a, source: y}]\nsource: x",
        "models: []\nsource: x",
        "models: [{name: a}]\nname: b",
        "models: [{name: a}]\nsource: x\ncolour: red",
    ],
)
def test_s6_only_what_has_one_meaning_is_indented_for_the_reader(text: str) -> None:
    assert code(lambda: load_registry(text)) == "APPROVAL-INVALID"


def test_s6_the_formats_version_is_no_entrys_version() -> None:
    assert load_registry("version: 1\nmodels: [{name: a}]").entries == ({"name": "a"},)
    assert code(lambda: load_registry("version: 2\nmodels: []")) == "APPROVAL-INVALID"


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
        "models: [{name: a, size: -1}]",
        "models: [{name: a, size: 5.5}]",
        "models: [{name: a, fetched_by: 'a b'}]",
        "models: [{name: a, fetched_by: \"a\\n\"}]",
        "models: [{name: a, fetched_by: '*'}]",
        "models: [{name: a, fetched_by: -rf}]",
        "models: [{name: a, signatures: x}]",
        "models: [{name: a, signatures: [{signer: a}]}]",
        "models: [{name: a, signatures: [{signer: 'a b', signature: x}]}]",
        "models: [{name: a, signatures: [{signer: \"a\\n\", signature: x}]}]",
        "models: [{name: a, signatures: [{signer: -I, signature: x}]}]",
        "models: [{name: a, signatures: [{signer: a, signature: x, more: y}]}]",
        "models: [{name: a, blobs: [{digest: x}]}]",
        "models: [{name: a, blobs: [{colour: red}]}]",
        "models: [{name: a, digest: nonsense}]",
        "models: []\nrevocations: {}",
        "models: []\nrevocations: [{reason: x, revoked_date: 2026-01-01, revoked_by: a}]",
        "models: []\nrevocations: [{digest: x, reason: x, revoked_date: 2026-01-01, revoked_by: a}]",
        "models: []\nrevocations:",
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
        "x" * (1024 * 1024 + 1),
        "[" + "1," * 200_000 + "]",
        "models: [{name: " + "x" * 201 + "}]",
    ],
)
def test_s6_a_hostile_or_broken_file_is_one_clear_error(text: str) -> None:
    assert code(lambda: load_registry(text)) == "APPROVAL-INVALID"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 21 + "]" * 21, "nested too deeply"),
        ("[" + "1," * 100_000 + "]", "more than 100000 values"),
        ("a: &a x", "anchors and aliases"),
        ("a: !!str x", "tags are not allowed"),
    ],
)
def test_s6_what_could_keep_a_reader_busy_ends_early_and_is_named(text: str, why: str) -> None:
    with pytest.raises(FindingError, match=why):
        parse_yaml(text)
    assert parse_yaml("[" * 20 + "]" * 20) is not None


def test_s6_the_error_names_line_and_column() -> None:
    with pytest.raises(FindingError, match="line 3, column 5: the key 'name' is there twice"):
        parse_yaml("models:\n  - name: a\n    name: b\n")


def test_s6_a_size_that_is_not_its_blobs_sum_is_refused(model: Callable[..., Any]) -> None:
    made = model("mistral:7b", b"w")
    assert code(lambda: load_registry(registry(made.entry(size=5)))) == "APPROVAL-INVALID"
    right = sum(len(data) for data in made.blobs.values())
    assert load_registry(registry(made.entry(size=right))).findings == ()


def test_s6_an_empty_value_is_a_missing_one() -> None:
    loaded = load_registry("models: [{name: a, digest: , licence: null, environments: }]")
    assert loaded.entries == ({"name": "a"},)
    assert {finding.code for finding in loaded.findings} == {"APPROVAL-INCOMPLETE"}


def test_s6_high_risk_needs_somebody_who_accepts_it_in_prod(model: Callable[..., Any]) -> None:
    def asked(environment: str, **changes: Any) -> str:
        entry = model("m:1", b"w").entry(environments=["dev", "staging", "prod"], **changes)
        entry = {key: value for key, value in entry.items() if value is not None}
        try:
            return "" if find_approval(load_registry({"models": [entry]}), "m:1", environment) else "?"
        except FindingError as error:
            return error.finding.code

    assert asked("prod", risk_level="HIGH") == "APPROVAL-RISK"
    assert asked("prod", risk_level=None) == "APPROVAL-RISK"
    assert asked("prod", risk_level=None, risk_accepted_by="rssi@example.org") == "APPROVAL-RISK"
    assert asked("prod", risk_level="HIGH", risk_accepted_by="rssi@example.org") == ""
    assert asked("staging", risk_level="HIGH") == ""
    assert asked("prod", risk_level="MEDIUM") == ""


REVOCATION = {"reason": "withdrawn", "revoked_date": "2026-02-01", "revoked_by": "rssi@example.org"}


@pytest.mark.row("T2")
@pytest.mark.parametrize("which", ["digest", "config", "weights", "upper", "dash", "by the other key"])
@pytest.mark.parametrize("environment", ["dev", "staging", "prod", "demo"])
def test_t2_what_is_revoked_is_approved_nowhere_though_its_entry_is_there(
    model: Callable[..., Any], which: str, environment: str
) -> None:
    made = model("m:1", b"w")
    digest = {"config": made.config, "weights": made.weights}.get(which, made.digest)
    key = "digest" if which == "digest" else "blob"
    if which == "upper":
        digest = "sha256:" + digest[7:].upper()
    if which == "dash":
        digest = digest.replace(":", "-")
    data = {"models": [made.entry(environments=["dev"])], "revocations": [{key: digest, **REVOCATION}]}
    loaded = load_registry(yaml.safe_dump(data))
    with pytest.raises(FindingError, match="withdrawn") as caught:
        find_approval(loaded, "m:1", environment)
    assert caught.value.finding.code == "APPROVAL-REVOKED"


@pytest.mark.row("T2")
def test_t2_what_a_host_remembers_counts_without_the_file(model: Callable[..., Any]) -> None:
    made = model("m:1", b"w")
    loaded = load_registry({"models": [made.entry()]})
    remembered = Revoked([parse_revocation({"blob": made.weights, **REVOCATION})])
    assert find_number(loaded, "m:1", "dev") == 0
    assert code(lambda: find_number(loaded, "m:1", "dev", remembered)) == "APPROVAL-REVOKED"


@pytest.mark.row("T2")
def test_t2_a_revoked_checksum_of_the_guides_kind_counts(model: Callable[..., Any]) -> None:
    made = model("m:1", b"w")
    entry = made.entry(sha256=made.weights[7:], blobs=None, digest=None)
    data = {"models": [entry], "revocations": [{"blob": made.weights, **REVOCATION}]}
    assert code(lambda: find_approval(load_registry(data), "m:1", "dev")) == "APPROVAL-REVOKED"


def test_s6_a_file_is_read_whole_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "models_registry.yaml"
    path.write_text("models: []\n")
    assert read_registry(path).entries == ()
    path.write_bytes(b"models: [] # \xff")
    assert code(lambda: read_registry(path)) == "APPROVAL-INVALID"
    # A sparse file of 10 MB: refused, and read no further than the bound.
    with path.open("wb") as stream:
        stream.truncate(10_000_000)
    assert code(lambda: read_registry(path)) == "APPROVAL-INVALID"
    path.unlink()
    assert code(lambda: read_registry(path)) == "APPROVAL-FILE-MISSING"
    (tmp_path / "real").write_text("models: []\n")
    path.symlink_to("real")
    assert code(lambda: read_registry(path)) == "APPROVAL-FILE-UNSAFE"
    assert code(lambda: read_text(tmp_path)) == "APPROVAL-FILE-UNSAFE"
    assert code(lambda: read_text("/dev/zero")) == "APPROVAL-FILE-UNSAFE"


def test_s6_windows_line_ends_and_a_byte_order_mark_change_nothing(model: Callable[..., Any]) -> None:
    text = registry(model("m:1", b"w").entry())
    assert load_registry("\ufeff" + text.replace("\n", "\r\n")).entries == load_registry(text).entries
