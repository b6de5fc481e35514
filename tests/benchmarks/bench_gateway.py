# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gateway costs: the same requests to a stand-in server directly, through the gateway and through nginx.

Unix sockets only. Each path is measured in turn, round after round, and medians over the rounds are shown, so that
a busy machine disturbs all paths alike. Bounded: about 40 seconds with the defaults.

- streaming: N clients, events 10 ms apart; time to the first token (ms), p50 and p99
- whole answers: N clients without a pause; requests a second, beside the processor's share of the gateway
- resident memory of the gateway at its peak

nginx is left out, and said to be, where it is not installed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import uvloop

SOURCE = Path(__file__).resolve().parents[2] / "roles" / "gateway" / "files" / "src"
MODEL = "smollm2:135m-instruct-q4_1"
KEY = "rmp_" + "k" * 43
HASH_KEY = bytes(range(32))
EVENTS, PAUSE = 20, 0.010
HEAD = f'{{"model":"{MODEL}","created_at":"2026-11-22T22:48:34.565612324Z","message":{{"role":"assistant","content":'
WHOLE = (HEAD + '"The capital of France is Paris."},"done":true,"done_reason":"stop","eval_count":8}').encode()
EVENT = (HEAD + '" capital"},"done":false}\n').encode()
LAST = (HEAD + '""},"done":true,"done_reason":"stop","eval_count":8}\n').encode()


# --- the stand-in server: as little work as possible, so that what is measured is the path to it


class Server(asyncio.Protocol):
    """Answers every POST at once, or with a stream when its body asks for one."""

    transport: asyncio.Transport
    received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(body) < length:
            return
        self.received = body[length:]
        if b'"stream":true' in body:
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n")
            self.transport.write(b"Transfer-Encoding: chunked\r\n\r\n")
            self.event(0)
        else:
            kind = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            self.transport.write(kind % len(WHOLE) + WHOLE)

    def event(self, number: int) -> None:
        """Write one event and come back for the next."""
        data = EVENT if number < EVENTS else LAST
        end = b"" if number < EVENTS else b"0\r\n\r\n"
        if not self.transport.is_closing():
            self.transport.write(b"%x\r\n%s\r\n%s" % (len(data), data, end))
            if number < EVENTS:
                asyncio.get_running_loop().call_later(PAUSE, self.event, number + 1)


async def serve(path: str) -> None:
    """Run the stand-in server until the process is ended."""
    server = await asyncio.get_running_loop().create_unix_server(Server, path, backlog=1024)
    await server.serve_forever()


# --- the clients


def request(stream: bool) -> bytes:
    """The bytes of one request."""
    message = {"role": "user", "content": "Quelle est la capitale de la France ? " * 10}
    body = json.dumps(
        {"model": MODEL, "stream": stream, "messages": [message], "options": {"num_predict": 64}},
        separators=(",", ":"),
    ).encode()
    head = f"POST /api/chat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def read_head(reader: asyncio.StreamReader) -> None:
    """Read an answer's head; anything but 200 ends the measurement."""
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode(errors="replace"))


async def first_tokens(path: str, count: int, delay: float) -> list[float]:
    """One client's times to the first token, in ms. It begins after ``delay`` s: people do not ask in lockstep."""
    times = []
    await asyncio.sleep(delay)
    reader, writer = await asyncio.open_unix_connection(path)
    for _nr in range(count):
        begun = time.perf_counter()
        writer.write(request(stream=True))
        await read_head(reader)
        await reader.readuntil(b"\n")  # a chunk's length
        await reader.readuntil(b"\n")  # the first event
        times.append((time.perf_counter() - begun) * 1000)
        await reader.readuntil(b"\r\n0\r\n\r\n")
    writer.close()
    return times


async def whole_answers(path: str, until: float) -> int:
    """One client's number of whole answers until that time."""
    count = 0
    reader, writer = await asyncio.open_unix_connection(path)
    data = request(stream=False)
    while time.perf_counter() < until:
        writer.write(data)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode(errors="replace"))
        await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
        count += 1
    writer.close()
    return count


# --- the processes


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the process listens."""
    for _nr in range(400):
        if path.exists():
            return
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        time.sleep(0.025)
    raise RuntimeError(f"{path} did not appear within 10 s")


@contextlib.contextmanager
def running(command: list[str], socket: Path, **settings: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that listens on a socket, ended afterwards."""
    process = subprocess.Popen(command, **settings)
    try:
        wait_for(socket, process)
        yield process
    finally:
        process.terminate()
        process.wait(20)


def gateway_files(directory: Path) -> None:
    """The gateway's configuration, with limits that are not reached."""
    (directory / "config.json").write_text(
        json.dumps(
            {
                "version": 1,
                "socket": str(directory / "gateway.sock"),
                "metrics_socket": str(directory / "metrics.sock"),
                "upstream": str(directory / "server.sock"),
                "audit_log": str(directory / "audit.jsonl"),
                "models": [MODEL],
                "system_prompt": "Tu es un assistant. " * 40,
                "limits": {"per_hour": 10**9, "per_day": 10**9, "concurrency": 512, "concurrency_per_user": 512},
            }
        )
    )
    digest = hmac.new(HASH_KEY, KEY.encode(), hashlib.sha256).hexdigest()
    users = [{"id": "bench", "key_hash": f"hmac-sha256:{digest}"}]
    users += [{"id": f"user{n}", "key_hash": f"hmac-sha256:{n:064x}"} for n in range(50)]
    keys = {"hash_key": HASH_KEY.hex(), "query_hash_key": bytes(range(32, 64)).hex()}
    (directory / "secrets.json").write_text(json.dumps({**keys, "users": users}))
    (directory / "secrets.json").chmod(0o600)


