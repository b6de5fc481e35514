# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S1, S6: a tag's manifest is read from an allowed source, whole, verified, bounded; through a proxy too."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.module_utils.names import DEFAULT_SOURCES
from ansible_collections.rampart.ollama.plugins.plugin_utils import registry_tag
from ansible_collections.rampart.ollama.plugins.plugin_utils.registry_tag import fetch_manifest, moved

pytestmark = pytest.mark.row("S6")

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
SECRET = "s3cret-of-the-proxy"


class TcpProxy:
    """A CONNECT proxy on TCP in front of the fake internet; with `target` set it connects by itself (no proxy)."""

    def __init__(self, internet: Any, target: str = "") -> None:
        self.internet = internet
        self.target = target
        self.heads: list[str] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return "http://127.0.0.1:{0}".format(self.port)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _address = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._client, args=(client,), daemon=True).start()

    def _client(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.socket(socket.AF_UNIX) as behind:
            behind.connect(str(self.internet.socket_path))
            if self.target:
                behind.sendall("CONNECT {0} HTTP/1.1\r\n\r\n".format(self.target).encode())
                self.internet._read_head(behind)
            else:
                head = self.internet._read_head(client)
                self.heads.append(head)
                behind.sendall(head.encode())
            pump = threading.Thread(target=self._copy, args=(behind, client), daemon=True)
            pump.start()
            self._copy(client, behind)
            pump.join(10)

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        # Whoever still writes to the end that is gone learns it.
        for end, way in ((sink, socket.SHUT_WR), (source, socket.SHUT_RD)):
            with contextlib.suppress(OSError):
                end.shutdown(way)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of the machine that runs the tests, and no long pauses."""
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(registry_tag, "PAUSE_SECONDS", 0.001)


@pytest.fixture
def proxy(internet: Any) -> Iterator[TcpProxy]:
    made = TcpProxy(internet)
    yield made
    made.close()


@pytest.fixture
def ask(internet: Any, proxy: TcpProxy) -> Callable[..., registry_tag.ManifestAnswer]:
    """Ask for test:1 through the proxy."""

    def run(reference: str = "test:1", **changes: Any) -> registry_tag.ManifestAnswer:
        settings = {"ca_bundle": str(internet.ca_path), "proxy": proxy.url, "timeout": 10, **changes}
        return fetch_manifest(reference, settings.pop("sources", DEFAULT_SOURCES), **settings)

    return run


@pytest.fixture
def made(internet: Any, model: Callable[..., Any]) -> Any:
    """A model at the registry."""
    made = model("test:1", b"weights")
    internet.add(made)
    return made


def refused(action: Callable[[], object]) -> str:
    with pytest.raises(FindingError) as caught:
        action()
    assert caught.value.finding.remedy
    assert SECRET not in str(caught.value)
    return caught.value.finding.code


def test_s6_the_manifest_comes_as_it_is_and_no_blob_does(ask: Callable[..., Any], internet: Any, made: Any) -> None:
    answer = ask()
    assert (answer.digest, answer.raw) == (made.digest, made.manifest)
    assert set(answer.manifest.blobs) == set(made.blobs)
    (request,) = internet.requests
    assert request[:2] == ("registry.ollama.ai", "/v2/library/test/manifests/1")
    assert request[2]["Accept"] == MANIFEST_TYPE
    assert "Authorization" not in request[2]


@pytest.mark.parametrize(
    ("reference", "code"),
    [
        ("evil.example/library/test:1", "SOURCE-REFUSED"),
        ("somebody/test:1", "SOURCE-REFUSED"),
        ("test:cloud", "NAME-CLOUD"),
        ("http://registry.ollama.ai/library/test:1", "NAME-SCHEME"),
        ("../../etc/passwd", "NAME-INVALID"),
        ("", "NAME-INVALID"),
    ],
)
@pytest.mark.row("S1")
def test_s1_what_is_not_allowed_is_refused_before_a_byte_moves(
    ask: Callable[..., Any], internet: Any, proxy: TcpProxy, reference: str, code: str
) -> None:
    assert refused(lambda: ask(reference)) == code
    assert (internet.connected, proxy.heads) == ([], [])


def test_s1_no_source_listed_allows_nothing(ask: Callable[..., Any], internet: Any) -> None:
    assert refused(lambda: ask(sources=[])) == "SOURCE-REFUSED"
    assert internet.connected == []


def test_s1_another_authority_is_not_trusted(ask: Callable[..., Any], internet: Any, made: Any) -> None:
    assert refused(lambda: ask(ca_bundle=None)) == "FETCH-TLS"
    assert internet.requests == []


def test_s1_a_certificate_for_another_name_is_not_trusted(
    internet: Any, made: Any, model: Callable[..., Any], tmp_path: Path
) -> None:
    direct = TcpProxy(internet, "cdn.example.org:443")
    reference = "localhost:{0}/library/test:1".format(direct.port)
    source = ["localhost:{0}/".format(direct.port)]
    assert refused(lambda: fetch_manifest(reference, source, str(internet.ca_path), timeout=10)) == "FETCH-TLS"
    direct.close()
    assert internet.requests == []


@pytest.mark.parametrize("bundle", ["/nonexistent.pem", "/etc/hostname", "/"])
def test_s1_an_authority_that_cannot_be_read(ask: Callable[..., Any], bundle: str) -> None:
    assert refused(lambda: ask(ca_bundle=bundle)) == "FETCH-CA-BUNDLE"


def test_s6_directly_at_a_registry_with_a_port_of_its_own(
    internet: Any, model: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "near").mkdir()
    near = type(internet)(tmp_path / "near", ("localhost",))
    direct = TcpProxy(near, "localhost:443")
    made = model("test:1", b"weights")
    near.answer = lambda host, path, headers: (200, {}, made.manifest)
    name = "localhost:{0}".format(direct.port)
    answer = fetch_manifest(name + "/library/test:1", [name + "/library/"], str(near.ca_path), timeout=10)
    assert answer.digest == made.digest
    assert near.requests[0][2]["Host"] == name
    direct.close()
    near.close()


# --- the proxy


def test_s6_the_proxy_comes_from_the_environment(
    ask: Callable[..., Any], proxy: TcpProxy, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    assert ask(proxy=None).digest == made.digest
    assert proxy.heads[0].startswith("CONNECT registry.ollama.ai:443 HTTP/1.1\r\n")


@pytest.mark.parametrize(("bypass", "used"), [("registry.ollama.ai", 0), (".ollama.ai", 0), ("example.org", 1)])
def test_s6_no_proxy_is_honoured(
    ask: Callable[..., Any],
    proxy: TcpProxy,
    made: Any,
    monkeypatch: pytest.MonkeyPatch,
    bypass: str,
    used: int,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", bypass)
    tried: list[Any] = []

    def nowhere(where: Any, timeout: float) -> socket.socket:
        tried.append(where)
        raise ConnectionRefusedError(111, "Connection refused")

    if not used:
        monkeypatch.setattr(socket, "create_connection", nowhere)
        assert refused(lambda: ask(proxy=None)) == "FETCH-UNREACHABLE"
        assert set(tried) == {("registry.ollama.ai", 443)}
    else:
        assert ask(proxy=None).digest == made.digest
    assert len(proxy.heads) == used


def test_s6_the_proxys_password_goes_to_the_proxy_alone(
    ask: Callable[..., Any], internet: Any, proxy: TcpProxy, made: Any
) -> None:
    url = "http://us%40er:{0}@127.0.0.1:{1}".format(SECRET, proxy.port)
    assert ask(proxy=url).digest == made.digest
    sent = base64.b64encode("us@er:{0}".format(SECRET).encode()).decode()
    assert "Proxy-Authorization: Basic {0}\r\n".format(sent) in proxy.heads[0]
    assert not any("authorization" in key.lower() for key in internet.requests[0][2])


@pytest.mark.parametrize("status", [403, 405, 407])
def test_s6_what_the_proxy_refuses_is_said_so(ask: Callable[..., Any], internet: Any, status: int) -> None:
    internet.proxy_status = status
    assert refused(ask) == "FETCH-REFUSED-BY-PROXY"
    assert len(internet.connected) == 1


def test_s6_a_proxy_that_cannot_reach_the_host_is_tried_again(ask: Callable[..., Any], internet: Any) -> None:
    internet.proxy_status = 503
    assert refused(ask) == "FETCH-UNREACHABLE"
    assert len(internet.connected) == registry_tag.ATTEMPTS


def test_s6_a_proxy_that_is_not_there(ask: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert refused(lambda: ask(proxy="http://user:{0}@127.0.0.1:{1}".format(SECRET, port))) == "FETCH-UNREACHABLE"


# --- what a registry may answer


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((404, {}, b""), "FETCH-NOT-FOUND"),
        ((401, {}, b""), "FETCH-REFUSED"),
        ((500, {}, b""), "FETCH-UNREACHABLE"),
        ((429, {"Retry-After": "9999999"}, b""), "FETCH-UNREACHABLE"),
        ((200, {}, b"<html>Sign in to the hotel's network</html>"), "FETCH-MANIFEST-INVALID"),
        ((200, {}, b""), "FETCH-MANIFEST-INVALID"),
        ((200, {}, b"[" * 100_000), "FETCH-MANIFEST-INVALID"),
        ((200, {"Content-Length": "500"}, b"{}"), "FETCH-UNREACHABLE"),
        ((200, {"Content-Encoding": "gzip"}, b"{}"), "FETCH-UNREACHABLE"),
        ((200, {"Docker-Content-Digest": "sha256:" + "0" * 64}, b"{}"), "FETCH-DIGEST-MISMATCH"),
        ((307, {"Location": "https://evil.example/x"}, b""), "FETCH-REDIRECT-REFUSED"),
        ((307, {"Location": "http://registry.ollama.ai/x"}, b""), "FETCH-REDIRECT-REFUSED"),
        ((307, {"Location": "//evil.example/x"}, b""), "FETCH-REDIRECT-REFUSED"),
        ((307, {"Location": "https://registry.ollama.ai:8443/x"}, b""), "FETCH-REDIRECT-REFUSED"),
        ((307, {"Location": "https://user:pass@registry.ollama.ai/x"}, b""), "FETCH-REDIRECT-REFUSED"),
        ((307, {"Location": "https://registry.ollama.ai:port/x"}, b""), "FETCH-REDIRECT-REFUSED"),
        ((307, {"Location": "/caf\u00e9 x"}, b""), "FETCH-REDIRECT-REFUSED"),
        ((307, {}, b""), "FETCH-REDIRECT-REFUSED"),
        ((307, {"Location": "/round/and/round"}, b""), "FETCH-REDIRECT-REFUSED"),
    ],
)
def test_s6_a_lying_registry_is_one_finding(
    ask: Callable[..., Any], internet: Any, answer: tuple[Any, ...], code: str
) -> None:
    internet.answer = lambda host, path, headers: answer
    assert refused(ask) == code
    assert set(internet.connected) == {"registry.ollama.ai"}


def test_s6_a_redirect_to_a_listed_host_is_followed(ask: Callable[..., Any], internet: Any, made: Any) -> None:
    def elsewhere(host: str, path: str, headers: dict[str, str]) -> tuple[Any, ...]:
        if host == "registry.ollama.ai":
            return 307, {"Location": "https://cdn.example.org/there?signed=1"}, b""
        return 200, {}, made.manifest

    internet.answer = elsewhere
    assert refused(ask) == "FETCH-REDIRECT-REFUSED"
    assert ask(redirect_hosts=["CDN.example.org"]).digest == made.digest
    assert internet.requests[-1][:2] == ("cdn.example.org", "/there?signed=1")


def test_s6_a_busy_registry_is_asked_again(ask: Callable[..., Any], internet: Any, made: Any) -> None:
    answers = [(503, {}, b""), (200, {"Content-Length": str(len(made.manifest))}, made.manifest, 20)]
    internet.answer = lambda *asked: answers.pop(0) if answers else internet.honest(*asked)
    assert ask().digest == made.digest
    assert len(internet.requests) == registry_tag.ATTEMPTS


def test_s6_an_endless_answer_is_read_no_further_than_the_bound(ask: Callable[..., Any], internet: Any) -> None:
    sent: list[int] = []

    def endless(stream: Any) -> None:
        with contextlib.suppress(OSError):
            while len(sent) < 1000:
                stream.sendall(b" " * 65536)
                sent.append(65536)

    internet.answer = lambda host, path, headers: (200, {}, endless)
    assert refused(ask) == "FETCH-TOO-LARGE"
    assert sum(sent) < 16 * 1024 * 1024


@pytest.mark.parametrize("where", ["head", "body"])
def test_s6_a_byte_now_and_then_does_not_hold_the_run(ask: Callable[..., Any], internet: Any, where: str) -> None:
    hung_up = threading.Event()

    def dripping(stream: Any) -> None:
        try:
            for _second in range(200):
                stream.sendall(b"x")
                hung_up.wait(0.05)
        except OSError:
            hung_up.set()

    def answer(host: str, path: str, headers: dict[str, str]) -> tuple[Any, ...]:
        # An unfinished header line keeps the client in its reading of the head.
        return (200, {}, dripping) if where == "body" else (100, {}, dripping)

    internet.answer = answer
    assert refused(lambda: ask(timeout=0.7)) == "FETCH-TIMEOUT"
    assert hung_up.wait(5), "the client stayed for every byte"


def test_s6_a_silent_registry_times_out(ask: Callable[..., Any], internet: Any) -> None:
    over = threading.Event()
    internet.answer = lambda host, path, headers: (200, {"Content-Length": "9"}, lambda stream: over.wait(20))
    try:
        assert refused(lambda: ask(timeout=0.5)) == "FETCH-TIMEOUT"
    finally:
        over.set()


# --- has the tag moved?


def test_s6_a_tag_that_names_the_approved_bytes_has_not_moved(made: Any) -> None:
    assert moved(made.entry(), made.digest) is None
    assert moved(made.entry(digest=made.digest.upper().replace("SHA256:", "sha256-")), made.digest) is None


def test_s6_a_tag_that_names_other_bytes_has_moved(made: Any) -> None:
    other = "sha256:" + "ab" * 32
    finding = moved(made.entry(), other)
    assert finding is not None
    assert finding.code == "APPROVAL-TAG-MOVED"
    assert finding.subject == "test:1"
    assert made.digest in finding.evidence
    assert other in finding.evidence


@pytest.mark.parametrize("digest", [None, "", "sha256:", 5, ["sha256:" + "ab" * 32]])
def test_s6_an_entry_that_pins_nothing_is_never_in_order(made: Any, digest: Any) -> None:
    assert moved(made.entry(digest=digest), made.digest) is not None
    assert moved({}, made.digest) is not None
