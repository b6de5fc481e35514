# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S2: why a connection through the egress proxy failed is said in the proxy's words, and no wait has no end."""

from __future__ import annotations

import itertools
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import CDN, REGISTRY, Loopback

from ansible_collections.rampart.ollama.plugins.module_utils import tunnel
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.module_utils.registry import Limits, RegistryClient

pytestmark = pytest.mark.row("S2")
QUICK = Limits(operation_seconds=1.0, total_seconds=20.0, attempts=2, retry_seconds=0.01)


@pytest.fixture(scope="module")
def internet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    made = Loopback(tmp_path_factory.mktemp("internet"))
    made.add("test:1", b"{}", {})
    yield made
    made.close()


def ask(internet: Any, limits: Limits = QUICK) -> FindingError:
    client = RegistryClient(
        str(internet.socket_path), REGISTRY, "library/test", (CDN,), str(internet.ca_path), limits
    )
    with pytest.raises(FindingError) as caught:
        client.manifest("1", 1000, "sha256:" + "0" * 64)
    assert caught.value.finding.remedy
    return caught.value


def page(status: str, *headers: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 " + status, *headers, "Content-Length: 5", "", "<html"]).encode()


@pytest.mark.parametrize(
    ("clear", "code", "words"),
    [
        (
            page("503 Service Unavailable", "X-Squid-Error: ERR_CONNECT_FAIL 111"),
            "FETCH-UNREACHABLE",
            "could not reach registry.ollama.ai: ERR_CONNECT_FAIL 111",
        ),
        (page("503 Service Unavailable", "x-squid-error: ERR_DNS_FAIL 0"), "FETCH-UNREACHABLE", "ERR_DNS_FAIL 0"),
        (page("502 Bad Gateway"), "FETCH-UNREACHABLE", "could not reach registry.ollama.ai: status 502"),
        (page("403 Forbidden", "X-Squid-Error: ERR_ACCESS_DENIED 0"), "FETCH-REFUSED-BY-PROXY", "ERR_ACCESS_DENIED 0"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "FETCH-UNREACHABLE", "TLS: "),
        (page("200 OK"), "FETCH-UNREACHABLE", "TLS: "),
        (b"\0" * 100_000, "FETCH-UNREACHABLE", "TLS: "),
        (b"HTTP/1.1 503", "FETCH-UNREACHABLE", "status 503"),
        (b"HTTP/1.1 503 X\r\n" + b"A: " + b"x" * 100_000, "FETCH-UNREACHABLE", "status 503"),
    ],
)
def test_s2_an_answer_in_clear_is_told_instead_of_tls_own_error(
    internet: Loopback, clear: bytes, code: str, words: str
) -> None:
    internet.clear = clear
    error = ask(internet)
    assert error.finding.code == code
    assert words in str(error)
    if words != "TLS: ":
        assert "WRONG_VERSION" not in str(error)
        assert "TLS" not in error.finding.evidence


def test_s2_what_the_proxy_says_cannot_grow_a_message_or_move_a_cursor(internet: Loopback) -> None:
    internet.clear = page("503 No", "X-Squid-Error: \x1b[2J" + "E" * 10_000)
    error = ask(internet)
    assert "\x1b" not in str(error)
    assert len(error.finding.evidence) < 250


class Proxy:
    """A proxy that does what a test says with each connection: `behave(socket)`."""

    def __init__(self, directory: Path, behave: Callable[[socket.socket], None]) -> None:
        self.socket_path = directory / "egress.sock"
        self.ca_path = directory / "ca.pem"
        self._behave = behave
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.socket_path))
        self._listening.listen(8)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _address = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(client,), daemon=True).start()

    def _one(self, client: socket.socket) -> None:
        with client:
            try:
                client.recv(4096)
                self._behave(client)
            except OSError:
                return

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


def drip(data: bytes) -> Callable[[socket.socket], None]:
    """One byte each time the client has nearly lost patience, for ever."""

    def behave(client: socket.socket) -> None:
        wait = threading.Event()
        for value in itertools.cycle(data):
            client.sendall(bytes([value]))
            wait.wait(0.3)

    return behave


