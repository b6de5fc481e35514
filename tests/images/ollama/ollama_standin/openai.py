# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The OpenAI-compatible API: /v1/models, chat/completions, completions; two later ones without streaming."""

from __future__ import annotations

import random
import secrets
import time
from typing import Any

from ollama_standin import generation
from ollama_standin.errors import ApiError
from ollama_standin.fields import Fields
from ollama_standin.generation import Job, Messages, Piece
from ollama_standin.store import Model
from ollama_standin.web import PLAIN_JSON, SSE, Call, Handler


def _send(call: Call, value: dict[str, Any]) -> None:
    call.json(value, 200, PLAIN_JSON, b"\n")


def _model_entry(model: Model) -> dict[str, Any]:
    owner = model.name.namespace
    return {"id": model.name.short(), "object": "model", "created": int(model.modified), "owned_by": owner}


def _models(call: Call) -> None:
    _send(call, {"object": "list", "data": [_model_entry(model) for model in call.server.store.models()]})


def _model(call: Call) -> None:
    _send(call, _model_entry(call.server.store.find(call.argument)))


def _texts(content: Any) -> list[str]:
    """Texts of a message's content: a string, or a list of parts of which only text is known."""
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        raise ApiError(400, f"invalid message content type: {type(content).__name__}")
    texts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") not in ("text", "input_text", "output_text"):
            raise ApiError(400, "invalid message format")
        texts.append(str(part.get("text", "")))
    return texts


def _messages(items: list[Any]) -> Messages:
    found: Messages = []
    for item in items:
        if not isinstance(item, dict):
            raise ApiError(400, "invalid message format")
        found += [{"role": str(item.get("role", "")), "content": text} for text in _texts(item.get("content"))]
    return found


def _options(fields: Fields, limit: int | None) -> dict[str, Any]:
    options: dict[str, Any] = {
        "temperature": fields.number("temperature", 1.0),
        "top_p": fields.number("top_p", 1.0),
        "frequency_penalty": fields.number("frequency_penalty", 0.0),
        "presence_penalty": fields.number("presence_penalty", 0.0),
    }
    if limit is not None:
        options["num_predict"] = limit
    if fields.has("seed"):
        options["seed"] = fields.whole("seed")
    if fields.has("stop"):
        options["stop"] = fields.values["stop"]
    return options


def _format(fields: Fields) -> Any:
    wanted = fields.mapping("response_format")
    if wanted.get("type") == "json_object":
        return "json"
    if wanted.get("type") == "json_schema":
        return Fields(wanted, "ResponseFormat").mapping("json_schema").get("schema")
    return None


def _usage(piece: Piece) -> dict[str, int]:
    prompt, answer = piece.figures["prompt_eval_count"], piece.figures["eval_count"]
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


def _reply(call: Call, fields: Fields, job: Job, chat: bool) -> None:
    """Send a completion, whole or as server-sent events."""
    kind = "chat.completion" if chat else "text_completion"
    streamed = fields.flag("stream")
    start: dict[str, Any] = {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{random.randrange(1000)}",
        "object": f"{kind}.chunk" if chat and streamed else kind,
        "created": int(time.time()),
        "model": fields.text("model"),
        "system_fingerprint": "fp_ollama",
    }
    if not streamed:
        piece = generation.collect(call, job)
        if chat:
            content: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": piece.text}}
        else:
            content = {"text": piece.text, "index": 0}
        _send(call, {**start, "choices": [{**content, "finish_reason": piece.reason}], "usage": _usage(piece)})
        return
    first = True
    for piece in generation.run(call, job):
        if first:
            call.stream(SSE)
        if not chat:
            content = {"text": piece.text, "index": 0}
        elif piece.text:
            role = {"role": "assistant"} if first else {}
            content = {"index": 0, "delta": {**role, "content": piece.text}}
        else:
            content = {"index": 0, "delta": {}}
        first = False
        call.write_event({**start, "choices": [{**content, "finish_reason": piece.reason or None}]})
        if piece.reason:
            if fields.mapping("stream_options").get("include_usage"):
                call.write_event({**start, "choices": [], "usage": _usage(piece)})
            call.write_event("[DONE]")


def _job(call: Call, fields: Fields, messages: Messages, limit: int | None) -> Job:
    model = call.server.store.find(fields.text("model"))
    if fields.items("tools"):
        raise ApiError(400, f"{model.name.full()} does not support tools")
    return Job(model, messages, generation.options_of(model, _options(fields, limit)), _format(fields))


