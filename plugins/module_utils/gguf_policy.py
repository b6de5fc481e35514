# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model has to be like to be used here: the policy, as data, and the judgement by it (rows S4, S7).

Metadata is what the file says of itself: anybody can write any name into it. A policy catches what is out of place;
what makes a model trusted is the digest in its approval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from .findings import FindingError, Severity, clean_text, refuse
from .gguf import GgufFile
from .gguf_cursor import Noted
from .gguf_types import FILE_TYPES
from .names import parse_digest

# The same as roles/model_store/files/gguf_policy.yml, which says what each key means.
DEFAULT_POLICY: dict[str, Any] = {
    "architectures": ["llama", "mistral3", "mistral4"],
    "projector_architectures": ["clip"],
    "authors": ["mistralai", "HuggingFaceTB"],
    "require_author": False,
    "file_types": [
        "F16",
        "BF16",
        "Q4_0",
        "Q4_1",
        "Q5_0",
        "Q5_1",
        "Q8_0",
        "Q3_K_S",
        "Q3_K_M",
        "Q3_K_L",
        "Q4_K_S",
        "Q4_K_M",
        "Q5_K_S",
        "Q5_K_M",
        "Q6_K",
    ],
    "file_bytes": {"min": 1_000_000, "max": 1_000_000_000_000},
    "parameters": {"min": 1_000_000, "max": 1_000_000_000_000},
    "bits_per_weight_tolerance": 0.3,
    "context_length": {"min": 512, "max": 1_048_576},
    "template_max_bytes": 65536,
    "template_unlisted": "info",
    "text_max_bytes": 65536,
    "url_hosts": [],
    "reviewed": {},
}
ANY = "*"
ROLES = ("model", "draft", "adapter", "projector")

# Tensors that are quantised apart from the layers: they say nothing about the file's type.
_APART = ("token_embd.weight", "output.weight", "per_layer_token_embd.weight")
_AUTHOR_KEYS = ("general.author", "general.organization", "general.quantized_by")
_TYPES_OF_ROLE = {
    "model": ("", "model"),
    "draft": ("", "model"),
    "adapter": ("adapter",),
    "projector": ("", "mmproj", "projector", "clip-vision", "model"),
}
_ADJUST = "If this model is meant to be used, change the policy; otherwise do not use it."


@dataclass(frozen=True)
class Policy:
    """A policy that was checked; each field is the policy key of that name. Ranges are (least, most)."""

    architectures: frozenset[str]
    projector_architectures: frozenset[str]
    authors: frozenset[str]
    require_author: bool
    file_types: frozenset[str]
    file_bytes: tuple[int, int]
    parameters: tuple[int, int]
    bits_tolerance: float
    context_length: tuple[int, int]
    template_bytes: int
    unlisted_template: Severity
    text_bytes: int
    url_hosts: frozenset[str]
    reviewed: frozenset[str]


def policy_from(given: Optional[Mapping[str, Any]] = None) -> Policy:
    """Return the policy of a mapping; keys that are not given are those of DEFAULT_POLICY.

    Raises FindingError (POLICY-INVALID) for an unknown key or a value of another shape.
    """
    if given is not None and not isinstance(given, Mapping):
        raise _invalid("it is a {0}, not a mapping".format(type(given).__name__))
    unknown = sorted(str(key) for key in set(given or {}) - set(DEFAULT_POLICY))
    if unknown:
        raise _invalid("the key {0} is unknown".format(unknown[0]))
    values = {**DEFAULT_POLICY, **(given or {})}
    file_types = _texts(values, "file_types")
    wrong = sorted(file_types - {ANY} - {known.name for known in FILE_TYPES.values()})
    if wrong:
        raise _invalid("file_types: {0} is unknown".format(wrong[0]))
    return Policy(
        architectures=_texts(values, "architectures"),
        projector_architectures=_texts(values, "projector_architectures"),
        authors=frozenset(_plain(author) for author in _texts(values, "authors")),
        require_author=_yes_no(values, "require_author"),
        file_types=file_types,
        file_bytes=_range(values, "file_bytes"),
        parameters=_range(values, "parameters"),
        bits_tolerance=_fraction(values, "bits_per_weight_tolerance"),
        context_length=_range(values, "context_length"),
        template_bytes=_whole(values["template_max_bytes"], "template_max_bytes"),
        unlisted_template=_severity(values, "template_unlisted"),
        text_bytes=_whole(values["text_max_bytes"], "text_max_bytes"),
        url_hosts=frozenset(host.lower() for host in _texts(values, "url_hosts")),
        reviewed=_digests(values, "reviewed"),
    )


