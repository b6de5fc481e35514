# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S4: the structure of a GGUF file, read without loading it, whatever the file holds."""

from __future__ import annotations

import os
import random
import re
import runpy
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.rampart.ollama.plugins.module_utils import gguf_cursor, gguf_embedded, gguf_types
from ansible_collections.rampart.ollama.plugins.module_utils.findings import Severity
from ansible_collections.rampart.ollama.plugins.module_utils.gguf import GgufFile, read_gguf
from ansible_collections.rampart.ollama.plugins.module_utils.gguf_inspect import inspect_gguf

HOME = Path(__file__).parents[4]
# The maker of files lies with the fuzzer, which uses it without pytest.
make: Any = SimpleNamespace(**runpy.run_path(str(HOME / "tests/fuzz/gguf_files.py"), run_name="gguf_files"))
HOSTILE: dict[str, tuple[str, bytes]] = make.hostile()
MEBIBYTE = 1024 * 1024

pytestmark = pytest.mark.row("S4")


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """Return read(data) -> what was read of a file with these bytes."""

    def run(data: bytes) -> GgufFile:
        path = tmp_path / "model.gguf"
        path.write_bytes(data)
        return read_gguf(path, "model")

    return run


def codes(file: GgufFile) -> list[str]:
    return [finding.code for finding in file.findings]


def test_s4_a_good_file_has_no_finding_and_is_read_whole(read: Any) -> None:
    file = read(make.build())
    assert (file.findings, file.complete) == ([], True)
    assert file.architecture == "llama"
    assert file.metadata.text("general.organization") == "Mistral AI"
    assert file.metadata.number("llama.context_length") == 4096
    assert file.metadata.arrays["tokenizer.ggml.tokens"] == (gguf_types.STRING, 6)
    assert [(item.key, item.data) for item in file.metadata.templates] == [
        ("tokenizer.chat_template", make.TEMPLATE.encode())
    ]
    assert file.parameters == sum(item.elements for item in file.tensors) == 64 * 6 + 64 + 64 * 64 + 64 * 33 + 64
    assert file.quantisation == {"F16": 64 * 6 + 64 * 64 + 64 * 33, "F32": 128}
    assert file.layout is not None
    assert file.layout.data_end == file.size


@pytest.mark.parametrize("alignment", [8, 64, 4096])
def test_s4_other_alignments_are_honoured(read: Any, alignment: int) -> None:
    keys = [*make.good_keys(), ("general.alignment", make.U32, alignment)]
    assert read(make.build(keys, alignment=alignment)).findings == []


def test_s4_a_file_may_end_in_padding_but_in_nothing_else(read: Any) -> None:
    keys, tensors = make.good_keys(), [("w.weight", (4,), 0)]
    assert codes(read(make.build(keys, tensors, tail=bytes(16)))) == []
    assert codes(read(make.build(keys, tensors, tail=bytes(15) + b"\x01"))) == ["GGUF-APPENDED-DATA"]
    assert codes(read(make.build(keys, tensors, tail=bytes(32)))) == ["GGUF-APPENDED-DATA"]


@pytest.mark.parametrize("name", HOSTILE)
def test_s4_each_fault_is_found_by_its_code(read: Any, name: str) -> None:
    code, data = HOSTILE[name]
    file = read(data)
    assert code in codes(file)
    assert all(finding.subject == "model" for finding in file.findings)
    worst = max(finding.severity.rank for finding in file.findings if finding.code == code)
    # What honest old writers do is told as low; everything else fails a file.
    honest = name in ("version 2", "text in no UTF-8", "truth of 7", "not a number")
    assert (worst < Severity.MEDIUM.rank) == honest


