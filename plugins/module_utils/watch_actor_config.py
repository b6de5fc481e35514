# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The actor's configuration: read strictly, once, from a file that only root can write.

The sensor's configuration is another file. What the actor may do is thus decided neither by the sensor nor by what the
sensor reads.
"""

from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import dataclass, fields
from typing import Any

from .findings import FindingError, refuse
from .isolation import DEFAULT_MOUNTS, ROLES, Expectation
from .isolation_host import SocketDirectory
from .watch_protocol import VERBS

CONFIG_SCHEMA = 1
CONFIG_MAX_BYTES = 256 * 1024
STOP_GRACE_MAX_SECONDS = 2
QUARANTINE_TABLE = "rampart_quarantine"
_REMEDY = "Run the role isolation_watch again, or mend the file and start the actor."


@dataclass(frozen=True)
class Guarded:
    """A container of ours: its networks, host directories it may mount, and whose namespace it joins (by name)."""

    networks: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    joins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limit:
    """How often a verb may act: `burst` times at once, refilled by `per_hour`."""

    burst: int
    per_hour: int


@dataclass(frozen=True)
class ActorConfig:
    """What the actor knows of its host. Paths are absolute, times are seconds."""

    sensor_uid: int
    socket: str
    engine_socket: str
    engine_timeout: float
    state_directory: str
    quarantine_file: str
    nft: str
    server: str
    server_image: str
    stop_grace_seconds: int
    protected_paths: tuple[str, ...]
    guarded: dict[str, Guarded]
    limits: dict[str, Limit]
    expected: Expectation

    @property
    def records(self) -> str:
        """The directory of the containment records."""
        return os.path.join(self.state_directory, "contained")


def load(path: str) -> ActorConfig:
    """Return the configuration in `path`. Raises FindingError (WATCH-CONFIG) for anything that is not one."""
    try:
        with open(path, "rb") as stream:
            found = os.fstat(stream.fileno())
            data = stream.read(CONFIG_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise _bad(path, getattr(error, "strerror", None) or error) from None
    if not stat.S_ISREG(found.st_mode) or found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
        raise _bad(path, "others than root can write to it")
    if len(data) > CONFIG_MAX_BYTES:
        raise _bad(path, "longer than {0} bytes".format(CONFIG_MAX_BYTES))
    try:
        return parse(json.loads(data))
    except (ValueError, RecursionError) as error:
        raise _bad(path, error) from None


def parse(document: Any) -> ActorConfig:
    """Return the configuration that a decoded document describes. Raises ValueError with what is wrong."""
    names = [item.name for item in fields(ActorConfig)]
    values = _keys(document, ["schema", *names], "the configuration")
    if values.pop("schema") != CONFIG_SCHEMA:
        raise ValueError("schema is not {0}".format(CONFIG_SCHEMA))
    for name in ("socket", "engine_socket", "state_directory", "quarantine_file", "nft"):
        _path(values[name], name)
    for name, lowest, highest in (("sensor_uid", 1, 1 << 31), ("stop_grace_seconds", 0, STOP_GRACE_MAX_SECONDS)):
        _whole(values[name], name, lowest, highest)
    timeout = values["engine_timeout"]
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0.1 <= timeout <= 60:
        raise ValueError("engine_timeout is not between 0.1 and 60")
    for name in ("server", "server_image"):
        _text(values[name], name)
    values["protected_paths"] = _paths(values["protected_paths"], "protected_paths")
    values["guarded"] = {
        _text(name, "guarded"): _guarded(name, item) for name, item in _object(values["guarded"], "guarded").items()
    }
    limits = _keys(values["limits"], list(VERBS), "limits")
    values["limits"] = {verb: _limit(verb, item) for verb, item in limits.items()}
    values["expected"] = _expected(values["expected"], values["engine_socket"])
    config = ActorConfig(**values)
    if config.server not in config.guarded:
        raise ValueError("server {0!r} is not among guarded".format(config.server))
    return config


def quarantine_problem(text: str) -> str:
    """Return why a rule set must not be loaded, or "" when it speaks of nothing but our own table.

    nft judges the grammar; this judges what the file may touch: nobody else's table, and no rule set is flushed.
    """
    code = "\n".join(line.split("#", 1)[0] for line in text.splitlines())
    if re.search(r"\b(flush|include|define|reset|rename)\b", code):
        return "it flushes, includes, defines, resets or renames"
    tables = re.findall(r"\btable\s+(\S+)\s+([^\s{;]+)", code)
    if not tables or any(table != ("inet", QUARANTINE_TABLE) for table in tables):
        return "it names other tables than inet {0}".format(QUARANTINE_TABLE)
    if len(tables) != len(re.findall(r"\btable\b", code)):
        return "it names a table in another way"
    outside = re.sub(r"\{[^{}]*\}", "", _innermost_out(code))
    if re.search(r"\b(add|delete|insert|replace|create|destroy)\s+(?!table\b)", outside):
        return "it changes something outside its own table"
    return ""


def _innermost_out(code: str) -> str:
    """Return `code` without its blocks in braces, but for the outermost."""
    former = ""
    while former != code:
        former, code = code, re.sub(r"(\{[^{}]*)\{[^{}]*\}", r"\1", code)
    return code


def _bad(path: str, text: object) -> FindingError:
    return refuse("WATCH-CONFIG", path, text, _REMEDY)


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("{0} is no object".format(name))
    return value


def _keys(value: Any, wanted: list[str], name: str) -> dict[str, Any]:
    found = dict(_object(value, name))
    wrong = sorted(set(found) ^ set(wanted))
    if wrong:
        raise ValueError("{0}: unknown or missing: {1}".format(name, ", ".join(wrong)))
    return found


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError("{0} is no text".format(name))
    return value


def _whole(value: Any, name: str, lowest: int, highest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise ValueError("{0} is not a whole number from {1} to {2}".format(name, lowest, highest))
    return value


def _path(value: Any, name: str) -> str:
    if not _text(value, name).startswith("/") or os.path.normpath(value) != value:
        raise ValueError("{0} is no absolute path".format(name))
    return str(value)


def _texts(value: Any, name: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("{0} is no list".format(name))
    return tuple(_text(item, name) for item in value)


def _paths(value: Any, name: str) -> tuple[str, ...]:
    return tuple(_path(item, name) for item in _texts(value, name))


def _guarded(name: str, value: Any) -> Guarded:
    found = _keys(value, ["networks", "mounts", "joins"], "guarded." + name)
    return Guarded(
        _texts(found["networks"], name + ".networks"),
        _paths(found["mounts"], name + ".mounts"),
        _texts(found["joins"], name + ".joins"),
    )


def _limit(verb: str, value: Any) -> Limit:
    found = _keys(value, ["burst", "per_hour"], "limits." + verb)
    return Limit(
        _whole(found["burst"], verb + ".burst", 1, 10000),
        _whole(found["per_hour"], verb + ".per_hour", 1, 1000000),
    )


def _expected(value: Any, engine_socket: str) -> Expectation:
    keys = ["containers", "uids", "mounts", "images", "devices", "store", "socket_directories"]
    found = _keys(value, keys, "expected")
    for name in ("containers", "uids", "mounts", "images"):
        strange = sorted(set(_object(found[name], name)) - set(ROLES))
        if strange:
            raise ValueError("expected.{0} names {1}".format(name, ", ".join(strange)))
    containers = {role: _text(name, "containers") for role, name in found["containers"].items()}
    uids = {role: _whole(uid, "uids", 1, 1 << 31) for role, uid in found["uids"].items()}
    if set(containers) - set(uids):
        raise ValueError("expected.uids lacks {0}".format(", ".join(sorted(set(containers) - set(uids)))))
    # As for ollama_isolation_facts: roles that are left out keep what this collection's roles mount.
    mounts = {role: dict(item) for role, item in DEFAULT_MOUNTS.items()}
    mounts.update({role: dict(_object(item, "mounts")) for role, item in found["mounts"].items()})
    if not all(mode in ("ro", "rw") for item in mounts.values() for mode in item.values()):
        raise ValueError("expected.mounts map paths to ro or rw")
    directories = []
    for item in found["socket_directories"]:
        entry = _keys(item, ["role", "path", "uid", "gid"], "socket_directories")
        directories.append(
            SocketDirectory(
                _text(entry["role"], "role"),
                _path(entry["path"], "path"),
                _whole(entry["uid"], "uid", 0, 1 << 31),
                _whole(entry["gid"], "gid", 0, 1 << 31),
            )
        )
    return Expectation(
        containers=containers,
        uids=uids,
        mounts=mounts,
        images={role: _text(image, "images") for role, image in found["images"].items()},
        devices=_texts(found["devices"], "devices"),
        store=_path(found["store"], "store") if found["store"] else None,
        socket_directories=directories,
        docker_socket=engine_socket,
    )
