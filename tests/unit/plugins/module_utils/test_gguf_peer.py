# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S4: our reading beside that of another implementation, the PyPI package gguf, and of a real model."""

from __future__ import annotations

import runpy
from pathlib import Path

import gguf
import numpy
import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import gguf_types
from ansible_collections.rampart.ollama.plugins.module_utils.findings import Severity
from ansible_collections.rampart.ollama.plugins.module_utils.gguf import read_gguf
from ansible_collections.rampart.ollama.plugins.module_utils.gguf_inspect import inspect_gguf

HOME = Path(__file__).parents[4]

pytestmark = pytest.mark.row("S4")


def test_s4_the_tables_are_those_of_llama_cpp() -> None:
    constants = gguf.constants
    ours = {number: (known.name, known.block, known.size) for number, known in gguf_types.TENSOR_TYPES.items()}
    theirs = {int(kind): (kind.name, *constants.GGML_QUANT_SIZES[kind]) for kind in constants.GGMLQuantizationType}
    # Q2_0 is newer than the peer.
    assert {number: entry for number, entry in ours.items() if number != 42} == theirs
    names = {int(kind): kind.name.partition("_")[2] for kind in constants.LlamaFileType if kind.name != "GUESSED"}
    assert {number: known.name for number, known in gguf_types.FILE_TYPES.items()} == names
    assert [kind.name.lower() for kind in constants.GGUFValueType] == [
        {"u": "uint", "i": "int", "f": "float"}.get(name[0], "") + name[1:]
        if name[1:].isdigit()
        else {"str": "string", "arr": "array", "bool": "bool"}[name]
        for name in gguf_types.VALUE_NAMES
    ]


def test_s4_keys_tensors_and_offsets_are_those_the_peer_reads(tmp_path: Path) -> None:
    path = tmp_path / "peer.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Peer")
    writer.add_context_length(2048)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_custom_alignment(64)
    writer.add_uint8("t.u8", 200)
    writer.add_int64("t.i64", -5)
    writer.add_float64("t.f64", 0.5)
    writer.add_bool("t.bool", True)
    writer.add_array("t.numbers", [1, 2, 3])
    writer.add_token_list(["a", "bb", "ccc"] * 700)
    writer.add_token_merges(["a b"] * 500)
    writer.add_chat_template([{"name": "default", "template": "{{ a }}"}, {"name": "tools", "template": "{{ b }}"}])
    dice = numpy.random.default_rng(1)
    for number in range(9):
        shape = (3, 32 * (number + 1))
        if number % 2:
            raw = gguf.quants.quantize(dice.random(shape, dtype=numpy.float32), gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor("blk.{0}.w.weight".format(number), raw, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor("blk.{0}.w.weight".format(number), dice.random(shape, dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    ours, peer = read_gguf(path), gguf.GGUFReader(path)
    assert ours.findings == []
    fields = {name: field for name, field in peer.fields.items() if not name.startswith("GGUF.")}
    templates = {item.key: item.data for item in ours.metadata.templates}
    assert ours.key_count == len(fields)
    assert {*ours.metadata.values, *ours.metadata.arrays, *templates} == set(fields)
    assert templates == {"tokenizer.chat_template": b"{{ a }}", "tokenizer.chat_template.tools": b"{{ b }}"}
    for name, value in ours.metadata.values.items():
        assert value == fields[name].contents()
    for name, (element, count) in ours.metadata.arrays.items():
        assert (element, count) == (int(fields[name].types[1]), len(fields[name].data))
    assert ours.layout is not None
    assert (ours.layout.alignment, ours.layout.data_start) == (peer.alignment, peer.data_offset)
    assert [
        (item.name, item.kind, item.elements, ours.layout.data_start + item.offset, item.size) for item in ours.tensors
    ] == [
        (str(item.name), int(item.tensor_type), int(item.n_elements), int(item.data_offset), int(item.n_bytes))
        for item in peer.tensors
    ]


def test_s4_a_real_model_passes_the_default_policy(tmp_path: Path) -> None:
    maker = runpy.run_path(str(HOME / "tests/images/ollama/model.py"), run_name="model")
    wheel = maker["default_cache"]() / "wheels" / maker["WHEEL_FILE"]
    if not wheel.is_file():
        pytest.skip("the demonstration's model was not fetched on this machine (make demo does it)")
    maker["write_store"](tmp_path / "store", maker["default_cache"]())
    blob = tmp_path / "store" / "blobs" / ("sha256-" + maker["GGUF_SHA256"])
    report = inspect_gguf(blob)
    assert [finding.code for finding in report.findings] == ["TEMPLATE-UNLISTED"]
    assert report.findings[0].severity is Severity.INFO
    assert {item.id: item.status for item in report.checks} == {
        "gguf-structure": "passed",
        "gguf-policy": "passed",
        "gguf-template": "passed",
    }
    info = report.info()
    assert (info["parameters"], info["file_type"], info["context_length"]) == (134515008, "Q4_1", 8192)
    assert info["templates"][0]["digest"].startswith("sha256:872be49dbb63")
