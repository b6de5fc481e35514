# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read models_registry.yaml on the controller: who approved which bytes for what use, where (row S6).

The file is data that people review, so it is read as strictly as a contract: no duplicate keys, no anchors,
aliases or tags, no surprising types. What an entry lacks is a finding; what cannot be understood is an error.
Never a traceback.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from ansible_collections.rampart.ollama.plugins.module_utils.approval import approval_from_entry
from ansible_collections.rampart.ollama.plugins.module_utils.findings import (
    Finding,
    FindingError,
    Severity,
    clean_text,
    refuse,
)
from ansible_collections.rampart.ollama.plugins.module_utils.names import parse_name

REGISTRY_MAX_BYTES = 4 * 1024 * 1024
DEPTH_MAX = 20
ENVIRONMENTS = ("dev", "staging", "prod", "demo")
RISK_LEVELS = ("LOW", "MEDIUM", "HIGH")

_TEXTS = ("name", "version", "reference", "digest", "sha256", "source", "licence", "verified_by", "risk_level")
_LISTS = ("approved_uses", "prohibited_uses", "environments")
_KEYS = frozenset((*_TEXTS, *_LISTS, "blobs", "size", "verified_date"))
_NEEDED = ("version", "source", "verified_date", "verified_by", "risk_level", "approved_uses", "environments")
_REMEDY = "Correct models_registry.yaml (docs/models_registry.md says how), then run again."


