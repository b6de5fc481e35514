# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S4 and S7: what a model has to be like, and the indicators that it is not what it says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.module_utils.gguf_inspect import GgufReport, inspect_gguf
from ansible_collections.rampart.ollama.plugins.module_utils.gguf_policy import DEFAULT_POLICY, policy_from
from ansible_collections.rampart.ollama.plugins.module_utils.gguf_types import FILE_TYPES

HOME = Path(__file__).parents[4]
make: Any = SimpleNamespace(**runpy.run_path(str(HOME / "tests/fuzz/gguf_files.py"), run_name="gguf_files"))
SMALL: dict[str, Any] = {"file_bytes": {"min": 0, "max": 100_000}, "parameters": {"min": 0, "max": 100_000}}

pytestmark = pytest.mark.row("S4")


@pytest.fixture
def inspect(tmp_path: Path) -> Any:
    """Return inspect(keys=..., policy=..., ...) -> the report on a small file."""

    def run(
        keys: list[Any] | None = None, policy: dict[str, Any] | None = None, role: str = "model", **options: Any
    ) -> GgufReport:
        path = tmp_path / "model.gguf"
        path.write_bytes(make.build(keys, **options))
        return inspect_gguf(path, {**SMALL, **(policy or {})}, role)

    return run


def told(report: GgufReport) -> list[tuple[str, str]]:
    return [
        (finding.code, finding.severity.value) for finding in report.findings if finding.code != "TEMPLATE-UNLISTED"
    ]


def changed(**values: Any) -> list[Any]:
    """The keys of the good file, some with another value (None: left out); names with underscores for dots."""
    wanted = {name.replace("__", "."): value for name, value in values.items()}
    keys = [(name, kind, wanted.pop(name, value)) for name, kind, value in make.good_keys()]
    keys += [(name, make.STRING, value) for name, value in wanted.items()]
    return [key for key in keys if key[2] is not None]


def test_s4_a_good_file_passes_with_every_check(inspect: Any) -> None:
    report = inspect()
    assert told(report) == []
    assert report.verdict == "passed"
    assert [(item.id, item.status) for item in report.checks] == [
        ("gguf-structure", "passed"),
        ("gguf-policy", "passed"),
        ("gguf-template", "passed"),
    ]


def test_s4_the_default_policy_wants_a_real_models_size(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(make.build())
    assert told(inspect_gguf(path)) == [("GGUF-POLICY-SIZE", "medium")] * 2


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"general__type": "adapter"}, ("GGUF-POLICY-ROLE", "high")),
        ({"general__organization": "Evil Corp"}, ("GGUF-POLICY-AUTHOR", "medium")),
        ({"general__author": "somebody"}, ("GGUF-POLICY-AUTHOR", "medium")),
        ({"general__quantized_by": "somebody"}, ("GGUF-POLICY-AUTHOR", "medium")),
        ({"general__organization": None}, ("GGUF-POLICY-AUTHOR", "low")),
        ({"general__file_type": 0}, ("GGUF-POLICY-FILE-TYPE", "medium")),
        ({"general__file_type": 4711}, ("GGUF-POLICY-FILE-TYPE", "medium")),
        ({"general__file_type": None}, ("GGUF-POLICY-FILE-TYPE", "low")),
        ({"general__file_type": 15}, ("GGUF-POLICY-SIZE", "medium")),
        ({"llama__context_length": 8}, ("GGUF-POLICY-CONTEXT", "medium")),
        ({"llama__context_length": 1 << 31}, ("GGUF-POLICY-CONTEXT", "medium")),
        ({"llama__context_length": None}, ("GGUF-POLICY-CONTEXT", "low")),
    ],
)
def test_s7_what_is_out_of_place_is_told(inspect: Any, change: dict[str, Any], finding: tuple[str, str]) -> None:
    assert finding in told(inspect(changed(**change)))


def test_s4_an_architecture_that_is_not_listed_is_refused(inspect: Any) -> None:
    keys = make.good_keys(architecture="evilnet")
    report = inspect(keys)
    assert told(report) == [("GGUF-POLICY-ARCHITECTURE", "high")]
    assert {item.id: item.status for item in report.checks}["gguf-policy"] == "failed"
    assert told(inspect(keys, {"architectures": ["evilnet"]})) == []
    assert told(inspect(keys, {"architectures": ["*"]})) == []
    assert ("GGUF-POLICY-ARCHITECTURE", "high") in told(inspect(policy={"architectures": []}))


@pytest.mark.parametrize("author", ["mistralai", "Mistral AI", "mistral-ai", "MISTRALAI_"])
def test_s7_an_author_is_known_in_any_spelling(inspect: Any, author: str) -> None:
    assert told(inspect(changed(general__organization=author))) == []


def test_s7_an_author_who_must_be_named_and_is_not_fails_the_file(inspect: Any) -> None:
    report = inspect(changed(general__organization=None), {"require_author": True})
    assert told(report) == [("GGUF-POLICY-AUTHOR", "medium")]
    assert told(inspect(changed(general__organization="x"), {"authors": ["*"]})) == []


def test_s7_a_file_larger_than_its_weights_need_is_told(inspect: Any) -> None:
    # It says Q4_1 (5 bits), and its layers hold 16: something else may be in the other 11.
    keys = changed(general__file_type=3)
    report = inspect(keys)
    assert told(report) == [("GGUF-POLICY-SIZE", "medium")]
    assert "16" in report.findings[0].evidence
    assert told(inspect(keys, {"bits_per_weight_tolerance": 3})) == []


