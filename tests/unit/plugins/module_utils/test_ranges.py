# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S2: a large blob comes in ranges over several connections, and no source can make more of that than it should.

The registry is the laboratory's stand-in, behind a proxy on a Unix socket, over real TLS.
"""

from __future__ import annotations

import http.client
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import CDN, REGISTRY, Loopback

from ansible_collections.rampart.ollama.plugins.module_utils import pieces, ranges, registry
from ansible_collections.rampart.ollama.plugins.module_utils.findings import refuse
from ansible_collections.rampart.ollama.plugins.module_utils.registry import RegistryClient

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ranged import DATA, DIGEST, MIB, SIZE, asked_ranges, begun, bring, honest, limits, nothing_left, refused, serve

pytestmark = pytest.mark.row("S2")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    made = serve(tmp_path_factory.mktemp("internet"))
    yield made
    made.close()


@pytest.fixture
def internet(served: Loopback, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    # Small enough that there are some.
    monkeypatch.setattr(pieces, "PIECE_BYTES", MIB)
    with nothing_left():
        yield honest(served)


@pytest.mark.parametrize("connections", [1, 2, 4, 16])
def test_s2_the_blob_is_complete_and_each_byte_came_once(internet: Loopback, tmp_path: Path, connections: int) -> None:
    done = bring(internet, begun(tmp_path), limits(connections=connections))
    assert done.path.read_bytes() == DATA
    assert (done.brought, done.cuts) == (SIZE, 0)
    assert min(asked_ranges(internet), key=lambda text: int(text[6:].split("-")[0])) == "bytes=0-{0}".format(
        min(MIB, -(-SIZE // connections)) - 1
    )
    assert not pieces.state_path(done.path).exists()


def test_s2_several_connections_are_open_at_once_and_each_is_used_again(internet: Loopback, tmp_path: Path) -> None:
    internet.misbehave(default={"kind": "slow", "seconds": 0.01})
    bring(internet, begun(tmp_path), limits(connections=4))
    assert internet.most_open >= 4
    # Seven pieces, but no more than four ways to the CDN: each its own CONNECT, each kept for the next piece.
    assert internet.connected.count(CDN) <= 4
    assert len(asked_ranges(internet)) == 7


def test_s2_a_download_cut_everywhere_ends_verified(internet: Loopback, tmp_path: Path) -> None:
    """The proxy ends each of the first fifty connections after a random number of bytes, handshakes included."""
    dice = random.Random(50)
    left = [50]

    def cut() -> int | None:
        if left[0] == 0:
            return None
        left[0] -= 1
        return dice.choice([dice.randrange(1, 6000), dice.randrange(6000, 600_000)])

    internet.cut = cut
    done = bring(internet, begun(tmp_path), limits(attempts=60, retry_seconds=0))
    assert left == [0]
    assert done.path.read_bytes() == DATA
    assert done.brought == SIZE
    assert done.cuts >= 10


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"kind": "lie"}, "FETCH-DIGEST-MISMATCH"),
        ({"kind": "size", "bytes": 1}, "FETCH-TOO-LARGE"),
        ({"kind": "size", "bytes": 10**10}, "FETCH-TOO-LARGE"),
        ({"kind": "short", "bytes": 1024}, "FETCH-SIZE-MISMATCH"),
        ({"kind": "endless"}, "FETCH-TOO-LARGE"),
        ({"kind": "gzip"}, "FETCH-SIZE-MISMATCH"),
        ({"kind": "wrongrange"}, "FETCH-SIZE-MISMATCH"),
        ({"kind": "longrange", "bytes": 1}, "FETCH-SIZE-MISMATCH"),
        ({"kind": "status", "status": 500}, "FETCH-UNREACHABLE"),
        ({"kind": "status", "status": 404}, "FETCH-NOT-FOUND"),
        ({"kind": "status", "status": 401}, "FETCH-REFUSED"),
        ({"kind": "loop"}, "FETCH-REDIRECT-REFUSED"),
        ({"kind": "redirect", "location": "https://evil.example/x"}, "FETCH-REDIRECT-REFUSED"),
        ({"kind": "redirect", "location": f"http://{CDN}/x"}, "FETCH-REDIRECT-REFUSED"),
        ({"kind": "redirect", "location": f"https://{CDN}:8443/x"}, "FETCH-REDIRECT-REFUSED"),
        ({"kind": "redirect", "location": "https://169.254.169.254/x"}, "FETCH-REDIRECT-REFUSED"),
    ],
)
def test_s2_a_source_that_lies_is_one_finding_and_no_byte_too_many(
    internet: Loopback, tmp_path: Path, fault: dict[str, Any], code: str
) -> None:
    internet.misbehave(default=fault)
    started = begun(tmp_path)
    assert refused(lambda: bring(internet, started)) == code
    assert started.path.stat().st_size <= SIZE
    assert set(internet.connected) <= {REGISTRY, CDN}


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Content-Range": f"bytes 0-1048575/{SIZE}", "Content-Length": "1048575"}, "FETCH-SIZE-MISMATCH"),
        ({"Content-Range": f"bytes 0-1048575/{SIZE}", "Content-Length": "1048577"}, "FETCH-TOO-LARGE"),
        ({"Content-Range": f"bytes 0-1048575/{SIZE - 1}"}, "FETCH-SIZE-MISMATCH"),
        ({"Content-Range": f"bytes 0-1048575/{SIZE + 1}"}, "FETCH-TOO-LARGE"),
        ({"Content-Range": f"bytes 1-1048575/{SIZE}"}, "FETCH-SIZE-MISMATCH"),
        ({"Content-Range": f"bytes 0-1048576/{SIZE}"}, "FETCH-SIZE-MISMATCH"),
        ({"Content-Range": f"bytes 5-4/{SIZE}"}, "FETCH-SIZE-MISMATCH"),
        ({"Content-Range": f"bytes 0-{'9' * 30}/{SIZE}"}, "FETCH-SIZE-MISMATCH"),
        ({"Content-Range": "bytes */5"}, "FETCH-SIZE-MISMATCH"),
        ({"Content-Range": "nonsense"}, "FETCH-SIZE-MISMATCH"),
        ({}, "FETCH-SIZE-MISMATCH"),
        ({"Content-Range": f"bytes 0-1048575/{SIZE}", "Content-Encoding": "br"}, "FETCH-SIZE-MISMATCH"),
    ],
)
def test_s2_an_answer_that_does_not_fit_is_refused_before_a_byte_is_read(
    internet: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], code: str
) -> None:
    """Whatever the answer really carries, these are the headers it is judged by."""
    header = http.client.HTTPResponse.getheader

    def lying(response: http.client.HTTPResponse, name: str, default: Any = None) -> Any:
        return headers.get(name, default) if response.status == 206 else header(response, name, default)

    monkeypatch.setattr(http.client.HTTPResponse, "getheader", lying)
    started = begun(tmp_path)
    assert refused(lambda: bring(internet, started)) == code
    assert started.brought == 0


def test_s2_fewer_bytes_than_asked_for_are_taken_and_the_rest_is_asked_for(
    internet: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may answer a part of a range."""
    ask = registry.RegistryClient._ask

    def modest(self: RegistryClient, connection: Any, path: str, headers: dict[str, str], subject: str) -> Any:
        if "Range" in headers:
            first, last = headers["Range"][6:].split("-")
            headers = {**headers, "Range": "bytes={0}-{1}".format(first, min(int(last), int(first) + 99_999))}
        return ask(self, connection, path, headers, subject)

    monkeypatch.setattr(registry.RegistryClient, "_ask", modest)
    done = bring(internet, begun(tmp_path))
    assert done.path.read_bytes() == DATA
    assert (done.brought, done.cuts) == (SIZE, 0)


