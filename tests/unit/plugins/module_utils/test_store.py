# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S3: a look at a store: few findings that hide nothing, and what it could not see."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import store
from ansible_collections.rampart.ollama.plugins.module_utils.findings import Severity
from ansible_collections.rampart.ollama.plugins.module_utils.store import FINDINGS_PER_CODE, FindingList
from ansible_collections.rampart.ollama.plugins.module_utils.verify import verify

pytestmark = pytest.mark.row("S3")


def test_what_is_cut_short_keeps_its_worst_severity() -> None:
    """Fifty harmless findings must not hide a bad one of the same code."""
    findings = FindingList()
    for number in range(FINDINGS_PER_CODE):
        findings.add("STORE-PARTIAL", Severity.LOW, str(number), "left over", "Delete it.")
    for severity in (Severity.LOW, Severity.MEDIUM, Severity.LOW):
        findings.add("STORE-PARTIAL", severity, "one more", "left over", "Delete it.")
    items = findings.items()
    assert len(items) == FINDINGS_PER_CODE + 1
    assert (items[-1].severity, items[-1].evidence) == (Severity.MEDIUM, "3 more like the 50 named")
    assert findings.count("STORE-PARTIAL") == FINDINGS_PER_CODE + 3


def test_left_overs_of_a_run_do_not_hide_a_partial_download(maker: Any) -> None:
    (maker.root / ".publishing").mkdir()
    (maker.root / "blobs").mkdir()
    for number in range(FINDINGS_PER_CODE):
        (maker.root / ".publishing" / str(number)).touch()
    assert verify(maker.store, {}).verdict == "passed"
    (maker.root / "blobs" / "x.tmp").touch()
    assert verify(maker.store, {}).verdict == "failed"


def test_a_manifest_whose_path_is_no_name_is_listed_apart(maker: Any, model: Callable[..., Any]) -> None:
    made = maker.put(model("mistral:7b", b"w"))
    stray = maker.manifest(made).parent / "x-cloud"
    stray.write_bytes(made.manifest)
    content = maker.store.look()
    assert content.nameless == ["manifests/registry.ollama.ai/library/mistral/x-cloud"]
    assert [item.name.tag for item in content.models] == ["7b"]
    assert content.complete


def test_a_look_that_could_not_see_everything_says_so(
    maker: Any, model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    maker.put(model("mistral:7b", b"w"))
    real = os.scandir

    def refusing(path: Any) -> Any:
        if str(path).endswith("library"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(store.os, "scandir", refusing)
    content = maker.store.look()
    assert not content.complete
    assert content.models == []
    assert [item.code for item in content.findings.items()] == ["STORE-READ-ERROR"]
