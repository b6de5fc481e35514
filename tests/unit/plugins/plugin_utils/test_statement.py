# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S9: what evidence says when it is put into one statement, and which evidence is not put into one."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.plugin_utils import attestation, collection_digest, trust
from ansible_collections.rampart.ollama.plugins.plugin_utils import statement as statements
from promotion_rig import CATALOGUE, DAY, MODEL, Company, altered, hexes, lock

pytestmark = pytest.mark.row("S9")

NOW = datetime.datetime(2026, 11, 24, 12, 0, tzinfo=datetime.UTC)
WHOLE = [{"name": MODEL, "digest": "sha256:" + hexes("c"), "verified": True}]
RUNNING = {name: lock()["images"][name]["id"] for name in ("relay", "ollama", "gateway")}


@pytest.fixture
def company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Company:
    monkeypatch.setattr(collection_digest, "collection_digest", lambda root=None: hexes("d"))
    company = Company(tmp_path, NOW)
    company.run("dev", ["h1", "h2"])
    return company


def code_of(run: Callable[[], Any]) -> str:
    with pytest.raises(FindingError) as refused:
        run()
    assert refused.value.finding.remedy
    return refused.value.finding.code


def test_names_models_images_archive_and_collection(company: Company) -> None:
    document = json.loads(company.payload("dev", ["h1", "h2"]))
    found = {entry["name"]: entry["digest"]["sha256"] for entry in document["subject"]}
    assert found == {
        f"model/{MODEL.lower()}": hexes("c"),
        "image-archive/images.tar": hexes("a"),
        "image/relay": hexes("1"),
        "image/egress": hexes("2"),
        "image/fetcher": hexes("3"),
        "image/gateway": hexes("4"),
        "image/ollama": hexes("5"),
        "collection/rampart.ollama": hexes("d"),
    }
    assert found == company.wanted("dev")


