# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parameters that a model brings along, and what its config says of its weights (row S3).

Parameters are options of every request that does not set its own; the config is what `ollama list` shows and what the
server chooses its runner by.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, Optional

from .findings import FindingError, Severity, clean_text
from .gguf_cursor import Noted
from .gguf_inspect import GgufReport
from .gguf_policy import Policy
from .gguf_template import judge_text
from .gguf_types import FILE_TYPES
from .manifest import CONFIG_MAX_BYTES, sha256_of, strict_json

PARAMS_MAX_BYTES = 64 * 1024
STOPS_MAX = 64
STOP_MAX_CHARS = 256
# How far the config's "134.52M" may be from what was counted: it is rounded, and once left out the embeddings.
_PARAMETERS_TOLERANCE = 0.1
_REFETCH = "Do not use it: fetch the model again from its approved source, or ask its publisher."
_HUMAN = re.compile(r"\A([0-9]{1,6}(?:\.[0-9]{1,3})?)([KMBT])\Z")
_UNITS = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


class Bounds(NamedTuple):
    """What a number may be: `whole` numbers only, from `least` to `most`."""

    whole: bool
    least: float
    most: float


# Ollama's options (api.Options and api.Runner), those of earlier versions included: old models bring them.
NUMBERS: dict[str, Bounds] = {
    "num_keep": Bounds(True, -1, 1 << 20),
    "seed": Bounds(True, -(1 << 31), (1 << 32) - 1),
    "num_predict": Bounds(True, -2, 1 << 20),
    "top_k": Bounds(True, 0, 1 << 20),
    "top_p": Bounds(False, 0, 1),
    "min_p": Bounds(False, 0, 1),
    "tfs_z": Bounds(False, 0, 10),
    "typical_p": Bounds(False, 0, 1),
    "repeat_last_n": Bounds(True, -1, 1 << 20),
    "temperature": Bounds(False, 0, 5),
    "repeat_penalty": Bounds(False, 0, 10),
    "presence_penalty": Bounds(False, -10, 10),
    "frequency_penalty": Bounds(False, -10, 10),
    "mirostat": Bounds(True, 0, 2),
    "mirostat_tau": Bounds(False, 0, 100),
    "mirostat_eta": Bounds(False, 0, 10),
    "num_batch": Bounds(True, 1, 1 << 16),
    "num_gpu": Bounds(True, -1, 1 << 16),
    "main_gpu": Bounds(True, 0, 255),
    "num_thread": Bounds(True, 0, 4096),
    "num_gqa": Bounds(True, 0, 1024),
    "draft_num_predict": Bounds(True, 0, 1024),
    "rope_frequency_base": Bounds(False, 0, 1e10),
    "rope_frequency_scale": Bounds(False, 0, 1000),
}
SWITCHES = frozenset(
    "penalize_newline numa low_vram f16_kv logits_all vocab_only use_mmap use_mlock embedding_only".split()
)


def judge_params(data: bytes, policy: Policy, noted: Noted) -> None:
    """Record what is wrong with a params layer: a JSON object of Ollama's options within sane bounds."""
    if sha256_of(data) in policy.reviewed:
        return
    params = _object(data, PARAMS_MAX_BYTES, "the parameters", noted)
    for key, value in (params or {}).items():
        shown = clean_text(key, 60)
        if key == "stop":
            _stop(value, policy, noted)
        elif key == "num_ctx":
            _number("num_ctx", value, Bounds(True, 1, policy.context_length[1]), noted)
        elif key in NUMBERS:
            _number(key, value, NUMBERS[key], noted)
        elif key in SWITCHES:
            if not isinstance(value, bool):
                _note("LAYER-PARAMS-VALUE", "{0} is neither true nor false".format(key), noted)
        else:
            _note("LAYER-PARAMS-UNKNOWN", "{0} is no option of Ollama's".format(shown), noted)


