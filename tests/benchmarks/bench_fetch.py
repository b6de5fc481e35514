# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S2: how fast a blob is fetched and hashed, beside `curl` and then `sha256sum` of the same file.

Everything is on loopback: the stand-in registry over TLS, one redirect, a proxy that understands CONNECT (on a Unix
socket for ours, on TCP for curl, which knows no other). Registry and proxy are a process of their own, and share the
machine's processors with whoever fetches: figures are ratios, taken in one run. Prints the median of a few runs, the
processor time of the fetching side, MB/s (10^6 bytes), the ratio to curl + sha256sum, and the peak memory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

HOME = Path(__file__).resolve().parents[2]
MEBIBYTE = 1024 * 1024
SERVER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from loopback import Loopback
made = Loopback(Path(sys.argv[2]), tcp=True)
made.add("bench:1", b"{}", {sys.argv[3]: Path(sys.argv[4])})
print(made.tcp_port, flush=True)
sys.stdin.read()
made.close()
"""
OURS = """
import json, sys
from pathlib import Path
from rampart_fetcher.progress import Gauge
from rampart_fetcher.ranges import fetch_ranges
from rampart_fetcher.registry import Limits, RegistryClient
from rampart_fetcher.transfer import Transfer, fetch_whole
told = json.loads(sys.argv[1])
limits = Limits(connections=max(1, told["connections"]))
client = RegistryClient(told["socket"], "registry.ollama.ai", "library/bench", ["cdn.example.org"], told["ca"], limits)
path = Path(told["path"])
path.touch()
transfer = Transfer(told["digest"], told["size"], path)
bring = fetch_ranges if told["connections"] else fetch_whole
bring(client, transfer, Gauge(path.with_name("progress.json"), transfer.size))
print(transfer.hasher.hexdigest())
"""


@dataclass
class Measured:
    """Medians of some runs: seconds, seconds of processor time, peak resident MiB, and the digest that was found."""

    seconds: float
    processor: float
    peak: float
    digest: str


def noise(path: Path, mebibytes: int) -> str:
    """Write a file of noise; return its digest."""
    hasher = hashlib.sha256()
    with path.open("wb") as stream:
        for _block in range(mebibytes):
            data = os.urandom(MEBIBYTE)
            hasher.update(data)
            stream.write(data)
    return hasher.hexdigest()


def package(directory: Path) -> Path:
    """Lay out the fetcher's files as its image has them."""
    context = HOME / "roles/model_store/files/image-fetcher"
    wanted = yaml.safe_load((context / "context.yml").read_text(encoding="utf-8"))
    shutil.copytree(context / wanted["package"], directory / wanted["package"])
    for name in wanted["files"]:
        shutil.copy(HOME / "plugins/module_utils" / name, directory / wanted["package"] / name)
    return directory


def measured(command: list[str], environment: dict[str, str], runs: int, clean: Callable[[], None]) -> Measured:
    """Run a command some times; `clean` takes away what it wrote. Raises CalledProcessError when it fails."""
    seconds, processor, peaks, found = [], [], [], set()
    for _run in range(runs):
        clean()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        # A small process between: the peak it sees is that of this one run.
        code = "import resource,subprocess,sys;"
        code += "print(subprocess.run(sys.argv[1:],stdout=-1,check=True,text=True).stdout);"
        code += "print('peak',resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        done = subprocess.run(
            [sys.executable, "-S", "-c", code, *command], env=environment, stdout=-1, check=True, text=True
        )
        seconds.append(time.perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        peaks.append(int(done.stdout.rpartition("peak ")[2]) / 1024)
        found.update(re.findall(r"\b[0-9a-f]{64}\b", done.stdout))
    clean()
    digest = found.pop() if len(found) == 1 else "several: {0}".format(sorted(found))
    return Measured(statistics.median(seconds), statistics.median(processor), max(peaks), digest)


def main() -> int:
    """Run the comparison and print it; end with 1 when a digest is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mebibytes", type=int, default=256, help="the size of the blob")
    parser.add_argument("--runs", type=int, default=5, help="runs of which the median is taken")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rampart-bench-") as name:
        directory = Path(name)
        for part in ("internet", "package", "out"):
            (directory / part).mkdir()
        digest = noise(directory / "blob", asked.mebibytes)
        server = subprocess.Popen(
            [
                sys.executable,
                "-c",
                SERVER,
                str(HOME / "tests/images/registry"),
                str(directory / "internet"),
                "sha256:" + digest,
                str(directory / "blob"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            return compare(server, directory, digest, asked.mebibytes, asked.runs)
        finally:
            server.communicate()


def compare(server: subprocess.Popen[str], directory: Path, digest: str, mebibytes: int, runs: int) -> int:
    """Measure everybody against the server and print the table."""
    if server.stdout is None:
        raise AssertionError("it was asked for a pipe")
    port = server.stdout.readline().strip()
    out = directory / "out" / "blob"
    total = mebibytes * MEBIBYTE
    environment = {**os.environ, "PYTHONPATH": str(package(directory / "package")), "PYTHONDONTWRITEBYTECODE": "1"}

    def clean() -> None:
        for path in out.parent.iterdir():
            path.unlink()

    def ours(connections: int) -> list[str]:
        told = {
            "connections": connections,
            "socket": str(directory / "internet" / "egress.sock"),
            "ca": str(directory / "internet" / "ca.pem"),
            "path": str(out),
            "digest": "sha256:" + digest,
            "size": total,
        }
        return [sys.executable, "-c", OURS, json.dumps(told)]

    url = "https://registry.ollama.ai/v2/library/bench/blobs/sha256:" + digest
    ca = directory / "internet" / "ca.pem"
    curl = f"curl -sSfL --proxy http://127.0.0.1:{port} --cacert {ca} -o {out} {url}"
    rows = [
        ("curl, then sha256sum", ["sh", "-c", f"{curl} && sha256sum {out}"]),
        ("curl alone", ["sh", "-c", f"{curl} && echo {digest}"]),
        ("rampart, 4 connections", ours(4)),
        ("rampart, 1 connection", ours(1)),
        ("rampart, in one go", ours(0)),
    ]
    results = [(label, measured(command, environment, runs, clean)) for label, command in rows]
    cores = len(os.sched_getaffinity(0))
    print(f"a blob of {mebibytes} MiB, one redirect, TLS, {cores} cores for both sides, median of {runs} runs")
    print(f"{'':<24}{'median s':>10}{'cpu s':>10}{'MB/s':>10}{'x curl+sum':>12}{'peak MiB':>10}")
    base = results[0][1].seconds
    for label, got in results:
        line = f"{label:<24}{got.seconds:>10.3f}{got.processor:>10.2f}{total / 1e6 / got.seconds:>10.0f}"
        print(f"{line}{base / got.seconds:>12.2f}{got.peak:>10.1f}")
    return 0 if all(got.digest == digest for _label, got in results) else 1


if __name__ == "__main__":
    sys.exit(main())