@pytest.mark.parametrize("number", FILE_TYPES)
def test_s7_every_file_type_has_bits_that_grow_with_its_name(number: int) -> None:
    known = FILE_TYPES[number]
    digits = re.match(r"[A-Z]+?(\d+)", known.name)
    assert digits
    assert 0.9 * float(digits.group(1)) <= known.bits <= float(digits.group(1)) + 1.3


def test_s4_an_adapter_and_a_projector_have_rules_of_their_own(inspect: Any) -> None:
    lora = [("general.architecture", make.STRING, "llama"), ("general.type", make.STRING, "adapter")]
    lora += [("adapter.type", make.STRING, "lora"), ("general.author", make.STRING, "mistralai")]
    pairs = [("blk.0.attn_q.weight.lora_a", (64, 4), 0), ("blk.0.attn_q.weight.lora_b", (4, 64), 0)]
    assert told(inspect(lora, role="adapter", tensors=pairs)) == []
    assert ("GGUF-POLICY-ROLE", "high") in told(inspect(lora, role="model", tensors=pairs))
    assert ("GGUF-POLICY-ROLE", "high") in told(inspect(role="adapter"))
    whole = [*pairs, ("blk.0.attn_q.weight", (64, 64), 0)]
    assert told(inspect(lora, role="adapter", tensors=whole)) == [("GGUF-POLICY-ROLE", "high")]
    clip = [("general.architecture", make.STRING, "clip"), ("general.organization", make.STRING, "mistralai")]
    assert told(inspect(clip, role="projector")) == []
    assert ("GGUF-POLICY-ARCHITECTURE", "high") in told(inspect(clip, role="model"))
    assert ("GGUF-POLICY-ARCHITECTURE", "high") in told(inspect(role="projector"))


def test_s4_what_was_not_read_to_its_end_is_never_passed(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(make.build()[:600])
    report = inspect_gguf(path, SMALL)
    assert [(item.id, item.status) for item in report.checks] == [
        ("gguf-structure", "failed"),
        ("gguf-policy", "unknown"),
        ("gguf-template", "unknown"),
    ]
    # A template that stands before the cut is judged all the same.
    keys = [("tokenizer.chat_template", make.STRING, make.BACKDOOR), *make.good_keys()[:3]]
    path.write_bytes(make.build(keys)[:500])
    report = inspect_gguf(path, SMALL)
    assert {item.id: item.status for item in report.checks}["gguf-template"] == "failed"


@pytest.mark.parametrize(
    "policy",
    [
        {"architecture": ["llama"]},
        {"architectures": "llama"},
        {"architectures": [1]},
        {"require_author": "yes"},
        {"file_types": ["Q4_K_XXL"]},
        {"file_bytes": {"min": 5}},
        {"file_bytes": {"min": 5, "max": 4}},
        {"file_bytes": {"min": -1, "max": 4}},
        {"file_bytes": {"min": True, "max": 4}},
        {"bits_per_weight_tolerance": "x"},
        {"template_max_bytes": 1.5},
        {"template_unlisted": "terrible"},
        {"template_unlisted": []},
        {"reviewed": ["sha256:" + "0" * 64]},
        {"reviewed": {"sha256:123": "note"}},
        {1: 2},
        [],
        "architectures",
    ],
)
def test_s4_a_broken_policy_is_one_finding_and_nothing_passes_by_it(tmp_path: Path, policy: Any) -> None:
    with pytest.raises(FindingError) as refused:
        policy_from(policy)
    assert refused.value.finding.code == "POLICY-INVALID"
    path = tmp_path / "model.gguf"
    path.write_bytes(make.build())
    report = inspect_gguf(path, policy)
    assert [finding.code for finding in report.findings] == ["POLICY-INVALID"]
    assert report.verdict == "failed"
    assert [item.status for item in report.checks] == ["passed", "unknown", "unknown"]


def test_s4_the_policy_file_is_the_default_policy() -> None:
    text = (HOME / "roles/model_store/files/gguf_policy.yml").read_text(encoding="utf-8")
    documented = yaml.safe_load(text)
    assert documented == DEFAULT_POLICY
    assert list(documented) == list(DEFAULT_POLICY)
    assert policy_from(documented) == policy_from() == policy_from({})


def test_s4_every_code_is_documented_and_every_documented_code_exists() -> None:
    pattern = re.compile(r"\b(?:GGUF|TEMPLATE|LAYER|POLICY)(?:-[A-Z]+)+\b")
    sources = [*(HOME / "plugins/module_utils").glob("gguf*.py"), *(HOME / "plugins/module_utils").glob("layers*.py")]
    known = {code for path in sources for code in re.findall(r'"([A-Z]+(?:-[A-Z]+)+)"', path.read_text())}
    known |= {"{0}-{1}".format(prefix, topic) for prefix in ("TEMPLATE", "LAYER") for topic in topics(prefix)}
    known = {code for code in known if pattern.fullmatch(code)}
    documented = set(pattern.findall((HOME / "docs/gguf.md").read_text(encoding="utf-8")))
    assert documented == known


def topics(prefix: str) -> set[str]:
    """The ends of codes that are put together from a prefix and a flag's topic."""
    names = ("gguf_text.py",) if prefix == "LAYER" else ("gguf_text.py", "gguf_jinja.py", "gguf_jinja_flow.py")
    names += () if prefix == "LAYER" else ("gguf_gotemplate.py",)
    texts = [(HOME / "plugins/module_utils" / name).read_text() for name in names]
    return {topic for text in texts for topic in re.findall(r'Flag\(\s*"([A-Z]+)"', text)} | {"ENCODING", "SIZE"}