def flood(data: bytes) -> Callable[[socket.socket], None]:
    def behave(client: socket.socket) -> None:
        while True:
            client.sendall(data)

    return behave


@pytest.mark.parametrize(
    ("behave", "words"),
    [
        (drip(b"HTTP/1.1 200 Connection established\r\nX: y\r\n"), "timed out|no answer in time"),
        (flood(b"HTTP/1.1 200 Connection established\r\n"), "answer is too long"),
        (flood(b"x" * 4096), "answer is too long"),
        (lambda client: None, "closed the connection"),
        (lambda client: threading.Event().wait(3), "timed out|no answer in time"),
        (lambda client: client.sendall(page("503 No", "X-Squid-Error: ERR_CONNECT_FAIL 110")), "ERR_CONNECT_FAIL 110"),
    ],
    ids=["drips", "floods with headers", "floods", "closes", "is silent", "says 503"],
)
def test_s2_a_proxy_that_does_not_answer_as_it_should_is_one_finding(
    internet: Loopback, tmp_path: Path, behave: Callable[[socket.socket], None], words: str
) -> None:
    (tmp_path / "ca.pem").write_bytes(internet.ca_path.read_bytes())
    proxy = Proxy(tmp_path, behave)
    try:
        error = ask(proxy)
    finally:
        proxy.close()
    assert error.finding.code == "FETCH-UNREACHABLE"
    assert re.search(words, error.finding.evidence)


def test_s2_a_page_in_clear_without_an_end_is_read_so_far_only(
    internet: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_bytes(internet.ca_path.read_bytes())

    def behave(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        client.recv(4096)
        client.sendall(b"HTTP/1.1 503 No\r\n")
        flood(b"X: " + b"y" * 4000)(client)

    lengths = []
    refusal = tunnel._proxys_refusal

    def measured(host: str, head: bytes) -> Exception | None:
        lengths.append(len(head))
        return refusal(host, head)

    monkeypatch.setattr(tunnel, "_proxys_refusal", measured)
    proxy = Proxy(tmp_path, behave)
    try:
        assert "status 503" in str(ask(proxy))
    finally:
        proxy.close()
    assert max(lengths) <= tunnel.HEADER_MAX_BYTES + 4096 + 2


def talking(internet: Loopback, talk: Callable[[ssl.SSLSocket], None]) -> Callable[[socket.socket], None]:
    """Return what a proxy does whose far end has the registry's certificate and says what `talk` says."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(internet.directory / "tls.pem", internet.directory / "tls.key")

    def behave(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with context.wrap_socket(client, server_side=True) as tls:
            tls.recv(4096)
            talk(tls)

    return behave


@pytest.mark.parametrize("line", [b"HTTP/1.1 100 Continue\r\n\r\n", b"X-More: header\r\n", b"x" * 1000])
def test_s2_a_head_without_an_end_is_not_read_for_ever(internet: Loopback, tmp_path: Path, line: bytes) -> None:
    """The source sends interim answers, headers or no line end, as long as anybody listens."""
    (tmp_path / "ca.pem").write_bytes(internet.ca_path.read_bytes())

    def talk(tls: ssl.SSLSocket) -> None:
        tls.sendall(b"HTTP/1.1 100 Continue\r\n")
        while True:
            tls.sendall(line)

    proxy = Proxy(tmp_path, talking(internet, talk))
    try:
        assert ask(proxy).finding.code == "FETCH-UNREACHABLE"
    finally:
        proxy.close()


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 404 Not Found\r\n", b"HTTP/1.1 2", b""])
def test_s2_an_answer_cut_in_its_head_is_asked_for_again(internet: Loopback, tmp_path: Path, head: bytes) -> None:
    """What is missing of a head may be what would have told: it is a cut, not an answer."""
    (tmp_path / "ca.pem").write_bytes(internet.ca_path.read_bytes())
    asked: list[bytes] = []

    def talk(tls: ssl.SSLSocket) -> None:
        asked.append(head)
        tls.sendall(head)
        tls.unwrap()

    proxy = Proxy(tmp_path, talking(internet, talk))
    try:
        assert ask(proxy).finding.code == "FETCH-UNREACHABLE"
    finally:
        proxy.close()
    assert len(asked) == QUICK.attempts
