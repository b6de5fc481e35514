# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the sensor and the actor of the watch say to each other: one request, one answer, over one connection.

The socket is a Unix socket of type SOCK_SEQPACKET, so that a message is whole or not there. A message is one JSON
object of at most 4096 bytes. Both sides read strictly: unknown, missing or repeated keys and values of another
type are refused. The sensor is not trusted by the actor, and nothing in a request is a command: it names one of four
verbs and what the verb is about.
"""

from __future__ import annotations

import json
import math
import re
import socket
import time
from dataclasses import dataclass
from typing import Any, Optional

from .findings import Finding, clean_text

SCHEMA = 1
MESSAGE_MAX_BYTES = 4096
ACTOR_SOCKET = "/run/rampart/watch/actor.sock"
VERBS = ("network", "process", "container", "host")
OUTCOMES = ("done", "refused", "failed")
# Linux's own upper limit of process ids (PID_MAX_LIMIT on 64 bits).
PID_MAX = 1 << 22
REASON_MAX_CHARS = 500

_HEX64 = re.compile(r"[0-9a-f]{64}")
_RECORD = re.compile(r"[0-9A-Za-z][0-9A-Za-z.-]{0,99}\.json")
_FINDING_KEYS = ("code", "severity", "subject", "evidence", "remedy")


class WatchError(Exception):
    """A message that is none, or an actor that cannot be asked; the text starts with a code.

    Codes: WATCH-MESSAGE (not of the protocol), WATCH-ACTOR-DOWN (nobody listens), WATCH-ACTOR-SILENT (no answer in
    time).
    """

    def __init__(self, code: str, text: object) -> None:
        super().__init__("{0}: {1}".format(code, clean_text(text)))
        self.code = code


@dataclass(frozen=True)
class Request:
    """One act that is asked for: the verb, what it is about, and the finding that is the reason.

    Targets by verb: network {"container": 64 hex digits, "network": 64 hex digits}; process {"pid": int > 1,
    "start_time": clock ticks since boot, field 22 of /proc/PID/stat}; container {"container": 64 hex digits}; host {}.
    Raises WatchError for anything else.
    """

    verb: str
    target: dict[str, Any]
    finding: Finding

    def __post_init__(self) -> None:
        if not isinstance(self.verb, str) or self.verb not in VERBS:
            raise _message("unknown verb {0!r}".format(self.verb))
        _check_target(self.verb, self.target)
        if not isinstance(self.finding, Finding):
            raise _message("the finding is none")

    def encode(self) -> bytes:
        """Return the request as one message. Raises WatchError when it is longer than 4096 bytes."""
        return _encode({"schema": SCHEMA, "verb": self.verb, "target": self.target, "finding": self.finding.as_dict()})

    @classmethod
    def decode(cls, data: bytes) -> Request:
        """Return the request in `data`. Raises WatchError, and nothing else, when it is none."""
        document = _decode(data, ("schema", "verb", "target", "finding"))
        finding = document["finding"]
        if not isinstance(finding, dict) or set(finding) != set(_FINDING_KEYS):
            raise _message("the finding does not have the keys {0}".format(", ".join(_FINDING_KEYS)))
        try:
            parsed = Finding.from_dict(finding)
        except ValueError as error:
            raise _message(error) from None
        return cls(document["verb"], document["target"], parsed)


@dataclass(frozen=True)
class Answer:
    """What became of a request.

    `outcome` is "done", "refused" (the actor saw no reason to act, or may not) or "failed" (it tried); `record` is the
    name of the containment record, or None when nothing was done; `seconds` is how long it took. Raises WatchError for
    anything else.
    """

    outcome: str
    reason: str
    record: Optional[str] = None
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.outcome, str) or self.outcome not in OUTCOMES:
            raise _message("unknown outcome {0!r}".format(self.outcome))
        if not isinstance(self.reason, str):
            raise _message("the reason is no text")
        object.__setattr__(self, "reason", clean_text(self.reason, REASON_MAX_CHARS))
        if self.record is not None and not (isinstance(self.record, str) and _RECORD.fullmatch(self.record)):
            raise _message("the record is no file name")
        if isinstance(self.seconds, bool) or not isinstance(self.seconds, (int, float)):
            raise _message("the seconds are no number")
        if not math.isfinite(self.seconds) or self.seconds < 0:
            raise _message("the seconds are no duration")

    def encode(self) -> bytes:
        """Return the answer as one message."""
        return _encode(
            {
                "schema": SCHEMA,
                "outcome": self.outcome,
                "reason": self.reason,
                "record": self.record,
                "seconds": round(float(self.seconds), 6),
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Answer:
        """Return the answer in `data`. Raises WatchError, and nothing else, when it is none."""
        document = _decode(data, ("schema", "outcome", "reason", "record", "seconds"))
        return cls(document["outcome"], document["reason"], document["record"], document["seconds"])


def call(path: str, request: Request, timeout: float) -> Answer:
    """Ask the actor behind `path` and return its answer, or raise WatchError, within `timeout` seconds or so."""
    message = request.encode()
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as handle:
        handle.settimeout(max(0.001, timeout))
        try:
            handle.connect(path)
            handle.sendall(message)
        except socket.timeout:
            raise WatchError("WATCH-ACTOR-SILENT", "{0} takes no request".format(path)) from None
        except OSError as error:
            raise WatchError("WATCH-ACTOR-DOWN", "{0}: {1}".format(path, error.strerror or error)) from None
        handle.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            data = handle.recv(MESSAGE_MAX_BYTES + 1)
        except socket.timeout:
            raise WatchError("WATCH-ACTOR-SILENT", "no answer within {0:g} s".format(timeout)) from None
        except OSError as error:
            raise WatchError("WATCH-ACTOR-DOWN", "{0}: {1}".format(path, error.strerror or error)) from None
    if not data:
        raise WatchError("WATCH-ACTOR-DOWN", "{0} hung up without an answer".format(path))
    return Answer.decode(data)


def _message(text: object) -> WatchError:
    return WatchError("WATCH-MESSAGE", text)


def _check_target(verb: str, target: Any) -> None:
    wanted = {
        "network": ("container", "network"),
        "process": ("pid", "start_time"),
        "container": ("container",),
        "host": (),
    }[verb]
    if not isinstance(target, dict) or set(target) != set(wanted):
        raise _message("the target of {0} does not have the keys {1}".format(verb, ", ".join(wanted) or "(none)"))
    for name, value in target.items():
        if name in ("container", "network"):
            if not isinstance(value, str) or not _HEX64.fullmatch(value):
                raise _message("{0} is not 64 hexadecimal digits".format(name))
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise _message("{0} is no whole number".format(name))
        if name == "pid" and not 1 < value <= PID_MAX:
            raise _message("pid {0} is none that may be named".format(value))
        if name == "start_time" and not 0 <= value < 1 << 63:
            raise _message("start_time is none")


def _encode(document: dict[str, Any]) -> bytes:
    # ASCII only: what is not is escaped, so that a byte count is a character count.
    data = json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")
    if len(data) > MESSAGE_MAX_BYTES:
        raise _message("the message has {0} bytes, at most {1} are allowed".format(len(data), MESSAGE_MAX_BYTES))
    return data


def _decode(data: bytes, keys: tuple[str, ...]) -> dict[str, Any]:
    if len(data) > MESSAGE_MAX_BYTES:
        raise _message("the message is longer than {0} bytes".format(MESSAGE_MAX_BYTES))
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _message("the message is no JSON") from None
    if not isinstance(document, dict) or set(document) != set(keys):
        raise _message("the message does not have the keys {0}".format(", ".join(keys)))
    if document["schema"] is True or document["schema"] != SCHEMA:
        raise _message("the schema is not {0}".format(SCHEMA))
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise _message("a key is repeated")
    return document


def _no_constant(name: str) -> None:
    raise _message("{0} is no number".format(name))
