# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S3, S4: layers are judged in a verification, their findings count, and places in a file have names."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy
import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import verify_layers
from ansible_collections.rampart.ollama.plugins.module_utils.approval import approvals_from_entries
from ansible_collections.rampart.ollama.plugins.module_utils.findings import Finding, Severity
from ansible_collections.rampart.ollama.plugins.module_utils.record import StoreRecord
from ansible_collections.rampart.ollama.plugins.module_utils.verify import HowToRead, recorded, verify
from ansible_collections.rampart.ollama.plugins.module_utils.verify_layers import (
    TENSORS_MAX,
    Place,
    fingerprint,
    layer_check,
    tensors_at,
)
from ansible_collections.rampart.ollama.plugins.module_utils.verify_report import VerifyReport

pytestmark = pytest.mark.row("S3")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF file of three tensors of 64 KiB and forty of 32 bytes."""
    target = tmp_path_factory.mktemp("gguf") / "file"
    writer = gguf.GGUFWriter(target, "llama")
    for number in range(3):
        writer.add_tensor("big{0}".format(number), numpy.ones((128, 256), numpy.float16))
    for number in range(40):
        writer.add_tensor("small{0}".format(number), numpy.ones((1, 16), numpy.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def test_a_range_has_the_names_of_the_tensors_that_lie_in_it(path: Path) -> None:
    start = gguf.GGUFReader(path).data_offset
    big = 128 * 256 * 2
    assert tensors_at(path, [(start, start)]) == Place(("big0",))
    assert tensors_at(path, [(start + big - 1, start + big - 1)]) == Place(("big0",))
    assert tensors_at(path, [(start + big, start + 2 * big)]) == Place(("big1", "big2"))
    assert tensors_at(path, [(start, start), (start + 2 * big, start + 2 * big)]) == Place(("big0", "big2"))
    assert tensors_at(path, [(path.stat().st_size, path.stat().st_size + 9)]) == Place()
    assert len(tensors_at(path, [(start, path.stat().st_size)]).tensors) == TENSORS_MAX


def test_a_header_that_was_touched_names_nothing(path: Path) -> None:
    start = gguf.GGUFReader(path).data_offset
    for place in ((0, 0), (start - 1, start + 5)):
        assert tensors_at(path, [place]) == Place(header=True)


@pytest.mark.parametrize("data", [b"", b"GGUF", b"no model at all", b"GGUF" + b"\xff" * 1000])
def test_what_is_no_gguf_file_has_no_tensors(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    assert tensors_at(tmp_path / "x", [(0, 10)]) == Place()
    assert tensors_at(tmp_path / "none", [(0, 10)]) == Place()


def test_policies_that_mean_the_same_are_the_same() -> None:
    assert fingerprint({}) == fingerprint({"require_author": False})
    assert fingerprint({}) != fingerprint({"require_author": True})
    assert fingerprint({"architectures": ["a"]}) != fingerprint({"architectures": ["b"]})


@pytest.mark.parametrize(
    ("code", "check"),
    [
        ("GGUF-MAGIC", "store-gguf-structure"),
        ("GGUF-POLICY-AUTHOR", "store-layer-policy"),
        ("POLICY-INVALID", "store-layer-policy"),
        ("TEMPLATE-UNLISTED", "store-layer-policy"),
        ("LAYER-JSON", "store-layer-policy"),
        ("STORE-MODE", ""),
    ],
)
def test_each_finding_of_a_layer_decides_one_check(code: str, check: str) -> None:
    assert layer_check(code) == check


class Inspector:
    """Stands for the judgement of layers: `findings` by model name."""

    def __init__(self) -> None:
        self.findings: dict[str, list[Finding]] = {}
        self.asked: list[str] = []

    def __call__(self, _store: Any, model: Any, _policy: Any) -> list[Finding]:
        self.asked.append(model.name.short)
        return self.findings.get(model.name.short, [])


@pytest.fixture
def inspector(monkeypatch: pytest.MonkeyPatch) -> Inspector:
    made = Inspector()
    monkeypatch.setattr(verify_layers, "inspect_model", made)
    return made


@pytest.fixture
def two(maker: Any, model: Callable[..., Any]) -> Any:
    maker.put(model("one:1", b"1" * 50))
    maker.put(model("two:1", b"2" * 50))
    return maker


def look(maker: Any, policy: Any, **how: Any) -> VerifyReport:
    approvals = approvals_from_entries([made.entry() for made in maker.models])
    return verify(maker.store, approvals, how=HowToRead(**how), policy=policy)


def statuses(report: VerifyReport) -> dict[str, str]:
    return {item.id: item.status for item in report.checks}


@pytest.mark.row("S4")
@pytest.mark.parametrize("severity", list(Severity))
def test_a_finding_counts_against_its_model_from_medium_on(two: Any, inspector: Inspector, severity: Severity) -> None:
    finding = Finding("GGUF-TENSOR-OVERLAP", severity, "one:1 model", "two tensors", "Do not use it.")
    inspector.findings["one:1"] = [finding]
    report = look(two, {})
    bad = severity.rank >= Severity.MEDIUM.rank
    assert report.findings == [finding]
    assert [model.verified for model in report.models] == [not bad, True]
    assert list(report.reasons) == (["manifests/registry.ollama.ai/library/one/1"] if bad else [])
    assert statuses(report)["store-gguf-structure"] == ("failed" if bad else "passed")
    assert statuses(report)["store-layer-policy"] == "passed"
    assert statuses(report)["store-blobs-verified"] == "passed"


def test_without_a_policy_no_layer_is_judged_and_no_check_says_so(two: Any, inspector: Inspector) -> None:
    report = look(two, None)
    assert inspector.asked == []
    assert not {"store-gguf-structure", "store-layer-policy"} & set(statuses(report))


@pytest.mark.parametrize("what", ["wrong", "missing", "broken"])
def test_layers_of_a_model_with_a_wrong_blob_are_no_pass(two: Any, inspector: Inspector, what: str) -> None:
    made = two.models[0]
    if what == "wrong":
        two.rewrite(two.blob(made.weights), b"X" * 50)
    elif what == "missing":
        two.blob(made.weights).unlink()
    else:
        two.rewrite(two.manifest(made), b"{")
    report = look(two, {})
    assert inspector.asked == ["two:1"]
    assert statuses(report)["store-gguf-structure"] == statuses(report)["store-layer-policy"] == "unknown"


def test_a_missing_store_has_the_checks_and_none_passes(two: Any, inspector: Inspector, tmp_path: Path) -> None:
    two.root = tmp_path / "none"
    assert "passed" not in statuses(look(two, {})).values()
    assert statuses(look(two, {}))["store-gguf-structure"] == "unknown"


def a_minute_on() -> int:
    return time.time_ns() + 60_000_000_000


def remembered(maker: Any, policy: Any) -> StoreRecord:
    return recorded(StoreRecord(), maker.store, look(maker, policy, remember=True, now_ns=a_minute_on))


def test_a_verdict_stands_as_long_as_blobs_policy_and_inspector_do(
    two: Any, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = remembered(two, {})
    inspector.asked.clear()

    def changed(policy: Any) -> list[str]:
        inspector.asked.clear()
        report = look(two, policy, mode="changed", record=record, now_ns=a_minute_on)
        assert statuses(report)["store-layer-policy"] == "passed"
        return inspector.asked

    assert changed({}) == []
    assert changed({"require_author": True}) == ["one:1", "two:1"]
    with monkeypatch.context() as newer:
        newer.setattr(verify_layers, "INSPECTOR", verify_layers.INSPECTOR + 1)
        assert changed({}) == ["one:1", "two:1"], "what an older inspector let pass is judged again"
    two.blob(two.models[0].weights).touch()
    assert changed({}) == ["one:1"]
    look(two, {}, record=record, now_ns=a_minute_on)
    assert inspector.asked == ["one:1", "one:1", "two:1"], "full judges every model, whatever the record says"


def test_a_model_with_a_finding_is_judged_again_each_time(two: Any, inspector: Inspector) -> None:
    finding = Finding("TEMPLATE-NETWORK", Severity.HIGH, "one:1 template", "an address", "Do not use it.")
    inspector.findings["one:1"] = [finding]
    record = remembered(two, {})
    assert set(record.inspected) == {two.models[1].digest}
    report = look(two, {}, mode="changed", record=record, now_ns=a_minute_on)
    assert finding in report.findings
    assert not report.models[0].verified


def test_a_verdict_of_no_policy_is_not_recorded(two: Any) -> None:
    assert remembered(two, None).inspected == {}
