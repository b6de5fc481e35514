# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S2: what a registry sends is pinned, bounded and resumed; what it must not do is refused by name."""

from __future__ import annotations

import os
import random
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.module_utils.progress import Gauge
from ansible_collections.rampart.ollama.plugins.module_utils.registry import Limits, RegistryClient, StoppedError
from ansible_collections.rampart.ollama.plugins.module_utils.transfer import Transfer, fetch_whole

pytestmark = pytest.mark.row("S2")
REGISTRY = "registry.ollama.ai"
CDN = "cdn.example.org"
QUICK = Limits(operation_seconds=5, total_seconds=30, attempts=3, retry_seconds=0.01)


@pytest.fixture
def client(internet: Any) -> RegistryClient:
    return make(internet)


def make(internet: Any, limits: Limits = QUICK, hosts: tuple[str, ...] = (CDN,)) -> RegistryClient:
    return RegistryClient(str(internet.socket_path), REGISTRY, "library/test", hosts, str(internet.ca_path), limits)


def transfer_of(data: bytes, directory: Path, size: int | None = None) -> Transfer:
    import hashlib

    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    return Transfer(digest, len(data) if size is None else size, directory / "blob.part")


def bring(client: RegistryClient, transfer: Transfer) -> None:
    fetch_whole(client, transfer, Gauge(None, transfer.size))


def refused(action: Callable[[], object]) -> str:
    with pytest.raises(FindingError) as caught:
        action()
    assert caught.value.finding.remedy
    return caught.value.finding.code


