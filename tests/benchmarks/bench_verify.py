# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S3: how fast a store is verified, beside what else could hash the same files on the same machine.

Prints the median of a few runs, the throughput in MB/s (10^6 bytes), the ratio to ours and the peak memory of each. The
processor's own limit is `openssl speed -evp sha256` with one process for each core. Files are read from the page cache.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

MEBIBYTE = 1024 * 1024
OURS = """
import sys
sys.path.insert(0, sys.argv[1])
from rampart_bench.hashing import hash_files
for result in hash_files(sys.argv[2:]):
    print(result.digest[7:], "", result.path)
"""


def make_files(directory: Path, count: int, size: int) -> list[Path]:
    """Write `count` files of `size` bytes of noise and have them in the page cache."""
    paths = []
    for number in range(count):
        path = directory / "blob{0}".format(number)
        with path.open("wb") as stream:
            for _block in range(size // MEBIBYTE):
                stream.write(os.urandom(MEBIBYTE))
        paths.append(path)
    return paths


def package(directory: Path) -> Path:
    """Lay out the hashing code as a package that needs neither Ansible nor a collection."""
    source = Path(__file__).parents[2] / "plugins" / "module_utils" / "hashing.py"
    target = directory / "rampart_bench"
    target.mkdir()
    (target / "__init__.py").touch()
    (target / "hashing.py").write_bytes(source.read_bytes())
    return directory


Measured = tuple[float, float, float, set[str]]


def timed(command: list[str], runs: int) -> Measured:
    """Return (median seconds, processor seconds, peak resident MiB, digests printed) of a command."""
    seconds, output = [], ""
    for _run in range(runs):
        began = time.perf_counter()
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        seconds.append(time.perf_counter() - began)
    processor, peak = resources(command)
    return statistics.median(seconds), processor, peak, set(re.findall(r"\b[0-9a-f]{64}\b", output))


def resources(command: list[str]) -> tuple[float, float]:
    """Return (processor seconds, peak resident MiB) of a command, measured by a process that runs nothing else."""
    code = "import resource,subprocess,sys;subprocess.run(sys.argv[1:],stdout=subprocess.DEVNULL,check=True);"
    code += "used=resource.getrusage(resource.RUSAGE_CHILDREN);print(used.ru_utime+used.ru_stime,used.ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, text=True)
    processor, peak = done.stdout.split()
    return float(processor), int(peak) / 1024


def processor_limit(cores: int) -> float:
    """Return the MB/s that `openssl speed` reaches on all cores, 16 KiB at a time."""
    command = ["openssl", "speed", "-multi", str(cores), "-evp", "sha256", "-seconds", "2", "-bytes", "16384"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.findall(r"([\d.]+)k\s*$", output, re.MULTILINE)
    return float(found[-1]) / 1000


def main() -> int:
    """Run the comparison and print it; end with 1 when the digests differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=4, help="how many files")
    parser.add_argument("--mebibytes", type=int, default=256, help="the size of each")
    parser.add_argument("--runs", type=int, default=5, help="runs of which the median is taken")
    asked = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="rampart-bench-") as name:
        directory = Path(name)
        paths = [str(path) for path in make_files(directory, asked.files, asked.mebibytes * MEBIBYTE)]
        ours = [sys.executable, "-c", OURS, str(package(directory)), *paths]
        rows: list[tuple[str, Callable[[], Measured]]] = [
            ("rampart, {0} threads".format(cores), lambda: timed(ours, asked.runs)),
            ("sha256sum", lambda: timed(["sha256sum", *paths], asked.runs)),
            ("openssl dgst -sha256", lambda: timed(["openssl", "dgst", "-sha256", *paths], asked.runs)),
        ]
        total = asked.files * asked.mebibytes * MEBIBYTE / 1e6
        print("{0} files of {1} MiB, {2} cores, {3} runs".format(asked.files, asked.mebibytes, cores, asked.runs))
        print(
            "{0:<24}{1:>10}{2:>10}{3:>10}{4:>10}{5:>10}".format("", "median s", "cpu s", "MB/s", "x ours", "peak MiB")
        )
        results = [(label, *run()) for label, run in rows]
        base = results[0][1]
        for label, seconds, processor, peak, _digests in results:
            line = "{0:<24}{1:>10.3f}{2:>10.2f}{3:>10.0f}{4:>10.2f}{5:>10.1f}"
            print(line.format(label, seconds, processor, total / seconds, seconds / base, peak))
        limit = processor_limit(cores)
        share = total / base / limit
        print(
            "{0:<24}{1:>10}{2:>10}{3:>10.0f}   ours reaches {4:.2f} of it".format(
                "processor's limit", "", "", limit, share
            )
        )
        return 0 if all(digests == results[0][4] for *_figures, digests in results) else 1


if __name__ == "__main__":
    sys.exit(main())
