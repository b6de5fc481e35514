# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How often VirusTotal was asked, and what it said: one file for all runs of a controller (row S5).

A fleet asks about the same hashes from many forks at once. Whoever wants to ask takes a place within the quota
first, under a lock; an answer serves every host until it is too old.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, Severity, refuse
from ansible_collections.rampart.ollama.plugins.module_utils.hashing import read_plain

STATE_MAX_BYTES = 16 * 1024 * 1024
ANSWERS_MAX = 20000
MINUTE = 60.0
DAY = 86400.0


@dataclass(frozen=True)
class Answer:
    """What VirusTotal knows of a hash: how many engines call the file malicious or suspicious, of how many."""

    known: bool
    malicious: int = 0
    suspicious: int = 0
    engines: int = 0


@dataclass(frozen=True)
class Quota:
    """How often may be asked: a free key has four a minute and 500 a day."""

    per_minute: int = 4
    per_day: int = 500


class State:
    """The state file at `path`, made when it is missing. Methods raise FindingError (VT-STATE)."""

    def __init__(self, path: Path, quota: Quota, answers_seconds: float) -> None:
        self.path = path
        self._quota = quota
        self._keep = answers_seconds

    def known_answer(self, digest: str, now: float) -> Answer | None:
        """Return an answer that is young enough, or None. Writes nothing."""
        record = self._read()["answers"].get(digest)
        return self._answer(record, now)

    def take_place(self, now: float) -> float:
        """Take a place within the quota and return 0.0, or return in how many seconds one will be free."""
        with self._locked() as state:
            # A time in the future is of a clock that was set back since: it counts as now, and passes.
            asked = sorted(min(float(moment), now) for moment in state["asked"])
            asked = [moment for moment in asked if now - moment < DAY]
            for count, seconds in ((self._quota.per_minute, MINUTE), (self._quota.per_day, DAY)):
                recent = [moment for moment in asked if now - moment < seconds]
                if len(recent) >= count:
                    return recent[-count] + seconds - now
            state["asked"] = [*asked, now]
            self._write(state)
        return 0.0

    def keep_answer(self, digest: str, answer: Answer, now: float) -> None:
        """Remember an answer."""
        with self._locked() as state:
            answers = {key: item for key, item in state["answers"].items() if self._answer(item, now) is not None}
            answers[digest] = [now, answer.known, answer.malicious, answer.suspicious, answer.engines]
            newest = sorted(answers, key=lambda key: float(answers[key][0]))[-ANSWERS_MAX:]
            state["answers"] = {key: answers[key] for key in newest}
            self._write(state)

    def _answer(self, record: Any, now: float) -> Answer | None:
        if record is None:
            return None
        try:
            moment, known, malicious, suspicious, engines = record
            if not 0 <= now - float(moment) < self._keep:
                return None
            return Answer(bool(known), int(malicious), int(suspicious), int(engines))
        except (TypeError, ValueError, OverflowError):
            return None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[dict[str, Any]]:
        """Yield the state, with no other run at it."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(
                self.path.with_name(self.path.name + ".lock"),
                os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC,
                0o600,
            )
        except OSError as error:
            raise self._bad(error.strerror or error) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self._read()
        finally:
            os.close(lock)

    def _read(self) -> dict[str, Any]:
        try:
            state = json.loads(read_plain(self.path, STATE_MAX_BYTES))
        except FileNotFoundError:
            return {"asked": [], "answers": {}}
        except OSError as error:
            raise self._bad(error.strerror or error) from None
        except (ValueError, RecursionError):
            raise self._bad("it is no JSON") from None
        if (
            not isinstance(state, dict)
            or not isinstance(state.get("answers"), dict)
            or not isinstance(state.get("asked"), list)
            or not all(isinstance(moment, int | float) for moment in state["asked"])
        ):
            raise self._bad("it is not what was written there")
        return state

    def _write(self, state: dict[str, Any]) -> None:
        try:
            # Made with mode 0600, and whole before it has the name.
            descriptor, draft = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name + ".")
            try:
                with os.fdopen(descriptor, "w", encoding="ascii") as stream:
                    json.dump({"asked": state["asked"], "answers": state["answers"]}, stream)
                os.replace(draft, self.path)
            except BaseException:
                os.unlink(draft)
                raise
        except OSError as error:
            raise self._bad(error.strerror or error) from None

    def _bad(self, why: object) -> FindingError:
        return refuse(
            "VT-STATE",
            str(self.path),
            "the record of what was asked cannot be used: {0}".format(why),
            "Nothing was asked, for the quota not to be broken. Make the file readable and writable, or delete it.",
            Severity.MEDIUM,
        )
