# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S6, I5: a revoked model is named by the watch before the next run takes it out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.isolation import Expectation
from ansible_collections.rampart.ollama.plugins.module_utils.revocation import parse_revocations
from ansible_collections.rampart.ollama.plugins.module_utils.revocation_memory import remember
from ansible_collections.rampart.ollama.plugins.module_utils.watch_look import Eyes
from ansible_collections.rampart.ollama.plugins.module_utils.watch_policy import DEFAULT_POLICY, Observation

pytestmark = [pytest.mark.row("S6"), pytest.mark.row("I5")]
SAID = {"reason": "withdrawn", "revoked_date": "2026-02-01", "revoked_by": "rssi@example.org"}


@pytest.fixture
def look(maker: Any, tmp_path: Path) -> Callable[[], list[Observation]]:
    """What the watch sees of the store; the host's memory lies beside it."""
    expected = Expectation(store=str(maker.root))
    engine: Any = None  # not asked about files
    eyes = Eyes(expected, engine, revocations=str(tmp_path / "revocations.json"))
    return lambda: eyes.revoked().observations


def test_a_model_revoked_after_it_was_published_is_named(
    maker: Any, model: Callable[..., Any], look: Callable[[], list[Observation]], tmp_path: Path
) -> None:
    made, other = maker.put(model("mistral:7b", b"w")), maker.put(model("other:1b", b"x"))
    assert look() == []
    remember(tmp_path / "revocations.json", parse_revocations([{**SAID, "digest": made.digest}]))
    (seen,) = look()
    assert seen.finding.code == "STORE-REVOKED-MODEL"
    assert "mistral" in seen.finding.subject + seen.finding.evidence
    assert "other" not in seen.finding.subject + seen.finding.evidence
    assert other.digest not in seen.finding.evidence
    # Taking it out of service is the next run's; what an outsider publishes stops nothing.
    assert DEFAULT_POLICY.get(seen.finding.code, "log") == "log"


def test_a_memory_that_cannot_be_read_is_a_finding_and_no_silence(
    maker: Any, model: Callable[..., Any], look: Callable[[], list[Observation]], tmp_path: Path
) -> None:
    maker.put(model("mistral:7b", b"w"))
    (tmp_path / "revocations.json").write_text("{broken")
    assert [seen.finding.code.partition("-")[0] for seen in look()] == ["REVOCATION"]
