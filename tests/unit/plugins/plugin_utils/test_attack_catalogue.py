# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row I6: the attacks' files are read strictly; one that says too little, too much or something else is refused."""

from __future__ import annotations

import copy
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.rampart.ollama.plugins.module_utils.attack import INSIDE, ORIGINS
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.plugin_utils.attack_catalogue import (
    DEFAULT_DIRECTORY,
    FILE_MAX_BYTES,
    for_hosts,
    load_attacks,
    problem_of,
)

CONTROLS = DEFAULT_DIRECTORY.parents[2] / "control_report" / "files" / "controls.yml"
SOUND: dict[str, Any] = {
    "id": "try-it",
    "tries": "connect to an address",
    "row": "I6",
    "origins": ["server"],
    "function": "tcp",
    "family": 4,
    "targets": {"addresses": "ipv4", "ports": "port"},
    "refusal": ["ENETUNREACH"],
    "seen_by": [{"kernel": "OutNoRoutes"}],
    "open": "succeeds",
}


def changed(**changes: Any) -> dict[str, Any]:
    data = {**copy.deepcopy(SOUND), **changes}
    return {key: value for key, value in data.items() if value is not None}


def write(directory: Path, text: str, name: str = "try-it") -> Path:
    (directory / "group").mkdir(exist_ok=True)
    path = directory / "group" / f"{name}.yml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.row("I6")
def test_the_shipped_files_are_sound_and_cover_the_catalogue_of_controls() -> None:
    """I6: every check of an attack that a control names comes from a file."""
    attacks = load_attacks(DEFAULT_DIRECTORY)
    assert len(attacks) >= 60
    prefixes = {"server": "attack-", "gateway": "attack-gateway-", "host": "attack-neighbour-"}
    ours = {prefixes[origin] + data["id"] for data in attacks for origin in data["origins"] if origin in prefixes}
    named = {
        check
        for control in yaml.safe_load(CONTROLS.read_text(encoding="utf-8"))["controls"]
        if control["id"] in ("I6", "I6.1")
        for check in control["checks"]
    }
    known = ("attack-clone-", "attack-user-", "attack-container-", "attack-fetcher-")
    assert {name for name in named if not name.startswith(known) and not name.endswith(("-seen", "-heard"))} <= ours
    assert {data["row"] for data in attacks} == {"I6"}


@pytest.mark.row("I6")
def test_the_chains_that_are_read_are_those_of_the_firewall() -> None:
    """I6: a chain that was renamed would leave every trace of a neighbour unread."""
    path = CONTROLS.parents[3] / "tests" / "unit" / "roles" / "firewall_rules.py"
    spec = importlib.util.spec_from_file_location("firewall_rules", path)
    assert spec is not None and spec.loader is not None
    rules = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rules)
    chains = set(re.findall(r"\tchain ([a-z_]+) {\n(?:[^}]*\n)?[^}\n]*\bcounter\b", rules.render()))
    traces = [item for data in load_attacks(DEFAULT_DIRECTORY) for item in data.get("seen_by", [])]
    read = {item["nft"] for item in traces if "nft" in item}
    assert read
    assert read <= chains


def test_a_host_is_given_its_own_attacks_and_nothing_it_does_not_need() -> None:
    attacks = load_attacks(DEFAULT_DIRECTORY)
    for origin in ORIGINS:
        given = for_hosts(attacks, origin)
        assert given
        assert all(origin in data["origins"] and not {"row", "open"} & set(data) for data in given)
    assert len(for_hosts(attacks, INSIDE[0])) < len(attacks)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"id": "Not An Id"}, "not an attack"),
        ({"id": 7}, "id is no text"),
        ({"tries": None}, "missing keys: ['tries']"),
        ({"surprise": 1}, "unknown keys: ['surprise']"),
        ({"origins": []}, "origins is no list"),
        ({"origins": ["moon"]}, "['moon'] are not known"),
        ({"refusal": "EPERM"}, "refusal is no list"),
        ({"function": "system"}, "function system is not known"),
        ({"function": "__import__"}, "is not known"),
        ({"origins": ["clone"]}, "does not run from"),
        ({"function": "fork_bomb", "targets": None}, "fork_bomb does not run from ['server']"),
        ({"function": "fork_bomb", "origins": ["clone", "server"], "targets": None}, "does not run from"),
        ({"targets": {"addresses": "ipv4"}}, "tcp takes"),
        ({"targets": {"addresses": "ipv4", "ports": "port", "x": "name"}}, "tcp takes"),
        ({"targets": {"addresses": "nowhere", "ports": "port"}}, "target that is not known"),
        ({"targets": ["ipv4"]}, "mappings"),
        ({"family": 5}, "not an attack"),
        ({"seen_by": None}, "exactly one of"),
        ({"not_observable": "it leaves no trace"}, "exactly one of"),
        ({"seen_by": None, "not_observable": "no"}, "is a reason"),
        ({"seen_by": []}, "list of traces"),
        ({"seen_by": [{"kernel": "InErrors"}]}, "is not known"),
        ({"seen_by": [{"crystal": "ball"}]}, "is not known"),
        ({"seen_by": [{"kernel": "OutNoRoutes", "nft": "refused"}]}, "list of {kind: what}"),
        ({"not_observable_if": {"EPERM": "a reason that is long enough"}}, "words of refusal"),
        ({"not_observable_if": {"ENETUNREACH": "short"}}, "words of refusal"),
        ({"open": "sometimes"}, "open is"),
        ({"open": {"cannot": ""}}, "open is"),
    ],
)
def test_a_file_that_is_no_attack_is_refused(change: dict[str, Any], told: str) -> None:
    assert problem_of(SOUND) == ""
    assert told in problem_of(changed(**change))


@pytest.mark.parametrize("data", [None, [], "x", 7])
def test_what_is_no_mapping_is_refused(data: Any) -> None:
    assert problem_of(data) == "not a mapping"


@pytest.mark.parametrize(
    "text",
    [
        "id: a\nid: b\n",
        "!!python/object/apply:os.system [id]\n",
        "a: [" * 400,
        "{",
        "\x00",
        "x: " + "y" * FILE_MAX_BYTES,
        yaml.safe_dump({**SOUND, "id": "another"}),
    ],
)
def test_hostile_files_are_one_error_with_a_code(tmp_path: Path, text: str) -> None:
    """I6: a key given twice, an object, a bomb, another name than the file's: refused before a host hears of it."""
    write(tmp_path, text)
    with pytest.raises(FindingError, match="ATTACK-FILE: ") as caught:
        load_attacks(tmp_path)
    assert "docs/attacks.md" in caught.value.finding.remedy


def test_an_id_is_used_once_and_a_directory_without_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FindingError, match="0 files"):
        load_attacks(tmp_path)
    path = write(tmp_path, yaml.safe_dump(SOUND))
    assert [data["id"] for data in load_attacks(tmp_path)] == ["try-it"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / path.name).write_text(path.read_text())
    with pytest.raises(FindingError, match="used twice"):
        load_attacks(tmp_path)
