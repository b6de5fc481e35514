# Copyright: (c) 2026, Rampart contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two files the gateway reads, config.json and secrets.json, validated before anything is opened."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import RefusalError
from .jsonio import parse_object


class ConfigError(Exception):
    """One sentence: which key is wrong and what to write instead."""


@dataclass(frozen=True)
class User:
    """Somebody with an API key. ``None`` limits mean the defaults."""

    id: str
    key_hash: str
    per_hour: int | None = None
    per_day: int | None = None


@dataclass(frozen=True)
class Limits:
    """Requests per user and window, seconds of suspension beyond them, and requests at the same time."""

    per_hour: int = 20
    per_day: int = 100
    suspension_seconds: int = 3600
    concurrency: int = 16
    concurrency_per_user: int = 4


@dataclass(frozen=True)
class Bound:
    """Closed range of an option. ``integer`` says which JSON numbers are taken."""

    low: float
    high: float
    integer: bool


# The widest range an option may ever have. An option that is not here cannot be opened by configuration:
# num_ctx, for one, would let a user size the server's memory and push the system prompt out of the context.
OPTION_RANGES: Mapping[str, Bound] = {
    "num_predict": Bound(1, 32768, True),  # -1 and -2 mean "without end" to Ollama
    "seed": Bound(0, 2**31 - 1, True),
    "temperature": Bound(0, 2, False),
    "top_k": Bound(0, 1000, True),
    "top_p": Bound(0, 1, False),
    "min_p": Bound(0, 1, False),
    "repeat_last_n": Bound(0, 4096, True),
    "repeat_penalty": Bound(0, 2, False),
    "presence_penalty": Bound(-2, 2, False),
    "frequency_penalty": Bound(-2, 2, False),
    "stop": Bound(0, 8, True),  # a count of strings
}
DEFAULT_OPTIONS: Mapping[str, Any] = {
    "num_predict": {"max": 2048},
    "seed": {},
    "temperature": {},
    "top_k": {"max": 100},
    "top_p": {},
    "stop": {"max": 4},
}


@dataclass(frozen=True)
class Config:
    """config.json. Sizes in characters or bytes as named, times in seconds."""

    models: tuple[str, ...]
    system_prompt: str
    socket: Path = Path("/run/gateway/gateway.sock")
    metrics_socket: Path = Path("/run/gateway/metrics.sock")
    upstream: Path = Path("/run/ollama/ollama.sock")
    audit_log: Path = Path("/var/log/gateway/audit.jsonl")
    max_prompt_chars: int = 5000
    max_body_bytes: int = 131072
    upstream_timeout_seconds: int = 300
    body_timeout_seconds: int = 10
    languages: tuple[str, ...] = ("fr", "en")
    limits: Limits = field(default_factory=Limits)
    options: Mapping[str, Bound] = field(default_factory=dict)


@dataclass(frozen=True)
class Secrets:
    """secrets.json. ``hash_key`` keys the API key hashes, ``query_hash_key`` those of the audit log."""

    hash_key: bytes
    query_hash_key: bytes
    users: tuple[User, ...]


_MODEL = re.compile(
    r"(?:[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}/)?(?:[A-Za-z0-9_][A-Za-z0-9_-]{0,79}/)?"
    r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}:[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"
)
_USER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_KEY_HASH = re.compile(r"hmac-sha256:[0-9a-f]{64}")
_HEX_KEY = re.compile(r"(?:[0-9a-fA-F]{2}){32,64}")


