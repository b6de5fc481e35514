# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S2, S3: fs-verity, against a kernel that is faked at the call itself (tests/vm/fsverity has a real one)."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import fsverity, hashing
from ansible_collections.rampart.ollama.plugins.module_utils import verify as verifying
from ansible_collections.rampart.ollama.plugins.module_utils.approval import approval_from_entry
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.module_utils.publish import Publication, publish
from ansible_collections.rampart.ollama.plugins.module_utils.record import StoreRecord
from ansible_collections.rampart.ollama.plugins.module_utils.verify import HowToRead, recorded, verify

pytestmark = pytest.mark.row("S3")


class FakeKernel:
    """Seals inodes; `fail` is an errno that every call ends with."""

    def __init__(self) -> None:
        self.sealed: dict[tuple[int, int], bytes] = {}
        self.fail: int | None = None
        self.calls: list[int] = []

    def control(self, descriptor: int, request: int, argument: bytearray) -> None:
        self.calls.append(request)
        if self.fail is not None:
            raise OSError(self.fail, os.strerror(self.fail))
        status = os.fstat(descriptor)
        inode = (status.st_dev, status.st_ino)
        if request == fsverity.ENABLE:
            assert fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
            version, algorithm, block, *rest = struct.unpack("=IIIIQIIQ88s", argument)
            assert (version, algorithm, block) == (1, 1, 4096)
            assert not any(item if isinstance(item, int) else item.strip(b"\0") for item in rest)
            if inode in self.sealed:
                raise OSError(errno.EEXIST, "File exists")
            self.sealed[inode] = hashlib.sha256(os.pread(descriptor, status.st_size, 0) + b"tree").digest()
        elif request == fsverity.MEASURE:
            if inode not in self.sealed:
                raise OSError(errno.ENODATA, "No data available")
            assert struct.unpack_from("=HH", argument) == (0, len(argument) - 4)
            argument[:4] = struct.pack("=HH", 1, 32)
            argument[4:36] = self.sealed[inode]
        else:
            raise AssertionError("an unknown call")


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    """A kernel with fs-verity."""
    made = FakeKernel()
    monkeypatch.setattr(fsverity, "_control", made.control)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Any:
    """A read-only descriptor of a file."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def later() -> int:
    return time.time_ns() + 60_000_000_000


def test_the_numbers_are_those_of_the_kernels_header() -> None:
    def number(direction: int, size: int, call: int) -> int:
        return direction << 30 | size << 16 | ord("f") << 8 | call

    assert number(1, 128, 133) == fsverity.ENABLE
    assert number(3, 4, 134) == fsverity.MEASURE


def test_a_sealed_file_is_measured(kernel: FakeKernel, file: int) -> None:
    assert fsverity.measure(file) == ""
    assert fsverity.seal(file)
    assert fsverity.measure(file) == "sha256:" + hashlib.sha256(b"contenttree").hexdigest()
    assert fsverity.seal(file), "sealed already is sealed"


@pytest.mark.parametrize("number", [errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EPERM])
def test_where_it_is_not_offered_nothing_is_sealed_and_nobody_fails(
    kernel: FakeKernel, file: int, number: int, tmp_path: Path
) -> None:
    kernel.fail = number
    assert not fsverity.seal(file)
    assert fsverity.measure(file) is None
    assert fsverity.measure_file(tmp_path / "file") is None


@pytest.mark.parametrize("number", [errno.ETXTBSY, errno.ENOSPC, errno.EIO, errno.EINTR, errno.EACCES])
def test_every_other_error_is_told(kernel: FakeKernel, file: int, number: int, tmp_path: Path) -> None:
    kernel.fail = number
    with pytest.raises(OSError, match=r"^\[Errno"):
        fsverity.seal(file)
    with pytest.raises(OSError, match=r"^\[Errno"):
        fsverity.measure(file)
    assert fsverity.measure_file(tmp_path / "file") is None


@pytest.mark.parametrize(("algorithm", "size"), [(9, 32), (1, 0), (1, 65)])
def test_an_answer_that_makes_no_sense_is_no_measure(
    file: int, monkeypatch: pytest.MonkeyPatch, algorithm: int, size: int
) -> None:
    def odd(_descriptor: int, _request: int, argument: bytearray) -> None:
        argument[:4] = struct.pack("=HH", algorithm, size)

    monkeypatch.setattr(fsverity, "_control", odd)
    with pytest.raises(OSError, match="fs-verity answered"):
        fsverity.measure(file)


def test_this_very_kernel_answers_one_way_or_the_other(file: int) -> None:
    """The real call, whatever the file system under the test: never an exception, never a made-up digest."""
    assert fsverity.measure(file) in (None, "")


def test_a_link_is_not_measured(kernel: FakeKernel, tmp_path: Path, file: int) -> None:
    fsverity.seal(file)
    (tmp_path / "link").symlink_to("file")
    assert fsverity.measure_file(tmp_path / "link") is None
    assert fsverity.measure_file(tmp_path / "file") is not None


def lay(directory: Path, made: Any) -> Publication:
    directory.mkdir()
    sources = {}
    for digest, data in made.blobs.items():
        sources[digest] = directory / digest.replace(":", "-")
        sources[digest].write_bytes(data)
    return Publication(approval_from_entry(made.entry()), made.manifest, sources)


@pytest.mark.row("S2")
def test_the_publisher_seals_every_blob_before_it_is_seen(
    maker: Any, model: Callable[..., Any], kernel: FakeKernel, tmp_path: Path
) -> None:
    made = model("test:1", b"w" * 1000, b"license")
    publish(maker.store, lay(tmp_path / "q", made))
    assert kernel.calls == [fsverity.ENABLE] * 3
    blobs = [path.stat() for path in (maker.root / "blobs").iterdir()]
    assert {(status.st_dev, status.st_ino) for status in blobs} == set(kernel.sealed)


@pytest.mark.row("S2")
@pytest.mark.parametrize(
    ("number", "code"), [(errno.EOPNOTSUPP, ""), (errno.ENOSPC, "DISK-FULL"), (errno.ETXTBSY, "PUBLISH-DISK")]
)
def test_without_fs_verity_it_publishes_all_the_same_but_no_error_is_passed_over(
    maker: Any, model: Callable[..., Any], kernel: FakeKernel, tmp_path: Path, number: int, code: str
) -> None:
    kernel.fail = number
    publication = lay(tmp_path / "q", model("test:1", b"w" * 1000))
    if code:
        with pytest.raises(FindingError) as caught:
            publish(maker.store, publication)
        assert caught.value.finding.code == code
        assert maker.tree() == {}
    else:
        publish(maker.store, publication)
        assert verify(maker.store, {publication.approval.name.key: publication.approval}).findings == []


@pytest.fixture
def published(maker: Any, model: Callable[..., Any], kernel: FakeKernel, tmp_path: Path) -> Any:
    """A store with a sealed model, verified in full, and the record of it: (approvals, record, model)."""
    made = model("test:1", b"w" * 1000, b"license")
    publication = lay(tmp_path / "q", made)
    publish(maker.store, publication)
    approvals = {publication.approval.name.key: publication.approval}
    report = verify(maker.store, approvals, how=HowToRead(remember=True))
    record = recorded(StoreRecord(), maker.store, report)
    assert {reading.verity for reading in record.readings.values()} == {
        "sha256:" + seal.hex() for seal in kernel.sealed.values()
    }
    return approvals, record, made


def test_a_full_verification_hashes_sealed_blobs_too(maker: Any, published: Any) -> None:
    approvals, record, made = published
    report = verify(maker.store, approvals, how=HowToRead(record=record))
    assert report.bytes_hashed == sum(len(data) for data in made.blobs.values())


def test_the_kernels_digest_stands_for_the_bytes_whatever_the_times_say(maker: Any, published: Any) -> None:
    approvals, record, made = published
    os.utime(maker.blob(made.weights), ns=(1, 1))
    report = verify(maker.store, approvals, how=HowToRead("changed", record, now_ns=later))
    assert (report.not_reread, report.bytes_hashed, report.verdict) == (3, 0, "passed")


def test_another_digest_of_the_kernel_has_the_blob_read(maker: Any, published: Any, kernel: FakeKernel) -> None:
    approvals, record, made = published
    status = maker.blob(made.weights).stat()
    kernel.sealed[(status.st_dev, status.st_ino)] = bytes(32)
    report = verify(maker.store, approvals, how=HowToRead("changed", record, now_ns=later))
    assert (report.not_reread, report.bytes_hashed) == (2, len(made.blobs[made.weights]))


@pytest.mark.parametrize("what", ["unsealed", "not offered"])
def test_a_blob_that_was_sealed_and_is_not_is_read_even_if_its_times_are_the_same(
    maker: Any, published: Any, kernel: FakeKernel, what: str
) -> None:
    approvals, record, made = published
    if what == "unsealed":
        kernel.sealed.clear()
    else:
        kernel.fail = errno.EOPNOTSUPP
    report = verify(maker.store, approvals, how=HowToRead("changed", record, now_ns=later))
    assert (report.not_reread, report.mode_used) == (0, "full")
    assert report.bytes_hashed == sum(len(data) for data in made.blobs.values())


def test_a_bad_blob_put_in_the_place_of_a_sealed_one_is_found(maker: Any, published: Any, tmp_path: Path) -> None:
    approvals, record, made = published
    path = maker.blob(made.weights)
    other = tmp_path / "other"
    other.write_bytes(b"v" * 1000)
    other.chmod(0o444)
    other.rename(path)
    report = verify(maker.store, approvals, how=HowToRead("changed", record, now_ns=later))
    assert report.findings[0].code == "STORE-DIGEST-MISMATCH"


def test_a_measure_of_another_file_than_the_hashed_one_is_not_recorded(
    maker: Any, published: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured, replaced, hashed: the digest of the one must not stand for the bytes of the other."""
    approvals, _record, made = published
    path = maker.blob(made.weights)
    whole = hashing.open_plain
    # The look, the measure and the hash each open; what is hashed is another inode than what was measured.
    replaced = False

    def swap(opened: Any, *options: Any) -> int:
        nonlocal replaced
        if str(opened) == str(path) and not replaced:
            replaced = True
            copy = path.parent / "copy"
            copy.write_bytes(made.blobs[made.weights])
            copy.chmod(0o444)
            copy.rename(path)
        return whole(opened, *options)

    monkeypatch.setattr(hashing, "open_plain", swap)
    report = verify(maker.store, approvals, how=HowToRead(remember=True))
    assert replaced
    assert [finding.code for finding in report.findings] == ["STORE-CHANGED"]
    assert made.weights not in report.readings