def test_s2_manifest_and_blob_come_through_the_proxy_and_one_redirect(
    internet: Any, client: RegistryClient, tmp_path: Path, model: Callable[..., Any]
) -> None:
    made = model("test:1", os.urandom(700_000))
    internet.add(made)
    assert client.manifest("1", 10_000, made.digest) == made.manifest
    transfer = transfer_of(made.blobs[made.weights], tmp_path)
    bring(client, transfer)
    assert transfer.path.read_bytes() == made.blobs[made.weights]
    assert internet.connected == [REGISTRY, REGISTRY, CDN]
    assert internet.requests[0][2]["Accept"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert not any("Authorization" in headers for _host, _path, headers in internet.requests)


def test_s2_a_registry_that_answers_without_redirect_is_fine(
    internet: Any, client: RegistryClient, tmp_path: Path
) -> None:
    internet.answer = lambda host, path, headers: (200, {"Content-Length": "3"}, b"abc")
    transfer = transfer_of(b"abc", tmp_path)
    bring(client, transfer)
    assert transfer.path.read_bytes() == b"abc"


def test_s2_a_download_cut_50_times_at_random_places_ends_verified(internet: Any, tmp_path: Path) -> None:
    dice = random.Random(2)
    data = dice.randbytes(2_000_000)
    cuts = 0

    def cutting(host: str, path: str, headers: dict[str, str]) -> tuple[Any, ...]:
        nonlocal cuts
        answer = internet.honest(host, path, headers)
        if host == CDN and cuts < 50:
            cuts += 1
            return (*answer, dice.randrange(1, 2 + len(answer[2]) // 20))
        return answer

    internet.answer = cutting
    transfer = transfer_of(data, tmp_path)
    internet.blobs[transfer.digest] = data
    bring(make(internet), transfer)
    assert transfer.path.read_bytes() == data
    assert transfer.cuts == 50
    asked = [headers["Range"] for host, _path, headers in internet.requests if host == CDN and "Range" in headers]
    assert len(asked) == 50


def test_s2_a_source_that_ignores_ranges_is_read_from_the_beginning(internet: Any, tmp_path: Path) -> None:
    data = os.urandom(100_000)
    calls: list[str] = []

    def forgetful(host: str, path: str, headers: dict[str, str]) -> tuple[Any, ...]:
        if host == REGISTRY:
            return internet.honest(host, path, headers)
        calls.append(headers.get("Range", ""))
        answer = (200, {"Content-Length": str(len(data))}, data)
        return (*answer, 50_000) if len(calls) == 1 else answer

    internet.answer = forgetful
    transfer = transfer_of(data, tmp_path)
    bring(make(internet), transfer)
    assert transfer.path.read_bytes() == data
    assert calls == ["", "bytes=50000-"]


def test_s2_lying_bytes_are_refused_at_once(internet: Any, client: RegistryClient, tmp_path: Path) -> None:
    transfer = transfer_of(b"good bytes", tmp_path)
    internet.blobs[transfer.digest] = b"evil bytes"
    assert refused(lambda: bring(client, transfer)) == "FETCH-DIGEST-MISMATCH"
    assert len([host for host, _path, _headers in internet.requests if host == CDN]) == 1


def test_s2_a_lie_in_a_resumed_part_is_tried_whole_once_more(internet: Any, tmp_path: Path) -> None:
    data = os.urandom(10_000)
    calls: list[str] = []

    def lying(host: str, path: str, headers: dict[str, str]) -> tuple[Any, ...]:
        if host == REGISTRY:
            return internet.honest(host, path, headers)
        calls.append(headers.get("Range", ""))
        if len(calls) == 1:
            return 200, {"Content-Length": "10000"}, bytes(10_000), 5000
        return internet.honest(host, path, headers)

    internet.answer = lying
    transfer = transfer_of(data, tmp_path)
    internet.blobs[transfer.digest] = data
    bring(make(internet), transfer)
    assert transfer.path.read_bytes() == data
    assert calls == ["", "bytes=5000-", ""]


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.example/x",
        "http://cdn.example.org/x",
        "https://cdn.example.org:8443/x",
        "https://user:secret@cdn.example.org/x",
        "https://cdn.example.org.evil.example/x",
        "https://169.254.169.254/latest",
        "//evil.example/x",
        "ftp://cdn.example.org/x",
        "https://[::1",
        "https://cdn.example.org:99999999/x",
        "",
    ],
)
def test_s2_a_redirect_elsewhere_is_refused_before_any_connection(
    internet: Any, client: RegistryClient, tmp_path: Path, location: str
) -> None:
    internet.answer = lambda host, path, headers: (307, {"Location": location, "Content-Length": "0"}, b"")
    assert refused(lambda: bring(client, transfer_of(b"x", tmp_path))) == "FETCH-REDIRECT-REFUSED"
    assert internet.connected == [REGISTRY]


def test_s2_redirects_in_a_circle_end(internet: Any, client: RegistryClient, tmp_path: Path) -> None:
    internet.answer = lambda host, path, headers: (307, {"Location": path, "Content-Length": "0"}, b"")
    assert refused(lambda: bring(client, transfer_of(b"x", tmp_path))) == "FETCH-REDIRECT-REFUSED"
    assert len(internet.requests) == 6


def test_s2_the_secret_of_a_signed_redirect_is_not_told(internet: Any, tmp_path: Path) -> None:
    location = "https://evil.example/x?X-Amz-Signature=topsecret"
    internet.answer = lambda host, path, headers: (307, {"Location": location, "Content-Length": "0"}, b"")
    with pytest.raises(FindingError) as caught:
        bring(make(internet), transfer_of(b"x", tmp_path))
    assert "topsecret" not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        ({"Content-Length": "1000000"}, b"x" * 1000, "FETCH-TOO-LARGE"),
        ({"Content-Length": "99"}, b"x" * 99, "FETCH-SIZE-MISMATCH"),
        ({}, b"x" * 101, "FETCH-TOO-LARGE"),
        ({"Content-Encoding": "gzip", "Content-Length": "100"}, b"x" * 100, "FETCH-SIZE-MISMATCH"),
        ({"Transfer-Encoding": "chunked"}, b"65\r\n" + b"x" * 101 + b"\r\n0\r\n\r\n", "FETCH-TOO-LARGE"),
    ],
)
def test_s2_no_more_and_no_less_than_declared_is_read(
    internet: Any, client: RegistryClient, tmp_path: Path, headers: dict[str, str], body: bytes, code: str
) -> None:
    internet.answer = lambda host, path, asked: (200, headers, body)
    transfer = transfer_of(b"y" * 100, tmp_path)
    assert refused(lambda: bring(client, transfer)) == code
    assert not transfer.path.exists() or transfer.path.stat().st_size <= 100


def test_s2_an_endless_body_is_cut_off_at_the_declared_size(
    internet: Any, client: RegistryClient, tmp_path: Path
) -> None:
    sent = 0

    def endless(tls: ssl.SSLSocket) -> None:
        nonlocal sent
        while True:
            tls.sendall(b"x" * 16384)
            sent += 16384

    internet.answer = lambda host, path, headers: (200, {}, endless)
    transfer = transfer_of(b"y" * 100_000, tmp_path)
    assert refused(lambda: bring(client, transfer)) == "FETCH-TOO-LARGE"
    assert transfer.path.stat().st_size <= 100_000
    assert sent < 20_000_000


