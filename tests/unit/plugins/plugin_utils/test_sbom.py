# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S8: the bill says the same for the same content, is written whole or not at all, and reads no nonsense."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.findings import Finding, FindingError, Severity
from ansible_collections.rampart.ollama.plugins.plugin_utils import evidence, sbom, sbom_document
from ansible_collections.rampart.ollama.plugins.plugin_utils.sbom import images_from, put

pytestmark = pytest.mark.row("S8")

LIST = "[os-release]\nID=debian\nVERSION_ID=13\n[dpkg]\nlibc6\t2.41\tamd64\tinstalled\tglibc\t2.41\n[python]\n[end]\n"


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def document_of(*names: str) -> dict[str, Any]:
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "device", "name": "h1", "bom-ref": "host:h1"}},
        "components": [{"type": "library", "name": name, "bom-ref": name} for name in names],
    }


# --- writing


@pytest.fixture
def document() -> dict[str, Any]:
    return document_of("libc6", "Apache-2.0")


def test_s8_a_second_run_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = put(document_of("libc6", "zlib1g"), tmp_path, "dev", "h1")
    data = first.path.read_bytes()
    assert first.changed
    assert first.path == tmp_path / "dev/h1/sbom.cdx.json"
    assert first.sha256 == hashlib.sha256(data).hexdigest()
    sbom_document.validate(json.loads(data))
    monkeypatch.setattr(evidence, "now", lambda: "2099-01-01T00:00:00Z")
    again = put(document_of("libc6", "zlib1g"), tmp_path, "dev", "h1")
    assert not again.changed
    assert (again.sha256, again.serial_number) == (first.sha256, first.serial_number)
    assert first.path.read_bytes() == data
    assert [item.name for item in first.path.parent.iterdir()] == ["sbom.cdx.json"]


def test_s8_the_serial_number_is_the_contents(document: dict[str, Any], tmp_path: Path) -> None:
    one = put(document, tmp_path / "a", "dev", "h1", "2026-01-01T00:00:00Z")
    two = put(document, tmp_path / "b", "dev", "h1", "2026-02-02T00:00:00Z")
    assert one.serial_number == two.serial_number
    assert one.serial_number == json.loads(one.path.read_text())["serialNumber"]
    other = put(document_of("libc6"), tmp_path / "a", "dev", "h1")
    assert other.serial_number != one.serial_number
    assert other.changed
    assert set(one.after) - set(other.after) == {"Apache-2.0"}
    assert other.before == one.after


def test_s8_a_fixed_time_makes_the_same_bytes(document: dict[str, Any], tmp_path: Path) -> None:
    when = "2026-01-01T00:00:00Z"
    one = put(document, tmp_path / "a", "dev", "h1", when)
    two = put(document, tmp_path / "b", "dev", "h1", when)
    assert one.path.read_bytes() == two.path.read_bytes()
    assert not put(document, tmp_path / "a", "dev", "h1", when).changed
    assert put(document, tmp_path / "a", "dev", "h1", "2026-01-02T00:00:00Z").changed


@pytest.mark.parametrize("when", ["now", "2026-01-01", "2026-13-41T00:00:00Z\n", "2026-01-01T00:00:00+01:00"])
def test_s8_a_time_that_is_none_is_refused(document: dict[str, Any], tmp_path: Path, when: str) -> None:
    with pytest.raises(FindingError, match="SBOM-INPUT"):
        put(document, tmp_path, "dev", "h1", when)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: "{",
        lambda text: "[]",
        lambda text: "[" * 100_000,
        lambda text: text.replace("Apache-2.0", "MIT"),
        lambda text: text.replace('"serialNumber": "urn:uuid:', '"serialNumber": "urn:uuid:0'),
        lambda text: text + "\n",
        lambda text: text.replace('"timestamp": "', '"timestamp": "x'),
        lambda text: "\ud800",
    ],
)
def test_s8_a_bill_that_somebody_edited_is_written_again(
    document: dict[str, Any], tmp_path: Path, spoil: Callable[[str], str]
) -> None:
    when = "2026-01-01T00:00:00Z"
    first = put(document, tmp_path, "dev", "h1", when)
    good = first.path.read_text(encoding="utf-8")
    first.path.write_bytes(spoil(good).encode("utf-8", "surrogatepass"))
    again = put(document, tmp_path, "dev", "h1", when)
    assert again.changed
    assert first.path.read_text(encoding="utf-8") == good


