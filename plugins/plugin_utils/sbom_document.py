# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory as a CycloneDX 1.6 document, and the judgement of CycloneDX's own strict schema on it (row S8).

The library knows no model cards yet, and no compositions: those two are added to its output, before the schema
judges the whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.rampart.ollama.plugins.module_utils.cve import parse_version
from ansible_collections.rampart.ollama.plugins.module_utils.findings import clean_text, refuse
from ansible_collections.rampart.ollama.plugins.module_utils.manifest import LAYER_PREFIX
from ansible_collections.rampart.ollama.plugins.module_utils.names import ModelName, parse_digest, parse_name

from .sbom import Image, Inventory
from .sbom_packages import Deb, Distribution

try:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.contact import OrganizationalEntity
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot6
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator
    from packageurl import PackageURL

    LIBRARY_ERROR = ""
except ImportError as error:
    LIBRARY_ERROR = str(error)

COLLECTION = "rampart.ollama"
_VERSION = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9.+-]{0,39}\Z")
# Kinds of layers that are text for or about the model; the others are numbers.
_DATA_KINDS = ("template", "prompt", "system", "params", "messages", "license", "json")
_APPROVAL_TEXTS = ("version", "verified_date", "verified_by", "fetched_by", "risk_level", "source")
_APPROVAL_LISTS = ("environments", "approved_uses", "prohibited_uses")


def require_library() -> None:
    """Raise FindingError (SBOM-LIBRARY) where cyclonedx-python-lib is not on the controller."""
    if LIBRARY_ERROR:
        raise refuse(
            "SBOM-LIBRARY",
            "controller",
            clean_text(LIBRARY_ERROR, 150),
            "Install cyclonedx-python-lib[json-validation] 11 for the Python that runs Ansible.",
        )


def build(inventory: Inventory) -> dict[str, Any]:
    """Return the document of an inventory, without serial number and time, judged by the schema.

    Raises FindingError: SBOM-LIBRARY, SBOM-INVALID.
    """
    require_library()
    document = _Builder(inventory).document()
    validate({**document, "serialNumber": "urn:uuid:00000000-0000-5000-8000-000000000000"})
    return document


def validate(document: Mapping[str, Any]) -> None:
    """Raise FindingError (SBOM-INVALID) unless CycloneDX's strict schema of 1.6 accepts a document."""
    require_library()
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document))
    if problem is not None:
        raise refuse(
            "SBOM-INVALID",
            "CycloneDX 1.6",
            clean_text(problem, 300),
            "Report this with the finding: nothing was written.",
        )


