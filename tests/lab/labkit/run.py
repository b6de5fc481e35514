# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running commands and telling the person at the terminal about them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from labkit.errors import LabError


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Print one line for a step: what and how long it took, also when it failed."""
    started = time.monotonic()
    outcome = "failed"
    try:
        yield
        outcome = "ok"
    finally:
        print(f"  {what:<58} {outcome:<6} {time.monotonic() - started:6.1f} s", file=sys.stderr, flush=True)


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    timeout: float = 600,
    check: bool = True,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command and return it with its output.

    Raises LabError LAB-COMMAND with the last lines it wrote when it fails (and `check`), LAB-TIMEOUT after
    `timeout` seconds, LAB-MISSING when the program does not exist.
    """
    shown = " ".join(command[:6]) + (" ..." if len(command) > 6 else "")
    try:
        # Without terminal and without inherited stdin: nothing here may ever ask a question.
        done = subprocess.run(
            list(command),
            input=stdin if stdin is not None else b"",
            capture_output=True,
            timeout=timeout,
            check=False,
            env={**os.environ, **(environment or {})},
            cwd=cwd,
        )
    except FileNotFoundError as error:
        raise LabError("LAB-MISSING", f"{command[0]} is not installed. Run `lab.py up` as root.") from error
    except subprocess.TimeoutExpired as error:
        raise LabError("LAB-TIMEOUT", f"`{shown}` took longer than {timeout:.0f} s. Try again.") from error
    if check and done.returncode != 0:
        tail = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-8:]
        raise LabError(
            "LAB-COMMAND", f"`{shown}` ended with {done.returncode}: " + " | ".join(tail) + ". See above, run again."
        )
    return done


class Docker:
    """The docker client, pointed at one socket."""

    def __init__(self, socket: Path) -> None:
        self.environment = {"DOCKER_HOST": f"unix://{socket}"}

    def __call__(
        self, *arguments: str, stdin: bytes | None = None, timeout: float = 600, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """`docker ARGUMENTS...`; see `run` for the errors."""
        return run(["docker", *arguments], environment=self.environment, stdin=stdin, timeout=timeout, check=check)

    def lines(self, *arguments: str) -> list[str]:
        """Standard output of a docker command as its non-empty lines."""
        return [line for line in self(*arguments).stdout.decode().splitlines() if line.strip()]