def test_says_who_was_tested_with_what_result(company: Company) -> None:
    company.run("dev", ["h2"], failed=["attack-egress-dns"])
    predicate = json.loads(company.payload("dev", ["h1", "h2"]))["predicate"]
    assert (predicate["environment"], predicate["promotes_to"]) == ("dev", "staging")
    assert predicate["created_at"] == "2026-11-24T12:00:00Z"
    first, second = predicate["hosts"]
    assert (first["name"], second["name"]) == ("h1", "h2")
    assert (first["controls"]["I6"], second["controls"]["I6"]) == ("passed", "failed")
    assert (first["mandatory_open"], second["mandatory_open"]) == ([], ["I6"])
    assert set(first["controls"]) == {control.id for control in CATALOGUE}
    assert first["not_covered"] == [control.id for control in CATALOGUE if not control.checks]
    path = company.reports_of("dev") / "dev/h1/phase3.json"
    assert first["phases"][2]["evidence_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_is_the_same_for_the_same_evidence(company: Company) -> None:
    one = company.payload("dev", ["h2", "h1"])
    assert one == company.payload("dev", ["h1", "h2", "h1"])
    company.now += DAY
    later = company.payload("dev", ["h1", "h2"])
    assert later != one
    assert statements.same_but_for_time(one, later)
    company.write("dev", "h1", 5)
    assert not statements.same_but_for_time(one, company.payload("dev", ["h1", "h2"]))


def test_is_read_back_as_it_was_made(company: Company) -> None:
    envelope = company.signed(company.payload("dev", ["h1", "h2"]), "dev")
    statement = statements.parse(envelope)
    assert statement.environment == "dev"
    assert statement.created_at == NOW
    assert [host.name for host in statement.hosts] == ["h1", "h2"]
    assert statement.hosts[0].phases[1].collected_at == NOW - DAY + datetime.timedelta(minutes=1)
    assert len(statement.moments) == 10
    text = "\n".join(statements.describe(statement, trust.signers(envelope, company.trusted, NOW), envelope.id))
    for word in ("alice@example.org", "h2", hexes("c"), "not_covered"):
        assert word in text


def test_what_a_host_says_cannot_move_the_terminals_cursor(company: Company) -> None:
    payload = altered(company.payload("dev"), lambda doc: doc["predicate"]["hosts"][0].update(name="h\x1b[2Jx"))
    statement = statements.parse(attestation.Envelope(payload))
    assert "\x1b" not in "\n".join(statements.describe(statement, (), "x"))


class TestEvidenceThatIsNotSigned:
    def test_missing(self, company: Company) -> None:
        (company.reports_of("dev") / "dev/h2/phase4.json").unlink()
        assert code_of(lambda: company.payload("dev", ["h1", "h2"])) == "EVIDENCE-MISSING"
        assert code_of(lambda: company.payload("dev", ["h1", "h3"])) == "EVIDENCE-MISSING"
        assert code_of(lambda: company.payload("dev", [])) == "EVIDENCE-MISSING"

    def test_phase_five_is_staging_s_business(self, company: Company) -> None:
        for environment in ("dev", "staging"):
            company.run(environment)
            (company.reports_of(environment) / environment / "h1/phase5.json").unlink()
        company.payload("dev")
        assert code_of(lambda: company.payload("staging")) == "EVIDENCE-MISSING"

    @pytest.mark.parametrize("phase", [1, 2, 3])
    def test_of_a_state_that_was_changed_since(self, company: Company, phase: int) -> None:
        """Install something else after the tests, and the tests say nothing any more."""
        company.write("dev", "h1", phase, at=NOW - DAY / 2)
        assert code_of(lambda: company.payload("dev")) == "EVIDENCE-ORDER"

    @pytest.mark.parametrize("change", [{"host": "h2"}, {"environment": "staging"}, {"phase": 3}])
    def test_copied_from_elsewhere(self, company: Company, change: dict[str, Any]) -> None:
        company.write("dev", "h1", 4, instead=change)
        assert code_of(lambda: company.payload("dev")) == "EVIDENCE-FOREIGN"

    def test_made_by_other_code(self, company: Company) -> None:
        company.write("dev", "h1", 4, collection_digest=hexes("e"))
        assert code_of(lambda: company.payload("dev")) == "EVIDENCE-COLLECTION"

    @pytest.mark.parametrize(
        ("phase", "change"),
        [
            (4, {"collection_digest": None}),
            (2, {"subjects": None}),
            (2, {"subjects": {"models": [], "images": lock()}}),
            (2, {"subjects": {"images": lock()}}),
            (2, {"subjects": {"models": [{"name": MODEL, "digest": "x", "verified": True}], "images": lock()}}),
            (3, {"subjects": {}}),
            (4, {"subjects": None}),
            (4, {"subjects": {"models": WHOLE, "running": {"relay": "sha256:" + hexes("1")}}}),
            (4, {"subjects": {"models": WHOLE, "running": {**RUNNING, "gateway": "rampart/gateway:0.2.0"}}}),
            (
                2,
                {
                    "subjects": {
                        "models": WHOLE,
                        "images": {"images": {"relay": {"id": "rampart/relay:0.1.0"}}, "archive_sha256": hexes("a")},
                    }
                },
            ),
        ],
    )
    def test_that_does_not_say_of_what_it_is(self, company: Company, phase: int, change: dict[str, Any]) -> None:
        company.write("dev", "h1", phase, **change)
        assert code_of(lambda: company.payload("dev")) == "EVIDENCE-UNBOUND"

    @pytest.mark.parametrize("verified", [False, None, "yes", 1])
    def test_of_a_model_that_was_not_whole(self, company: Company, verified: Any) -> None:
        models = [{"name": MODEL, "digest": "sha256:" + hexes("c"), "verified": verified}]
        company.write("dev", "h1", 2, subjects={"models": models, "images": lock()})
        assert code_of(lambda: company.payload("dev")) == "EVIDENCE-UNVERIFIED"

    def test_of_a_model_that_was_not_read_again(self, company: Company) -> None:
        """A verification in mode changed trusts a record; a promotion rests on bytes that were read."""
        models = [{"name": MODEL, "digest": "sha256:" + hexes("c"), "verified": True, "not_reread_since": ""}]
        company.write("dev", "h1", 2, subjects={"models": models, "images": lock()})
        assert company.payload("dev")
        models[0]["not_reread_since"] = "2026-11-01T00:00:00Z"
        company.write("dev", "h1", 2, subjects={"models": models, "images": lock()})
        assert code_of(lambda: company.payload("dev")) == "EVIDENCE-UNVERIFIED"

    def test_of_hosts_that_differ(self, company: Company) -> None:
        bound = company.record("dev", "h2", 2)["subjects"]
        company.write("dev", "h2", 2, subjects={**bound, "images": lock(egress="9")})
        assert company.payload("dev", ["h2"])
        assert code_of(lambda: company.payload("dev", ["h1", "h2"])) == "EVIDENCE-MIXED"

    @pytest.mark.parametrize("phase", [3, 4])
    @pytest.mark.parametrize(
        ("models", "running"),
        [
            pytest.param([{**WHOLE[0], "digest": "sha256:" + hexes("e")}], {}, id="another-model-under-the-name"),
            pytest.param([*WHOLE, {**WHOLE[0], "name": MODEL + "-2"}], {}, id="a-model-more"),
            pytest.param([{**WHOLE[0], "name": MODEL + "-2"}], {}, id="another-model"),
            pytest.param(WHOLE, {"ollama": "sha256:" + hexes("9")}, id="a-server-of-another-image"),
            pytest.param(WHOLE, {"sidecar": "sha256:" + hexes("9")}, id="a-container-that-phase-2-did-not-name"),
        ],
    )
    def test_of_other_bytes_than_were_installed(
        self, company: Company, phase: int, models: list[dict[str, Any]], running: dict[str, str]
    ) -> None:
        """A model swapped or an image overridden after phase 2: what was tested is not what would be signed."""
        company.write("dev", "h1", phase, subjects={"models": models, "running": {**RUNNING, **running}})
        assert code_of(lambda: company.payload("dev")) == "EVIDENCE-MIXED"

    @pytest.mark.parametrize("phase", [3, 4])
    def test_of_a_model_that_was_not_whole_when_it_was_tested(self, company: Company, phase: int) -> None:
        models = [{**WHOLE[0], "verified": False}]
        company.write("dev", "h1", phase, subjects={"models": models, "running": RUNNING})
        assert code_of(lambda: company.payload("dev")) == "EVIDENCE-UNVERIFIED"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "{}",
            '{"schema": 1}',
            '{"schema": 1, "schema": 1}',
            '{"schema": 1, "collected_at": "2026-11-23T12:00:00Z", "checks": [1], "verdict": "passed"}',
            '{"schema": 1, "collected_at": "now", "checks": [], "verdict": "passed"}',
            '{"schema": 1, "collected_at": "2026-11-23T12:00:00Z", "checks": [], "verdict": []}',
            "[" * 100_000,
        ],
    )
    def test_that_is_none(self, company: Company, text: str) -> None:
        (company.reports_of("dev") / "dev/h1/phase3.json").write_text(text, encoding="utf-8")
        assert code_of(lambda: company.payload("dev")) == "EVIDENCE-READ"

    def test_with_a_check_that_is_none(self, company: Company) -> None:
        company.write("dev", "h1", 3, checks=[{"id": "x", "status": "splendid"}])
        assert code_of(lambda: company.payload("dev")) == "EVIDENCE-READ"

    @pytest.mark.parametrize("host", ["../h1", "a/b", "", ".."])
    def test_of_a_host_whose_name_leaves_the_directory(self, company: Company, host: str) -> None:
        assert code_of(lambda: company.payload("dev", [host])) == "EVIDENCE-NAME"