def test_s2_one_kilobyte_of_a_declared_ten_gigabytes_ends_soon(internet: Any, tmp_path: Path) -> None:
    """The source closes early every time: what is missing is asked for, and the answer says there is no more."""
    internet.answer = internet.honest
    transfer = transfer_of(b"x" * 1000, tmp_path, size=10_000_000_000)
    internet.blobs[transfer.digest] = b"x" * 1000
    assert refused(lambda: bring(make(internet), transfer)) == "FETCH-SIZE-MISMATCH"


def test_s2_an_endless_manifest_is_refused(internet: Any, client: RegistryClient) -> None:
    internet.answer = lambda host, path, headers: (200, {}, b"x" * 5000)
    assert refused(lambda: client.manifest("1", 1000, "")) == "FETCH-TOO-LARGE"


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_s2_a_busy_source_is_tried_again_a_bounded_number_of_times(
    internet: Any, client: RegistryClient, tmp_path: Path, status: int
) -> None:
    internet.answer = lambda host, path, headers: (status, {"Content-Length": "0"}, b"")
    assert refused(lambda: bring(client, transfer_of(b"x", tmp_path))) == "FETCH-UNREACHABLE"
    assert len(internet.requests) == 3


def test_s2_a_source_that_recovers_is_used(internet: Any, client: RegistryClient) -> None:
    def recovering(host: str, path: str, headers: dict[str, str]) -> tuple[Any, ...]:
        return (503, {}, b"") if len(internet.requests) < 3 else (200, {}, b"manifest")

    internet.answer = recovering
    assert client.manifest("1", 100, "") == b"manifest"


def test_s2_a_manifest_that_was_cut_is_asked_for_again(internet: Any, model: Callable[..., Any]) -> None:
    made = model("test:1", b"w")

    def cutting(host: str, path: str, headers: dict[str, str]) -> tuple[Any, ...]:
        length = {"Content-Length": str(len(made.manifest))}
        return (200, length, made.manifest, 20) if len(internet.requests) < 3 else (200, length, made.manifest)

    internet.answer = cutting
    assert make(internet).manifest("1", 10_000, made.digest) == made.manifest
    assert len(internet.requests) == 3