def test_s2_what_is_declared_much_too_large_ends_at_the_first_answer(internet: Loopback, tmp_path: Path) -> None:
    """10 GB declared, 6 MB there."""
    started = begun(tmp_path, size=10**10)
    assert refused(lambda: bring(internet, started)) == "FETCH-SIZE-MISMATCH"
    assert started.path.stat().st_blocks * 512 < 2 * MIB


def test_s2_what_is_declared_much_too_small_ends_at_the_first_answer(internet: Loopback, tmp_path: Path) -> None:
    started = begun(tmp_path, size=1000)
    assert refused(lambda: bring(internet, started)) == "FETCH-TOO-LARGE"
    assert started.path.stat().st_size <= 1000


def test_s2_a_source_without_ranges_is_read_in_one_go(internet: Loopback, tmp_path: Path) -> None:
    internet.misbehave(default={"kind": "norange"})
    done = bring(internet, begun(tmp_path))
    assert done.path.read_bytes() == DATA
    assert not pieces.state_path(done.path).exists()
    # One asked for a range and saw; the others never came.
    assert asked_ranges(internet) == ["bytes=0-1048575", None]


def test_s2_a_lie_that_is_told_once_costs_one_more_download_in_one_go(internet: Loopback, tmp_path: Path) -> None:
    internet.misbehave(blobs={DIGEST: {"kind": "lie", "times": 7}})
    done = bring(internet, begun(tmp_path))
    assert done.path.read_bytes() == DATA
    assert asked_ranges(internet)[-1] is None
    assert asked_ranges(internet).count(None) == 1


