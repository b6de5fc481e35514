# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The attacks' files on the controller: one YAML file an attack, read strictly, then handed to the hosts as data."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.rampart.ollama.plugins.module_utils.attack import ORIGINS, Attack
from ansible_collections.rampart.ollama.plugins.module_utils.attack_functions import (
    CLONE_FUNCTIONS,
    NO_PARAMETERS,
    SIGNATURES,
    known_functions,
)
from ansible_collections.rampart.ollama.plugins.module_utils.attack_traces import (
    COUNTED,
    KERNEL_COUNTERS,
    KINDS,
    WATCH_COUNTED,
)
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, refuse

DEFAULT_DIRECTORY = Path(__file__).parents[2] / "roles" / "security_tests" / "files" / "attacks"
FILE_MAX_BYTES = 16 * 1024
FILES_MAX = 500
_REQUIRED = {"id", "tries", "row", "origins", "function", "refusal", "open"}
_OPTIONAL = {"family", "targets", "parameters", "seen_by", "not_observable", "not_observable_if"}


class _StrictLoader(yaml.SafeLoader):
    """YAML without the freedom to say one thing twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _value in node.value]
        if len(keys) != len({str(key) for key in keys}):
            raise yaml.constructor.ConstructorError(None, None, "a key is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def load_attacks(directory: Path) -> list[dict[str, Any]]:
    """Return the content of every attack's file below `directory`, in the order of their paths.

    Raises FindingError (ATTACK-FILE) for the first file that is not an attack, an id used twice, or no file at all.
    """
    paths = sorted(directory.glob("*/*.yml"))
    if not paths or len(paths) > FILES_MAX:
        raise _refused(directory, f"{len(paths)} files <group>/<id>.yml")
    found: dict[str, dict[str, Any]] = {}
    for path in paths:
        data = _read(path)
        problem = problem_of(data)
        if not problem and data["id"] != path.stem:
            problem = f"the file is named {path.stem}, the attack {data['id']}"
        if not problem and data["id"] in found:
            problem = "this id is used twice"
        if problem:
            raise _refused(path, problem)
        found[data["id"]] = data
    return list(found.values())


def for_hosts(attacks: list[dict[str, Any]], origin: str) -> list[dict[str, Any]]:
    """Return what a host needs of the attacks that start at `origin`."""
    return [
        {key: value for key, value in attack.items() if key not in ("row", "open")}
        for attack in attacks
        if origin in attack["origins"]
    ]


def problem_of(data: Any) -> str:
    """Return what is wrong with the content of an attack's file, or an empty text."""
    if not isinstance(data, dict):
        return "not a mapping"
    if not _REQUIRED <= set(data) <= _REQUIRED | _OPTIONAL:
        missing, unknown = sorted(_REQUIRED - set(data)), sorted(map(str, set(data) - _REQUIRED - _OPTIONAL))
        return f"missing keys: {missing}, unknown keys: {unknown}"
    for key in ("id", "tries", "row", "function"):
        if not isinstance(data[key], str) or not data[key].strip():
            return f"{key} is no text"
    return _lists(data) or _function(data) or _traces(data) or _open(data) or _shape(data)


def _lists(data: dict[str, Any]) -> str:
    for key, allowed in (("origins", set(ORIGINS)), ("refusal", None)):
        value = data[key]
        if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
            return f"{key} is no list of words"
        if allowed is not None and not set(value) <= allowed:
            return f"{key}: {sorted(set(value) - allowed)} are not known"
    return ""


def _function(data: dict[str, Any]) -> str:
    function = data["function"]
    if function not in known_functions():
        return f"the function {function} is not known"
    if (function in CLONE_FUNCTIONS) != ("clone" in data["origins"]) or (
        "clone" in data["origins"] and len(data["origins"]) > 1
    ):
        return f"{function} does not run from {data['origins']}"
    targets, parameters = data.get("targets", {}), data.get("parameters", {})
    if not isinstance(targets, dict) or not isinstance(parameters, dict):
        return "targets and parameters are mappings"
    given = [*targets, *parameters]
    required, optional = SIGNATURES.get(function, NO_PARAMETERS)
    if len(given) != len(set(given)) or not required <= set(given) <= required | optional:
        takes = f"{function} takes {sorted(required)} and may take {sorted(optional)}"
        return f"{takes}; given are {sorted(map(str, given))}"
    for address in parameters.get("addresses", []):
        try:
            ipaddress.ip_address(str(address))
        except ValueError:
            return f"{address!r} is no address"
    return ""


def _traces(data: dict[str, Any]) -> str:
    if ("seen_by" in data) == ("not_observable" in data):
        return "exactly one of seen_by and not_observable is needed"
    if "not_observable" in data and "not_observable_if" in data:
        return "not_observable_if goes with seen_by"
    if "not_observable" in data:
        reason = data["not_observable"]
        return "" if isinstance(reason, str) and len(reason) > 10 else "not_observable is a reason"
    silent = data.get("not_observable_if", {})
    if not isinstance(silent, dict) or not all(
        word in data["refusal"] and isinstance(reason, str) and len(reason) > 10 for word, reason in silent.items()
    ):
        return "not_observable_if maps words of refusal to reasons"
    traces = data["seen_by"]
    if not isinstance(traces, list) or not traces:
        return "seen_by is a list of traces"
    if not all(isinstance(item, dict) and len(item) == 1 for item in traces):
        return "seen_by is a list of {kind: what}"
    allowed = {"kernel": KERNEL_COUNTERS, "counted": COUNTED, "watch": tuple(WATCH_COUNTED)}
    for item in traces:
        ((kind, what),) = item.items()
        if kind not in KINDS or not isinstance(what, str) or what not in allowed.get(kind, (what,)):
            return f"the trace {kind}: {what} is not known"
    return ""


def _open(data: dict[str, Any]) -> str:
    wanted = data["open"]
    if wanted == "succeeds":
        return ""
    reason = wanted.get("cannot") if isinstance(wanted, dict) and len(wanted) == 1 else None
    return "" if isinstance(reason, str) and len(reason) > 10 else "open is `succeeds`, or {cannot: a reason}"


def _shape(data: dict[str, Any]) -> str:
    try:
        Attack.from_dict(data)
    except ValueError as error:
        return str(error)
    return ""


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as stream:
            text = stream.read(FILE_MAX_BYTES + 1)
        if len(text) > FILE_MAX_BYTES:
            raise _refused(path, f"longer than {FILE_MAX_BYTES} bytes")
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader that is stricter still
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise _refused(path, " ".join(str(error).split())[:200]) from None


def _refused(path: Path, evidence: str) -> FindingError:
    return refuse("ATTACK-FILE", str(path), evidence, "Correct the file as docs/attacks.md describes it.")