@pytest.mark.parametrize(
    ("name", "evidence"),
    [
        ("most keys", "18446744073709551615 keys are declared"),
        ("many keys", "10001 keys are declared, read are at most 10000"),
        ("many tensors", "32769 tensors are declared, read are at most 32768"),
        ("deep array", "x is nested too deeply or too widely"),
        ("wide array", "x is nested too deeply or too widely"),
        ("product wraps to 64", "w: shape (8589934592, 2147483648, 4) at offset 0 overflows 64 bits"),
        ("size overflows", "w: shape (4611686018427387904,) at offset 0 overflows 64 bits"),
        ("offset overflows", "w: shape (8,) at offset 18446744073709551584 overflows 64 bits"),
        ("end overflows", "beyond 64 bits"),
    ],
)
def test_s4_a_number_is_refused_where_it_stands_before_it_is_used(read: Any, name: str, evidence: str) -> None:
    assert any(evidence in finding.evidence for finding in read(HOSTILE[name][1]).findings)


@pytest.mark.parametrize("name", ["version 0", "version 1", "version 4", "big-endian", "zip"])
def test_s4_of_a_file_that_is_not_ours_nothing_more_is_read(read: Any, name: str) -> None:
    file = read(HOSTILE[name][1])
    assert (len(file.findings), file.complete, file.key_count) == (1, False, 0)
    assert file.metadata.values == {}