@dataclass(frozen=True)
class Registry:
    """The entries of an approvals file, in its order, and what they lack."""

    entries: tuple[dict[str, Any], ...]
    findings: tuple[Finding, ...] = field(default=())


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses what makes YAML ambiguous or dangerous: duplicate keys, anchors, aliases,
    tags.
    """

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.constructor.ConstructorError(
                None, None, "anchors and aliases are not allowed", event.start_mark
            )
        if getattr(event, "tag", None) is not None:
            raise yaml.constructor.ConstructorError(None, None, "tags are not allowed", event.start_mark)
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise yaml.constructor.ConstructorError(None, None, "nested too deeply", event.start_mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _value in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
                raise yaml.constructor.ConstructorError(None, None, "a key is no text", key_node.start_mark)
            if key_node.value in seen:
                text = "the key {0!r} is there twice".format(clean_text(key_node.value, 60))
                raise yaml.constructor.ConstructorError(None, None, text, key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)


def _refusal(subject: str, why: object) -> FindingError:
    return refuse("APPROVAL-INVALID", subject, why, _REMEDY)


def parse_yaml(text: str, subject: str = "models_registry.yaml") -> Any:
    """Return the value of one strict YAML document. Raises FindingError (APPROVAL-INVALID) with line and
    column.
    """
    if len(text.encode("utf-8", "surrogatepass")) > REGISTRY_MAX_BYTES:
        raise _refusal(subject, "longer than {0} bytes".format(REGISTRY_MAX_BYTES))
    loader = None
    try:
        loader = _StrictLoader(text)
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "line {0}, column {1}: ".format(mark.line + 1, mark.column + 1) if mark else ""
        raise _refusal(subject, where + (error.problem or error.context or "this is not YAML")) from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise _refusal(subject, clean_text(error, 200) or "this is not YAML") from error
    finally:
        if loader is not None:
            loader.dispose()


def load_registry(source: str | Mapping[str, Any]) -> Registry:
    """Return the registry in a YAML text or an already parsed mapping.

    Raises FindingError (APPROVAL-INVALID) for what cannot be understood: wrong types, unknown keys, two
    entries of one reference. What an entry lacks becomes findings (APPROVAL-INCOMPLETE and APPROVAL-RISK),
    the entry is kept.
    """
    data = parse_yaml(source) if isinstance(source, str) else source
    if not isinstance(data, Mapping):
        raise _refusal("models_registry.yaml", "it holds {0}, not a mapping with models".format(_word(data)))
    unknown = sorted(str(key) for key in data if key not in ("models", "version"))
    if unknown:
        raise _refusal("models_registry.yaml", "the key {0!r} is unknown".format(unknown[0]))
    models = data.get("models")
    if not isinstance(models, list):
        raise _refusal("models_registry.yaml", "models is {0}, not a list".format(_word(models)))
    findings: list[Finding] = []
    entries: list[dict[str, Any]] = []
    seen: dict[str, str] = {}
    for number, raw in enumerate(models, start=1):
        entry = _entry(raw, "entry {0}".format(number))
        subject = "entry {0} ({1})".format(number, clean_text(entry["name"], 80))
        key = _key(entry, subject)
        if key and seen.setdefault(key, subject) != subject:
            raise _refusal(subject, "{0} has the same reference".format(seen[key]))
        findings.extend(_judge(entry, subject))
        entries.append(entry)
    return Registry(tuple(entries), tuple(findings))


def _entry(raw: Any, subject: str) -> dict[str, Any]:
    """Return a copy of an entry whose every value has its type; dates become texts (YYYY-MM-DD)."""
    if not isinstance(raw, Mapping):
        raise _refusal(subject, "an entry is a mapping, not {0}".format(_word(raw)))
    entry: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in _KEYS:
            raise _refusal(subject, "the key {0!r} is unknown".format(clean_text(key, 60)))
        entry[str(key)] = _typed(str(key), value, subject)
    if not entry.get("name"):
        raise _refusal(subject, "it has no name")
    return entry


def _typed(key: str, value: Any, subject: str) -> Any:
    if value is None:
        return None
    if key in _TEXTS and not isinstance(value, str):
        raise _refusal(subject, "{0} is {1}, not a text (quote it)".format(key, _word(value)))
    if key in _LISTS and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
        raise _refusal(subject, "{0} is no list of texts".format(key))
    if key == "environments" and not set(value) <= set(ENVIRONMENTS):
        wrong = next(item for item in value if item not in ENVIRONMENTS)
        raise _refusal(subject, "the environment {0!r} is unknown".format(clean_text(wrong, 40)))
    if key == "risk_level" and value not in RISK_LEVELS:
        raise _refusal(subject, "risk_level is one of {0}".format(", ".join(RISK_LEVELS)))
    if key == "size" and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise _refusal(subject, "size is no number of bytes")
    if key == "verified_date":
        return _date(value, subject)
    if key == "blobs" and not (isinstance(value, list) and all(isinstance(item, Mapping) for item in value)):
        raise _refusal(subject, "blobs is no list of mappings")
    return value


def _date(value: Any, subject: str) -> str:
    # YAML reads 2025-11-09 as a date, and a quoted one as text; a date with a time is neither.
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, str):
        try:
            return datetime.date.fromisoformat(value).isoformat()
        except ValueError:
            pass
    raise _refusal(subject, "verified_date is no date (YYYY-MM-DD)")


def _key(entry: Mapping[str, Any], subject: str) -> str:
    if not entry.get("reference"):
        return ""
    try:
        return parse_name(entry["reference"]).key
    except FindingError as error:
        raise _refusal(subject, "reference: {0}".format(error.finding.evidence)) from error


def _judge(entry: Mapping[str, Any], subject: str) -> list[Finding]:
    """Return what an entry lacks before it can pin anything. Raises FindingError for what is wrong, not just
    lacking.
    """
    findings = []
    try:
        approval = approval_from_entry(entry)
    except FindingError as error:
        if error.finding.code != "APPROVAL-INCOMPLETE":
            raise _refusal(subject, error.finding.evidence) from error
        evidence = error.finding.evidence
        if entry.get("sha256") and not entry.get("digest"):
            evidence += "; a sha256 alone does not say of which file"
        findings.append(
            Finding("APPROVAL-INCOMPLETE", Severity.HIGH, subject, evidence, error.finding.remedy)
        )
    else:
        size = entry.get("size")
        if size is not None and size != approval.size:
            raise _refusal(subject, "size is {0}, its blobs add up to {1}".format(size, approval.size))
    lacking = [key for key in _NEEDED if not entry.get(key)]
    if lacking:
        findings.append(
            Finding(
                "APPROVAL-INCOMPLETE",
                Severity.MEDIUM,
                subject,
                "it lacks {0}".format(", ".join(lacking)),
                _REMEDY,
            )
        )
    return findings


def find_approval(registry: Registry, name: str, environment: str) -> dict[str, Any]:
    """Return the complete entry of a model for an environment; `name` is a reference or an entry's own name.

    Raises FindingError: APPROVAL-MISSING (none, or not for this environment), APPROVAL-INCOMPLETE,
    APPROVAL-INVALID.
    """
    if environment not in ENVIRONMENTS:
        raise _refusal(
            clean_text(environment, 40), "no environment; known are {0}".format(", ".join(ENVIRONMENTS))
        )
    wanted = _wanted(name)
    found = [entry for entry in registry.entries if _key(entry, entry["name"]) == wanted and wanted]
    found = found or [entry for entry in registry.entries if entry["name"] == name]
    if not found:
        raise refuse(
            "APPROVAL-MISSING",
            clean_text(name, 120),
            "no entry of models_registry.yaml approves it",
            "Have a person review the model and add its entry, then run again.",
            Severity.CRITICAL,
        )
    here = [entry for entry in found if environment in (entry.get("environments") or [])]
    if not here:
        listed = sorted({item for entry in found for item in entry.get("environments") or []})
        raise refuse(
            "APPROVAL-MISSING",
            clean_text(name, 120),
            "approved for {0}, not for {1}".format(", ".join(listed) or "no environment", environment),
            "Have it approved for {0}, then run again.".format(environment),
            Severity.CRITICAL,
        )
    if len(here) > 1:
        raise _refusal(clean_text(name, 120), "{0} entries fit; name the reference".format(len(here)))
    # What pins nothing approves nothing.
    approval_from_entry(here[0])
    return here[0]


def _wanted(name: str) -> str:
    try:
        return parse_name(name).key
    except FindingError:
        # It may still be an entry's own name; if it is not, the model is simply not approved.
        return ""


def _word(value: Any) -> str:
    if value is None:
        return "nothing"
    names = {"str": "a text", "int": "a number", "float": "a number", "bool": "a yes or no", "list": "a list"}
    return names.get(
        type(value).__name__, "a mapping" if isinstance(value, Mapping) else type(value).__name__
    )
