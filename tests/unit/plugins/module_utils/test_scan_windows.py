# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S5: windows cover every byte, share what they should, and are files without a name."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import scan_windows
from ansible_collections.rampart.ollama.plugins.module_utils.scan_windows import cut, window_of

pytestmark = pytest.mark.row("S5")


@pytest.mark.parametrize("size", [1, 99, 1000, 1001, 1900, 1901, 12345])
def test_s5_windows_cover_every_byte_and_share_what_they_should(size: int) -> None:
    windows = cut(size, 1000, 100)
    assert windows[0][0] == 0
    assert sum(windows[-1]) == size
    assert all(length <= 1000 for _offset, length in windows)
    for (offset, length), (following, _length) in itertools.pairwise(windows):
        assert following == offset + length - 100


@pytest.mark.parametrize("in_kernel", [True, False])
@pytest.mark.parametrize("memory", [0, 1 << 24])
def test_s5_a_window_holds_its_bytes_and_keeps_the_holes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_kernel: bool, memory: int
) -> None:
    monkeypatch.setattr(scan_windows, "MEMORY_MAX_BYTES", memory)
    if not in_kernel:
        monkeypatch.delattr(os, "copy_file_range")
    mebibyte = 1 << 20
    path = tmp_path / "blob"
    with path.open("wb") as stream:
        stream.truncate(64 * mebibyte)
        stream.seek(20 * mebibyte - 3)
        stream.write(b"abcdef")
    with path.open("rb") as stream, window_of(stream.fileno(), 20 * mebibyte, 30 * mebibyte, str(tmp_path)) as copy:
        status = os.fstat(copy)
        assert (status.st_size, status.st_nlink) == (30 * mebibyte, 0)
        assert status.st_blocks * 512 <= mebibyte
        assert os.pread(copy, 5, 0) == b"def\0\0"
    assert [entry.name for entry in tmp_path.iterdir()] == ["blob"]


def test_s5_a_window_that_shares_all_of_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot share"):
        cut(10, 5, 5)
