# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in's HTTP server and its child process, with a program in llama-server's place."""

from __future__ import annotations

import http.client
import json
import pathlib
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from ollama_standin import native, openai, writes
from ollama_standin.engine import Engine
from ollama_standin.settings import Settings
from ollama_standin.store import Store
from ollama_standin.web import Server

# Answers what the adapter asks llama-server for; the prompt "die" ends it in the middle of an answer.
FAKE = """#!{python}
import http.server, json, os, sys
port = int(sys.argv[sys.argv.index("--port") + 1])
class Handler(http.server.BaseHTTPRequestHandler):
    def reply(self, text):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())
    def do_GET(self):
        self.reply('{{"status": "ok"}}')
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != "Bearer " + os.environ["LLAMA_API_KEY"]:
            self.send_error(401)
        elif self.path == "/tokenize":
            self.reply(json.dumps({{"tokens": list(body["content"].encode())}}))
        elif self.path == "/apply-template":
            self.reply(json.dumps({{"prompt": body["messages"][-1]["content"]}}))
        elif "boom" in body["prompt"]:
            self.send_response(400)
            self.end_headers()
            self.wfile.write(b'{{"error": {{"message": "too long"}}}}')
        else:
            pieces = [{{"content": word, "stop": False}} for word in ("Hel", "lo")]
            if "die" in body["prompt"]:
                self.reply("data: " + json.dumps(pieces[0]) + "\\n\\n")
                os._exit(1)
            pieces.append({{"content": "", "stop": True, "stop_type": "eos", "tokens_evaluated": 3,
                           "tokens_predicted": 2, "timings": {{"prompt_ms": 1.5, "predicted_ms": 2.5}}}})
            self.reply("".join("data: " + json.dumps(piece) + "\\n\\n" for piece in pieces))
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def server(tmp_path: pathlib.Path, store: Store) -> Iterator[Server]:
    fake = tmp_path / "llama-server"
    fake.write_text(FAKE.format(python=sys.executable), encoding="ascii")
    fake.chmod(0o755)
    settings = Settings(tmp_path, store.root, port=0, llama_server=str(fake), keep_alive=60, load_timeout=20)
    engine = Engine(settings)
    running = Server(settings, store, engine, {**native.ROUTES, **openai.ROUTES, **writes.ROUTES})
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    engine.close()
    running.server_close()


def ask(server: Server, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection.request(method, path, data, headers)
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


def error(answer: tuple[int, bytes]) -> str:
    return str(json.loads(answer[1])["error"])


def test_generate_and_chat(server: Server) -> None:
    status, body = ask(server, "POST", "/api/generate", {"model": "tiny:1", "prompt": "hi", "stream": False})
    answer = json.loads(body)
    assert (status, answer["response"], answer["done_reason"]) == (200, "Hello", "stop")
    assert answer["prompt_eval_duration"] == 1_500_000
    _rest, body = ask(server, "POST", "/api/chat", {"model": "tiny:1", "messages": [{"role": "user", "content": "x"}]})
    assert [json.loads(line)["message"]["content"] for line in body.splitlines()] == ["Hel", "lo", ""]


def test_an_error_of_the_engine_is_passed_on(server: Server) -> None:
    answer = ask(server, "POST", "/api/generate", {"model": "tiny:1", "prompt": "boom"})
    assert (answer[0], error(answer)) == (400, "too long")


def test_a_child_that_dies_is_an_error_and_is_started_again(server: Server) -> None:
    answer = ask(server, "POST", "/api/generate", {"model": "tiny:1", "prompt": "die", "stream": False})
    assert answer[0] == 500
    assert "llama runner process no longer running" in error(answer)
    _rest, body = ask(server, "POST", "/api/generate", {"model": "tiny:1", "prompt": "die"})
    assert "error" in json.loads(body.splitlines()[-1]), "a stream that breaks off must end in an error"
    assert ask(server, "POST", "/api/generate", {"model": "tiny:1", "prompt": "hi", "stream": False})[0] == 200


def test_a_model_that_cannot_be_loaded_is_one_error(server: Server, tmp_path: pathlib.Path) -> None:
    (tmp_path / "llama-server").write_text("#!/bin/sh\necho error: bad magic; exit 1\n", encoding="ascii")
    answer = ask(server, "POST", "/api/generate", {"model": "tiny:1", "prompt": "hi"})
    assert answer[0] == 500
    assert error(answer) == "llama runner process has terminated: exit status 1: error: bad magic"


def test_idle_models_are_let_go(server: Server) -> None:
    ask(server, "POST", "/api/generate", {"model": "tiny:1", "prompt": "hi", "stream": False, "keep_alive": "200ms"})
    assert len(json.loads(ask(server, "GET", "/api/ps")[1])["models"]) == 1
    deadline = time.monotonic() + 10
    while json.loads(ask(server, "GET", "/api/ps")[1])["models"]:
        assert time.monotonic() < deadline, "the model is still loaded"
        time.sleep(0.05)


def test_another_context_size_loads_again(server: Server) -> None:
    for size in (1024, 2048):
        ask(server, "POST", "/api/generate", {"model": "tiny:1", "options": {"num_ctx": size}})
        assert json.loads(ask(server, "GET", "/api/ps")[1])["models"][0]["context_length"] == size


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"options": {"temperature": "hot"}}, 'option "temperature" must be of type float32'),
        ({"options": {"stop": [1]}}, 'option "stop" must be of type array'),
        ({"keep_alive": "soon"}, 'time: invalid duration "soon"'),
        ({"prompt": 5}, "json: cannot unmarshal number into Go struct field GenerateRequest.prompt of type string"),
        ({"suffix": "x"}, "registry.ollama.ai/library/tiny:1 does not support insert"),
        ({"raw": True, "system": "x"}, "raw mode does not support template, system, or context"),
        ({"format": "xml"}, "invalid format: 'xml'; expected \"json\" or a valid JSON Schema object"),
    ],
)
def test_bad_requests(server: Server, fields: dict[str, Any], text: str) -> None:
    answer = ask(server, "POST", "/api/generate", {"model": "tiny:1", "prompt": "hi", **fields})
    assert (answer[0], error(answer)) == (400, text)


def test_a_writable_store_is_really_written(server: Server) -> None:
    assert ask(server, "POST", "/api/copy", {"source": "tiny:1", "destination": "other"}) == (200, b"")
    status, body = ask(server, "POST", "/api/create", {"model": "third", "from": "other", "stream": False})
    assert (status, json.loads(body)) == (200, {"status": "success"})
    for name in ("tiny:1", "other"):
        assert ask(server, "DELETE", "/api/delete", {"model": name}) == (200, b"")
    assert [entry.name.short() for entry in server.store.models()] == ["third:latest"]
    assert len(list(server.store.blobs.iterdir())) == 3, "blobs that another model uses stay"
    ask(server, "DELETE", "/api/delete", {"model": "third"})
    assert not list(server.store.blobs.iterdir())


def test_errors_name_the_file_operation(server: Server) -> None:
    # A file where a directory is needed fails for root too, unlike a missing permission.
    (server.store.manifests / "registry.ollama.ai" / "library" / "x").write_bytes(b"")
    answer = ask(server, "POST", "/api/copy", {"source": "tiny:1", "destination": "x"})
    place = server.store.manifests / "registry.ollama.ai" / "library" / "x"
    assert (answer[0], error(answer)) == (500, f"mkdir {place}: file exists")


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("127.0.0.1:11434", 200), ("10.1.2.3", 200), ("box.internal", 200), ("evil.example", 403)],
)
def test_the_host_header_counts_on_loopback(server: Server, host: str, status: int) -> None:
    assert ask(server, "GET", "/api/tags", Host=host)[0] == status


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GARBAGE\r\n\r\n",
        b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n",
        b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_malformed_requests_get_400_and_are_cut(server: Server, request_bytes: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        connection.sendall(request_bytes)
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    assert b" 400 " in answer.splitlines()[0] or answer.startswith(b"400 ")
    assert b"Traceback" not in answer
    assert ask(server, "GET", "/")[0] == 200


def test_deep_json_is_refused(server: Server) -> None:
    assert ask(server, "POST", "/api/chat", b"[" * 200_000)[0] == 400