def test_s8_check_mode_writes_nothing(document: dict[str, Any], tmp_path: Path) -> None:
    assert put(document, tmp_path, "dev", "h1", check_mode=True).changed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["../h1", "a/b", "", "..", "-x\n"])
def test_s8_a_host_name_does_not_leave_the_directory(document: dict[str, Any], tmp_path: Path, host: str) -> None:
    with pytest.raises(evidence.EvidenceError, match="EVIDENCE-NAME"):
        put(document, tmp_path / "reports", "dev", host)
    assert list(tmp_path.iterdir()) == []


def test_s8_the_check_says_passed_only_when_everything_is_listed(document: dict[str, Any], tmp_path: Path) -> None:
    written = put(document, tmp_path, "dev", "h1")
    good = sbom.sbom_check(written, [], 12)
    assert (good.id, good.status) == ("sbom-written", "passed")
    assert written.sha256 in good.evidence
    incomplete = Finding("SBOM-IMAGE-UNKNOWN", Severity.MEDIUM, "image relay", "no list", "Take it.")
    assert sbom.sbom_check(written, [incomplete], 12).status == "unknown"
    told = Finding("SBOM-IMAGE-NO-LIST", Severity.LOW, "image ollama", "no dpkg", "Ask its supplier.")
    assert sbom.sbom_check(written, [told], 12).status == "passed"
    assert sbom.sbom_check(None, [], 12).status == "unknown"


# --- what the role hands in


def lock(**images: Any) -> dict[str, Any]:
    return {
        "archive_sha256": "a" * 64,
        "bases": {"debian": {"name": "debian:13-slim"}, "ollama": {"name": "ollama/ollama:0.33.0"}},
        "images": images,
    }


def test_s8_images_of_a_lock_with_their_lists(tmp_path: Path) -> None:
    (tmp_path / (digest("relay")[7:] + ".txt")).write_text(LIST)
    (tmp_path / (digest("ollama")[7:] + ".txt")).write_text("[none]\n")
    raw = {key: {"name": "rampart/{0}:1".format(key), "id": digest(key)} for key in ("relay", "ollama", "gateway")}
    gateway, ollama, relay = images_from(lock(**raw), tmp_path)
    assert gateway.content is None
    assert ollama.content is not None
    assert not ollama.content.listed
    assert ollama.base["name"] == "ollama/ollama:0.33.0"
    assert relay.content is not None
    assert relay.content.debs[0].name == "libc6"
    assert relay.base["name"] == "debian:13-slim"


def test_s8_an_image_that_is_not_built_yet_has_no_identity(tmp_path: Path) -> None:
    (foreseen,) = images_from(lock(relay={"id": "rampart/relay:0.1.0"}), tmp_path)
    assert (foreseen.id, foreseen.content) == ("", None)


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        {},
        {"images": {}},
        {"images": []},
        {"images": {"relay": "sha256:x"}},
        {"images": {"relay": {}}},
        {"images": {"../relay": {"id": "x"}}},
        {"images": {"relay": {"id": 5}}},
        {"images": {"i{0}".format(number): {"id": "x"} for number in range(65)}},
    ],
)
def test_s8_a_lock_of_another_form_is_refused(bad: Any, tmp_path: Path) -> None:
    with pytest.raises(FindingError) as caught:
        images_from(bad, tmp_path)
    assert caught.value.finding.code == "SBOM-INPUT"


def test_s8_a_list_that_cannot_be_read_is_one_finding(tmp_path: Path) -> None:
    (tmp_path / (digest("relay")[7:] + ".txt")).mkdir()
    with pytest.raises(FindingError, match="SBOM-INPUT"):
        images_from(lock(relay={"id": digest("relay")}), tmp_path)
    (tmp_path / (digest("relay")[7:] + ".txt")).rmdir()
    (tmp_path / (digest("relay")[7:] + ".txt")).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FindingError, match="SBOM-PACKAGE-LIST"):
        images_from(lock(relay={"id": digest("relay")}), tmp_path)


@pytest.mark.parametrize(
    "entry",
    [
        {},
        "mistral",
        {"reference": "m:1", "digest": None, "blobs": [{"digest": digest("b"), "size": 1}]},
        {"reference": "m:cloud", "digest": digest("m"), "blobs": [{"digest": digest("b"), "size": 1}]},
    ],
)
def test_s8_a_model_that_is_not_pinned_is_in_no_bill(entry: Any) -> None:
    with pytest.raises(FindingError, match=r"^(APPROVAL|NAME)-"):
        sbom.models_of([entry])
