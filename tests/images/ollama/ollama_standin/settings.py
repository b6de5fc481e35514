# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the server reads from its environment: the variables Ollama reads, with Ollama's defaults."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import urllib.parse
from collections.abc import Mapping

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_FALSE = ("", "0", "f", "F", "false", "FALSE", "False")
FOREVER = float("inf")


class SettingsError(ValueError):
    """A variable that cannot be understood."""


def duration(value: str | int | float) -> float:
    """Seconds of a Go duration (`5m`, `1h30m`) or of a number of seconds; negative means for ever.

    Raises SettingsError.
    """
    if isinstance(value, int | float):
        return FOREVER if value < 0 else float(value)
    text = value.strip()
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        return duration(float(text))
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text.lstrip("-"):
        raise SettingsError(f'time: invalid duration "{value}"')
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return FOREVER if text.startswith("-") else seconds


def host_and_port(value: str) -> tuple[str, int]:
    """Address of OLLAMA_HOST: `127.0.0.1`, `:11434`, `[::1]:11434`, `http://0.0.0.0:11434` ..."""
    text = value.strip().strip("\"'") or "127.0.0.1:11434"
    parts = urllib.parse.urlsplit(text if "://" in text else f"//{text}")
    try:
        port = parts.port
    except ValueError:
        raise SettingsError(f"OLLAMA_HOST: invalid port in {value!r}") from None
    return parts.hostname or "0.0.0.0", port if port is not None else 11434


@dataclasses.dataclass(frozen=True)
class Settings:
    """The server's settings."""

    home: pathlib.Path
    models: pathlib.Path
    host: str = "127.0.0.1"
    port: int = 11434
    no_prune: bool = False
    context_length: int = 4096  # tokens
    keep_alive: float = 300.0  # seconds
    load_timeout: float = 300.0  # seconds
    parallel: int = 1  # requests answered at a time
    max_queue: int = 512  # requests that may wait
    origins: tuple[str, ...] = ()
    llama_server: str = "llama-server"


def from_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the process's environment or the given one; raises SettingsError."""
    environment = os.environ if environment is None else environment
    home = pathlib.Path(environment.get("HOME") or "/")

    def count(name: str, default: int) -> int:
        text = environment.get(name, "")
        if text and not text.isdigit():
            raise SettingsError(f"{name}: {text!r} is not a number")
        return int(text) if text and int(text) > 0 else default

    host, port = host_and_port(environment.get("OLLAMA_HOST", ""))
    models = environment.get("OLLAMA_MODELS")
    return Settings(
        home=home,
        models=pathlib.Path(models) if models else home / ".ollama" / "models",
        host=host,
        port=port,
        no_prune=environment.get("OLLAMA_NOPRUNE", "") not in _FALSE,
        context_length=count("OLLAMA_CONTEXT_LENGTH", 4096),
        keep_alive=duration(environment.get("OLLAMA_KEEP_ALIVE") or "5m"),
        load_timeout=duration(environment.get("OLLAMA_LOAD_TIMEOUT") or "5m"),
        parallel=count("OLLAMA_NUM_PARALLEL", 1),
        max_queue=count("OLLAMA_MAX_QUEUE", 512),
        origins=tuple(filter(None, environment.get("OLLAMA_ORIGINS", "").split(","))),
        llama_server=environment.get("STANDIN_LLAMA_SERVER") or "llama-server",
    )
