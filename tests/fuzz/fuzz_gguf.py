# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzz the GGUF inspector for a bounded time, guided by the coverage of its own code (atheris, libFuzzer).

    python tests/fuzz/fuzz_gguf.py --seconds 20 [--corpus DIR] [--crashes DIR] [-- LIBFUZZER-OPTIONS]

Whatever the bytes are, the inspector has to end without an exception, soon, within its memory, with a bounded number of
findings, and must not call a file whole whose tensors do not lie in it. Prints executions, coverage and crashes; ends
with 1 when there was a crash, whose input is kept in the directory of crashes, and with 2 when it could not run.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PLUGINS = HERE.parents[1] / "plugins"
CRASHES = HERE.parents[1] / "build" / "fuzz" / "crashes"
INPUT_MAX_BYTES = 64 * 1024
# Processor seconds of one input of that size, in code that is slowed down by its instrumentation.
SECONDS_MAX = 2.0
MEMORY_GROWTH_MIB = 100
FINDINGS_MAX = 1000
WORKER = "--worker"


def worker(arguments: list[str]) -> None:
    """Fuzz in this process, which libFuzzer ends."""
    import atheris

    sys.path.insert(0, str(PLUGINS))
    with atheris.instrument_imports(include=["module_utils"]):
        from module_utils.gguf_inspect import inspect_gguf

    descriptor = os.memfd_create("gguf")
    started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def one(data: bytes) -> None:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, data, 0)
        began = time.process_time()
        report = inspect_gguf(descriptor, {}, subject="input")
        spent = time.process_time() - began
        assert spent < SECONDS_MAX, "{0:.2f} processor seconds".format(spent)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - started) // 1024
        assert grown < MEMORY_GROWTH_MIB, "{0} MiB more than at the beginning".format(grown)
        assert len(report.findings) < FINDINGS_MAX, "{0} findings".format(len(report.findings))
        report.as_result()
        layout = report.file.layout
        if layout is not None and layout.data_end is not None and not report.file.findings:
            ends = [layout.data_start + item.offset + (item.size or 0) for item in report.file.tensors]
            assert max(ends, default=0) <= len(data), "a tensor beyond the end, and no finding"
        assert report.file.complete or report.verdict == "failed", "not read to its end, and passed"

    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()


def run(seconds: int, corpus: Path, crashes: Path, options: list[str]) -> int:
    """Fuzz in a child process and tell how it went."""
    import make_corpus

    seeds = make_corpus.write(corpus)
    crashes.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(Path(__file__).resolve()), WORKER, str(corpus)]
    command += ["-max_total_time={0}".format(seconds), "-max_len={0}".format(INPUT_MAX_BYTES), "-timeout=20"]
    command += ["-rss_limit_mb=1024", "-print_final_stats=1", "-artifact_prefix={0}/".format(crashes), *options]
    earlier = set(crashes.iterdir())
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, errors="replace")
    output = str(done.stdout)
    found = sorted(path for path in set(crashes.iterdir()) - earlier if re.match("crash|timeout|oom", path.name))
    executed = re.findall(r"stat::number_of_executed_units: (\d+)|^#(\d+)\s", output, re.MULTILINE)
    coverage = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", output)
    print("seeds {0}, executions {1}".format(seeds, max((int(a or b) for a, b in executed), default=0)))
    edges, features, entries = coverage[-1] if coverage else ("0", "0", "0")
    print("coverage {0} edges, {1} features, corpus {2}".format(edges, features, entries))
    print("crashes {0}".format(len(found)))
    if done.returncode == 0 and not found:
        return 0
    for path in found:
        print("  {0}".format(path))
    said = [line for line in output.splitlines() if re.search(r"Error|assert|ERROR|Exception", line)]
    print("\n".join(said[-5:]) or "the fuzzer ended with {0}".format(done.returncode), file=sys.stderr)
    return 1


def main() -> int:
    """Return 0 when nothing crashed, 1 when something did, 2 when it could not run."""
    options = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    own = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=20, help="how long to fuzz")
    parser.add_argument("--corpus", type=Path, help="keep the corpus here (a new one each time if not given)")
    parser.add_argument("--crashes", type=Path, default=CRASHES, help="keep inputs that crash here")
    asked = parser.parse_args(own)
    if asked.seconds < 1:
        parser.error("--seconds has to be 1 or more")
    try:
        import atheris
    except ImportError:
        print("FUZZ-UNAVAILABLE: atheris is not installed. Use the tool chain: .venv/bin/python.", file=sys.stderr)
        return 2
    del atheris
    folder = Path(tempfile.mkdtemp(prefix="rampart-fuzz-"))
    try:
        return run(asked.seconds, asked.corpus or folder / "corpus", asked.crashes, options)
    except OSError as error:
        print("FUZZ-UNAVAILABLE: {0}. Name directories that can be written.".format(error), file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    if sys.argv[1:2] == [WORKER]:
        worker(sys.argv[2:])
    sys.exit(main())