def judge_policy(file: GgufFile, role: str, policy: Policy, noted: Noted) -> None:
    """Record what in a file that was read whole is not as the policy wants it; `role` is one of ROLES."""
    _architecture(file, role, policy, noted)
    _authors(file, policy, noted)
    _range_of("file", file.size, policy.file_bytes, "bytes", noted)
    if role == "adapter":
        _adapter(file, noted)
    elif role in ("model", "draft"):
        _range_of("model", file.parameters, policy.parameters, "weights", noted)
        _file_type(file, policy, noted)
        _context(file, policy, noted)


def bits_per_weight(file: GgufFile) -> Optional[float]:
    """Return the average bits of a weight over the layers; None when there are none."""
    tensors = [item for item in file.tensors if item.size is not None and item.name not in _APART]
    weights = sum(item.elements for item in tensors)
    return 8 * sum(item.size or 0 for item in tensors) / weights if weights else None


def _architecture(file: GgufFile, role: str, policy: Policy, noted: Noted) -> None:
    allowed = policy.projector_architectures if role == "projector" else policy.architectures
    if file.architecture and ANY not in allowed and file.architecture not in allowed:
        evidence = "the architecture {0}, allowed are {1}".format(file.architecture, ", ".join(sorted(allowed)))
        noted.add("GGUF-POLICY-ARCHITECTURE", Severity.HIGH, evidence, _ADJUST)
    kind = file.metadata.text("general.type")
    if kind not in _TYPES_OF_ROLE[role]:
        evidence = "general.type is {0!r} in the place of a {1}".format(kind, role)
        noted.add("GGUF-POLICY-ROLE", Severity.HIGH, evidence, "Do not load it: it is not what it is listed as.")


def _authors(file: GgufFile, policy: Policy, noted: Noted) -> None:
    if ANY in policy.authors:
        return
    named = {key: file.metadata.text(key) for key in _AUTHOR_KEYS if file.metadata.text(key)}
    for key, author in named.items():
        if _plain(author) not in policy.authors:
            evidence = "{0} is {1!r}, which the policy does not list".format(key, clean_text(author, 80))
            noted.add("GGUF-POLICY-AUTHOR", Severity.MEDIUM, evidence, _ADJUST)
    if not named:
        severity = Severity.MEDIUM if policy.require_author else Severity.LOW
        evidence = "the file names neither author nor organisation"
        noted.add("GGUF-POLICY-AUTHOR", severity, evidence, "Rely on where its digest comes from.")


def _file_type(file: GgufFile, policy: Policy, noted: Noted) -> None:
    number = file.metadata.number("general.file_type")
    known = FILE_TYPES.get(-1 if number is None else number)
    if known is None:
        severity = Severity.LOW if number is None else Severity.MEDIUM
        evidence = "general.file_type is {0}".format("missing" if number is None else "the unknown {0}".format(number))
        noted.add("GGUF-POLICY-FILE-TYPE", severity, evidence, _ADJUST)
        return
    if ANY not in policy.file_types and known.name not in policy.file_types:
        evidence = "the file type {0} is not allowed".format(known.name)
        noted.add("GGUF-POLICY-FILE-TYPE", Severity.MEDIUM, evidence, _ADJUST)
    bits = bits_per_weight(file)
    if bits is not None and abs(bits - known.bits) > policy.bits_tolerance * known.bits:
        noted.add(
            "GGUF-POLICY-SIZE",
            Severity.MEDIUM,
            "{0:.2f} bits a weight, a file of type {1} has {2:.2f}".format(bits, known.name, known.bits),
            "Find out what the file really holds; for an odd but honest model raise bits_per_weight_tolerance.",
        )


