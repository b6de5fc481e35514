# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row I6: what a proxy answers is read for what it means, and nothing it sends can hold the attack up."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from ansible_collections.rampart.ollama.plugins.module_utils.attack_proxy import (
    proxy_connect,
    proxy_request,
    proxy_upload,
)

DENIED = b"HTTP/1.1 403 Forbidden\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\n\r\n"
Answer = Callable[[socket.socket], None]


@contextmanager
def proxy(tmp_path: Path, answer: Answer) -> Iterator[str]:
    """A stand-in that answers each connection, after its request's head was read."""
    path = str(tmp_path / "egress.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _peer = server.accept()
                except OSError:
                    return
                with connection, suppress(OSError, ssl.SSLError):
                    data = b""
                    while b"\r\n\r\n" not in data:
                        data += connection.recv(4096)
                    answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield path
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def say(data: bytes) -> Answer:
    return lambda connection: connection.sendall(data)


def tunnel_then(data: bytes) -> Answer:
    return lambda connection: connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n" + data)


def in_tls(page: bytes) -> Answer:
    """Shake hands inside the tunnel with a certificate of one's own and say something: what Squid does to refuse."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("egress.invalid").configure_cert(context)

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with context.wrap_socket(connection, server_side=True) as session:
            session.recv(4096)
            session.sendall(page)

    return answer


def connect(path: str, **more: object) -> tuple[str, str]:
    return proxy_connect({"socket": path, "names": ["registry.ollama.ai"], "timeout": 3, **more})


@pytest.mark.parametrize(
    ("answer", "outcome", "word"),
    [
        (say(DENIED), "refused", "403 ERR_ACCESS_DENIED"),
        (say(b"HTTP/1.1 405 No\r\n\r\n"), "refused", "405"),
        (say(b"HTTP/1.1 503 No\r\nX-Squid-Error: ERR_CONNECT_FAIL 111\r\n\r\n"), "succeeded", "ERR_CONNECT_FAIL"),
        (say(b"HTTP/1.1 502 No\r\n\r\n"), "succeeded", "answered HTTP/1.1 502"),
        (say(b""), "refused", "cut"),
        (tunnel_then(b""), "refused", "cut"),
        (tunnel_then(b"laboratory sink\n"), "succeeded", "something else than TLS"),
        (tunnel_then(b"\x15\x03\x03\x00\x02\x02\x28"), "succeeded", "something else than TLS"),
        (in_tls(DENIED), "refused", "403 ERR_ACCESS_DENIED"),
        (in_tls(b"HTTP/1.1 503 No\r\nX-Squid-Error: ERR_DNS_FAIL 0\r\n\r\n"), "succeeded", "ERR_DNS_FAIL"),
        (in_tls(b"HTTP/1.1 403 Forbidden\r\n\r\nby the registry"), "succeeded", "a server answered"),
        (in_tls(b""), "succeeded", "a server answered"),
    ],
)
def test_a_tunnel_is_judged_by_who_answers_in_it(tmp_path: Path, answer: Answer, outcome: str, word: str) -> None:
    """I6: a 200 is no success when the page inside is the proxy's refusal, a 403 of the server's is no refusal."""
    with proxy(tmp_path, answer) as path:
        found = connect(path)
    assert found[0] == outcome, found
    assert word in found[1]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (say(DENIED), "refused"),
        (say(b"HTTP/1.1 200 OK\r\n\r\n"), "succeeded"),
        (say(b"HTTP/1.1 504 No\r\nX-Squid-Error: ERR_CONNECT_FAIL 110\r\n\r\n"), "succeeded"),
        (say(b"HTTP/1.1 403 No\r\nX-Squid-Error: ERR_TOO_BIG 0\r\n\r\n"), "refused"),
        (say(b""), "refused"),
    ],
)
def test_a_page_in_clear_is_judged_by_whose_it_is(tmp_path: Path, answer: Answer, outcome: str) -> None:
    with proxy(tmp_path, answer) as path:
        assert proxy_request({"socket": path, "names": ["x.example"], "ports": [80], "timeout": 3})[0] == outcome


def test_one_target_that_gets_through_is_enough(tmp_path: Path) -> None:
    seen: list[int] = []

    def second(connection: socket.socket) -> None:
        seen.append(1)
        connection.sendall(DENIED if len(seen) == 1 else b"HTTP/1.1 200 OK\r\n\r\nhello")

    with proxy(tmp_path, second) as path:
        outcome, text = connect(path, ports=[22, 80, 443])
    assert (outcome, len(seen)) == ("succeeded", 2)
    assert "port 80" in text


def test_no_socket_no_target_and_silence_prove_nothing(tmp_path: Path) -> None:
    assert connect(str(tmp_path / "none"))[0] == "error"
    assert connect(str(tmp_path / "none"), names=[])[0] == "error"
    held = threading.Event()
    with proxy(tmp_path, lambda _connection: held.wait(5) and None) as path:
        outcome, text = connect(path, timeout=1)
        held.set()
    assert (outcome, "no answer" in text) == ("error", True)


def test_a_head_without_an_end_is_cut_off(tmp_path: Path) -> None:
    """I6: a hostile proxy can neither fill the memory nor hold the attack."""

    def endless(connection: socket.socket) -> None:
        for _part in range(100):
            connection.sendall(b"x" * 4096)

    with proxy(tmp_path, endless) as path:
        assert connect(path, timeout=5)[0] in ("error", "succeeded")


def test_an_upload_needs_a_host_that_may_be_sent_it(tmp_path: Path) -> None:
    assert proxy_upload({"socket": "/none", "name": "", "size": 9, "timeout": 1})[0] == "error"
    assert proxy_upload({"socket": str(tmp_path / "none"), "name": "x", "size": 9, "timeout": 1})[0] == "error"
    with proxy(tmp_path, say(DENIED)) as path:
        assert proxy_upload({"socket": path, "name": "x.example", "size": 9, "timeout": 2})[0] == "refused"
