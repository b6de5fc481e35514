"""Prints the table "mutation -> caught by" at the end of a run."""

from __future__ import annotations

import pytest

ROWS = pytest.StashKey[list[tuple[str, str, str, float]]]()


def pytest_configure(config: pytest.Config) -> None:
    """Make room for the rows of the table."""
    config.stash[ROWS] = []


@pytest.fixture
def table(request: pytest.FixtureRequest) -> list[tuple[str, str, str, float]]:
    """The rows (mutation, what is missing, caught by, seconds) to append to."""
    return request.config.stash[ROWS]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print one line for each mutation."""
    rows = config.stash[ROWS]
    if not rows:
        return
    terminalreporter.section("mutation -> caught by")
    for name, without, caught, seconds in rows:
        terminalreporter.write_line(f"{name:26} without {without:48} {caught:60} {seconds:4.1f} s")
    terminalreporter.write_line(f"{len(rows)} mutations, {sum(row[3] for row in rows):.1f} s")