class _Table:
    """A JSON object read key by key; what is left over at ``end`` was misspelt."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise ConfigError(f"{where} must be an object")
        self._left: dict[str, Any] = dict(value)
        self.where = where

    def take(self, key: str, kind: type, default: Any = None, *, required: bool = False) -> Any:
        if key not in self._left:
            if required:
                raise ConfigError(f"{self.where}: '{key}' is missing")
            return default
        value = self._left.pop(key)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ConfigError(f"{self.where}: '{key}' must be of type {kind.__name__}")
        return value

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        value: int = self.take(key, int, default)
        if not low <= value <= high:
            raise ConfigError(f"{self.where}: '{key}' must be from {low} to {high}")
        return value

    def optional_integer(self, key: str, low: int, high: int) -> int | None:
        if self._left.get(key) is None:
            self._left.pop(key, None)
            return None
        return self.integer(key, low, low, high)

    def path(self, key: str, default: Path) -> Path:
        value = Path(self.take(key, str, str(default)))
        if not value.is_absolute():
            raise ConfigError(f"{self.where}: '{key}' must be an absolute path")
        return value

    def end(self) -> None:
        if self._left:
            raise ConfigError(f"{self.where}: unknown key '{min(self._left)}'")


def _read(path: Path) -> dict[str, Any]:
    try:
        return parse_object(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {(error.strerror or 'unreadable').lower()}") from None
    except RefusalError as refusal:
        raise ConfigError(f"{path}: not a valid JSON object ({refusal.detail})") from None


def _models(values: list[Any], where: str) -> tuple[str, ...]:
    if not values:
        raise ConfigError(f"{where}: 'models' is empty; name at least one approved model")
    for value in values:
        if not isinstance(value, str) or not _MODEL.fullmatch(value):
            raise ConfigError(f"{where}: 'models' holds something that is not a full 'name:tag'")
        if value.lower().endswith((":cloud", "-cloud")):
            raise ConfigError(f"{where}: model '{value}' runs in the cloud: prompts would leave this host")
    if len({value.lower() for value in values}) != len(values):
        raise ConfigError(f"{where}: 'models' names a model twice")
    return tuple(values)


def _options(values: Mapping[str, Any], where: str) -> dict[str, Bound]:
    bounds: dict[str, Bound] = {}
    for name, given in values.items():
        widest = OPTION_RANGES.get(name)
        if widest is None:
            raise ConfigError(f"{where}: option '{name}' cannot be opened to users")
        table = _Table(given, f"{where}: options.{name}")
        number: dict[str, float] = {"min": widest.low, "max": widest.high}
        for key, default in tuple(number.items()):
            value = given.get(key, default)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigError(f"{table.where}: '{key}' must be a number")
            table.take(key, object)
            number[key] = value
        table.end()
        if not widest.low <= number["min"] <= number["max"] <= widest.high:
            raise ConfigError(f"{table.where}: range must lie within {widest.low:g} to {widest.high:g}")
        bounds[name] = Bound(number["min"], number["max"], widest.integer)
    return bounds


def _prompt(text: str, where: str) -> str:
    if not text.strip() or len(text) > 20000:
        raise ConfigError(f"{where}: 'system_prompt' must hold 1 to 20000 characters")
    for placeholder in ("{company}", "[ENTREPRISE]"):
        if placeholder in text:
            raise ConfigError(f"{where}: 'system_prompt' still holds the placeholder {placeholder}")
    return text


def _limits(table: _Table) -> Limits:
    default = Limits()
    limits = Limits(
        per_hour=table.integer("per_hour", default.per_hour, 1, 10**9),
        per_day=table.integer("per_day", default.per_day, 1, 10**9),
        suspension_seconds=table.integer("suspension_seconds", default.suspension_seconds, 1, 30 * 86400),
        concurrency=table.integer("concurrency", default.concurrency, 1, 4096),
        concurrency_per_user=table.integer("concurrency_per_user", default.concurrency_per_user, 1, 4096),
    )
    table.end()
    return limits


def load_config(path: Path) -> Config:
    """Read and validate config.json. Raises ``ConfigError``; never touches what the paths in it name."""
    table = _Table(_read(path), str(path))
    if table.take("version", int, required=True) != 1:
        raise ConfigError(f"{path}: 'version' must be 1")
    languages = tuple(table.take("languages", list, ["fr", "en"]))
    if not languages or not set(languages) <= {"fr", "en"} or len(set(languages)) != len(languages):
        raise ConfigError(f"{path}: 'languages' must list 'fr', 'en' or both")
    config = Config(
        models=_models(table.take("models", list, required=True), str(path)),
        system_prompt=_prompt(table.take("system_prompt", str, required=True), str(path)),
        socket=table.path("socket", Config.socket),
        metrics_socket=table.path("metrics_socket", Config.metrics_socket),
        upstream=table.path("upstream", Config.upstream),
        audit_log=table.path("audit_log", Config.audit_log),
        max_prompt_chars=table.integer("max_prompt_chars", Config.max_prompt_chars, 1, 1_000_000),
        max_body_bytes=table.integer("max_body_bytes", Config.max_body_bytes, 1024, 64 * 2**20),
        upstream_timeout_seconds=table.integer("upstream_timeout_seconds", 300, 1, 86400),
        body_timeout_seconds=table.integer("body_timeout_seconds", 10, 1, 600),
        languages=languages,
        limits=_limits(_Table(table.take("limits", dict, {}), f"{path}: limits")),
        options=_options(table.take("options", dict, DEFAULT_OPTIONS), str(path)),
    )
    table.end()
    if len({config.socket, config.metrics_socket, config.upstream}) != 3:
        raise ConfigError(f"{path}: 'socket', 'metrics_socket' and 'upstream' must be three paths")
    return config


def _hex_key(table: _Table, key: str) -> bytes:
    value = table.take(key, str, required=True)
    if not _HEX_KEY.fullmatch(value) or len(set(value.lower())) < 4:
        raise ConfigError(f"{table.where}: '{key}' must be 32 to 64 random bytes in hex")
    return bytes.fromhex(value)


def _user(value: object, where: str) -> User:
    table = _Table(value, where)
    user = User(
        id=table.take("id", str, required=True),
        key_hash=table.take("key_hash", str, required=True),
        per_hour=table.optional_integer("per_hour", 1, 10**9),
        per_day=table.optional_integer("per_day", 1, 10**9),
    )
    table.end()
    if not _USER_ID.fullmatch(user.id) or user.id.lower() == "unknown":
        raise ConfigError(f"{where}: 'id' must be 1 to 64 of A-Z a-z 0-9 . _ @ - and not 'unknown'")
    if not _KEY_HASH.fullmatch(user.key_hash):
        raise ConfigError(f"{where}: 'key_hash' must be 'hmac-sha256:' and 64 hex digits")
    return user


def load_secrets(path: Path) -> Secrets:
    """Read and validate secrets.json. Raises ``ConfigError``; its message never holds a secret."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"{path}: {(error.strerror or 'unreadable').lower()}") from None
    if mode & 0o007:
        raise ConfigError(f"{path}: readable by everybody; set mode 0640")
    table = _Table(_read(path), str(path))
    listed = table.take("users", list, required=True)
    users = tuple(_user(value, f"{path}: users[{n}]") for n, value in enumerate(listed))
    secrets = Secrets(_hex_key(table, "hash_key"), _hex_key(table, "query_hash_key"), users)
    table.end()
    if secrets.hash_key == secrets.query_hash_key:
        raise ConfigError(f"{path}: 'hash_key' and 'query_hash_key' must differ")
    if len({user.id.lower() for user in users}) != len(users):
        raise ConfigError(f"{path}: two users have the same 'id'")
    if len({user.key_hash for user in users}) != len(users):
        raise ConfigError(f"{path}: two users have the same 'key_hash'")
    return secrets


def load(directory: Path) -> tuple[Config, Secrets]:
    """Both files of a configuration directory."""
    return load_config(directory / "config.json"), load_secrets(directory / "secrets.json")
