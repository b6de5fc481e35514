# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S9: what is about to be used is held, digest by digest, against what was tested."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.plugin_utils import collection_digest, promotion, subjects
from promotion_rig import CATALOGUE, Company, hexes, lock

pytestmark = pytest.mark.row("S9")

NOW = datetime.datetime(2026, 11, 24, 12, 0, tzinfo=datetime.UTC)


@pytest.fixture
def company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Company:
    monkeypatch.setattr(collection_digest, "collection_digest", lambda root=None: hexes("d"))
    return Company(tmp_path, NOW)


def promoted(company: Company) -> dict[str, str]:
    """The subjects of a promotion that counts."""
    judged = promotion.judge(company.dev_to_staging(), "staging", company.trusted, CATALOGUE, company.now, 14)
    assert judged.statement is not None and not judged.findings
    return dict(judged.statement.subjects)


class TestDigests:
    def test_what_is_about_to_be_used_is_what_was_tested(self, company: Company) -> None:
        tested = promoted(company)
        assert subjects.differences(company.wanted("staging"), tested, "x") == []

    @pytest.mark.parametrize("name", ["model", "image", "archive", "collection", "more"])
    def test_one_other_digest_is_named(self, company: Company, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        tested = promoted(company)
        if name == "model":
            company.approve(hexes("9"))
        elif name == "image":
            company.images.write_text(json.dumps(lock(gateway="9")), encoding="utf-8")
        elif name == "archive":
            company.images.write_text(json.dumps({**lock(), "archive_sha256": hexes("9")}), encoding="utf-8")
        elif name == "collection":
            monkeypatch.setattr(collection_digest, "collection_digest", lambda root=None: hexes("9"))
        else:
            company.images.write_text(json.dumps(lock(shipper="9")), encoding="utf-8")
        found = subjects.differences(company.wanted("staging"), tested, "the evidence")
        assert [item.code for item in found] == ["PROMOTION-DIGEST"]
        assert hexes("9")[:16] in found[0].evidence

    def test_a_model_s_name_is_compared_as_ollama_does(self) -> None:
        one = subjects.model_subjects([("mistral:7B-Q4", "sha256:" + hexes("A"))])
        assert one == {"model/registry.ollama.ai/library/mistral:7b-q4": hexes("a")}
        with pytest.raises(FindingError, match="PROMOTION-DIGEST"):
            subjects.model_subjects([("x:Q", "sha256:" + hexes("a")), ("X:q", "sha256:" + hexes("b"))])

    @pytest.mark.parametrize(
        "text",
        ["", "[]", "{}", '{"images": {}}', '{"images": {"x": {}}, "archive_sha256": "' + hexes("a") + '"}', "[" * 9999],
    )
    def test_an_images_json_that_is_none_is_said(self, company: Company, text: str) -> None:
        company.images.write_text(text, encoding="utf-8")
        with pytest.raises(FindingError, match="IMAGES-NOT-BUILT"):
            company.wanted("staging")
        company.images.unlink()
        with pytest.raises(FindingError, match="IMAGES-NOT-BUILT"):
            subjects.read_lock(company.images)

    def test_a_model_that_is_not_approved_for_the_target_is_said(self, company: Company) -> None:
        company.approve(environments=["dev"])
        with pytest.raises(FindingError, match="APPROVAL-MISSING"):
            company.wanted("staging")
