# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""llama-server as a child on 127.0.0.1:<random>: one model, loaded on first use, unloaded when idle."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

from ollama_standin.errors import ApiError
from ollama_standin.settings import Settings
from ollama_standin.store import Model


def processors() -> int:
    """Processors this process may really use: affinity, cut by the control group's quota."""
    count = len(os.sched_getaffinity(0))
    for path, period_path in (("cpu.max", None), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        with contextlib.suppress(OSError, ValueError, IndexError):
            words = pathlib.Path("/sys/fs/cgroup", path).read_text("ascii").split()
            if period_path is not None:
                words.append(pathlib.Path("/sys/fs/cgroup", period_path).read_text("ascii").strip())
            quota, period = int(words[0]), int(words[1])
            if quota > 0:
                count = min(count, max(1, round(quota / period)))
    return count


class Runner:
    """One llama-server process and the requests sent to it."""

    def __init__(self, model: Model, context: int, threads: int, settings: Settings) -> None:
        self.model, self.context, self.threads = model, context, threads
        self.active = 0  # requests being answered
        self.expires = 0.0  # monotonic seconds; meaningful while active is 0
        self._key = secrets.token_hex(16)
        self._last_lines: collections.deque[str] = collections.deque(maxlen=20)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        weights = model.layer("model")
        if weights is None or not weights.is_file():
            raise ApiError(500, f"unable to load model: {weights or model.name.short()}")
        command = [
            settings.llama_server,
            "--model",
            str(weights),
            "--host",
            "127.0.0.1",
            "--port",
            str(self._port),
        ]
        command += ["--ctx-size", str(context * settings.parallel), "--parallel", str(settings.parallel)]
        command += ["--threads", str(threads), "--no-webui", "--offline", "--cache-ram", "0", "--no-slots"]
        # The key goes by the environment: argv is readable by everyone in the process namespace.
        environment = {**os.environ, "LLAMA_API_KEY": self._key}
        try:
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, errors="replace",
            )  # fmt: skip
        except OSError as error:
            raise ApiError(500, f"llama runner could not be started: {error}") from None
        self._log = threading.Thread(target=self._read_log, daemon=True)
        self._log.start()
        self._wait_until_ready(settings.load_timeout)

    def _read_log(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._last_lines.append(line.rstrip())

    def _wait_until_ready(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while self.alive():
            with contextlib.suppress(OSError, http.client.HTTPException, ApiError):
                self.ask("GET", "/health", None)
                return
            if time.monotonic() > deadline:
                self.stop()
                raise ApiError(500, "timed out waiting for llama runner to start")
            time.sleep(0.02)
        self._log.join(2)  # its last lines say why
        print("llama-server:", *self._last_lines, sep="\n  ", flush=True)
        reason = next((line for line in reversed(self._last_lines) if "error" in line.lower()), "")
        status = self._process.returncode
        raise ApiError(500, f"llama runner process has terminated: exit status {status}: {reason}".rstrip(": "))

    def alive(self) -> bool:
        """True while the child runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End the child."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def memory(self) -> int:
        """Resident bytes of the child; 0 when it is gone."""
        with contextlib.suppress(OSError, ValueError):
            for line in pathlib.Path(f"/proc/{self._process.pid}/status").read_text("ascii").splitlines():
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        return 0

    @contextlib.contextmanager
    def _request(self, method: str, path: str, body: dict[str, Any] | None) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=600)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            if response.status != 200:
                raise _engine_error(response)
            yield response
        finally:
            # Closing it in the middle of an answer makes llama-server stop generating.
            connection.close()

    def ask(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        """One JSON exchange; raises ApiError for an error answer, OSError when the child is out of reach."""
        with self._request(method, path, body) as response:
            answer: dict[str, Any] = json.loads(response.read())
            return answer

    def tokenize(self, text: str) -> list[int]:
        """Token numbers of a text, special tokens recognised."""
        answer = self.ask("POST", "/tokenize", {"content": text, "add_special": False, "parse_special": True})
        return [int(token) for token in answer["tokens"]]

    def detokenize(self, tokens: list[int]) -> str:
        """Text of token numbers."""
        return str(self.ask("POST", "/detokenize", {"tokens": tokens})["content"])

    def apply_template(self, messages: list[dict[str, str]]) -> str:
        """The prompt by the chat template inside the GGUF."""
        return str(self.ask("POST", "/apply-template", {"messages": messages})["prompt"])

    def complete(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Generate; yields llama-server's stream objects, the last with `stop: true`."""
        try:
            with self._request("POST", "/completion", {**body, "stream": True}) as response:
                for line in response:
                    if line.startswith(b"data: "):
                        piece: dict[str, Any] = json.loads(line[6:])
                        if "error" in piece:
                            raise ApiError(500, str(piece["error"].get("message", piece["error"])))
                        yield piece
                    elif line.startswith(b"error: "):
                        raise ApiError(500, line[7:].decode("utf-8", "replace").strip())
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(500, f"llama runner process no longer running: {error}") from None


def _engine_error(response: http.client.HTTPResponse) -> ApiError:
    text = response.read().decode("utf-8", "replace")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        text = str(json.loads(text)["error"]["message"])
    return ApiError(response.status, text)


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A loaded model, for /api/ps."""

    model: Model
    memory: int  # bytes
    context: int  # tokens
    expires_in: float  # seconds


class Engine:
    """Keeps at most one Runner and lends it to requests."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._runner: Runner | None = None
        self._changed = threading.Condition()
        self._waiting = 0
        self._closed = False
        threading.Thread(target=self._expire, daemon=True).start()

    @contextlib.contextmanager
    def use(
        self,
        model: Model,
        context: int | None = None,
        threads: int | None = None,
        keep_alive: float | None = None,
    ) -> Iterator[Runner]:
        """Lend the runner of `model`, loading it when another model or context size is loaded.

        Raises ApiError 503 when too many requests wait, 500 when the model cannot be loaded.
        """
        runner = self._acquire(model, context or self._settings.context_length, threads or processors())
        try:
            yield runner
        finally:
            with self._changed:
                runner.active -= 1
                seconds = self._settings.keep_alive if keep_alive is None else keep_alive
                runner.expires = time.monotonic() + seconds
                self._changed.notify_all()

    def _acquire(self, model: Model, context: int, threads: int) -> Runner:
        with self._changed:
            pending = self._waiting + (self._runner.active if self._runner is not None else 0)
            if pending >= self._settings.max_queue + self._settings.parallel:
                raise ApiError(503, "server busy, please try again.  maximum pending requests exceeded")
            self._waiting += 1
            try:
                while not self._closed:
                    runner = self._runner
                    if runner is not None and not runner.alive():
                        runner = self._runner = None
                    wanted = (model.digest, context, threads)
                    if runner is not None and (runner.model.digest, runner.context, runner.threads) == wanted:
                        break
                    if runner is None or runner.active == 0:
                        if runner is not None:
                            runner.stop()
                        self._runner = None
                        runner = self._runner = Runner(model, context, threads, self._settings)
                        break
                    self._changed.wait()
                else:
                    raise ApiError(503, "server is shutting down")
                assert runner is not None
                runner.active += 1
                return runner
            finally:
                self._waiting -= 1

    def _expire(self) -> None:
        with self._changed:
            while not self._closed:
                runner, now = self._runner, time.monotonic()
                pause: float | None = None
                if runner is not None and runner.active == 0:
                    if runner.expires <= now or not runner.alive():
                        runner.stop()
                        self._runner = None
                        self._changed.notify_all()
                    elif runner.expires != float("inf"):
                        pause = min(runner.expires - now, 3600.0)
                self._changed.wait(pause)

    def unload(self, model: Model) -> None:
        """Let the model go as soon as nobody uses it."""
        with self._changed:
            if self._runner is not None and self._runner.model.digest == model.digest:
                self._runner.expires = 0.0
                self._changed.notify_all()

    def loaded(self) -> list[Loaded]:
        """What is loaded now."""
        with self._changed:
            runner = self._runner
            if runner is None or not runner.alive():
                return []
            left = self._settings.keep_alive if runner.active else runner.expires - time.monotonic()
            return [Loaded(runner.model, runner.memory(), runner.context, max(0.0, left))]

    def close(self) -> None:
        """End the child; nothing can be used afterwards."""
        with self._changed:
            self._closed = True
            if self._runner is not None:
                self._runner.stop()
            self._changed.notify_all()
