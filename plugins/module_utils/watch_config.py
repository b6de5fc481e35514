# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of the watch's sensor: one JSON file, read strictly before anything else is done.

An unknown key, a value of another type or a figure out of its range is one refusal (WATCH-CONFIG) that names the key;
nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

from .engine import DEFAULT_SOCKET
from .findings import FindingError, clean_text, refuse
from .hashing import UnsafeFileError, read_plain
from .isolation import DEFAULT_CONTAINERS, DEFAULT_MOUNTS, DEFAULT_UIDS, ROLES, Expectation
from .isolation_host import SocketDirectory
from .manifest import strict_json
from .watch_policy import Policy, parse_policy
from .watch_protocol import ACTOR_SOCKET

SCHEMA = 1
CONFIG_MAX_BYTES = 256 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_REMEDY = "Correct /etc/rampart/watch/watch.json (role isolation_watch writes it) and start the watch again."


@dataclass(frozen=True)
class Config:
    """What the sensor is told. Times are seconds, sizes bytes; an empty path or None switches that part off."""

    expected: Expectation
    policy: Policy
    uid: int = 0
    gid: int = 0
    engine_socket: str = "/run/rampart/watch/engine.sock"
    actor_socket: str = ACTOR_SOCKET
    revocations: str = ""
    allowed_containers: frozenset[str] = frozenset()
    log_file: str = "/srv/rampart/log/watch/watch.json"
    log_max_bytes: int = 16 * 1024 * 1024
    log_keep: int = 4
    metrics_directory: str = ""
    sweep_seconds: float = 60.0
    port_seconds: float = 0.5
    confirm_seconds: float = 0.15
    actor_seconds: float = 15.0
    nflog_group: Optional[int] = 5
    firewall_table: str = "rampart"


# key: (type, least, most) for figures
_FIGURES: dict[str, tuple[type, float, float]] = {
    "uid": (int, 0, 2**32 - 2),
    "gid": (int, 0, 2**32 - 2),
    "log_max_bytes": (int, 4096, 2**40),
    "log_keep": (int, 1, 100),
    "sweep_seconds": (float, 1, 3600),
    "port_seconds": (float, 0.1, 10),
    "confirm_seconds": (float, 0.05, 5),
    "actor_seconds": (float, 1, 120),
}
_PATHS = ("engine_socket", "actor_socket", "log_file")
_OPTIONAL_PATHS = ("revocations", "metrics_directory")
_EXPECTATION = ("containers", "uids", "images", "mounts", "devices", "store", "socket_directories", "docker_socket")
_OTHERS = ("schema", "policy", "contain_from", "allowed_containers", "nflog_group", "firewall_table")


def load_config(path: Union[str, Path]) -> Config:
    """Return the configuration in a file. Raises FindingError (WATCH-CONFIG)."""
    try:
        data = read_plain(path, CONFIG_MAX_BYTES)
    except UnsafeFileError as error:
        raise _invalid(str(path), "it is a {0}".format(error)) from error
    except OSError as error:
        raise _invalid(str(path), error.strerror or error) from error
    try:
        raw = strict_json(data, str(path), CONFIG_MAX_BYTES)
    except FindingError as error:
        raise _invalid(str(path), error.finding.evidence) from error
    return parse_config(raw)


def parse_config(raw: Any) -> Config:
    """Return the configuration in a mapping. Raises FindingError (WATCH-CONFIG)."""
    if not isinstance(raw, Mapping):
        raise _invalid("configuration", "it is no object")
    known = {*_FIGURES, *_PATHS, *_OPTIONAL_PATHS, *_EXPECTATION, *_OTHERS}
    strange = sorted(clean_text(key, 40) for key in raw if key not in known)
    if strange:
        raise _invalid(strange[0], "this key is not known")
    if raw.get("schema") != SCHEMA or raw.get("schema") is True:
        raise _invalid("schema", "it must be {0}".format(SCHEMA))
    values: dict[str, Any] = {}
    for name, (kind, least, most) in _FIGURES.items():
        if name in raw:
            value = raw[name]
            wanted = (int,) if kind is int else (int, float)
            if isinstance(value, bool) or not isinstance(value, wanted) or not least <= value <= most:
                raise _invalid(name, "it must be a number from {0:g} to {1:g}".format(least, most))
            values[name] = value
    for name in (*_PATHS, *_OPTIONAL_PATHS):
        if name in raw:
            values[name] = _path(name, raw[name], empty=name in _OPTIONAL_PATHS)
    if "nflog_group" in raw:
        group = raw["nflog_group"]
        if group is not None and (isinstance(group, bool) or not isinstance(group, int) or not 0 <= group < 65536):
            raise _invalid("nflog_group", "it must be a number below 65536, or null")
        values["nflog_group"] = group
    if "firewall_table" in raw:
        values["firewall_table"] = raw["firewall_table"] and _text("firewall_table", raw["firewall_table"])
    values["allowed_containers"] = frozenset(_names("allowed_containers", raw.get("allowed_containers", [])))
    expected = _expectation(raw)
    policy = parse_policy(raw.get("policy", {}), raw.get("contain_from", "critical"))
    return Config(expected=expected, policy=policy, **values)