def judge_config(data: bytes, weights: Optional[GgufReport], noted: Noted) -> None:
    """Record where the config blob and the weights (None: no GGUF file is among the layers) contradict."""
    config = _object(data, CONFIG_MAX_BYTES, "the config", noted)
    if config is None or weights is None or not weights.file.complete:
        return
    file = weights.file
    wanted: list[tuple[str, str]] = [("model_format", "gguf"), ("model_family", file.architecture)]
    number = file.metadata.number("general.file_type")
    known = FILE_TYPES.get(-1 if number is None else number)
    if known is not None:
        wanted.append(("file_type", known.name))
    for key, found in wanted:
        said = config.get(key)
        # Ollama writes "unknown" for what it has no name for.
        if isinstance(said, str) and said and said not in (found, "unknown"):
            evidence = "{0} is {1!r}, the weights are {2!r}".format(key, clean_text(said, 60), found)
            _note("LAYER-CONFIG-MISMATCH", evidence, noted)
    match = _HUMAN.match(str(config.get("model_type", "")))
    if match and file.parameters:
        said_count = float(match.group(1)) * _UNITS[match.group(2)]
        if abs(said_count - file.parameters) > _PARAMETERS_TOLERANCE * file.parameters:
            evidence = "model_type is {0}, the file has {1} weights".format(match.group(), file.parameters)
            _note("LAYER-CONFIG-MISMATCH", evidence, noted)


def judge_messages(data: bytes, policy: Policy, noted: Noted) -> None:
    """Record what is wrong with a messages layer: a JSON list of roles and texts that begin every talk."""
    if sha256_of(data) in policy.reviewed:
        return
    try:
        messages = strict_json(data, noted.subject, policy.text_bytes)
    except FindingError as error:
        _note("LAYER-JSON", "the messages: {0}".format(error.finding.evidence), noted)
        return
    if not isinstance(messages, list):
        _note("LAYER-JSON", "the messages are no list", noted)
        return
    for number, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        content = message.get("content", "") if isinstance(message, dict) else None
        what = "message {0}".format(number)
        if role not in ("system", "user", "assistant", "tool") or not isinstance(content, str):
            _note("LAYER-JSON", "{0} has no known role, or no text".format(what), noted)
        else:
            raw = content.encode("utf-8", "surrogatepass")
            judge_text(raw, sha256_of(raw), what, policy, noted)


def _object(data: bytes, limit: int, what: str, noted: Noted) -> Optional[dict[str, Any]]:
    try:
        value = strict_json(data, noted.subject, limit)
    except FindingError as error:
        _note("LAYER-JSON", "{0}: {1}".format(what, error.finding.evidence), noted)
        return None
    if not isinstance(value, dict):
        _note("LAYER-JSON", "{0} is no object".format(what), noted)
        return None
    return value


def _number(key: str, value: Any, bounds: Bounds, noted: Noted) -> None:
    kinds = (int,) if bounds.whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        _note("LAYER-PARAMS-VALUE", "{0} is no{1} number".format(key, " whole" if bounds.whole else ""), noted)
    elif not bounds.least <= value <= bounds.most:
        evidence = "{0} is {1}, allowed are {2} to {3}".format(key, clean_text(value, 40), bounds.least, bounds.most)
        _note("LAYER-PARAMS-VALUE", evidence, noted)


def _stop(value: Any, policy: Policy, noted: Noted) -> None:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        _note("LAYER-PARAMS-VALUE", "stop is no list of texts", noted)
    elif len(stops) > STOPS_MAX or any(not stop or len(stop) > STOP_MAX_CHARS for stop in stops):
        evidence = "stop has more than {0} entries, or an empty or overlong one".format(STOPS_MAX)
        _note("LAYER-PARAMS-VALUE", evidence, noted)
    else:
        raw = "\n".join(stops).encode("utf-8", "surrogatepass")
        judge_text(raw, sha256_of(raw), "stop", policy, noted)


def _note(code: str, evidence: str, noted: Noted) -> None:
    noted.add(code, Severity.MEDIUM, evidence, _REFETCH)
