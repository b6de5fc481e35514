"""The rig of the watch's tests, and the table "breach -> seconds" at the end of a run."""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from planted import Caught, Rig

ROWS = pytest.StashKey[list[Caught]]()


def pytest_configure(config: pytest.Config) -> None:
    """Make room for the rows of the table."""
    config.stash[ROWS] = []


@pytest.fixture
def table(request: pytest.FixtureRequest) -> list[Caught]:
    """The rows to append to."""
    return request.config.stash[ROWS]


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """Three hardened containers, gate, actor and sensor; everything is gone at the end."""
    if os.geteuid() != 0:
        pytest.skip("the kernel shows other users' processes to root alone")
    with Rig() as made:
        yield made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print one line for each breach, and median and worst."""
    rows = config.stash[ROWS]
    if not rows:
        return
    terminalreporter.section("breach -> containment")
    for row in rows:
        seconds = "not contained" if row.seconds is None else f"{row.seconds:.2f} s"
        terminalreporter.write_line(f"{row.kind:20} {row.code:24} {seconds}")
    times = [row.seconds for row in rows if row.seconds is not None]
    if times:
        terminalreporter.write_line(
            f"{len(times)} of {len(rows)} contained, median {statistics.median(times):.2f} s, worst {max(times):.2f} s"
        )