@pytest.mark.parametrize(
    "error", [ssl.SSLEOFError(8, "EOF"), BrokenPipeError(32, "Broken pipe"), ConnectionResetError()]
)
def test_s2_a_close_without_farewell_ends_a_manifest_only_when_it_is_the_expected_one(
    internet: Any, model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    """How an unannounced end of the connection looks depends on the version of OpenSSL: all forms are met here."""
    made = model("test:1", b"w")
    internet.add(made)
    receive = ssl.SSLSocket.recv_into

    def ending(tls: ssl.SSLSocket, *arguments: Any) -> int:
        count = receive(tls, *arguments)
        if not count:
            raise error
        return count

    monkeypatch.setattr(ssl.SSLSocket, "recv_into", ending)
    assert make(internet).manifest("1", 10_000, made.digest) == made.manifest
    assert refused(lambda: make(internet).manifest("1", 10_000, "sha256:other")) == "FETCH-UNREACHABLE"


@pytest.mark.parametrize(("status", "code"), [(404, "FETCH-NOT-FOUND"), (401, "FETCH-REFUSED"), (418, "FETCH-REFUSED")])
def test_s2_a_final_no_is_not_asked_twice(internet: Any, client: RegistryClient, status: int, code: str) -> None:
    internet.answer = lambda host, path, headers: (status, {}, b"")
    assert refused(lambda: client.manifest("1", 100, "")) == code
    assert len(internet.requests) == 1


@pytest.mark.parametrize(
    "content_range", ["", "bytes 0-9/10", "bytes 6-9/10", "nonsense", "bytes 5-9/11", "bytes 5-9/9"]
)
def test_s2_a_wrong_range_is_never_glued_to_what_is_there(
    internet: Any, client: RegistryClient, tmp_path: Path, content_range: str
) -> None:
    def wrong(host: str, path: str, headers: dict[str, str]) -> tuple[Any, ...]:
        if "Range" not in headers:
            return 200, {"Content-Length": "10"}, b"0123456789", 5
        return 206, {"Content-Range": content_range, "Content-Length": "5"}, b"56789"

    internet.answer = wrong
    transfer = transfer_of(b"0123456789", tmp_path)
    assert refused(lambda: bring(client, transfer)) in ("FETCH-SIZE-MISMATCH", "FETCH-TOO-LARGE")
    assert transfer.path.stat().st_size == 5


def test_s2_squids_refusal_under_its_throw_away_certificate_is_recognised(internet: Any) -> None:
    internet.hosts = (CDN,)
    assert refused(lambda: make(internet).manifest("1", 100, "")) == "FETCH-REFUSED-BY-PROXY"
    assert internet.requests == []


@pytest.mark.parametrize(
    ("status", "code"), [(403, "FETCH-REFUSED-BY-PROXY"), (407, "FETCH-REFUSED-BY-PROXY"), (503, "FETCH-UNREACHABLE")]
)
def test_s2_a_proxys_plain_refusal_is_recognised(internet: Any, status: int, code: str) -> None:
    internet.proxy_status = status
    assert refused(lambda: make(internet).manifest("1", 100, "")) == code


def test_s2_an_unknown_authority_is_refused(internet: Any) -> None:
    """Without the test's authority the system's are used, and none of them signed the registry's certificate."""
    client = RegistryClient(str(internet.socket_path), REGISTRY, "library/test", (CDN,), None, QUICK)
    assert refused(lambda: client.manifest("1", 100, "")) == "FETCH-TLS"


def test_s2_after_a_stop_or_the_deadline_no_connection_is_made(internet: Any, model: Callable[..., Any]) -> None:
    made = model("test:1", b"w")
    internet.add(made)
    client = make(internet)
    client.hang_up()
    with pytest.raises(StoppedError):
        client.open("/v2/library/test/manifests/1", {}, "x")
    assert internet.connected == []
    client.resume()
    assert client.manifest("1", 10_000, made.digest) == made.manifest
    late = make(internet, Limits(total_seconds=-1))
    internet.connected.clear()
    assert refused(lambda: late.open("/v2/library/test/manifests/1", {}, "x")) == "FETCH-TIMEOUT"
    assert internet.connected == []


def test_s2_no_proxy_is_one_clear_finding(tmp_path: Path) -> None:
    client = RegistryClient(str(tmp_path / "none.sock"), REGISTRY, "library/test", (CDN,), None, QUICK)
    assert refused(lambda: client.manifest("1", 100, "")) == "FETCH-UNREACHABLE"


def test_s2_a_bad_ca_bundle_is_one_clear_finding(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "none.pem"):
        code = refused(lambda name=name: RegistryClient("s", REGISTRY, "r", (), str(tmp_path / name), QUICK))
        assert code == "FETCH-CA-BUNDLE"


def test_s2_a_slow_source_ends_at_the_deadline(internet: Any, tmp_path: Path) -> None:
    def trickle(tls: ssl.SSLSocket) -> None:
        import time

        while True:
            tls.sendall(b"x")
            time.sleep(0.02)

    internet.answer = lambda host, path, headers: (200, {"Content-Length": "100000"}, trickle)
    limits = Limits(operation_seconds=5, total_seconds=0.5, attempts=3, retry_seconds=0.01)
    transfer = transfer_of(b"x" * 100_000, tmp_path)
    assert refused(lambda: bring(make(internet, limits), transfer)) == "FETCH-TIMEOUT"
    assert 0 < transfer.received < 1000


def test_s2_a_full_quarantine_is_one_clear_finding(
    internet: Any, client: RegistryClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: bytes, position: int) -> int:
        raise OSError(28, "No space left on device")

    transfer = transfer_of(b"x" * 1000, tmp_path)
    internet.blobs[transfer.digest] = b"x" * 1000
    with monkeypatch.context() as patched:
        patched.setattr("ansible_collections.rampart.ollama.plugins.module_utils.transfer.os.pwrite", full)
        assert refused(lambda: bring(client, transfer)) == "FETCH-DISK"


def test_s2_a_link_where_the_file_should_be_is_not_followed(
    internet: Any, client: RegistryClient, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    transfer = transfer_of(b"x" * 10, tmp_path)
    transfer.path.symlink_to(outside)
    internet.blobs[transfer.digest] = b"x" * 10
    assert refused(lambda: bring(client, transfer)) == "FETCH-DISK"
    assert outside.read_bytes() == b"precious"
