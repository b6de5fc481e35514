# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real clamds with a private configuration, signatures and socket; each ends with its fixture, or with pytest."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.clamd import Clamd, ClamdError
from ansible_collections.rampart.ollama.plugins.module_utils.scan_engine import ScanSettings, eicar

HERE = pathlib.Path(__file__).resolve().parent
# What the local signature looks for; no scanner knows it, so it may stand here.
PLANTED = b"Rampart plants these bytes for its own scan to find"
START_SECONDS = 30
PR_SET_PDEATHSIG = 1


@dataclass
class RunningClamd:
    """A daemon of its own: where it listens, its configuration and its process."""

    socket: pathlib.Path
    config: pathlib.Path
    process: subprocess.Popen[bytes]

    def settings(self, **changes: Any) -> ScanSettings:
        known = {"socket": str(self.socket), "config": str(self.config), "allow_undated": True}
        return ScanSettings(**{**known, **changes})

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


def _dies_with_pytest() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _as_nobody() -> dict[str, Any]:
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


@contextlib.contextmanager
def running_clamd(*lines: str) -> Iterator[RunningClamd]:
    """Start a clamd with two local signatures and these further lines of configuration."""
    # Not below tmp_path, which only its owner may enter: clamd is given open files and needs no way to them.
    home = pathlib.Path(tempfile.mkdtemp(prefix="rampart-clamd-"))
    try:
        home.chmod(0o755)
        database, run = home / "db", home / "run"
        database.mkdir()
        run.mkdir()
        run.chmod(0o777)
        (database / "test.hsb").write_text(f"{hashlib.sha256(eicar()).hexdigest()}:68:Eicar-Test-Signature\n")
        (database / "test.ndb").write_text(f"Rampart.Planted:0:*:{PLANTED.hex()}\n")
        config = home / "clamd.conf"
        head = [f"LocalSocket {run}/clamd.sock", f"DatabaseDirectory {database}", "Foreground yes", "DisableCache yes"]
        config.write_text("\n".join([*head, *lines, ""]))
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                ["clamd", f"--config-file={config}"],
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_dies_with_pytest,  # noqa: PLW1509 - it calls nothing that another thread may hold
                **_as_nobody(),
            )
        running = RunningClamd(run / "clamd.sock", config, process)
        try:
            _wait_for(running, home / "log")
            yield running
        finally:
            running.stop()
    finally:
        shutil.rmtree(home)


def _wait_for(running: RunningClamd, log: pathlib.Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and running.process.poll() is None:
        try:
            Clamd(str(running.socket)).ping()
        except ClamdError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("clamd does not run: " + log.read_text(errors="replace")[-800:])


@pytest.fixture(scope="session", autouse=True)
def _programs() -> None:
    done = subprocess.run([str(HERE / "setup")], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.exit(done.stderr.strip() or "SCAN-SETUP: clamd could not be installed", 2)


@pytest.fixture(scope="session")
def clamd() -> Iterator[RunningClamd]:
    """A daemon set up as the role antivirus does it: the largest limits, and exceeded ones are told."""
    lines = ("MaxFileSize 2147483645", "MaxScanSize 4294967295", "MaxScanTime 600000", "StreamMaxLength 2147483645")
    with running_clamd("AlertExceedsMax yes", *lines) as running:
        yield running


@pytest.fixture(scope="session")
def small_clamd() -> Iterator[RunningClamd]:
    """A daemon that reads no file of more than 4 MiB, so that windows can be tried on small files."""
    with running_clamd("AlertExceedsMax yes", "MaxFileSize 4M", "StreamMaxLength 2M") as running:
        yield running


@pytest.fixture
def stopped_clamd() -> Iterator[RunningClamd]:
    """A daemon that ran a moment ago."""
    with running_clamd("AlertExceedsMax yes") as running:
        running.stop()
        yield running


@pytest.fixture(scope="session")
def silent_clamd() -> Iterator[RunningClamd]:
    """A daemon as its package sets it up: what exceeds a limit is OK."""
    with running_clamd() as running:
        yield running


@pytest.fixture
def sparse(tmp_path: pathlib.Path) -> Callable[..., pathlib.Path]:
    """The maker of files that are all hole but for what is put in: sparse(size, {offset: bytes})."""

    def make(size: int, planted: dict[int, bytes]) -> pathlib.Path:
        path = tmp_path / "blob"
        with path.open("wb") as stream:
            stream.truncate(size)
            for offset, data in planted.items():
                stream.seek(offset)
                stream.write(data)
        return path

    return make


@pytest.fixture
def planted() -> bytes:
    """What the local signature finds."""
    return PLANTED