def test_s2_a_lie_that_is_told_again_is_not_asked_a_third_time(internet: Loopback, tmp_path: Path) -> None:
    internet.misbehave(default={"kind": "lie"})
    assert refused(lambda: bring(internet, begun(tmp_path))) == "FETCH-DIGEST-MISMATCH"
    assert asked_ranges(internet).count(None) == 1


def test_s2_a_lie_that_is_cut_as_well_is_not_asked_a_third_time_either(internet: Loopback, tmp_path: Path) -> None:
    internet.misbehave(default={"kind": "lie"})
    numbers = iter(range(100))
    # The fourth connection is the one that brings everything in one go.
    internet.cut = lambda: 3 * MIB if next(numbers) == 3 else None
    assert refused(lambda: bring(internet, begun(tmp_path), limits(connections=1))) == "FETCH-DIGEST-MISMATCH"
    assert asked_ranges(internet).count(None) == 1
    assert asked_ranges(internet)[-1] is not None


def test_s2_when_no_connection_brings_anything_any_more_that_is_the_end(internet: Loopback, tmp_path: Path) -> None:
    numbers = iter(range(1000))
    internet.cut = lambda: 300_000 if next(numbers) < 2 else 60
    assert refused(lambda: bring(internet, begun(tmp_path))) == "FETCH-UNREACHABLE"


def test_s2_one_that_fails_makes_the_others_hang_up(
    internet: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    internet.misbehave(default={"kind": "slow", "seconds": 0.05})
    judge = ranges._Ranges._judge

    def refusing(self: Any, line: Any, piece: Any) -> int:
        if piece.start:
            raise refuse("FETCH-REFUSED", "the second piece", "no", "Ask why.")
        return judge(self, line, piece)

    monkeypatch.setattr(ranges._Ranges, "_judge", refusing)
    started = begun(tmp_path)
    assert refused(lambda: bring(internet, started)) == "FETCH-REFUSED"
    # Its first piece alone would take a second more.
    assert started.brought < MIB


def test_s2_a_busy_source_that_recovers_is_used(internet: Loopback, tmp_path: Path) -> None:
    internet.misbehave(default={"kind": "status", "status": 503, "times": 2})
    assert bring(internet, begun(tmp_path)).path.read_bytes() == DATA


def test_s2_a_connection_that_brings_nothing_leaves_the_rest_to_the_others(
    internet: Loopback, tmp_path: Path
) -> None:
    """More than two connections at a time are cut before TLS begins: the fetch goes on over those that work."""
    internet.cut = lambda: 60 if internet.open_now >= 2 else None
    internet.misbehave(default={"kind": "slow", "seconds": 0.02})
    done = bring(internet, begun(tmp_path), limits(connections=6))
    assert done.path.read_bytes() == DATA
    assert done.cuts >= 3