def _chat(call: Call) -> None:
    fields = call.fields("ChatCompletionRequest")
    messages = _messages(fields.items("messages"))
    if not messages:
        raise ApiError(400, "[] is too short - 'messages'")
    limit = fields.whole("max_completion_tokens") or fields.whole("max_tokens")
    _reply(call, fields, _job(call, fields, messages, limit), True)


def _completions(call: Call) -> None:
    fields = call.fields("CompletionRequest")
    prompt = [{"role": "user", "content": fields.text("prompt")}]
    _reply(call, fields, _job(call, fields, prompt, fields.whole("max_tokens")), False)


def _embeddings(call: Call) -> None:
    call.server.store.find(call.fields("EmbedRequest").text("model"))
    raise ApiError(501, "This server does not support embeddings. Start it with `--embeddings`")


def _refuse_streaming(fields: Fields) -> None:
    if fields.flag("stream"):
        raise ApiError(501, "the stand-in does not stream on this route; use /v1/chat/completions")


def _responses(call: Call) -> None:
    fields = call.fields("ResponsesRequest")
    _refuse_streaming(fields)
    given, instructions = fields.values.get("input"), fields.text("instructions")
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else _messages(fields.items("input"))
    if instructions:
        messages.insert(0, {"role": "system", "content": instructions})
    limit = fields.whole("max_output_tokens")
    created = int(time.time())
    piece = generation.collect(call, _job(call, fields, messages, limit))
    usage = _usage(piece)
    text = {"type": "output_text", "text": piece.text, "annotations": [], "logprobs": []}
    message = {
        "id": f"msg_{random.randrange(10**6)}",
        "type": "message",
        "status": "completed",
        "role": "assistant",
    }
    _send(
        call,
        {
            "id": f"resp_{random.randrange(10**6)}",
            "object": "response",
            "created_at": created,
            "completed_at": int(time.time()),
            "status": "completed",
            "incomplete_details": None,
            "model": fields.text("model"),
            "previous_response_id": None,
            "instructions": instructions or None,
            "output": [{**message, "content": [text]}],
            "error": None,
            "tools": [],
            "tool_choice": "auto",
            "truncation": "disabled",
            "parallel_tool_calls": True,
            "text": {"format": {"type": "text"}},
            "top_p": fields.number("top_p", 1),
            "presence_penalty": 0,
            "frequency_penalty": 0,
            "top_logprobs": 0,
            "temperature": fields.number("temperature", 1),
            "reasoning": None,
            "usage": {
                "input_tokens": usage["prompt_tokens"],
                "output_tokens": usage["completion_tokens"],
                "total_tokens": usage["total_tokens"],
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 0},
            },
            "max_output_tokens": limit,
            "max_tool_calls": None,
            "store": False,
            "background": False,
            "service_tier": "default",
            "metadata": {},
            "safety_identifier": None,
            "prompt_cache_key": None,
        },
    )


def _anthropic_messages(call: Call) -> None:
    fields = call.fields("MessagesRequest")
    _refuse_streaming(fields)
    messages = _messages(fields.items("messages"))
    limit = fields.whole("max_tokens")
    if not limit or limit < 0:
        raise ApiError(400, "max_tokens is required and must be positive")
    if not messages:
        raise ApiError(400, "messages is required")
    if fields.has("system"):
        messages[:0] = [{"role": "system", "content": text} for text in _texts(fields.values["system"])]
    piece = generation.collect(call, _job(call, fields, messages, limit))
    usage = _usage(piece)
    _send(
        call,
        {
            "id": f"msg_{secrets.token_hex(12)}",
            "type": "message",
            "role": "assistant",
            "model": fields.text("model"),
            "content": [{"type": "text", "text": piece.text}],
            "stop_reason": "max_tokens" if piece.reason == "length" else "end_turn",
            "usage": {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]},
        },
    )


ROUTES: dict[tuple[str, str], Handler] = {
    ("GET", "/v1/models"): _models,
    ("GET", "/v1/models/:model"): _model,
    ("POST", "/v1/chat/completions"): _chat,
    ("POST", "/v1/completions"): _completions,
    ("POST", "/v1/embeddings"): _embeddings,
    ("POST", "/v1/responses"): _responses,
    ("POST", "/v1/messages"): _anthropic_messages,
}
