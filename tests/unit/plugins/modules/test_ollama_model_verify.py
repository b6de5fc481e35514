# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S3: the module ollama_model_verify."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy
import pytest

CONFIG = {"model_format": "gguf", "model_family": "llama", "file_type": "F16"}


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], bytes]:
    """GGUF files that the built-in policy has nothing against, each number another one."""

    def make(number: int) -> bytes:
        path = tmp_path_factory.mktemp("gguf") / "file"
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_author("mistralai")
        writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
        writer.add_context_length(2048)
        dice = numpy.random.default_rng(number)
        for name, rows in (("token_embd.weight", 256), ("blk.0.attn_q.weight", 300), ("output.weight", 256)):
            writer.add_tensor(name, dice.random((rows, 2048)).astype(numpy.float16))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()

    return make


@pytest.fixture
def ask(maker: Any, run_module: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def call(check: bool = False, diff: bool = False, **changes: Any) -> dict[str, Any]:
        arguments = {
            "store": str(maker.root),
            "approvals": [made.entry() for made in maker.models],
            "owner_uid": os.getuid(),
            "owner_gid": os.getgid(),
        }
        return run_module("ollama_model_verify", {**arguments, **changes}, check=check, diff=diff)

    return call


@pytest.mark.parametrize("check", [False, True])
def test_s3_a_good_store_passes_in_check_mode_too(
    maker: Any,
    model: Callable[..., Any],
    weights: Callable[[int], bytes],
    ask: Callable[..., dict[str, Any]],
    check: bool,
) -> None:
    maker.put(model("mistral:7b", weights(1), config=CONFIG))
    result = ask(check=check)
    assert (result["changed"], result["verdict"], result["findings"]) == (False, "passed", [])
    assert result["bytes_hashed"] > 5000
    assert {item["status"] for item in result["checks"]} == {"passed"}


def test_s3_a_flipped_byte_fails_the_task_with_its_code(
    maker: Any, model: Callable[..., Any], weights: Callable[[int], bytes], ask: Callable[..., dict[str, Any]]
) -> None:
    made = maker.put(model("mistral:7b", weights(1), config=CONFIG))
    maker.rewrite(maker.blob(made.weights), weights(1)[:-1] + b"x")
    result = ask()
    assert result["failed"]
    assert result["msg"].startswith("STORE-DIGEST-MISMATCH: " + made.weights)
    reported = ask(on_failure="report")
    assert not reported.get("failed")
    assert reported["verdict"] == "failed"
    assert reported["findings"] == result["findings"]


def test_s3_a_missing_store_is_one_clear_message(ask: Callable[..., dict[str, Any]]) -> None:
    result = ask(store="/nonexistent/store")
    assert result["msg"].startswith("STORE-MISSING: /nonexistent/store: ")
    assert "unknown" in {item["status"] for item in result["checks"]}


def test_s3_an_incomplete_approval_is_one_clear_message(
    maker: Any, model: Callable[..., Any], weights: Callable[[int], bytes], ask: Callable[..., dict[str, Any]]
) -> None:
    made = maker.put(model("mistral:7b", weights(1), config=CONFIG))
    result = ask(approvals=[made.entry(digest=None)], on_failure="report")
    assert result["failed"]
    assert result["msg"].startswith("APPROVAL-INCOMPLETE: ")
    assert result["findings"][0]["code"] == "APPROVAL-INCOMPLETE"


def codes(findings: list[dict[str, str]]) -> list[str]:
    return [finding["code"] for finding in findings]


def test_s3_what_is_wrong_is_told_to_the_byte_once_there_is_a_record(
    maker: Any,
    model: Callable[..., Any],
    weights: Callable[[int], bytes],
    ask: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    data = weights(1)
    made = maker.put(model("mistral:7b", data, config=CONFIG))
    record = str(tmp_path / "record.json")
    assert ask(record=record)["recorded"] == 2
    maker.rewrite(maker.blob(made.weights), data[:2_000_000] + bytes([data[2_000_000] ^ 1]) + data[2_000_001:])
    result = ask(record=record, on_failure="report")
    (bad,) = result["bad_blobs"]
    assert (bad["kind"], bad["models"]) == ("model", ["registry.ollama.ai/library/mistral:7b"])
    assert bad["ranges"] == [[1048576, 2097151]]
    assert bad["tensors"] == ["token_embd.weight", "blk.0.attn_q.weight"]
    assert result["findings"][0]["evidence"].endswith(
        "; bytes 1048576-2097151 differ, in token_embd.weight, blk.0.attn_q.weight"
    )
    assert result["recorded"] == 1, "what is bad is not recorded"


def test_s3_mode_changed_reads_nothing_again_and_says_since_when(
    maker: Any,
    model: Callable[..., Any],
    weights: Callable[[int], bytes],
    ask: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    maker.put(model("mistral:7b", weights(1), config=CONFIG))
    record = tmp_path / "record.json"
    time.sleep(0.15)  # a reading in the same tick as the write would not stand
    ask(record=str(record))
    written = record.read_bytes()
    result = ask(record=str(record), mode="changed")
    assert (result["changed"], result["mode_used"], result["not_reread"]) == (False, "changed", 2)
    assert (result["bytes_hashed"], result["recorded"]) == (0, 0)
    assert result["oldest_read"] == result["models"][0]["not_reread_since"] != ""
    assert codes(result["findings"]) == ["STORE-NOT-REREAD"]
    assert {"id": "store-blobs-verified", "status": "unknown"}.items() <= result["checks"][1].items()
    assert ask(record=str(record), mode="changed", max_age=0)["mode_used"] == "full"
    assert record.read_bytes() == written


def test_s3_the_default_is_to_read_everything_and_to_write_nothing(
    maker: Any,
    model: Callable[..., Any],
    weights: Callable[[int], bytes],
    ask: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    maker.put(model("mistral:7b", weights(1), config=CONFIG))
    before = sorted(tmp_path.rglob("*"))
    for _round in range(2):
        result = ask()
        assert (result["mode_used"], result["recorded"], result["changed"]) == ("full", 0, False)
        assert result["bytes_hashed"] > 5000
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("on_failure", ["report", "quarantine"])
def test_s3_check_mode_writes_no_record(
    maker: Any,
    model: Callable[..., Any],
    weights: Callable[[int], bytes],
    ask: Callable[..., dict[str, Any]],
    tmp_path: Path,
    on_failure: str,
) -> None:
    maker.put(model("mistral:7b", weights(1), config=CONFIG))
    before = sorted(tmp_path.rglob("*"))
    result = ask(check=True, record=str(tmp_path / "r.json"), on_failure=on_failure, quarantine=str(tmp_path))
    assert result["recorded"] == 0
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def two(maker: Any, model: Callable[..., Any], weights: Callable[[int], bytes]) -> Any:
    """A store with a good and a bad model."""
    maker.put(model("good:1", weights(1), config=CONFIG))
    made = maker.put(model("bad:1", weights(2), config=CONFIG))
    maker.rewrite(maker.blob(made.weights), b"BAD")
    return maker


def test_s3_quarantine_moves_the_bad_model_out_and_the_task_goes_on(
    two: Any, ask: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    quarantine = tmp_path / "quarantine"
    quarantine.mkdir(mode=0o700)
    options = {"on_failure": "quarantine", "quarantine": str(quarantine)}
    predicted = ask(check=True, diff=True, **options)
    assert two.manifest(two.models[1]).exists()
    assert list(quarantine.iterdir()) == []
    result = ask(diff=True, **options)
    assert not result.get("failed")
    assert (result["changed"], result["verdict"], result["remaining"]) == (True, "failed", [])
    for key in ("changed", "quarantined", "remaining", "diff", "findings"):
        assert predicted[key] == result[key], key
    (moved,) = result["quarantined"]
    assert moved["model"] == "registry.ollama.ai/library/bad:1"
    assert codes(json.loads((Path(moved["evidence"]) / "findings.json").read_text())["findings"]) == codes(
        result["findings"]
    )
    assert result["diff"]["before"].splitlines()[0] == "manifests/registry.ollama.ai/library/bad/1"
    assert two.manifest(two.models[0]).exists()
    # The next run finds the good one alone, and says that the other is missing.
    again = ask(**options)
    assert again["failed"]
    assert again["msg"].startswith("STORE-MODEL-ABSENT: ")
    assert (again["changed"], again["quarantined"]) == (False, [])
    assert not ask(allow_absent=True, **options).get("failed")


def test_s3_quarantine_fails_for_what_it_cannot_settle(
    two: Any, ask: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    (two.root / "blobs" / "stray").touch()
    (tmp_path / "q").mkdir(mode=0o700)
    result = ask(on_failure="quarantine", quarantine=str(tmp_path / "q"))
    assert result["failed"]
    assert result["msg"].startswith("STORE-UNEXPECTED-FILE: ")
    assert result["changed"]
    assert not two.manifest(two.models[1]).exists()


def test_s3_quarantine_needs_a_directory_of_its_own(
    two: Any, ask: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    assert "quarantine" in ask(on_failure="quarantine")["msg"]
    result = ask(on_failure="quarantine", quarantine=str(tmp_path / "none"))
    assert result["msg"].startswith("QUARANTINE-REFUSED: ")
    assert codes(result["findings"]) == ["QUARANTINE-REFUSED"]
    assert two.manifest(two.models[1]).exists()


def test_s3_weights_that_are_no_gguf_file_are_not_verified_although_approved(
    maker: Any, model: Callable[..., Any], ask: Callable[..., dict[str, Any]]
) -> None:
    maker.put(model("mistral:7b", b"w" * 5000))
    result = ask()
    assert result["failed"]
    assert result["msg"].startswith("GGUF-MAGIC: ")
    assert not result["models"][0]["verified"]
    statuses = {item["id"]: item["status"] for item in result["checks"]}
    assert (statuses["store-blobs-verified"], statuses["store-gguf-structure"]) == ("passed", "failed")


def test_s3_a_policy_is_followed_and_a_broken_one_fails_the_task(
    maker: Any, model: Callable[..., Any], weights: Callable[[int], bytes], ask: Callable[..., dict[str, Any]]
) -> None:
    maker.put(model("mistral:7b", weights(1), config=CONFIG))
    result = ask(policy={"architectures": ["gemma"]}, on_failure="report")
    assert codes(result["findings"]) == ["GGUF-POLICY-ARCHITECTURE"]
    assert {"id": "store-layer-policy", "status": "failed"}.items() <= result["checks"][-1].items()
    broken = ask(policy={"architecture": ["llama"]}, on_failure="report")
    assert broken["failed"]
    assert broken["msg"].startswith("POLICY-INVALID: ")
