# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S3: how fast a store is verified, beside what else could hash the same files on the same machine, in one run.

A store of 25 models with 100 blobs is made and lies in the page cache. Each command is a process of its own; they take
turns, and the median of each is printed with its throughput in MB/s (10^6 bytes), what it is of the processor's limit,
and its peak memory (the process that starts it has about 10 MiB, below which nothing shows). The limit is
`openssl speed -evp sha256`, measured between the turns, with one process and with one for each core.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MEBIBYTE = 1024 * 1024
MODELS = 25
# Of the bytes, so much lies in the four largest blobs: weights are few and large, the rest is many and small.
LARGE_SHARE = 0.9
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_PREFIX = "application/vnd.ollama.image."
COLLECTIONS = Path(__file__).resolve().parents[2] / ".collections"
OURS = """
import json, sys, time
began = time.perf_counter()
from pathlib import Path
from ansible_collections.rampart.ollama.plugins.module_utils.approval import approvals_from_entries
from ansible_collections.rampart.ollama.plugins.module_utils.store import ModelStore
from ansible_collections.rampart.ollama.plugins.module_utils.verify_run import Question, answer
mode, record, root, entries = sys.argv[1:]
approvals = approvals_from_entries(json.loads(Path(entries).read_text()))
loaded = time.perf_counter()
question = Question(approvals, mode, Path(record) if record else None)
report, recorded = answer(ModelStore(root, *map(int, Path(entries).with_name("owner").read_text().split())), question)
print(json.dumps({"inside": time.perf_counter() - loaded, "verdict": report.verdict, "unread": report.not_reread,
                  "hashed": report.bytes_hashed, "recorded": recorded}))
"""
LAUNCH = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, check=True, text=True)
seconds = time.perf_counter() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, done.stdout]))
"""


def noise(path: Path, size: int) -> str:
    """Write `size` bytes of noise, as the publisher leaves a blob; return their digest."""
    digest = hashlib.sha256()
    with path.open("wb") as stream:
        while size:
            block = os.urandom(min(size, MEBIBYTE))
            digest.update(block)
            stream.write(block)
            size -= len(block)
    path.chmod(0o444)
    return "sha256:" + digest.hexdigest()


def make_store(directory: Path, mebibytes: int) -> list[Path]:
    """Make `store`, and beside it the approvals as `entries` and its owner as `owner`; return the blobs, largest
    first.
    """
    store = directory / "store"
    (store / "blobs").mkdir(parents=True)
    large = int(mebibytes * MEBIBYTE * LARGE_SHARE / 4)
    small = int(mebibytes * MEBIBYTE * (1 - LARGE_SHARE) / (3 * MODELS - 4))
    entries = []
    for number in range(MODELS):
        blobs: list[dict[str, Any]] = []
        for kind in ("config", "model", "template", "license"):
            path = store / "blobs" / "new"
            if kind == "config":
                path.write_text(json.dumps({"model_format": "gguf", "model_family": "llama", "number": number}))
                path.chmod(0o444)
                digest = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                digest = noise(path, large if kind == "model" and number < 4 else small)
            media = CONFIG_TYPE if kind == "config" else LAYER_PREFIX + kind
            blobs.append({"mediaType": media, "digest": digest, "size": path.stat().st_size})
            path.rename(store / "blobs" / digest.replace(":", "-"))
        body = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": blobs[0], "layers": blobs[1:]}
        manifest = json.dumps(body).encode()
        place = store / "manifests/registry.ollama.ai/library" / "bench{0}".format(number) / "1"
        place.parent.mkdir(parents=True)
        place.write_bytes(manifest)
        place.chmod(0o444)
        entry = {"reference": "bench{0}:1".format(number), "blobs": blobs}
        entries.append({**entry, "digest": "sha256:" + hashlib.sha256(manifest).hexdigest()})
    (directory / "entries").write_text(json.dumps(entries))
    (directory / "owner").write_text("{0} {1}".format(os.getuid(), os.getgid()))
    return sorted((store / "blobs").iterdir(), key=lambda path: -path.stat().st_size)


def run(command: list[str]) -> tuple[float, float, float, str]:
    """Return (seconds, processor seconds, peak resident MiB, output) of a command."""
    environment = {**os.environ, "PYTHONPATH": str(COLLECTIONS)}
    line = [sys.executable, "-c", LAUNCH, *command]
    done = subprocess.run(line, check=True, capture_output=True, text=True, env=environment)
    seconds, processor, peak, output = json.loads(done.stdout)
    return seconds, processor, peak, output


def processor_limit(cores: int) -> float:
    """Return the MB/s that `openssl speed` reaches on so many cores, 16 KiB at a time."""
    # By the clock, as everything else here: on a busy machine both sides then lose alike.
    command = ["openssl", "speed", "-elapsed", "-multi", str(cores), "-evp", "sha256", "-seconds", "1"]
    command += ["-bytes", "16384"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(re.findall(r"([\d.]+)k\s*$", output, re.MULTILINE)[-1]) / 1000


def measure(
    directory: Path, paths: list[str], runs: int, cores: int
) -> tuple[dict[str, list[Any]], list[float], list[float]]:
    """Let the commands take turns; return their results by label, and the limits of one and of all cores."""
    store, entries, record = str(directory / "store"), str(directory / "entries"), str(directory / "record.json")
    ours = [sys.executable, "-c", OURS]
    commands = {
        "rampart, full": [*ours, "full", "", store, entries],
        "rampart, full, recorded": [*ours, "full", record, store, entries],
        "rampart, changed": [*ours, "changed", record, store, entries],
        "sha256sum": ["sha256sum", *paths],
        "openssl dgst -sha256": ["openssl", "dgst", "-sha256", *paths],
    }
    first = run([*ours, "full", record, store, entries])
    results: dict[str, list[Any]] = {label: [] for label in commands}
    one, every = [], []
    for _run in range(runs):
        for label, command in commands.items():
            results[label].append(run(command))
        one.append(processor_limit(1))
        every.append(processor_limit(cores))
    results["rampart, first record"] = [first]
    return results, one, every


def print_rows(results: dict[str, list[Any]], total: float, single: float, limit: float) -> None:
    """Print the table: for ours the whole process, and what it took within, without the start of Python."""
    row = "{0:<28}{1:>10}{2:>8}{3:>8}{4:>10}{5:>13}{6:>10}"
    print(row.format("", "median s", "cpu s", "MB/s", "of limit", "x sha256sum", "peak MiB"))
    slowest = statistics.median(item[0] for item in results["sha256sum"])

    def tell(label: str, seconds: float, cpu: str, peak: str, reads: bool = True) -> None:
        shares = ["{0:.0f}".format(total / seconds), "{0:.2f}".format(total / seconds / limit)] if reads else ["-", "-"]
        print(row.format(label, "{0:.3f}".format(seconds), cpu, *shares, "{0:.2f}".format(slowest / seconds), peak))

    for label, taken in results.items():
        reads = label != "rampart, changed"
        cpu = "{0:.2f}".format(statistics.median(item[1] for item in taken))
        peak = "{0:.1f}".format(max(item[2] for item in taken))
        tell(label, statistics.median(item[0] for item in taken), cpu, peak, reads)
        if "rampart" in label:
            tell("  within", statistics.median(json.loads(item[3])["inside"] for item in taken), "", "", reads)
    print(row.format("limit, one core", "", "", "{0:.0f}".format(single), "{0:.2f}".format(single / limit), "", ""))
    print(row.format("limit, all cores", "", "", "{0:.0f}".format(limit), "1.00", "", ""))


def main() -> int:
    """Run the comparison and print it; end with 1 when anybody found another digest than the file's name says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mebibytes", type=int, default=2048, help="the size of the store")
    parser.add_argument("--runs", type=int, default=5, help="turns of which the median is taken")
    asked = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="rampart-bench-") as name:
        directory = Path(name)
        blobs = make_store(directory, asked.mebibytes)
        total = sum(path.stat().st_size for path in blobs) / 1e6
        time.sleep(0.2)  # a reading in the same tick as the write would not stand
        results, one, every = measure(directory, [str(path) for path in blobs], asked.runs, cores)
        print("{0} blobs, {1:.0f} MB, {2} cores, {3} turns".format(len(blobs), total, cores, asked.runs))
        print_rows(results, total, statistics.median(one), statistics.median(every))
        said = [json.loads(item[3]) for label, taken in results.items() if "rampart" in label for item in taken]
        expected = {path.name.partition("-")[2] for path in blobs}
        others = [results["sha256sum"][0][3], results["openssl dgst -sha256"][0][3]]
        agree = all(set(re.findall(r"\b[0-9a-f]{64}(?=\s)", text)) == expected for text in others)
        return 0 if agree and all(item["verdict"] == "passed" for item in said) else 1


if __name__ == "__main__":
    sys.exit(main())
