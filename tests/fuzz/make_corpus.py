# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the fuzzer's seed corpus: small GGUF files, honest and hostile, made on the spot.

python tests/fuzz/make_corpus.py DIR
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path

import gguf_files

# Longer seeds only slow the fuzzer down.
SEED_MAX_BYTES = 32 * 1024


def seeds() -> list[bytes]:
    """Return the files; those of the PyPI package gguf among them where it is installed."""
    small = [("w.weight", (32, 2), 8)]
    keys = gguf_files.good_keys()
    made = [data for _code, data in gguf_files.hostile().values()]
    made += [gguf_files.build(tail=data) for data in gguf_files.OTHER_FILES.values()]
    made += [
        gguf_files.build(tensors=small),
        gguf_files.build(keys[:1], small),
        gguf_files.build([*keys, ("general.alignment", gguf_files.U32, 64)], small, alignment=64),
        gguf_files.build(gguf_files.good_keys(gguf_files.BACKDOOR), small),
        gguf_files.build(gguf_files.good_keys(gguf_files.ESCAPE), small),
        gguf_files.build([("t.{0}".format(kind), kind, 1) for kind in gguf_files.SCALARS], small),
        gguf_files.build([("general.type", gguf_files.STRING, "adapter"), *keys], small),
    ]
    return [data for data in [*made, *by_peer()] if len(data) <= SEED_MAX_BYTES]


def by_peer() -> list[bytes]:
    """Return files of another writer: what is honest in them is not our idea of it."""
    try:
        import gguf
        import numpy
    except ImportError:
        return []
    files = []
    with tempfile.TemporaryDirectory() as folder:
        for number, architecture in enumerate(("llama", "mistral3", "clip")):
            path = Path(folder, str(number))
            writer = gguf.GGUFWriter(path, architecture)
            writer.add_context_length(2048)
            writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
            writer.add_token_list(["a", "b", "c"])
            writer.add_token_types([1, 1, 3])
            writer.add_chat_template(gguf_files.TEMPLATE)
            writer.add_tensor("token_embd.weight", numpy.ones((3, 32), dtype=numpy.float16))
            writer.add_tensor("output_norm.weight", numpy.ones((32,), dtype=numpy.float32))
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
            files.append(path.read_bytes())
    return files


def write(directory: Path) -> int:
    """Write the seeds into a directory, each named by its hash, and return how many there are."""
    directory.mkdir(parents=True, exist_ok=True)
    made = seeds()
    for data in made:
        (directory / hashlib.sha256(data).hexdigest()[:32]).write_bytes(data)
    return len(made)


def main() -> int:
    """Return 0 when the corpus was written, 2 with one line when it could not be."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("directory", type=Path, help="where to write")
    asked = parser.parse_args()
    try:
        print("{0} seeds in {1}".format(write(asked.directory), asked.directory))
    except OSError as error:
        print("CORPUS-WRITE: {0}. Name a directory that can be written.".format(error), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
