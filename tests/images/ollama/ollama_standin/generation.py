# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a request to llama-server and back: prompt, options, pieces of the answer, figures."""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Iterator
from typing import Any

from ollama_standin import settings, template
from ollama_standin.engine import Runner
from ollama_standin.errors import ApiError
from ollama_standin.fields import Fields
from ollama_standin.store import Model
from ollama_standin.web import Call

Messages = list[dict[str, str]]  # {role, content}

# Ollama's name -> llama-server's; the value is Ollama's default.
_OPTIONS: dict[str, tuple[str, Any]] = {
    "num_predict": ("n_predict", -1),
    "num_keep": ("n_keep", 4),
    "seed": ("seed", -1),
    "temperature": ("temperature", 0.8),
    "top_k": ("top_k", 40),
    "top_p": ("top_p", 0.9),
    "min_p": ("min_p", 0.0),
    "typical_p": ("typical_p", 1.0),
    "repeat_last_n": ("repeat_last_n", 64),
    "repeat_penalty": ("repeat_penalty", 1.1),
    "presence_penalty": ("presence_penalty", 0.0),
    "frequency_penalty": ("frequency_penalty", 0.0),
    "mirostat": ("mirostat", 0),
    "mirostat_tau": ("mirostat_tau", 5.0),
    "mirostat_eta": ("mirostat_eta", 0.1),
}

# What `format: "json"` means: one JSON object, little white space.
_JSON_GRAMMAR = r"""
root ::= object
value ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws ( string ":" ws value ws ("," ws string ":" ws value ws)* )? "}"
array ::= "[" ws ( value ws ("," ws value ws)* )? "]"
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt/] | "u" [0-9a-fA-F]{4}) )* "\""
number ::= "-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,15})? ([eE] [-+]? [0-9]{1,3})?
ws ::= | " " | "\n" [ \t]{0,20}
"""


def now() -> str:
    """The time as Ollama writes it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def timestamp(seconds: float) -> str:
    """A time since the epoch as Ollama writes it."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclasses.dataclass(frozen=True)
class Job:
    """A generation: either messages (templated) or, with `raw`, a prompt as it is."""

    model: Model
    messages: Messages
    options: dict[str, Any]
    format: Any = None  # None, "json" or a JSON schema
    keep_alive: float | None = None  # seconds; None: the server's
    raw: str | None = None
    before: tuple[int, ...] = ()  # tokens of an earlier answer (`context`)


@dataclasses.dataclass(frozen=True)
class Piece:
    """A part of the answer; the last one has a reason and the figures (durations in nanoseconds)."""

    text: str
    reason: str = ""
    figures: dict[str, int] = dataclasses.field(default_factory=dict)
    context: list[int] = dataclasses.field(default_factory=list)


def options_of(model: Model, given: dict[str, Any]) -> dict[str, Any]:
    """The model's parameters with the request's over them; raises ApiError for a wrong type."""
    merged = {**model.parameters, **given}
    checked = {name: default for name, (_rest, default) in _OPTIONS.items()} | {"num_ctx": 0, "num_thread": 0}
    for name, default in checked.items():
        value = merged.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            kind = "integer" if isinstance(default, int) else "float32"
            raise ApiError(400, f'option "{name}" must be of type {kind}')
        if value is not None and isinstance(default, int):
            merged[name] = int(value)
    stop = merged.get("stop") or []
    merged["stop"] = [stop] if isinstance(stop, str) else stop
    if not isinstance(merged["stop"], list) or not all(isinstance(word, str) for word in merged["stop"]):
        raise ApiError(400, 'option "stop" must be of type array')
    return merged


def keep_alive_of(fields: Fields) -> float | None:
    """Seconds of `keep_alive`; None when it is absent. Raises ApiError 400."""
    value = fields.values.get("keep_alive")
    if value is None:
        return None
    try:
        return settings.duration(value)
    except (settings.SettingsError, AttributeError) as error:
        raise ApiError(400, str(error)) from None


