# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containment records: what was done, why, what was there before, and how to take it back. One JSON file an act.

Records hold no values of environments and no command lines: secrets stand in both.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import tempfile
import time
from contextlib import suppress
from typing import Any, Optional

from .findings import clean_text
from .isolation_report import dig

RECORD_SCHEMA = 1
RECORD_MAX_BYTES = 64 * 1024
RECORDS_MAX = 1000
LIST_MAX = 50
RECORD_NAME = re.compile(r"\d{8}T\d{6}Z-(network|process|container|host)-[0-9a-f]{8}\.json")


class RecordError(Exception):
    """A record that is not there, cannot be read, or is none; the text says which and why."""


def write_private(path: str, data: bytes, durable: bool = True) -> None:
    """Put `data` in place of `path` as a whole, readable by its owner alone. Raises OSError and leaves nothing then.

    Without `durable` nobody waits for the disk.
    """
    directory = os.path.dirname(path)
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=directory)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def new_name(verb: str, now: Optional[float] = None) -> str:
    """Return the file name of a record that begins now: UTC time, verb, eight random hexadecimal digits."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    return "{0}-{1}-{2}.json".format(stamp, verb, secrets.token_hex(4))


def write_record(directory: str, name: str, record: dict[str, Any], durable: bool = True) -> None:
    """Write one record. Raises OSError when the disk does not take it."""
    data = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=True).encode()
    write_private(os.path.join(directory, name), data + b"\n", durable)


def read_record(directory: str, name: str) -> dict[str, Any]:
    """Return one record. Raises RecordError."""
    if not RECORD_NAME.fullmatch(name):
        raise RecordError("{0} is no name of a record".format(clean_text(name, 100)))
    path = os.path.join(directory, name)
    try:
        # A link in the directory is nobody's record.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as stream:
            data = stream.read(RECORD_MAX_BYTES + 1)
    except OSError as error:
        raise RecordError("{0}: {1}".format(path, error.strerror)) from None
    try:
        record = json.loads(data) if len(data) <= RECORD_MAX_BYTES else None
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or record.get("schema") != RECORD_SCHEMA or str(record.get("verb")) not in name:
        raise RecordError("{0} is no containment record of schema {1}".format(path, RECORD_SCHEMA))
    return record


def record_names(directory: str) -> list[str]:
    """Return the names of the records, oldest first; none when there is no such directory. Raises RecordError."""
    try:
        return sorted(name for name in os.listdir(directory) if RECORD_NAME.fullmatch(name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RecordError("{0}: {1}".format(directory, error.strerror)) from None


def is_open(record: dict[str, Any]) -> bool:
    """Whether a containment is still in force for all we know: it was begun and nobody released it."""
    return record.get("released") is None


def prune(directory: str, most: int = RECORDS_MAX) -> None:
    """Remove the oldest released records beyond `most`; one that is open is never removed."""
    names = record_names(directory)
    surplus = len(names) - most
    for name in names:
        if surplus <= 0:
            return
        with suppress(RecordError, OSError):
            if not is_open(read_record(directory, name)):
                os.unlink(os.path.join(directory, name))
                surplus -= 1


def container_excerpt(inspect: dict[str, Any]) -> dict[str, Any]:
    """Return what a record keeps of a container: what people need to judge and to restore it, without secrets."""
    config = dig(inspect, "HostConfig") or {}
    networks = dig(inspect, "NetworkSettings", "Networks") or {}
    environment = dig(inspect, "Config", "Env") or []
    kept = ("Privileged", "NetworkMode", "PidMode", "IpcMode", "UTSMode", "UsernsMode", "CapAdd", "SecurityOpt")
    return {
        "id": _short(dig(inspect, "Id")),
        "name": container_name(inspect),
        "image": {"named": _short(dig(inspect, "Config", "Image")), "id": _short(dig(inspect, "Image"))},
        "created": _short(dig(inspect, "Created")),
        "state": {key: _short(dig(inspect, "State", key)) for key in ("Status", "Pid", "StartedAt")},
        "host_config": {key: _short(config.get(key)) for key in kept},
        "restart_policy": restart_policy(inspect),
        "auto_remove": config.get("AutoRemove") is True,
        "mounts": [
            {key: _short(dig(item, key)) for key in ("Type", "Source", "Destination", "RW")}
            for item in (dig(inspect, "Mounts") or [])[:LIST_MAX]
        ],
        "networks": {
            clean_text(name, 100): {key: _short(dig(item, key)) for key in ("NetworkID", "IPAddress")}
            for name, item in list(networks.items())[:LIST_MAX]
        },
        # Names only: values hold passwords and keys.
        "environment_names": [clean_text(str(item).partition("=")[0], 100) for item in environment[:LIST_MAX]],
    }


def container_name(inspect: dict[str, Any]) -> str:
    """Return a container's name without the engine's leading slash."""
    return clean_text(str(dig(inspect, "Name") or "").lstrip("/"), 200)


def restart_policy(inspect: dict[str, Any]) -> dict[str, Any]:
    """Return {"Name": ..., "MaximumRetryCount": ...} of a container; "no" where the engine says nothing."""
    policy = dig(inspect, "HostConfig", "RestartPolicy") or {}
    retries = policy.get("MaximumRetryCount")
    return {
        "Name": clean_text(policy.get("Name") or "no", 40),
        "MaximumRetryCount": retries if isinstance(retries, int) else 0,
    }


def _short(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, list):
        return [clean_text(item, 200) for item in value[:LIST_MAX]]
    return clean_text(value, 300)
