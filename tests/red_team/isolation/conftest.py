# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deliberately open deployment and a hardened one, in the laboratory's engine, for the same attacks."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the tests are collected by path, so their helpers are not found else

from attack_lab import HARDENED_HOST, OPEN_HOST, Lab

ROWS = pytest.StashKey[list[tuple[str, str, str, str]]]()


def pytest_configure(config: pytest.Config) -> None:
    """Make room for the rows of the table."""
    config.stash[ROWS] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print one line for each attack on each deployment."""
    if config.stash[ROWS]:
        terminalreporter.section("attack: deployment, outcome, evidence")
        for row in config.stash[ROWS]:
            terminalreporter.write_line("{0:20} {1:24} {2:9} {3}".format(*row))


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> list[tuple[str, str, str, str]]:
    """Rows (deployment and origin, attack, outcome, evidence) of the table."""
    return request.config.stash[ROWS]


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The laboratory, cleared of our containers before and afterwards."""
    if os.geteuid() != 0:
        pytest.skip("joining namespaces takes root")
    directory = Path(tempfile.mkdtemp(prefix="rampart-attack-", dir="/var/tmp"))
    directory.chmod(0o755)
    laboratory = Lab(directory)
    laboratory.remove()
    try:
        yield laboratory
    finally:
        laboratory.remove()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def open_server(lab: Lab) -> int:
    """The first process of a container that has everything the roles take away."""
    models, run = lab.directory / "models", lab.directory / "run-ollama"
    models.mkdir()
    run.mkdir()
    socket_path = lab.engine.socket_path
    binds = [f"{models}:/models", f"{run}:/run/ollama", f"{socket_path}:/var/run/docker.sock"]
    pid = lab.start("attack-open", {**OPEN_HOST, "Binds": binds})
    lab.routes(pid)
    return pid


@pytest.fixture(scope="session")
def hardened_server(lab: Lab) -> int:
    """The first process of a container as the roles make the server's (and the gateway's)."""
    models, run = lab.directory / "models-ro", lab.directory / "run-closed"
    models.mkdir()
    run.mkdir()
    os.chown(run, 10005, 10002)
    run.chmod(0o2750)
    binds = [f"{models}:/models:ro", f"{run}:/run/ollama"]
    return lab.start("attack-hardened", {**HARDENED_HOST, "Binds": binds}, User="10001:10002")