def test_a_measure_that_is_of_no_certain_file_is_not_recorded(
    maker: Any, published: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    approvals, _record, _made = published
    real = fsverity.measure_file

    def another(path: Any) -> fsverity.Measured | None:
        measured = real(path)
        return measured and fsverity.Measured(measured.digest, measured.device, measured.inode + 1)

    monkeypatch.setattr(verifying, "measure_file", another)
    report = verify(maker.store, approvals, how=HowToRead(remember=True))
    assert {reading.verity for reading in report.readings.values()} == {""}


def test_a_block_the_kernel_refuses_is_told_with_its_place(
    maker: Any, published: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    approvals, record, made = published
    path = maker.blob(made.weights)
    inode = path.stat().st_ino
    real = os.readv

    def refusing(descriptor: int, buffers: Any) -> int:
        if os.fstat(descriptor).st_ino == inode:
            if os.lseek(descriptor, 0, os.SEEK_CUR) == 0:
                return real(descriptor, [memoryview(buffers[0])[:512]])
            raise OSError(errno.EIO, "Input/output error")
        return real(descriptor, buffers)

    monkeypatch.setattr(hashing.os, "readv", refusing)
    report = verify(maker.store, approvals, how=HowToRead(record=record))
    (finding,) = report.findings
    assert finding.code == "STORE-READ-ERROR"
    assert "Input/output error at byte 512 of 1000; the file is sealed (fs-verity)" in finding.evidence
    assert not report.models[0].verified
