# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S4: a vocabulary is gone over quickly, and every length in it is held against the file as one by one."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.rampart.ollama.plugins.module_utils import gguf_cursor
from ansible_collections.rampart.ollama.plugins.module_utils.gguf_cursor import Cursor, StopReadingError
from ansible_collections.rampart.ollama.plugins.module_utils.gguf_types import STRING_MAX_BYTES

pytestmark = pytest.mark.row("S4")

# What a length looks like is left to chance: lengths, ends of lengths and line ends are among the characters.
CHARACTERS = b"\0\x01\x07\x08\n\xff\x3f\x40ab"


def skipped(path: Path, data: bytes, count: int) -> int | str:
    """Where the cursor stands after `count` strings, or the code of what is wrong."""
    path.write_bytes(data)
    with path.open("rb") as stream:
        cursor = Cursor(stream.fileno(), len(data))
        try:
            cursor.skip_strings(count, "x")
        except StopReadingError as stop:
            return stop.code
        return cursor.position


def one_by_one(data: bytes, count: int) -> int | str:
    """The same in the plainest words."""
    if 8 * count > len(data):
        return "GGUF-TRUNCATED"
    place = 0
    for _number in range(count):
        if place + 8 > len(data):
            return "GGUF-TRUNCATED"
        (length,) = struct.unpack_from("<Q", data, place)
        place += 8
        if length > STRING_MAX_BYTES:
            return "GGUF-LIMIT"
        place += length
        if place > len(data):
            return "GGUF-TRUNCATED"
    return place


def strings(lengths: list[int], seed: int = 0) -> bytes:
    chance = random.Random(seed)
    return b"".join(
        struct.pack("<Q", length) + bytes(chance.choices(CHARACTERS, k=min(length, 100_000))) for length in lengths
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "strings"


@pytest.mark.parametrize(
    "lengths",
    [
        [7] * 5000,
        [0] * 5000,
        [63] * 5000,
        [64] * 5000,
        ([7] * 255 + [64]) * 20,
        ([7] * 256 + [300]) * 20,
        list(range(80)) * 60,
        [256, 65536, 7] * 300,
        [1] * 255,
        [1] * 256,
        [1] * 257,
    ],
)
@pytest.mark.parametrize("window", [64, 20_000, 1 << 20])
def test_s4_quickly_is_as_one_by_one(
    path: Path, lengths: list[int], window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_cursor, "WINDOW_BYTES", window)
    data = strings(lengths)
    for tail in (b"", b"rest", b"\x07" + bytes(300)):
        assert skipped(path, data + tail, len(lengths)) == one_by_one(data + tail, len(lengths))
    assert skipped(path, data[:-1], len(lengths)) == one_by_one(data[:-1], len(lengths))


@pytest.mark.parametrize("place", [0, 1, 255, 256, 257, 3000, 4999])
@pytest.mark.parametrize("length", [STRING_MAX_BYTES + 1, 1 << 32, 1 << 56, (1 << 64) - 1, 0x0700000000000007])
def test_s4_a_length_that_lies_is_found_wherever_it_stands(path: Path, place: int, length: int) -> None:
    lengths = [7] * 5000
    data = strings(lengths[:place]) + struct.pack("<Q", length) + strings(lengths[place:])
    assert skipped(path, data, len(lengths)) in ("GGUF-LIMIT", "GGUF-TRUNCATED")
    assert skipped(path, data, len(lengths)) == one_by_one(data, len(lengths))


@settings(max_examples=60)
@given(
    lengths=st.lists(st.sampled_from([0, 1, 5, 6, 7, 8, 9, 62, 63, 64, 65, 255, 256]), max_size=1500),
    times=st.integers(1, 4),
    flip=st.integers(0, 400),
    cut=st.integers(0, 30),
    more=st.integers(-2, 2),
)
def test_s4_whatever_the_lengths_the_answer_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], times: int, flip: int, cut: int, more: int
) -> None:
    data = bytearray(strings(lengths * times, seed=flip))
    if data:
        data[flip * 37 % len(data)] ^= 1 << flip % 8
    content = bytes(data[: len(data) - cut] if cut else data)
    count = max(0, len(lengths) * times + more)
    path = tmp_path_factory.getbasetemp() / "strings"
    assert skipped(path, content, count) == one_by_one(content, count)


def test_s4_a_file_made_to_defeat_the_quick_way_costs_few_attempts(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []
    real = gguf_cursor._SHORT_STRINGS

    class Counting:
        @staticmethod
        def match(data: bytes, place: int) -> object:
            tried.append(place)
            return real.match(data, place)

    monkeypatch.setattr(gguf_cursor, "_SHORT_STRINGS", Counting)
    lengths = [7] * 255 + [64]
    data = strings(lengths * 800)
    assert skipped(path, data, 256 * 800) == len(data)
    assert len(tried) < 20