def _expectation(raw: Mapping[str, Any]) -> Expectation:
    """Return what the host should look like; the same options as those of ollama_isolation_facts."""
    containers = _by_role("containers", raw.get("containers", DEFAULT_CONTAINERS), _name)
    uids = {**DEFAULT_UIDS, **_by_role("uids", raw.get("uids", {}), _uid)}
    mounts = {role: dict(points) for role, points in DEFAULT_MOUNTS.items()}
    mounts.update(_by_role("mounts", raw.get("mounts", {}), _mounts))
    directories = raw.get("socket_directories", [])
    if not isinstance(directories, list):
        raise _invalid("socket_directories", "it is no list")
    return Expectation(
        containers=containers,
        uids=uids,
        mounts=mounts,
        images=_by_role("images", raw.get("images", {}), _text),
        devices=tuple(_texts("devices", raw.get("devices", []))),
        store=_path("store", raw.get("store", ""), empty=True) or None,
        socket_directories=[_directory(item) for item in directories],
        docker_socket=_path("docker_socket", raw.get("docker_socket", DEFAULT_SOCKET)),
    )


def _by_role(name: str, raw: Any, parse: Any) -> dict[str, Any]:
    if not isinstance(raw, Mapping):
        raise _invalid(name, "it is no object")
    for role in raw:
        if role not in ROLES:
            raise _invalid(name, "{0!r} is none of {1}".format(clean_text(role, 40), ", ".join(ROLES)))
    return {role: parse("{0}.{1}".format(name, role), value) for role, value in raw.items()}


def _directory(item: Any) -> SocketDirectory:
    name = "socket_directories"
    if not isinstance(item, Mapping) or not {"role", "path"} <= set(item) <= {"role", "path", "uid", "gid"}:
        raise _invalid(name, "an item needs role and path, and may have uid and gid")
    if item["role"] not in ROLES:
        raise _invalid(name, "{0!r} is no role".format(clean_text(item["role"], 40)))
    ids = {key: None if item.get(key) is None else _uid(name, item[key]) for key in ("uid", "gid")}
    return SocketDirectory(item["role"], _path(name, item["path"]), ids["uid"], ids["gid"])


def _mounts(name: str, raw: Any) -> dict[str, str]:
    if not isinstance(raw, Mapping) or not all(isinstance(key, str) for key in raw):
        raise _invalid(name, "it is no object")
    if not set(map(str, raw.values())) <= {"ro", "rw"}:
        raise _invalid(name, "a mount is ro or rw")
    return {_path(name, point): str(mode) for point, mode in raw.items()}


def _uid(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32 - 1:
        raise _invalid(name, "it is no user or group number")
    return value


def _name(name: str, value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise _invalid(name, "{0!r} is no container's name".format(clean_text(value, 60)))
    return value


def _names(name: str, raw: Any) -> list[str]:
    return [_name(name, item) for item in _texts(name, raw)]


def _texts(name: str, raw: Any) -> list[str]:
    if not isinstance(raw, list) or len(raw) > 1000:
        raise _invalid(name, "it is no list")
    return [_text(name, item) for item in raw]


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 4096 or not value.isprintable():
        raise _invalid(name, "it is no text")
    return value


def _path(name: str, value: Any, empty: bool = False) -> str:
    if empty and value == "":
        return ""
    if not isinstance(value, str) or not value.startswith("/") or len(value) > 4096 or "\0" in value:
        raise _invalid(name, "it must be an absolute path")
    return value


def _invalid(subject: str, why: object) -> FindingError:
    return refuse("WATCH-CONFIG", subject, why, _REMEDY)
