# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S3: hashing files that others laid out: marks, what moves meanwhile, what cannot be read."""

from __future__ import annotations

import hashlib
import os
import random
import zlib
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import hashing
from ansible_collections.rampart.ollama.plugins.module_utils.hashing import (
    BUFFER_BYTES,
    MARK_BYTES,
    Marks,
    hash_descriptor,
    hash_file,
    hash_files,
)

pytestmark = pytest.mark.row("S3")


def expected_marks(data: bytes) -> bytes:
    parts = [data[start : start + MARK_BYTES] for start in range(0, len(data), MARK_BYTES)]
    return b"".join(zlib.crc32(part).to_bytes(4, "big") for part in parts)


@pytest.mark.parametrize("size", [0, 1, MARK_BYTES - 1, MARK_BYTES, MARK_BYTES + 1, 3 * MARK_BYTES + 17])
def test_marks_are_those_of_each_mebibyte_however_the_bytes_come(size: int) -> None:
    data = random.Random(size).randbytes(size)
    for step in (7919 * 13, BUFFER_BYTES, 2 * MARK_BYTES + 5):
        marks = Marks()
        for start in range(0, size, step):
            marks.update(memoryview(data[start : start + step]))
        assert marks.finish() == expected_marks(data)


def test_a_file_is_marked_only_when_asked(tmp_path: Path) -> None:
    data = random.Random(3).randbytes(MARK_BYTES + 5)
    paths = [tmp_path / name for name in ("a", "b")]
    for path in paths:
        path.write_bytes(data)
    results = {result.path: result for result in hash_files(paths, 2, lambda path: path == paths[0])}
    assert results[paths[0]].marks == expected_marks(data)
    assert results[paths[1]].marks == b""
    assert {result.digest for result in results.values()} == {"sha256:" + hashlib.sha256(data).hexdigest()}
    assert results[paths[0]].status is not None
    assert results[paths[0]].status.st_ino == paths[0].stat().st_ino


@pytest.mark.parametrize("limit", [0, 1, BUFFER_BYTES, BUFFER_BYTES + 3, 10_000_000])
def test_a_limit_ends_the_reading_there(tmp_path: Path, limit: int) -> None:
    data = random.Random(5).randbytes(2 * BUFFER_BYTES + 9)
    (tmp_path / "a").write_bytes(data)
    with (tmp_path / "a").open("rb") as stream:
        digest, count = hash_descriptor(stream.fileno(), limit=limit)
    assert (digest, count) == ("sha256:" + hashlib.sha256(data[:limit]).hexdigest(), min(limit, len(data)))


@pytest.mark.parametrize("what", ["rename", "unlink", "append"])
def test_a_file_that_moves_while_it_is_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"x" * 1000)
    other.write_bytes(b"x" * 1000)
    whole = hashing.hash_descriptor

    def meddle(descriptor: int, *options: Any) -> tuple[str, int]:
        result = whole(descriptor, *options)
        if what == "rename":
            other.rename(path)
        elif what == "unlink":
            path.unlink()
        else:
            with path.open("ab") as stream:
                stream.write(b"y")
        return result

    monkeypatch.setattr(hashing, "hash_descriptor", meddle)
    assert hash_file(path).changed


def test_a_file_whose_directory_is_exchanged_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That leaves no trace in the file's own times."""
    for name in ("blobs", "others"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_bytes(b"x" * 1000)
    whole = hashing.hash_descriptor

    def exchange(descriptor: int, *options: Any) -> tuple[str, int]:
        result = whole(descriptor, *options)
        (tmp_path / "blobs").rename(tmp_path / "away")
        (tmp_path / "others").rename(tmp_path / "blobs")
        return result

    monkeypatch.setattr(hashing, "hash_descriptor", exchange)
    assert hash_file(tmp_path / "blobs" / "a").changed


def test_a_read_error_tells_the_byte_it_came_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(3 * BUFFER_BYTES))
    real, calls = os.readv, 0

    def failing(descriptor: int, buffers: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise OSError(5, "Input/output error")
        return real(descriptor, buffers)

    monkeypatch.setattr(hashing.os, "readv", failing)
    result = hash_file(path)
    assert (result.error, result.size, result.digest) == ("Input/output error", 2 * BUFFER_BYTES, "")


@pytest.mark.row("S3")
def test_dirty_pages_are_written_back_before_the_file_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a page that is mapped and dirty takes a further write without a new ctime, and a record would not see it."""
    path = tmp_path / "blob"
    path.write_bytes(b"blob")
    done: list[str] = []
    sync, look = os.fsync, os.fstat
    monkeypatch.setattr(os, "fsync", lambda descriptor: (done.append("written back"), sync(descriptor)))
    monkeypatch.setattr(os, "fstat", lambda descriptor: (done.append("looked at"), look(descriptor))[1])
    assert hash_file(path).digest == "sha256:" + hashlib.sha256(b"blob").hexdigest()
    # The first look only asks whether it is a plain file.
    assert done[:3] == ["looked at", "written back", "looked at"]


@pytest.mark.row("S3")
def test_a_file_system_that_cannot_write_back_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(22, "Invalid argument")

    path = tmp_path / "blob"
    path.write_bytes(b"blob")
    monkeypatch.setattr(os, "fsync", refuse)
    assert hash_file(path).error == ""
