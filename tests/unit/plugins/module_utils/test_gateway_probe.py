# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows P1, P2, P4, P7, M1: what the probe calls a pass; no protection may be missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import gateway_probe as probe
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError

QUESTION = "What is the capital of France?"
METRICS = "\n".join(
    f"# TYPE {name} counter"
    for name in ("ollama_requests", "ollama_blocked_requests", "ollama_response_seconds")
)
METRICS += "\n# TYPE ollama_rag_documents_accessed counter\n"


class Gateway(probe.GatewayProbe):
    """The probe with a gateway of ours behind it: `holes` names the protections it lacks."""

    def __init__(self, audit_log: Path, holes: set[str]) -> None:
        super().__init__(
            probe.Settings(
                url="https://127.0.0.1:8443",
                api_key="rmp_key",
                limited_api_key="rmp_limited",
                model="m:1",
                question=QUESTION,
                audit_log=str(audit_log),
            )
        )
        self.holes = holes
        self.asked = 0

    def request(
        self, method: str, path: str, body: Any = None, key: str | None = None, socket_path: str = ""
    ) -> probe.Answer:
        status, document, headers = self.decide(method, path, body or {}, key, socket_path)
        content = document.encode() if isinstance(document, str) else json.dumps(document).encode()
        return probe.Answer(status, headers, content, 0.1)

    def decide(
        self, method: str, path: str, body: dict[str, Any], key: str | None, socket_path: str
    ) -> tuple[int, Any, dict[str, str]]:
        del method

        def no(status: int, code: str, **headers: str) -> tuple[int, Any, dict[str, str]]:
            return status, {"error": {"code": code}}, headers

        answer = {"message": {"content": "Paris."}, "prompt_eval_count": 200}
        if path == "/metrics":
            return (
                (200, METRICS, {}) if socket_path or "metrics" in self.holes else no(404, "GW-ROUTE-REFUSED")
            )
        if socket_path:
            return 200, {**answer, "prompt_eval_count": 12}, {}
        if key not in ("rmp_key", "rmp_limited") and "key" not in self.holes:
            return no(401, "GW-UNAUTHENTICATED")
        if path != "/api/chat":
            return (200, {}, {}) if "routes" in self.holes else no(403, "GW-ROUTE-REFUSED")
        if body["model"] != "m:1" and "model" not in self.holes:
            return no(403, "GW-MODEL-REFUSED")
        if "template" in body and "fields" not in self.holes:
            return no(400, "GW-FIELD-REFUSED")
        if body["messages"][0]["role"] == "system" and "roles" not in self.holes:
            return no(400, "GW-FIELD-REFUSED")
        if len(body["messages"][-1]["content"]) > 5000 and "length" not in self.holes:
            return no(413, "GW-PROMPT-TOO-LONG")
        if key == "rmp_limited" and "limit" not in self.holes:
            self.asked += 1
            if self.asked > 1:
                headers = {} if "retry" in self.holes else {"retry-after": "3600"}
                return no(429, "GW-RATE-LIMIT", **headers)
        if "prompt" in self.holes:
            answer["prompt_eval_count"] = 14
        return 200, answer, {}


def audit_record(**changes: Any) -> dict[str, Any]:
    record: dict[str, Any] = dict.fromkeys(probe.AUDIT_FIELDS)
    return {**record, "query_length": len(QUESTION), "query_hash": "hmac-sha256:" + "0" * 64, **changes}


def run(tmp_path: Path, *holes: str, records: list[dict[str, Any]] | None = None) -> dict[str, str]:
    log = tmp_path / "audit.jsonl"
    log.write_text("\n".join(json.dumps(item) for item in records or [audit_record()]), encoding="utf-8")
    report = Gateway(log, set(holes)).run()
    statuses = {item.id: item.status for item in report.checks}
    failed = {item.subject for item in report.findings}
    assert failed == {name for name, status in statuses.items() if status != "passed"}
    return statuses


def test_a_gateway_that_keeps_its_promises_passes(tmp_path: Path) -> None:
    statuses = run(tmp_path)
    assert set(statuses.values()) == {"passed"}
    assert len(statuses) == 14


@pytest.mark.parametrize(
    ("hole", "named"),
    [
        ("key", {"gateway-no-key-refused", "gateway-unknown-key-refused"}),
        ("routes", {"gateway-pull-refused", "gateway-delete-refused"}),
        ("model", {"gateway-unknown-model-refused"}),
        ("fields", {"gateway-field-refused"}),
        ("roles", {"gateway-system-role-refused"}),
        ("length", {"gateway-length-limit"}),
        ("prompt", {"gateway-system-prompt"}),
        ("limit", {"gateway-rate-limit"}),
        ("retry", {"gateway-rate-limit"}),
        ("metrics", {"gateway-metrics"}),
    ],
)
def test_each_missing_protection_is_named(tmp_path: Path, hole: str, named: set[str]) -> None:
    """Remove one protection of the gateway: its check, and no other, goes red."""
    statuses = run(tmp_path, hole)
    assert {name for name, status in statuses.items() if status != "passed"} == named


@pytest.mark.parametrize(
    "record",
    [
        audit_record(query_hash="sha256:" + "0" * 64),
        audit_record(query_length=1),
        {key: value for key, value in audit_record().items() if key != "action"},
    ],
)
def test_an_audit_record_of_another_form_is_no_pass(tmp_path: Path, record: dict[str, Any]) -> None:
    """P7: a plain hash, a missing field or a missing record."""
    assert run(tmp_path, records=[record])["gateway-audit-record"] == "failed"


@pytest.mark.parametrize("text", [QUESTION, "Bearer rmp_key"])
def test_prompt_text_or_key_in_the_audit_log_is_no_pass(tmp_path: Path, text: str) -> None:
    """P7: no prompt text, no key."""
    statuses = run(tmp_path, records=[audit_record(note=text)])
    assert statuses["gateway-audit-no-text"] == "failed"


def test_without_an_audit_log_nothing_about_it_passes(tmp_path: Path) -> None:
    report = Gateway(tmp_path / "absent.jsonl", set()).run()
    statuses = {item.id: item.status for item in report.checks}
    assert statuses["gateway-audit-record"] == statuses["gateway-audit-no-text"] == "failed"


def test_a_gateway_that_is_down_is_one_clear_error(tmp_path: Path) -> None:
    settings = probe.Settings(
        url="https://127.0.0.1:1", api_key="k", model="m:1", question=QUESTION, timeout=2
    )
    with pytest.raises(FindingError, match=r"PROBE-UNREACHABLE.*rampart-edge"):
        probe.GatewayProbe(settings).run()


@pytest.mark.parametrize("url", ["http://127.0.0.1:8443", "127.0.0.1", "https://"])
def test_only_https_is_asked(url: str) -> None:
    """P1: a key never goes over a connection without TLS."""
    with pytest.raises(FindingError, match="PROBE-URL"):
        probe.GatewayProbe(probe.Settings(url=url, api_key="k", model="m:1", question=QUESTION))
