# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S8: the document lists what there is, is valid CycloneDX 1.6, and says what it cannot list."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import pytest
from packageurl import PackageURL

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.module_utils.manifest import CONFIG_TYPE, LAYER_PREFIX
from ansible_collections.rampart.ollama.plugins.plugin_utils import sbom, sbom_document
from ansible_collections.rampart.ollama.plugins.plugin_utils.sbom import Image, Inventory
from ansible_collections.rampart.ollama.plugins.plugin_utils.sbom_packages import Deb, Distribution, ImageContent

pytestmark = pytest.mark.row("S8")

DEBIAN13, UBUNTU, DEBIAN12 = Distribution("debian", "13"), Distribution("ubuntu", "24.04"), Distribution("debian", "12")
LIBC = Deb("libc6", "2.41-12", "amd64", "glibc", "2.41-12")
SOCAT = Deb("socat", "1.8.0.3-1", "amd64", "socat", "1.8.0.3-1")
PINS = {("aiohttp", "3.14.5"): ("1" * 64, "2" * 64)}


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def image(key: str, content: ImageContent | None, **changes: Any) -> Image:
    base = {"name": "debian:13-slim", "id": digest("base"), "digests": ["debian@" + digest("repo")]}
    return dataclasses.replace(Image(key, "rampart/{0}:0.1.0".format(key), digest(key), base, content), **changes)


ENTRY = {
    "name": "mistral",
    "version": "7b",
    "reference": "mistral:7b-instruct",
    "digest": digest("manifest"),
    "size": 300,
    "blobs": [
        {"digest": digest("config"), "size": 100, "media_type": CONFIG_TYPE},
        {"digest": digest("weights"), "size": 150, "media_type": LAYER_PREFIX + "model"},
        {"digest": digest("license"), "size": 50, "media_type": LAYER_PREFIX + "license"},
    ],
    "source": "registry.ollama.ai",
    "licence": "Apache-2.0",
    "verified_date": "2026-11-20",
    "verified_by": "security@example.org",
    "risk_level": "LOW",
    "approved_uses": ["internal_chatbot", "summaries"],
    "prohibited_uses": ["customer_data"],
    "environments": ["dev", "prod"],
}


def inventory_of(**changes: Any) -> Inventory:
    made = Inventory(
        environment="dev",
        host="h1",
        collection_version="0.2.0",
        distribution=DEBIAN12,
        host_debs=(Deb("bash", "5.2.15-2+b2", "amd64"),),
        images=(
            image("relay", ImageContent(DEBIAN13, (LIBC, SOCAT), ())),
            image("gateway", ImageContent(DEBIAN13, (LIBC,), (("aiohttp", "3.14.5"),))),
            image("ollama", ImageContent(UBUNTU, (LIBC,), ())),
        ),
        archive_sha256="a" * 64,
        pins=PINS,
        models=(ENTRY,),
        ollama_version="v0.33.0",
    )
    return dataclasses.replace(made, **changes)