@pytest.mark.parametrize("kind", make.OTHER_FILES)
@pytest.mark.parametrize("place", ["appended", "metadata", "gap"])
def test_s4_another_file_inside_is_found_wherever_no_weights_are(read: Any, kind: str, place: str) -> None:
    other = make.OTHER_FILES[kind]
    if place == "appended":
        file = read(make.build(tail=bytes(7) + other))
    elif place == "metadata":
        file = read(make.build([*make.good_keys(), ("x", make.ARRAY, (make.U8, list(other)))]))
    else:
        keys = [make.key(*item) for item in make.good_keys()]
        room = -(-len(other) // 32) * 32 + 64
        infos = [make.info("a", (8,), 0, 0), make.info("b", (8,), 0, 32 + room)]
        file = read(make.assemble(keys, infos, bytes(32) + other.ljust(room, b"\0") + bytes(32)))
    found = [finding for finding in file.findings if finding.code == "GGUF-EMBEDDED-FILE"]
    assert found
    assert {finding.severity for finding in found} == {Severity.CRITICAL}


def test_s4_a_signature_across_two_pieces_is_found(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [*make.good_keys(), ("x", make.ARRAY, (make.U8, [*bytes(500), *make.ELF, *bytes(500)]))]
    data = make.build(keys)
    for cut in range(1, 7):
        # The search begins behind the magic: the first piece ends in the middle of the signature.
        monkeypatch.setattr(gguf_embedded, "PIECE_BYTES", data.index(make.ELF) + cut - 4)
        assert "GGUF-EMBEDDED-FILE" in codes(read(data))


def test_s4_the_search_for_other_files_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "many"
    path.write_bytes(b"PK\x03\x04" * 100_000)
    with path.open("rb") as stream:
        search = gguf_embedded.Search(stream.fileno())
        search.look_in(0, 400_000)
    assert search.exhausted
    assert search.candidates == gguf_embedded.CANDIDATES_MAX + 1


def test_s4_weights_that_look_like_a_signature_are_no_finding(read: Any) -> None:
    assert read(make.build(fill=b"PK\x03\x04\x14\0\0\0\0\0\x7fELF\x02\x01")).findings == []


def test_s4_a_false_start_does_not_hide_the_signature_behind_it(read: Any) -> None:
    hidden = b"\xcf\xfa\xed" + b"\xfe\xed\xfa\xcf\x01\x00\x00\x07" + bytes(8)
    assert "GGUF-EMBEDDED-FILE" in codes(read(make.build(tail=hidden)))


@pytest.mark.parametrize("length", range(0, 900, 7))
def test_s4_a_file_cut_anywhere_in_its_header_is_truncated_or_counted_wrong(read: Any, length: int) -> None:
    data = make.build()
    assert length < len(data) - 13000
    assert set(codes(read(data[:length]))) & {"GGUF-TRUNCATED", "GGUF-COUNT"}


def test_s4_every_byte_of_the_header_may_be_anything(read: Any) -> None:
    dice = random.Random(4)
    good = make.build()
    for _round in range(400):
        data = bytearray(good)
        for _change in range(dice.randrange(1, 4)):
            data[dice.randrange(1400)] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
        file = read(bytes(data))
        assert all(finding.code and finding.evidence and finding.remedy for finding in file.findings)


def test_s4_a_strange_name_does_not_take_the_place_of_a_key(read: Any) -> None:
    keys = [*make.good_keys(), ("general.architecture\n", make.STRING, "other"), ("general.name ", make.STRING, "x")]
    file = read(make.build(keys))
    assert (file.architecture, file.metadata.text("general.name")) == ("llama", "Tiny")
    assert codes(file) == ["GGUF-NAME"]


def test_s4_of_a_repeated_key_the_first_value_is_kept_and_both_templates_are(read: Any) -> None:
    keys = [*make.good_keys(), ("tokenizer.chat_template", make.STRING, make.BACKDOOR)]
    file = read(make.build(keys))
    assert codes(file) == ["GGUF-KEY-DUPLICATE"]
    assert [item.data for item in file.metadata.templates] == [make.TEMPLATE.encode(), make.BACKDOOR.encode()]


def test_s4_templates_too_long_to_keep_are_still_named_by_their_digest(read: Any) -> None:
    text = "x" * (gguf_types.TEMPLATE_KEPT_BYTES + 1)
    (template,) = read(make.build(make.good_keys(text))).metadata.templates
    assert (template.size, template.data) == (len(text), None)
    assert re.fullmatch("sha256:[0-9a-f]{64}", template.digest)


def test_s4_findings_of_one_code_are_counted_not_listed(read: Any) -> None:
    infos = [make.info("t{0}".format(number), (8,), 99, 0) for number in range(3000)]
    file = read(make.assemble([make.key(*item) for item in make.good_keys()], infos, bytes(64)))
    assert codes(file).count("GGUF-TENSOR-TYPE") == gguf_cursor.FINDINGS_PER_CODE + 1
    assert any("2980 more like the 20 named" in finding.evidence for finding in file.findings)


def test_s4_a_link_a_directory_and_a_fifo_are_refused(tmp_path: Path) -> None:
    target = tmp_path / "model.gguf"
    target.write_bytes(make.build())
    (tmp_path / "link").symlink_to(target)
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo", ".", "missing", "zero\0byte"):
        file = read_gguf(tmp_path / name)
        assert (codes(file), file.complete) == (["GGUF-UNREADABLE"], False)
    assert codes(read_gguf("/dev/zero")) == ["GGUF-UNREADABLE"]


def test_s4_an_open_descriptor_is_read_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(make.build())
    with path.open("rb") as stream:
        stream.seek(100)
        assert read_gguf(stream.fileno(), "open").findings == []
        assert stream.tell() == 100
    assert codes(read_gguf(stream_number_that_is_closed())) == ["GGUF-UNREADABLE"]


def stream_number_that_is_closed() -> int:
    first, second = os.pipe()
    os.close(first)
    os.close(second)
    return first


def test_s4_a_file_that_shrinks_while_it_is_read_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(make.build())
    real = os.pread
    monkeypatch.setattr(gguf_cursor.os, "pread", lambda number, count, place: real(number, count, place)[:40])
    assert codes(read_gguf(path)) == ["GGUF-TRUNCATED"]


def large_files() -> dict[str, bytes]:
    """Files that are made to cost time or memory."""
    one = make.key("general.architecture", make.STRING, "llama")
    many = 500_000
    strings = make.text("t") + make.u32(make.ARRAY) + make.u32(make.STRING)
    text = make.text("u") + make.u32(make.STRING) + make.u64(11 * MEBIBYTE) + b"P" * (11 * MEBIBYTE)
    return {
        "500,000 empty texts": make.assemble([one, strings + make.u64(many) + bytes(8 * many)], [], b""),
        "texts of 11 MiB": make.assemble([one, text, text], [], b""),
        "9,999 keys": make.assemble([one, *(make.key(str(n) + "k" * 2000, make.U8, 1) for n in range(9999))], [], b""),
        "32,768 tensors": make.assemble(
            [one], [make.info("t{0}".format(n), (8,), 0, 96 * n) for n in range(32768)], b"\1" * 96 * 32768
        ),
        "nested arrays": make.assemble(
            [one, make.text("x") + make.u32(9) * 2 + make.u64(9999) + (make.u32(0) + make.u64(0)) * 9999], [], b""
        ),
    }


def test_s4_files_made_to_cost_memory_do_not(read: Any) -> None:
    for name, data in large_files().items():
        tracemalloc.start()
        try:
            read(data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 40 * MEBIBYTE, name


def test_s4_the_work_on_any_file_is_limited(read: Any) -> None:
    strings = make.text("t") + make.u32(make.ARRAY) + make.u32(make.STRING) + make.u64(2 * MEBIBYTE + 1)
    head = make.assemble([make.key("general.architecture", make.STRING, "llama"), strings], [], b"")
    assert codes(read(head + bytes(17 * MEBIBYTE))) == ["GGUF-LIMIT"]
    long = make.text("u") + make.u32(make.ARRAY) + make.u32(make.U8) + make.u64(24 * MEBIBYTE)
    assert codes(read(make.assemble([long], [], bytes(24 * MEBIBYTE)))) == ["GGUF-LIMIT"]
    # A tail of signatures that come to nothing: searched up to a limit, and that is told.
    assert "GGUF-LIMIT" in codes(read(make.build(tail=b"PK\x03\x04" * 100_000)))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=400), start=st.booleans())
def test_s4_any_bytes_end_in_findings_or_in_a_file_without_faults(tmp_path: Path, data: bytes, start: bool) -> None:
    path = tmp_path / "any.gguf"
    path.write_bytes((b"GGUF\x03\0\0\0" if start else b"") + data)
    report = inspect_gguf(path, {})
    assert report.findings
    assert report.verdict == "failed"


NUMBERS = st.one_of(
    st.integers(0, 40), st.sampled_from([(1 << bits) + by for bits in (7, 8, 31, 32, 62, 63, 64) for by in (-1, 0, 1)])
).map(lambda number: number & ((1 << 64) - 1))


@st.composite
def structures(draw: Any) -> bytes:
    """A file of whole parts with wrong numbers in it: deeper in than random bytes ever get."""
    keys = [make.key(*item) for item in make.good_keys()]
    for _number in range(draw(st.integers(0, 3))):
        kind = draw(st.integers(0, 13))
        body = draw(st.binary(max_size=24))
        if kind == make.ARRAY and draw(st.booleans()):
            body = make.u32(draw(st.integers(0, 13))) + make.u64(draw(NUMBERS)) + body
        elif kind == make.STRING and draw(st.booleans()):
            body = make.u64(draw(NUMBERS)) + body
        keys.insert(draw(st.integers(0, len(keys))), make.text(draw(st.binary(max_size=8))) + make.u32(kind) + body)
    infos = [
        make.info(
            draw(st.sampled_from([b"a", b"b", b"\xff", b"n" * 64])),
            draw(st.lists(NUMBERS, max_size=4)),
            draw(st.sampled_from([0, 1, 3, 4, 8, 12, 30, 42, 43, 1 << 31])),
            draw(NUMBERS),
        )
        for _number in range(draw(st.integers(0, 4)))
    ]
    changes = {}
    if draw(st.booleans()):
        changes = {"key_count": draw(NUMBERS), "tensor_count": draw(NUMBERS)}
    whole: bytes = make.assemble(keys, infos, draw(st.binary(max_size=300)), **changes)
    return whole


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=structures())
def test_s4_whole_parts_with_wrong_numbers_never_get_through_the_reader(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "any.gguf"
    path.write_bytes(data)
    file = inspect_gguf(path, {}).file
    assert sum(1 for finding in file.findings) < 200
    assert file.complete or any(finding.severity.rank >= Severity.HIGH.rank for finding in file.findings)
    if file.layout and file.layout.data_end is not None and not file.findings:
        # Nothing was said against it: then every tensor lies in the file.
        assert all(file.layout.data_start + item.offset + (item.size or 0) <= len(data) for item in file.tensors)