class _Builder:
    """Collects components by reference, each once, and who depends on whom."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.components: dict[str, Component] = {}
        self.needs: dict[str, set[str]] = {}
        self.cards: dict[str, dict[str, Any]] = {}
        self.unlisted: list[str] = []

    def document(self) -> dict[str, Any]:
        host = "host:{0}".format(self.inventory.host)
        self.needs[host] = set()
        self._system(host)
        self._collection(host)
        for image in self.inventory.images:
            self._image(host, image)
        root = Component(
            type=ComponentType.DEVICE,
            name=self.inventory.host,
            bom_ref=host,
            properties=_properties({"rampart:environment": self.inventory.environment}),
        )
        return self._complete(root)

    def _add(self, component: Component, wanted_by: str) -> str:
        reference = str(component.bom_ref.value)
        self.components.setdefault(reference, component)
        self.needs.setdefault(reference, set())
        self.needs[wanted_by].add(reference)
        return reference

    def _system(self, host: str) -> None:
        distribution = self.inventory.distribution
        system = Component(
            type=ComponentType.OPERATING_SYSTEM,
            name=distribution.id or "unknown",
            version=distribution.version or None,
            bom_ref="os:{0}".format(distribution.label or "unknown"),
        )
        self._debs(self._add(system, host), self.inventory.host_debs, distribution)

    def _collection(self, host: str) -> None:
        version = self.inventory.collection_version
        collection = Component(
            type=ComponentType.APPLICATION,
            name=COLLECTION,
            version=version,
            bom_ref="collection:{0}@{1}".format(COLLECTION, version),
            purl=PackageURL("generic", name=COLLECTION, version=version),
            licenses=[LicenseFactory().make_with_id("GPL-3.0-or-later")],
        )
        self._add(collection, host)

    def _image(self, host: str, image: Image) -> None:
        base = image.base
        properties = {
            "rampart:image:archive-sha256": self.inventory.archive_sha256,
            "rampart:image:config-digest": image.id,
            "rampart:image:base": base.get("name"),
            "rampart:image:base-id": base.get("id"),
            "rampart:image:base-digest": base.get("digests"),
        }
        name, _colon, version = image.name.rpartition(":")
        container = Component(
            type=ComponentType.CONTAINER,
            name=name or image.name,
            version=version if name else None,
            bom_ref="image:{0}@{1}".format(image.key, image.id or "unbuilt"),
            hashes=_hashes([image.id]) if image.id else None,
            properties=_properties(properties),
        )
        reference = self._add(container, host)
        if image.content is None or not image.content.listed:
            self.unlisted.append(reference)
        if image.content is not None:
            self._debs(reference, image.content.debs, image.content.distribution)
            for pair in image.content.python:
                self._python(reference, *pair)
        if image.key == "ollama":
            self._server(reference)

    def _debs(self, wanted_by: str, debs: Iterable[Deb], distribution: Distribution) -> None:
        for deb in debs:
            qualifiers = {"arch": deb.arch, "distro": distribution.label}
            purl = PackageURL("deb", distribution.id or None, deb.name, deb.version, _told(qualifiers))
            source = deb.source if (deb.source, deb.source_version) != (deb.name, deb.version) else ""
            source = "@".join(part for part in (source, deb.source_version) if part) if source else ""
            package = Component(
                type=ComponentType.LIBRARY,
                name=deb.name,
                version=deb.version,
                bom_ref=purl.to_string(),
                purl=purl,
                properties=_properties({"rampart:deb:source": source}),
            )
            self._add(package, wanted_by)

    def _python(self, wanted_by: str, name: str, version: str) -> None:
        purl = PackageURL("pypi", name=name, version=version)
        pins = self.inventory.pins.get((name, version), ())
        package = Component(
            type=ComponentType.LIBRARY,
            name=name,
            version=version,
            bom_ref=purl.to_string(),
            purl=purl,
            hashes=_hashes(pins),
            # An index offers a file a platform; the installer took one whose hash is among these.
            properties=_properties({"rampart:python:hashes": "one of the pinned files" if pins else "none pinned"}),
        )
        self._add(package, wanted_by)

    def _server(self, image: str) -> None:
        told = self.inventory.ollama_version.strip().removeprefix("v")
        version = told if _VERSION.match(told) else ""
        known = parse_version(version) is not None
        server = Component(
            type=ComponentType.APPLICATION,
            name="ollama",
            version=version or None,
            bom_ref="ollama@{0}".format(version or "unknown"),
            purl=PackageURL("github", "ollama", "ollama", "v" + version) if known else None,
            cpe="cpe:2.3:a:ollama:ollama:{0}:*:*:*:*:*:*:*".format(version) if known else None,
        )
        reference = self._add(server, image)
        for entry in self.inventory.models:
            self._model(reference, entry)

    def _model(self, server: str, entry: Mapping[str, Any]) -> None:
        name, digest = parse_name(entry["reference"]), parse_digest(entry["digest"])
        reference = "model:{0}@{1}".format(name.full, digest)
        blobs = [_blob(reference, blob) for blob in entry["blobs"]]
        licence = str(entry.get("licence") or "").strip()
        properties = {
            "rampart:approval:{0}".format(key): entry.get(key) for key in (*_APPROVAL_TEXTS, *_APPROVAL_LISTS)
        }
        model = Component(
            type=ComponentType.MACHINE_LEARNING_MODEL,
            name="{0}/{1}/{2}".format(*name.parts),
            version=name.tag,
            bom_ref=reference,
            hashes=_hashes([digest]),
            supplier=OrganizationalEntity(name="{0}/{1}".format(name.host, name.namespace)),
            licenses=[LicenseFactory().make_from_string(licence)] if licence else None,
            external_references=[_distribution(name, digest)],
            properties=_properties({**properties, "rampart:model:size": entry.get("size")}),
            components={str(blob.bom_ref.value): blob for blob in blobs}.values(),
        )
        self._add(model, server)
        uses = [str(use) for use in entry.get("approved_uses") or []]
        self.cards[reference] = {"considerations": {"useCases": uses}} if uses else {}

    def _complete(self, root: Component) -> dict[str, Any]:
        tool = Component(type=ComponentType.APPLICATION, name="Rampart", version=self.inventory.collection_version)
        metadata = BomMetaData(component=root, tools=ToolRepository(components=[tool]))
        bom = Bom(components=self.components.values(), metadata=metadata)
        known = {**self.components, str(root.bom_ref.value): root}
        for reference, needed in self.needs.items():
            bom.register_dependency(known[reference], [known[item] for item in needed])
        document: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
        # Both would be new in every run; they are set when the document is written.
        del document["serialNumber"], document["metadata"]["timestamp"]
        for component in document["components"]:
            if component["type"] == "machine-learning-model":
                component["modelCard"] = self.cards[component["bom-ref"]]
        if self.unlisted:
            # Their packages are not here because they could not be listed, which is not the same as having none.
            document["compositions"] = [{"aggregate": "incomplete", "dependencies": sorted(self.unlisted)}]
        return document


def _told(values: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in values.items() if value}


def _properties(values: Mapping[str, Any]) -> list[Property]:
    """Return a property for each value that is told; each item of a list is one."""
    found = []
    for name, value in values.items():
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if item is not None and item != "":
                found.append(Property(name=name, value=clean_text(item)))
    return found


def _hashes(digests: Iterable[str]) -> list[HashType]:
    return [HashType(alg=HashAlgorithm.SHA_256, content=digest.rpartition(":")[2]) for digest in digests]


def _blob(model: str, blob: Mapping[str, Any]) -> Component:
    digest = parse_digest(blob["digest"])
    media_type = str(blob.get("media_type") or "")
    kind = media_type.removeprefix(LAYER_PREFIX) if media_type.startswith(LAYER_PREFIX) else "config"
    return Component(
        type=ComponentType.DATA if kind in _DATA_KINDS else ComponentType.FILE,
        name=digest.replace(":", "-"),
        bom_ref="{0}#{1}".format(model, digest),
        hashes=_hashes([digest]),
        properties=_properties(
            {
                "rampart:blob:kind": kind if media_type else "",
                "rampart:blob:media-type": media_type,
                "rampart:blob:size": blob["size"],
            }
        ),
    )


def _distribution(name: ModelName, digest: str) -> ExternalReference:
    return ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri("https://{0}/v2/{1}/{2}/manifests/{3}".format(*name.parts)),
        hashes=_hashes([digest]),
    )
