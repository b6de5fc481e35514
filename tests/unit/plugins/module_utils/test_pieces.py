# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S2: no byte is forgotten, none is asked for twice, and the state on disk is bounded."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import pieces
from ansible_collections.rampart.ollama.plugins.module_utils.pieces import Pieces, load_state, save_state, state_path

pytestmark = pytest.mark.row("S2")
DIGEST = "sha256:" + "0" * 64
SIZE = 100


@pytest.mark.parametrize("seed", range(20))
def test_s2_whatever_is_cut_every_byte_is_fetched_once(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    dice = random.Random(seed)
    monkeypatch.setattr(pieces, "PIECE_BYTES", dice.randrange(1, 2000))
    size = dice.randrange(1, 20_000)
    have = []
    position = 0
    while position < size:
        first = position + dice.randrange(1, 3000)
        end = min(size, first + dice.randrange(1, 3000))
        if first < end:
            have.append((first, end))
        position = end
    counts = bytearray(size)
    for first, end in have:
        counts[first:end] = b"\1" * (end - first)
    book = Pieces(size, have, dice.randrange(1, 5))
    while (piece := book.take()) is not None:
        while piece.position < piece.end:
            if dice.random() < 0.2:
                book.give_back(piece)
                break
            count = dice.randrange(1, piece.end - piece.position + 1)
            for index in range(piece.position, piece.position + count):
                counts[index] += 1
            book.advance(piece, count)
    assert counts == b"\1" * size
    assert book.intervals() == [(0, size)]
    assert book.wait_beyond(0) == size


def test_s2_a_huge_blob_has_few_pieces() -> None:
    size = 1 << 46
    book = Pieces(size, [], 4)
    assert len(book._queue) <= pieces.PIECES_MAX
    assert sum(piece.end - piece.start for piece in book._queue) == size


def test_s2_the_beginning_grows_only_where_it_is_whole() -> None:
    book = Pieces(100, [(40, 50)], 2)
    first, second = book.take(), book.take()
    assert first is not None
    assert second is not None
    book.advance(second, 10)
    assert book.intervals() == [(40, 60)]
    book.advance(first, 20)
    assert book.wait_beyond(0) == 20
    book.advance(first, 20)
    assert book.wait_beyond(20) == 60


def test_s2_whoever_waits_for_a_piece_gets_what_is_given_back() -> None:
    book = Pieces(10, [], 1)
    piece = book.take()
    assert piece is not None
    got: list[object] = []
    waiting = threading.Thread(target=lambda: got.append(book.take()))
    waiting.start()
    book.advance(piece, 4)
    book.give_back(piece)
    waiting.join(10)
    assert [(item.position, item.end) for item in got if isinstance(item, pieces.Piece)] == [(4, 10)]


def test_s2_nobody_waits_after_a_stop() -> None:
    book = Pieces(10, [], 1)
    assert book.take() is not None
    got: list[object] = []
    waiting = [threading.Thread(target=lambda: got.append(book.take())) for _number in range(3)]
    waiting.append(threading.Thread(target=lambda: got.append(book.wait_beyond(0))))
    for thread in waiting:
        thread.start()
    book.stop()
    for thread in waiting:
        thread.join(10)
    assert got == [None] * 4


def test_s2_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "blob.part"
    have = [(index * 10, index * 10 + 5) for index in range(pieces.PIECES_MAX)]
    save_state(path, DIGEST, 1 << 40, have)
    assert load_state(path, DIGEST, 1 << 40, 1 << 40) == have
    assert state_path(path).stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["blob.part.state"]
    pieces.drop_state(path)
    assert load_state(path, DIGEST, 1 << 40, 1 << 40) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        "[" * 100_000,
        "\xff",
        json.dumps({"version": 1, "digest": DIGEST, "size": SIZE}),
        json.dumps({"version": 2, "digest": DIGEST, "size": SIZE, "have": [[0, 10]]}),
        json.dumps({"version": 1, "digest": "sha256:" + "1" * 64, "size": SIZE, "have": [[0, 10]]}),
        json.dumps({"version": 1, "digest": DIGEST, "size": SIZE + 1, "have": [[0, 10]]}),
        json.dumps({"version": 1, "digest": DIGEST, "size": SIZE, "have": [[0, SIZE + 1]]}),
        json.dumps({"version": 1, "digest": DIGEST, "size": SIZE, "have": [[-5, 10]]}),
        json.dumps({"version": 1, "digest": DIGEST, "size": SIZE, "have": [[10, 10]]}),
        json.dumps({"version": 1, "digest": DIGEST, "size": SIZE, "have": [[5, 20], [10, 30]]}),
        json.dumps({"version": 1, "digest": DIGEST, "size": SIZE, "have": [[True, 20]]}),
        json.dumps({"version": 1, "digest": DIGEST, "size": SIZE, "have": [[0.5, 20]]}),
        json.dumps({"version": 1, "digest": DIGEST, "size": SIZE, "have": [["0", 20]]}),
        json.dumps({"version": 1, "digest": DIGEST, "size": SIZE, "have": [[0, 20, 30]]}),
        json.dumps({"version": 1, "digest": DIGEST, "size": SIZE, "have": {"0": 20}}),
        '{"version": 1, "digest": "' + DIGEST + '", "size": 100, "have": [[0, ' + "9" * 20_000 + "]]}",
        json.dumps({"version": 1, "digest": DIGEST, "size": SIZE, "have": [[0, 20]], "more": 1}),
        " " * 300_000,
    ],
)
def test_s2_a_state_that_cannot_be_right_names_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "blob.part"
    state_path(path).write_text(text, encoding="latin-1")
    assert load_state(path, DIGEST, SIZE, SIZE) == []


def test_s2_a_state_names_nothing_behind_the_files_end(tmp_path: Path) -> None:
    path = tmp_path / "blob.part"
    save_state(path, DIGEST, SIZE, [(0, 60)])
    assert load_state(path, DIGEST, SIZE, 59) == []
    assert load_state(path, DIGEST, SIZE, 60) == [(0, 60)]
