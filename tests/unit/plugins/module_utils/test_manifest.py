# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S1, S3: manifests and configs are read one way only."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.module_utils.manifest import (
    LAYER_PREFIX,
    LAYERS_MAX,
    cloud_stub,
    parse_manifest,
    sha256_of,
)

D1, D2, D3 = ("sha256:" + char * 64 for char in "123")
CONFIG = {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": D1, "size": 10}
MODEL = {"mediaType": LAYER_PREFIX + "model", "digest": D2, "size": 20}
GOOD: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
    "config": CONFIG,
    "layers": [MODEL],
}


def text(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def layer(**changes: Any) -> bytes:
    return text(layers=[{**MODEL, **changes}])


def test_s3_a_good_manifest_is_read() -> None:
    manifest = parse_manifest(text(), "m")
    assert manifest.digest == sha256_of(text())
    assert list(manifest.blobs) == [D1, D2]
    assert manifest.size == 30
    assert manifest.has_weights
    assert manifest.layers[0].kind == "model"
    assert manifest.config.kind == "config"


def test_s3_known_optional_fields_are_accepted() -> None:
    assert parse_manifest(layer(**{"from": "mistral:7b", "name": "a/b.safetensors", "annotations": {"x": "y"}}), "m")


def test_s3_equal_tensors_under_two_names_are_no_duplicates() -> None:
    tensor = {"mediaType": LAYER_PREFIX + "tensor", "digest": D3, "size": 5}
    layers = [{**tensor, "name": "a.weight"}, {**tensor, "name": "b.weight"}]
    assert parse_manifest(text(layers=layers), "m").size == 15


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b" " * (1024 * 1024 + 1),
        text(schemaVersion=1),
        text(schemaVersion=True),
        text(schemaVersion="2"),
        text(mediaType="application/vnd.oci.image.index.v1+json"),
        text(mediaType=None),
        text(extra=1),
        text(config=None),
        text(config={**CONFIG, "mediaType": "application/json"}),
        text(layers=None),
        text(layers={}),
        text(layers=[None]),
        text(layers=[MODEL, MODEL]),
        text(layers=[{**MODEL, "digest": D1}]),
        text(layers=[MODEL] * (LAYERS_MAX + 1)),
        layer(digest="../../../../etc/passwd"),
        layer(digest="sha256:../../../etc/passwd"),
        layer(digest="sha256-" + "2" * 64),
        layer(digest="sha256:" + "A" * 64),
        layer(digest="sha512:" + "a" * 64),
        layer(digest=D2 + "\n"),
        layer(digest=7),
        layer(size=-1),
        layer(size=1 << 60),
        layer(size=1.5),
        layer(size=True),
        layer(size="20"),
        layer(mediaType="application/vnd.ollama.image.exploit"),
        layer(mediaType="application/octet-stream"),
        layer(mediaType=LAYER_PREFIX),
        layer(name="../../x"),
        layer(name="/etc/passwd"),
        layer(name="a//b"),
        layer(name=7),
        layer(urls=["https://evil.example"]),
        # Two parsers could disagree about these; Go's would take the last, whatever its case.
        text()[:-1] + b', "layers": []}',
        text()[:-1] + b', "Layers": []}',
        text()[:-1] + b', "mediaTypE": 1}',
        text()[:-1] + ', "\u017fchemaVersion": 2}'.encode(),
        text()[:-1] + b', "config": NaN}',
    ],
)
def test_s3_an_ambiguous_or_hostile_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(FindingError) as caught:
        parse_manifest(data, "m")
    assert caught.value.finding.code == "STORE-MANIFEST-INVALID"


@pytest.mark.parametrize("key", ["remote_host", "REMOTE_HOST", "Remote_Model", "remote_ho\u017ft"])
def test_s1_a_cloud_stub_is_seen_whatever_the_case_of_its_keys(key: str) -> None:
    refusal = cloud_stub(json.dumps({"model_format": "", key: "https://ollama.com:443"}).encode(), "m")
    assert refusal is not None
    assert refusal.finding.code == "STORE-CLOUD-STUB"


def test_s1_a_local_config_is_no_cloud_stub(model: Callable[..., Any]) -> None:
    made = model("a:b", b"w")
    assert cloud_stub(made.blobs[made.config], "m") is None
    assert cloud_stub(b'{"remote_host": ""}', "m") is None


@pytest.mark.parametrize("data", [b"[]", b"x", b'{"a": 1, "A": 2}'])
def test_s1_an_ambiguous_config_is_refused(data: bytes) -> None:
    with pytest.raises(FindingError, match=r"^STORE-MANIFEST-INVALID: "):
        cloud_stub(data, "m")
