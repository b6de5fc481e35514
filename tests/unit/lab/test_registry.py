# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in registry, over real TLS: it behaves like Ollama's, and it lies when told to."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faults
import pytest
import registry
from labkit import access
from labkit.settings import Paths, load_settings

CHECKOUT = Path(__file__).resolve().parents[3]
BLOB = bytes(range(256)) * 1024
DIGEST = "sha256:" + hashlib.sha256(BLOB).hexdigest()
MANIFEST = b'{"schemaVersion":2}'
MANIFEST_PATH = "/v2/library/tiny/manifests/latest"


@dataclass
class Answer:
    """Status, headers and body; `broken` when the body ended before its announced end."""

    status: int
    headers: dict[str, str]
    body: bytes
    broken: bool = False


class Client:
    """Speaks to the server under test, which has both names on one loopback port."""

    def __init__(self, port: int, ca: Path, control: Path, site: registry.Site) -> None:
        self.port, self.control, self.site = port, control, site
        self.context = ssl.create_default_context(cafile=str(ca))

    def __call__(
        self, name: str, path: str, method: str = "GET", limit: int | None = None, **headers: str
    ) -> Answer:
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection = http.client.HTTPConnection(name)
        connection.sock = self.context.wrap_socket(raw, server_hostname=name)
        connection.request(method, path, headers={"Host": name, **headers})
        response = connection.getresponse()
        try:
            body, broken = response.read(limit), False
        except http.client.IncompleteRead as error:
            body, broken = error.partial, True
        connection.close()
        return Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, body, broken)

    def manifest(self, method: str = "GET", limit: int | None = None) -> Answer:
        return self(self.site.registry_name, MANIFEST_PATH, method, limit)

    def redirect(self, digest: str = DIGEST, method: str = "GET") -> Answer:
        return self(self.site.registry_name, f"/v2/library/tiny/blobs/{digest}", method)

    def blob(self, limit: int | None = None, **headers: str) -> Answer:
        url = urllib.parse.urlsplit(self.redirect().headers["location"])
        assert url.hostname == self.site.cdn_name
        return self(self.site.cdn_name, f"{url.path}?{url.query}", limit=limit, **headers)

    def misbehave(self, **document: Any) -> None:
        self.control.write_text(json.dumps(document), encoding="utf-8")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ca.pem, registry.pem and registry.key, made as the laboratory makes them."""
    paths = Paths(checkout=tmp_path_factory.mktemp("checkout"), cache=Path("/unused"))
    paths.state.mkdir()
    access.ensure_certificates(paths, load_settings(Paths(checkout=CHECKOUT, cache=Path("/unused"))))
    return paths.state


@pytest.fixture
def client(tmp_path: Path, certificates: Path) -> Iterator[Client]:
    control = tmp_path / "control.json"
    internet = load_settings(Paths(checkout=CHECKOUT, cache=Path("/unused"))).internet
    site = registry.Site(internet.registry_name, internet.cdn_name, tmp_path / "store", tmp_path / "log.jsonl", control)
    manifest = site.store / "manifests" / internet.registry_name / "library" / "tiny" / "latest"
    manifest.parent.mkdir(parents=True)
    manifest.write_bytes(MANIFEST)
    site.blob_file(DIGEST).parent.mkdir()
    site.blob_file(DIGEST).write_bytes(BLOB)
    server = registry.Server(("127.0.0.1", 0), site, certificates / "registry.pem", certificates / "registry.key")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield Client(server.server_port, certificates / "ca.pem", control, site)
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_manifest_is_text_of_unknown_length_and_has_no_head(client: Client) -> None:
    answer = client.manifest()
    assert (answer.status, answer.body) == (200, MANIFEST)
    assert answer.headers["content-type"].startswith("text/plain")
    assert "content-length" not in answer.headers
    assert client.manifest("HEAD").status == 404


def test_a_blob_is_elsewhere_and_arrives_whole(client: Client) -> None:
    assert client.redirect().status == client.redirect(method="HEAD").status == 307
    answer = client.blob()
    assert answer.status == 200
    assert answer.body == BLOB


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-0", 0, 1), ("bytes=1000-", 1000, len(BLOB)), ("bytes=-5", len(BLOB) - 5, len(BLOB))],
)
def test_ranges(client: Client, asked: str, start: int, end: int) -> None:
    answer = client.blob(Range=asked)
    assert (answer.status, answer.body) == (206, BLOB[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(BLOB)}"


def test_a_range_beyond_the_end_is_refused(client: Client) -> None:
    assert client.blob(Range=f"bytes={len(BLOB)}-").status == 416


@pytest.mark.parametrize(
    "path",
    [
        "/v2/library/tiny/manifests/other",
        "/v2/library/../tiny/manifests/latest",
        "/v2/../../etc/manifests/passwd",
        "/v2/library/tiny/blobs/sha256:" + "0" * 64,
        "/",
    ],
)
def test_what_is_not_there_is_not_found(client: Client, path: str) -> None:
    assert client(client.site.registry_name, path).status == 404


def test_the_cdn_serves_signed_blobs_only(client: Client) -> None:
    path = urllib.parse.urlsplit(client.site.cdn_url(DIGEST)).path
    assert client(client.site.cdn_name, path).status == 403
    assert client(client.site.cdn_name, f"{path}?X-Amz-Signature={'0' * 64}").status == 403
    assert client(client.site.cdn_name, MANIFEST_PATH).status == 404


def test_another_name_is_refused_in_the_handshake_and_in_the_request(client: Client) -> None:
    with pytest.raises(ssl.SSLError):
        client("evil.example", MANIFEST_PATH)
    assert client(client.site.registry_name, MANIFEST_PATH, Host=client.site.cdn_name).status == 421


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_is_uploaded(client: Client, method: str) -> None:
    assert client(client.site.registry_name, MANIFEST_PATH, method).status == 405


def test_it_lies_about_one_blob_only(client: Client) -> None:
    client.misbehave(blobs={DIGEST: {"kind": "lie"}})
    body = client.blob().body
    assert len(body) == len(BLOB)
    assert sum(one != other for one, other in zip(body, BLOB, strict=True)) == 1
    assert client.manifest().body == MANIFEST
    client.misbehave(blobs={"sha256:" + "0" * 64: {"kind": "lie"}})
    assert client.blob().body == BLOB


def test_it_lies_at_the_same_place_in_a_range(client: Client) -> None:
    client.misbehave(default={"kind": "lie"})
    whole = client.blob().body
    middle = len(BLOB) // 2
    assert client.blob(Range=f"bytes={middle}-{middle}").body == whole[middle : middle + 1] != BLOB[middle : middle + 1]


def test_it_announces_and_sends_too_much(client: Client) -> None:
    client.misbehave(default={"kind": "size", "bytes": 70000})
    answer = client.blob()
    assert answer.body == BLOB + bytes(70000)
    assert answer.headers["content-length"] == str(len(BLOB) + 70000)


def test_it_hangs_up_in_the_middle(client: Client) -> None:
    client.misbehave(default={"kind": "cut", "bytes": 100000})
    answer = client.blob()
    assert answer.broken
    assert answer.body == BLOB[:100000]


def test_it_fails_and_it_redirects_elsewhere(client: Client) -> None:
    client.misbehave(default={"kind": "status", "status": 502})
    assert client.manifest().status == client.redirect().status == 502
    client.misbehave(blobs={DIGEST: {"kind": "redirect", "location": "https://evil.example/x"}})
    assert client.redirect().headers["location"] == "https://evil.example/x"


def test_a_manifest_can_be_another(client: Client) -> None:
    client.misbehave(manifests={"library/tiny:latest": {"kind": "lie"}})
    body = client.manifest().body
    assert body != MANIFEST
    assert json.loads(body) == json.loads(MANIFEST)


def test_it_has_only_the_beginning(client: Client) -> None:
    client.misbehave(default={"kind": "short", "bytes": 1000})
    assert client.blob().body == BLOB[:1000]
    assert client.blob(Range="bytes=10-").headers["content-range"] == "bytes 10-999/1000"
    assert client.blob(Range="bytes=1000-").status == 416


def test_it_never_stops_sending(client: Client) -> None:
    client.misbehave(default={"kind": "endless"})
    answer = client.blob(limit=len(BLOB) + 300_000)
    assert answer.body == BLOB + bytes(300_000)
    assert "content-length" not in answer.headers
    part = client.blob(limit=1000, Range="bytes=5-9")
    assert (part.status, part.body[:5], len(part.body)) == (206, BLOB[5:10], 1000)
    client.misbehave(manifests={"library/tiny:latest": {"kind": "endless"}})
    assert client.manifest(limit=200_000).body == b" " * 200_000


def test_it_packs_what_must_come_as_it_is(client: Client) -> None:
    client.misbehave(default={"kind": "gzip"})
    answer = client.blob()
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(answer.body) == BLOB
    assert client.blob(Range="bytes=0-9").status == 200


def test_it_knows_no_ranges_or_answers_another(client: Client) -> None:
    client.misbehave(default={"kind": "norange"})
    answer = client.blob(Range="bytes=5-9")
    assert (answer.status, answer.body) == (200, BLOB)
    assert "accept-ranges" not in answer.headers
    client.misbehave(default={"kind": "wrongrange"})
    answer = client.blob(Range="bytes=5-9")
    assert (answer.status, answer.headers["content-range"]) == (206, f"bytes 6-9/{len(BLOB)}")
    assert answer.body == BLOB[6:10]
    client.misbehave(default={"kind": "longrange", "bytes": 3})
    answer = client.blob(Range="bytes=5-9")
    assert (answer.headers["content-range"], answer.body) == (f"bytes 5-12/{len(BLOB)}", BLOB[5:13])
    assert client.blob().body == BLOB


def test_it_hangs_up_somewhere(client: Client) -> None:
    client.misbehave(default={"kind": "randomcut", "bytes": 100_000})
    lengths = {len(client.blob().body) for _number in range(5)}
    assert len(lengths) > 1
    assert max(lengths) <= 100_000


def test_it_sends_a_head_line_by_line(client: Client) -> None:
    client.misbehave(default={"kind": "slowhead", "seconds": 0.01})
    assert client.manifest().body == MANIFEST
    assert client.blob(Range="bytes=0-9").body == BLOB[:10]


def test_it_sends_a_client_in_a_circle(client: Client) -> None:
    client.misbehave(default={"kind": "loop"})
    assert urllib.parse.urlsplit(client.redirect().headers["location"]).path.endswith(f"/blobs/{DIGEST}")


def test_it_recovers_after_so_many_times_and_forgets_when_told_anew(client: Client) -> None:
    for _number in range(2):
        client.misbehave(default={"kind": "status", "status": 500, "times": 2})
        assert [client.redirect().status for _try in range(4)] == [500, 500, 307, 307]
        assert [client.manifest().status for _try in range(3)] == [500, 500, 200]


@pytest.mark.parametrize("kind", ["names", "duplicate", "huge"])
def test_a_manifest_can_name_what_it_must_not(client: Client, kind: str) -> None:
    layer = {"mediaType": "m", "digest": DIGEST, "size": len(BLOB)}
    path = client.site.store / "manifests" / client.site.registry_name / "library" / "tiny" / "latest"
    path.write_text(json.dumps({"schemaVersion": 2, "layers": [layer]}))
    client.misbehave(manifests={"library/tiny:latest": {"kind": kind, "bytes": 10**13}})
    layers = json.loads(client.manifest().body)["layers"]
    expected = {
        "names": [{**layer, "digest": "sha256:../../../../etc/passwd"}],
        "duplicate": [layer, {**layer, "size": len(BLOB) + 1}],
        "huge": [{**layer, "size": 10**13}],
    }
    assert layers == expected[kind]
    # A default that lies about blobs leaves manifests alone: without one, nobody would ask for a blob.
    client.misbehave(default={"kind": kind})
    assert json.loads(client.manifest().body)["layers"] == [layer]


def test_requests_are_logged(client: Client) -> None:
    client.blob(Range="bytes=0-9")
    lines = [json.loads(line) for line in client.site.log.read_text().splitlines()]
    assert [line["status"] for line in lines] == [307, 206]
    assert lines[1]["range"] == "bytes=0-9"
    # The signature is a capability: it is not for the log.
    assert "X-Amz" not in client.site.log.read_text()


def test_a_broken_control_file_is_an_error_not_an_honest_answer(client: Client) -> None:
    client.misbehave(default={"kind": "sulk"})
    assert client.manifest().status == 500


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "sulk"},
        {},
        {"kind": "cut", "bytes": -1},
        {"kind": "status", "status": 200},
        {"kind": "redirect"},
        {"kind": "lie", "times": -1},
    ],
)
def test_a_senseless_fault_is_refused(fault: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|needs|kind"):
        faults.parse_fault(fault)