def nginx_file(directory: Path) -> Path:
    """A plain nginx between two Unix sockets, one worker, no buffering, connections kept."""
    path = directory / "nginx.conf"
    path.write_text(f"""
daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log stderr crit;
events {{ worker_connections 512; }}
http {{ access_log {directory}/access.log; keepalive_requests 1000000;
  client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
  uwsgi_temp_path {directory}; scgi_temp_path {directory};
  upstream server {{ server unix:{directory}/server.sock; keepalive 64; keepalive_requests 1000000; }}
  server {{ listen unix:{directory}/nginx.sock;
    location / {{ proxy_pass http://server; proxy_http_version 1.1; proxy_set_header Connection "";
                  proxy_buffering off; }} }} }}
""")
    return path


def memory(pid: int) -> float:
    """Resident memory at its peak, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1000
    raise RuntimeError("no VmHWM")


def cpu_seconds(pid: int) -> float:
    """Processor time used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- measuring


async def measure(paths: dict[str, str], options: argparse.Namespace, gateway: int) -> dict[str, Any]:
    """All rounds; medians."""
    rounds: dict[str, list[tuple[float, float, float]]] = {name: [] for name in paths}
    share = []
    for _nr in range(options.rounds):
        for name, path in paths.items():
            apart = EVENTS * PAUSE / options.clients
            clients = (first_tokens(path, options.streams, n * apart) for n in range(options.clients))
            streams = await asyncio.gather(*clients)
            times = sorted(value for stream in streams for value in stream)
            before, begun = cpu_seconds(gateway), time.perf_counter()
            until = begun + options.seconds
            counts = await asyncio.gather(*(whole_answers(path, until) for _nr in range(options.clients)))
            elapsed = time.perf_counter() - begun
            if name == "gateway":
                share.append((cpu_seconds(gateway) - before) / elapsed)
            p50, p99 = statistics.median(times), times[int(len(times) * 0.99)]
            rounds[name].append((p50, p99, sum(counts) / elapsed))
    result: dict[str, Any] = {}
    for name, values in rounds.items():
        p50, p99, rate = (statistics.median(column) for column in zip(*values, strict=True))
        result[name] = {"ttft_p50_ms": round(p50, 2), "ttft_p99_ms": round(p99, 2), "requests_per_s": round(rate)}
    result["gateway"]["cpu_share_whole"] = round(statistics.median(share), 2)
    result["gateway"]["peak_memory_mb"] = round(memory(gateway), 1)
    return result


def show(result: dict[str, Any], clients: int) -> None:
    """The table, and each figure beside the direct path's."""
    load = os.getloadavg()[0]
    print(f"gateway bench: {clients} clients, Unix sockets, {os.cpu_count()} cores, load {load:.1f} at the end")
    print(f"{'path':10}{'first token p50':>17}{'p99':>10}{'whole answers':>17}")
    for name, row in result.items():
        values = f"{row['ttft_p50_ms']:>14.2f} ms{row['ttft_p99_ms']:>7.2f} ms{row['requests_per_s']:>13} /s"
        print(f"{name:10}{values}")
    direct, gateway = result["direct"], result["gateway"]
    for other in [name for name in result if name != "gateway"]:
        base = result[other]
        p50, p99 = (gateway[key] - base[key] for key in ("ttft_p50_ms", "ttft_p99_ms"))
        rate = gateway["requests_per_s"] / base["requests_per_s"]
        print(f"gateway beside {other}: +{p50:.2f} ms p50, +{p99:.2f} ms p99, {rate:.2f} x the requests")
    share = gateway["cpu_share_whole"]
    print(f"gateway: peak memory {gateway['peak_memory_mb']} MB; {share} of a core while serving whole answers")
    if "nginx" not in result:
        print("nginx: not installed, left out")
    gateway["added_p50_ms"] = round(gateway["ttft_p50_ms"] - direct["ttft_p50_ms"], 2)
    gateway["added_p99_ms"] = round(gateway["ttft_p99_ms"] - direct["ttft_p99_ms"], 2)


def main() -> int:
    """Run the benchmark; the exit status."""
    parser = argparse.ArgumentParser(description="Benchmark of the gateway.")
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--streams", type=int, default=10, help="streams per client and round")
    parser.add_argument("--seconds", type=float, default=2.0, help="whole answers, per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve(options.serve))
        return 0
    with tempfile.TemporaryDirectory(prefix="rampart-bench-") as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        directory.chmod(0o755)
        gateway_files(directory)
        paths = {"direct": "server.sock", "gateway": "gateway.sock"}
        server = [sys.executable, __file__, "--serve", str(directory / "server.sock")]
        stack.enter_context(running(server, directory / "server.sock", stderr=subprocess.DEVNULL))
        command = [sys.executable, "-m", "rampart_gateway", "--config-dir", name]
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        gateway = stack.enter_context(running(command, directory / "metrics.sock", env=environment))
        nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if nginx:
            paths["nginx"] = "nginx.sock"
            arguments = [nginx, "-c", str(nginx_file(directory)), "-p", name, "-g", "user root;" * (os.geteuid() == 0)]
            stack.enter_context(running(arguments, directory / "nginx.sock", stderr=subprocess.DEVNULL))
        time.sleep(0.3)
        sockets = {path: str(directory / socket) for path, socket in paths.items()}
        result = uvloop.run(measure(sockets, options, gateway.pid))
    show(result, options.clients)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