class TestStatementsThatAreRefused:
    @pytest.mark.parametrize(
        "change",
        [
            {"environment": "everywhere"},
            {"environment": ["dev"]},
            {"promotes_to": None},
            {"created_at": "2026-11-24"},
            {"created_at": "2026-11-24T12:00:00Z\n"},
            {"hosts": []},
            {"hosts": {}},
            {"hosts": ["h1"]},
            {"hosts": [{"name": "h1"}]},
            {"hosts": [{"name": "h1", "phases": [], "controls": []}]},
            {"hosts": [{"name": "h1", "phases": [1], "controls": {}}]},
            {
                "hosts": [
                    {"name": "h1", "phases": [{"phase": True, "collected_at": "2026-11-24T12:00:00Z"}], "controls": {}}
                ]
            },
            {
                "hosts": [
                    {"name": "h1", "phases": [{"phase": [], "collected_at": "2026-11-24T12:00:00Z"}], "controls": {}}
                ]
            },
            {"hosts": [{"name": "h1", "phases": [], "controls": {"I6": "fine"}}]},
            {"hosts": [{"name": "h1", "phases": [], "controls": {"I6": ["passed"]}}]},
            {"promotion": 1},
            {"promotion": {"payload": "", "payloadType": "application/json", "signatures": []}},
        ],
    )
    def test_whatever_is_wrong_with_them(self, company: Company, change: dict[str, Any]) -> None:
        payload = altered(company.payload("dev"), lambda doc: doc["predicate"].update(change))
        assert code_of(lambda: statements.parse(attestation.Envelope(payload))) == "ATTESTATION-INVALID"

    def test_one_host_or_phase_twice(self, company: Company) -> None:
        """The second would hide the first, or the first the second."""

        def twice(document: dict[str, Any]) -> None:
            document["predicate"]["hosts"] *= 2

        def phase_twice(document: dict[str, Any]) -> None:
            document["predicate"]["hosts"][0]["phases"] *= 2

        for change in (twice, phase_twice):
            envelope = attestation.Envelope(altered(company.payload("dev"), change))
            with pytest.raises(FindingError, match="ATTESTATION-INVALID"):
                statements.parse(envelope)