def by_ref(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {item["bom-ref"]: item for item in document["components"]}


def needs(document: dict[str, Any]) -> dict[str, list[str]]:
    return {item["ref"]: item.get("dependsOn", []) for item in document["dependencies"]}


def properties(component: dict[str, Any]) -> list[tuple[str, str]]:
    return [(item["name"], item["value"]) for item in component.get("properties", [])]


RELAY, GATEWAY, OLLAMA = ("image:{0}@{1}".format(key, digest(key)) for key in ("relay", "gateway", "ollama"))
MODEL = "model:registry.ollama.ai/library/mistral:7b-instruct@" + ENTRY["digest"]
LIBC13 = "pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=debian-13"


def test_s8_everything_is_listed_once() -> None:
    document = sbom_document.build(inventory_of())
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert [item["bom-ref"] for item in document["components"]] == list(by_ref(document))
    assert set(by_ref(document)) == {
        "os:debian-12",
        "pkg:deb/debian/bash@5.2.15-2%2Bb2?arch=amd64&distro=debian-12",
        "collection:rampart.ollama@0.2.0",
        RELAY,
        GATEWAY,
        OLLAMA,
        LIBC13,
        "pkg:deb/debian/socat@1.8.0.3-1?arch=amd64&distro=debian-13",
        "pkg:deb/ubuntu/libc6@2.41-12?arch=amd64&distro=ubuntu-24.04",
        "pkg:pypi/aiohttp@3.14.5",
        "ollama@0.33.0",
        MODEL,
    }
    metadata = document["metadata"]
    assert (metadata["component"]["type"], metadata["component"]["name"]) == ("device", "h1")
    assert ("rampart:environment", "dev") in properties(metadata["component"])
    assert metadata["tools"]["components"][0]["name"] == "Rampart"


def test_s8_who_depends_on_whom() -> None:
    document = sbom_document.build(inventory_of())
    graph = needs(document)
    assert graph["host:h1"] == sorted(["os:debian-12", "collection:rampart.ollama@0.2.0", RELAY, GATEWAY, OLLAMA])
    assert graph["os:debian-12"] == ["pkg:deb/debian/bash@5.2.15-2%2Bb2?arch=amd64&distro=debian-12"]
    assert LIBC13 in graph[RELAY]
    assert graph[GATEWAY] == sorted([LIBC13, "pkg:pypi/aiohttp@3.14.5"])
    assert "ollama@0.33.0" in graph[OLLAMA]
    assert graph["ollama@0.33.0"] == [MODEL]
    # Nothing hangs in the air: every component is reached from the host.
    reached, todo = set(), ["host:h1"]
    while todo:
        reference = todo.pop()
        if reference not in reached:
            reached.add(reference)
            todo += graph[reference]
    assert reached == {"host:h1", *by_ref(document)}


def test_s8_a_model_carries_its_digest_blobs_licence_source_and_approval() -> None:
    model = by_ref(sbom_document.build(inventory_of()))[MODEL]
    assert model["type"] == "machine-learning-model"
    assert (model["name"], model["version"]) == ("registry.ollama.ai/library/mistral", "7b-instruct")
    assert model["hashes"] == [{"alg": "SHA-256", "content": ENTRY["digest"][7:]}]
    assert model["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert model["supplier"] == {"name": "registry.ollama.ai/library"}
    (reference,) = model["externalReferences"]
    assert reference["url"] == "https://registry.ollama.ai/v2/library/mistral/manifests/7b-instruct"
    assert reference["hashes"] == model["hashes"]
    assert model["modelCard"] == {"considerations": {"useCases": ["internal_chatbot", "summaries"]}}
    told = properties(model)
    for pair in (
        ("rampart:approval:verified_by", "security@example.org"),
        ("rampart:approval:verified_date", "2026-11-20"),
        ("rampart:approval:risk_level", "LOW"),
        ("rampart:approval:environments", "dev"),
        ("rampart:approval:environments", "prod"),
        ("rampart:approval:approved_uses", "summaries"),
        ("rampart:approval:prohibited_uses", "customer_data"),
        ("rampart:model:size", "300"),
    ):
        assert pair in told
    blobs = {item["name"]: item for item in model["components"]}
    assert {name: item["type"] for name, item in blobs.items()} == {
        digest("config").replace(":", "-"): "file",
        digest("weights").replace(":", "-"): "file",
        digest("license").replace(":", "-"): "data",
    }
    weights = blobs[digest("weights").replace(":", "-")]
    assert weights["hashes"] == [{"alg": "SHA-256", "content": digest("weights")[7:]}]
    assert ("rampart:blob:size", "150") in properties(weights)


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("mit", {"license": {"id": "MIT"}}),
        ("Apache-2.0 OR MIT", {"expression": "Apache-2.0 OR MIT"}),
        ("Llama 3.2 Community", {"license": {"name": "Llama 3.2 Community"}}),
    ],
)
def test_s8_any_licence_has_a_valid_form(licence: str, expected: dict[str, Any]) -> None:
    document = sbom_document.build(inventory_of(models=({**ENTRY, "licence": licence},)))
    assert by_ref(document)[MODEL]["licenses"] == [expected]