def messages_of(fields: Fields) -> Messages:
    """The chat's messages; raises ApiError 400 for something else. Any role is taken, as Ollama does."""
    found: Messages = []
    for item in fields.items("messages"):
        if not isinstance(item, dict):
            raise ApiError(400, "json: cannot unmarshal into Go struct field ChatRequest.messages of type api.Message")
        message = Fields(item, "Message")
        if message.items("images"):
            raise ApiError(400, "this model is missing data required for image input")
        found.append({"role": message.text("role"), "content": message.text("content")})
    return found


def _prompt(job: Job, runner: Runner) -> str:
    source = job.model.text("template")

    def render(messages: Messages) -> str:
        if not source:
            return runner.apply_template(messages)
        if ".Messages" not in source:
            raise ApiError(500, "the stand-in knows templates over .Messages only")
        return template.render(
            source, {"Messages": [{"Role": item["role"], "Content": item["content"]} for item in messages]}
        )

    messages = list(job.messages)
    try:
        prompt = render(messages)
        # Too long for the context: the oldest turns go, system messages and the last turn stay.
        while len(runner.tokenize(prompt)) >= runner.context:
            oldest = next((n for n, item in enumerate(messages[:-1]) if item["role"] != "system"), None)
            if oldest is None:
                break
            del messages[oldest]
            prompt = render(messages)
    except template.TemplateError as error:
        raise ApiError(500, f"template: {error}") from None
    return prompt


def _format(value: Any) -> dict[str, Any]:
    if value is None or value == "":
        return {}
    if value == "json":
        return {"grammar": _JSON_GRAMMAR}
    if isinstance(value, dict):
        return {"json_schema": value}
    raise ApiError(400, f'invalid format: {value!r}; expected "json" or a valid JSON Schema object')


def run(call: Call, job: Job) -> Iterator[Piece]:
    """Generate; yields pieces of text and then the last one. Stops when the client has gone.

    Raises ApiError before the first piece when the request cannot be answered.
    """
    started = time.monotonic_ns()
    body: dict[str, Any] = {target: job.options.get(name, default) for name, (target, default) in _OPTIONS.items()}
    body.update(_format(job.format), stop=job.options["stop"], cache_prompt=True, return_tokens=False)
    context, threads = job.options.get("num_ctx"), job.options.get("num_thread")
    with call.server.engine.use(job.model, context, threads, job.keep_alive) as runner:
        load = time.monotonic_ns() - started
        prompt = job.raw if job.raw is not None else _prompt(job, runner)
        if job.before:
            prompt = runner.detokenize(list(job.before)) + prompt
        answer: list[str] = []
        for part in runner.complete({**body, "prompt": prompt}):
            if part.get("content"):
                answer.append(part["content"])
                yield Piece(part["content"])
            if part.get("stop"):
                timings = part.get("timings", {})
                figures = {
                    "total_duration": time.monotonic_ns() - started,
                    "load_duration": load,
                    "prompt_eval_count": int(part.get("tokens_evaluated", 0)),
                    "prompt_eval_duration": int(timings.get("prompt_ms", 0) * 1e6),
                    "eval_count": int(part.get("tokens_predicted", 0)),
                    "eval_duration": int(timings.get("predicted_ms", 0) * 1e6),
                }
                tokens = [] if job.raw is not None else runner.tokenize(prompt + "".join(answer))
                yield Piece("", "length" if part.get("stop_type") == "limit" else "stop", figures, tokens)
                return
            if call.client_gone():
                raise ConnectionAbortedError("the client went away")
        raise ApiError(500, "llama runner process no longer running: the answer ended early")


def collect(call: Call, job: Job) -> Piece:
    """Generate to the end: one piece with the whole text."""
    text: list[str] = []
    for piece in run(call, job):
        text.append(piece.text)
        if piece.reason:
            return dataclasses.replace(piece, text="".join(text))
    raise ApiError(500, "the answer ended early")