def _context(file: GgufFile, policy: Policy, noted: Noted) -> None:
    length = file.metadata.number(file.architecture + ".context_length")
    if length is None:
        noted.add("GGUF-POLICY-CONTEXT", Severity.LOW, "no context length is given", _ADJUST)
        return
    least, most = policy.context_length
    if not least <= length <= most:
        evidence = "a context of {0} tokens, allowed are {1} to {2}".format(length, least, most)
        noted.add("GGUF-POLICY-CONTEXT", Severity.MEDIUM, evidence, _ADJUST)


def _adapter(file: GgufFile, noted: Noted) -> None:
    if file.metadata.text("adapter.type") != "lora":
        evidence = "adapter.type is {0!r}, known is lora".format(file.metadata.text("adapter.type"))
        noted.add("GGUF-POLICY-ROLE", Severity.HIGH, evidence, _ADJUST)
    strange = [item.name for item in file.tensors if not item.name.endswith((".lora_a", ".lora_b", "_norm.weight"))]
    if strange:
        evidence = "{0} tensors are no part of a LoRA, such as {1}".format(len(strange), strange[0])
        noted.add("GGUF-POLICY-ROLE", Severity.HIGH, evidence, "Do not load it: an adapter only adds to a model.")


def _range_of(what: str, value: int, allowed: tuple[int, int], unit: str, noted: Noted) -> None:
    least, most = allowed
    if not least <= value <= most:
        evidence = "the {0} has {1} {2}, allowed are {3} to {4}".format(what, value, unit, least, most)
        noted.add("GGUF-POLICY-SIZE", Severity.MEDIUM, evidence, _ADJUST)


def _plain(author: str) -> str:
    """Return a name without what is written now this way and now that: Mistral AI, mistral-ai, mistralai."""
    return author if author == ANY else "".join(char for char in author.casefold() if char.isalnum())


def _texts(values: Mapping[str, Any], key: str) -> frozenset[str]:
    found = values[key]
    if not isinstance(found, (list, tuple)) or not all(isinstance(item, str) for item in found):
        raise _invalid("{0} is no list of texts".format(key))
    return frozenset(found)


def _yes_no(values: Mapping[str, Any], key: str) -> bool:
    if not isinstance(values[key], bool):
        raise _invalid("{0} is neither true nor false".format(key))
    return bool(values[key])


def _whole(value: Any, key: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _invalid("{0} is no whole number".format(key))
    return value


def _range(values: Mapping[str, Any], key: str) -> tuple[int, int]:
    found = values[key]
    if not isinstance(found, Mapping) or set(found) != {"min", "max"}:
        raise _invalid("{0} has to hold min and max".format(key))
    least, most = (_whole(found[end], "{0}.{1}".format(key, end)) for end in ("min", "max"))
    if least > most:
        raise _invalid("{0}: min is above max".format(key))
    return least, most


def _fraction(values: Mapping[str, Any], key: str) -> float:
    found = values[key]
    if not isinstance(found, (int, float)) or isinstance(found, bool) or not 0 <= found <= 10:
        raise _invalid("{0} is no number between 0 and 10".format(key))
    return float(found)


def _severity(values: Mapping[str, Any], key: str) -> Severity:
    try:
        return Severity(values[key])
    except ValueError as error:
        raise _invalid("{0} is none of {1}".format(key, ", ".join(item.value for item in Severity))) from error


def _digests(values: Mapping[str, Any], key: str) -> frozenset[str]:
    found = values[key]
    if not isinstance(found, Mapping):
        raise _invalid("{0} is no mapping of digests to notes".format(key))
    digests = set()
    for digest in found:
        try:
            digests.add(parse_digest(digest))
        except FindingError as error:
            raise _invalid("{0}: {1}".format(key, error.finding.evidence)) from error
    return frozenset(digests)


def _invalid(why: str) -> FindingError:
    return refuse(
        "POLICY-INVALID",
        "the GGUF policy",
        why,
        "Correct it after roles/model_store/files/gguf_policy.yml.",
        Severity.CRITICAL,
    )