def test_s8_images_and_packages_carry_what_identifies_them() -> None:
    components = by_ref(sbom_document.build(inventory_of()))
    relay = components[RELAY]
    assert relay["type"] == "container"
    assert relay["hashes"] == [{"alg": "SHA-256", "content": digest("relay")[7:]}]
    assert ("rampart:image:archive-sha256", "a" * 64) in properties(relay)
    assert ("rampart:image:base-digest", "debian@" + digest("repo")) in properties(relay)
    python = components["pkg:pypi/aiohttp@3.14.5"]
    assert [item["content"] for item in python["hashes"]] == ["1" * 64, "2" * 64]
    assert ("rampart:deb:source", "glibc@2.41-12") in properties(components[LIBC13])
    for reference, item in components.items():
        if reference.startswith("pkg:"):
            assert PackageURL.from_string(item["purl"]).to_string() == reference
    server = components["ollama@0.33.0"]
    assert server["cpe"] == "cpe:2.3:a:ollama:ollama:0.33.0:*:*:*:*:*:*:*"


@pytest.mark.parametrize("version", ["", "0.0.0", "latest", "0.33.0:*:evil", "x" * 100])
def test_s8_a_version_that_cannot_be_told_identifies_nothing(version: str) -> None:
    document = sbom_document.build(inventory_of(ollama_version=version))
    server = next(item for item in document["components"] if item["name"] == "ollama")
    assert not {"cpe", "purl"} & set(server)


def test_s8_an_unknown_distribution_is_not_called_debian() -> None:
    content = ImageContent(Distribution(), (SOCAT,), ())
    components = by_ref(sbom_document.build(inventory_of(images=(image("relay", content),))))
    assert "pkg:deb/socat@1.8.0.3-1?arch=amd64" in components


def test_s8_what_is_not_listed_is_said_in_the_bill_and_beside_it() -> None:
    unlisted = ImageContent(Distribution(), (), (), listed=False)
    images = (
        image("relay", None),
        image("ollama", unlisted),
        image("fetcher", None, id=""),
        image("gateway", ImageContent(DEBIAN13, (), (("aiohttp", "3.14.6"), ("evil", "1")))),
    )
    inventory = inventory_of(images=images)
    findings = sbom.findings_of(inventory)
    assert [(item.code, item.subject) for item in findings] == [
        ("SBOM-IMAGE-UNKNOWN", "image relay"),
        ("SBOM-IMAGE-NO-LIST", "image ollama"),
        ("SBOM-IMAGE-UNKNOWN", "image fetcher"),
        ("SBOM-PYTHON-UNPINNED", "image gateway"),
    ]
    assert "aiohttp==3.14.6, evil==1" in findings[-1].evidence
    (composition,) = sbom_document.build(inventory)["compositions"]
    assert composition["aggregate"] == "incomplete"
    assert composition["dependencies"] == sorted([RELAY, OLLAMA, "image:fetcher@unbuilt"])
    assert "compositions" not in sbom_document.build(inventory_of())
    assert sbom.findings_of(inventory_of()) == []


def test_s8_the_schema_refuses_what_is_no_bill() -> None:
    document = sbom_document.build(inventory_of())
    with pytest.raises(FindingError, match="SBOM-INVALID"):
        sbom_document.validate({**document, "specVersion": "1.6", "unheard_of": 1})
    broken = json.loads(json.dumps(document))
    broken["components"][0]["type"] = "nonsense"
    with pytest.raises(FindingError, match="SBOM-INVALID"):
        sbom_document.validate(broken)


def test_s8_a_builder_that_makes_nonsense_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sbom_document._Builder, "document", lambda self: {"bomFormat": "CycloneDX"})
    with pytest.raises(FindingError, match="SBOM-INVALID"):
        sbom_document.build(inventory_of())


def test_s8_without_the_library_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sbom_document, "LIBRARY_ERROR", "No module named 'cyclonedx'")
    with pytest.raises(FindingError, match="SBOM-LIBRARY") as caught:
        sbom_document.build(inventory_of())
    assert "cyclonedx-python-lib" in caught.value.finding.remedy
