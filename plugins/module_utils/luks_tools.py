# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running the programs that know about disks: cryptsetup, lsblk, blkid, wipefs, systemd-cryptenroll.

A key goes in through standard input or a file in memory, never through an argument or the environment, and never comes
out in a message.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from .findings import clean_text, refuse

SECONDS = 180.0
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


@dataclass(frozen=True)
class Answer:
    """What a program said: exit status (-1: it could not run), output, errors."""

    rc: int
    out: str
    err: str

    @property
    def reason(self) -> str:
        """The last line of the errors, for one message."""
        lines = (self.err or self.out).strip().splitlines()
        return clean_text(lines[-1] if lines else "exit status {0}".format(self.rc), 200)

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as plain data, as recordings keep it."""
        return {"rc": self.rc, "out": self.out, "err": self.err}


Runner = Callable[..., Answer]


def run(
    command: Sequence[str],
    data: Optional[bytes] = None,
    secret: Optional[bytes] = None,
    prompts: Sequence[bytes] = (),
) -> Answer:
    """Run a program. `data` is its standard input; `secret` is what it reads from the path {secret} of an argument;
    `prompts` is what is typed, one line for each PIN that it asks for, on a terminal of its own.

    Never raises for what the program does: a program that is missing or hangs is an Answer with rc -1.
    """
    reading = -1
    arguments = list(command)
    try:
        if secret is not None:
            # A file that is nowhere but in memory: systemd-cryptenroll seeks, and cannot read a pipe.
            reading = os.memfd_create("key")
            os.write(reading, secret)
            arguments = [item.replace("{secret}", "/dev/fd/{0}".format(reading)) for item in arguments]
        if prompts:
            return _run_on_terminal(arguments, (reading,) if secret is not None else (), prompts)
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            arguments,
            input=b"" if data is None else data,
            capture_output=True,
            timeout=SECONDS,
            check=False,
            env=_ENVIRONMENT,
            pass_fds=() if secret is None else (reading,),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Answer(-1, "", getattr(error, "strerror", None) or "no answer within {0:g} s".format(SECONDS))
    finally:
        if reading >= 0:
            os.close(reading)
    return Answer(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))


def _run_on_terminal(command: list[str], keep: tuple[int, ...], lines: Sequence[bytes]) -> Answer:
    """Run a program that asks for a PIN. Raises OSError or TimeoutExpired.

    systemd-cryptenroll takes a PIN from a terminal or from the environment, which is no place for a secret.
    What the terminal shows is dropped.
    """
    master, slave = os.openpty()
    try:
        process = subprocess.Popen(  # pylint: disable=ansible-bad-function
            ["setsid", "--ctty", "--wait", *command],
            stdin=slave,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**_ENVIRONMENT, "TERM": "dumb"},
            pass_fds=keep,
        )
        try:
            ends, shown, typed = time.monotonic() + SECONDS, b"", 0
            while process.poll() is None:
                if time.monotonic() > ends:
                    raise subprocess.TimeoutExpired(command, SECONDS)
                if select.select([master], [], [], 0.2)[0]:
                    shown = (shown + os.read(master, 4096))[-65536:]
                    if typed < len(lines) and shown.count(b"PIN") > typed:
                        os.write(master, lines[typed] + b"\n")
                        typed, shown = typed + 1, b"PIN" * (typed + 1)
            errors = process.stderr.read() if process.stderr else b""
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stderr:
                process.stderr.close()
    finally:
        os.close(slave)
        os.close(master)
    return Answer(process.returncode, "", errors.decode("utf-8", "replace"))


def expect(answer: Answer, code: str, subject: str, doing: str, remedy: str) -> Answer:
    """Return the answer of a program that succeeded. Raises FindingError `code` for any other."""
    if answer.rc != 0:
        raise refuse(code, subject, "{0}: {1}".format(doing, answer.reason), remedy)
    return answer
