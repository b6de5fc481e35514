# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row T1: the threat model names every attacker, and rows and tests that exist; what is not built stops nothing."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.row("T1")
ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/threat-model.md").read_text(encoding="utf-8")
ATTACKERS = [
    "LAN neighbour", "Local user", "Hostile model file", "Compromised gateway", "Registry or CDN",
    "Compromised fetcher", "Thief of the controller", "Insider approver", "Host root", "Dev environment",
    "Thief of a laptop or backup",
]  # fmt: skip
SHORT = dict(re.findall(r"`([A-Z])` is `([^`]+)`", PAGE))
ID = re.compile(r"\b[A-Z]\d+(?:\.\d+)?\b")


def sections() -> dict[str, str]:
    """Return {heading: text} of the page's parts."""
    parts = re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def table(text: str) -> list[list[str]]:
    """Return the cells of a part's table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


LINES = [(name, *cells) for name in ATTACKERS for cells in table(sections()[name])]


def known_rows() -> set[str]:
    """Return the ids of the catalogue's controls and of the README's table, which has the rows no phase decides."""
    catalogue = yaml.safe_load((ROOT / "roles/control_report/files/controls.yml").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return {item["id"] for item in catalogue["controls"]} | {
        name for cells in re.findall(r"^\| ([A-Z]\d[^|]*) \|", readme, re.MULTILINE) for name in ID.findall(cells)
    }


@functools.cache
def names_in(path: Path) -> frozenset[str]:
    """Return the names of a file's tests as pytest has them, without the file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = {item.name for item in tree.body if isinstance(item, kinds)}
    for group in tree.body:
        if isinstance(group, ast.ClassDef):
            found |= {"{0}::{1}".format(group.name, item.name) for item in group.body if isinstance(item, kinds)}
    return frozenset(name for name in found if name.rpartition("::")[2].startswith("test_"))


def test_every_attacker_has_a_part_in_order_and_says_what_remains() -> None:
    assert list(sections()) == [*ATTACKERS, "Not covered yet"]
    for name in ATTACKERS:
        assert len(table(sections()[name])) >= 3, name
        assert re.search(r"^\*\*Remains\.\*\* \w", sections()[name], re.MULTILINE), name


@pytest.mark.parametrize("line", LINES, ids=lambda line: "{0}: {1}".format(line[0], line[1][:40]))
def test_a_line_names_rows_and_tests_that_exist(line: tuple[str, ...]) -> None:
    _attacker, _what, rows, shown = line
    assert ID.findall(rows), line
    assert set(ID.findall(rows)) <= known_rows(), line
    named = re.findall(r"`([^`]+)`", shown)
    assert named, line
    # Nothing beside the names: a claim without a test has no place in this column.
    assert re.sub(r"`[^`]+`", "", shown).replace(",", "").strip() == "", line
    for node in named:
        file, _colons, test = node.partition("::")
        head, slash, rest = file.partition("/")
        path = ROOT / (SHORT[head] + slash + rest if head in SHORT else file)
        assert path.is_file(), node
        assert test in names_in(path), node


def test_what_is_not_covered_yet_stops_nobody() -> None:
    missing = {name for cells in table(sections()["Not covered yet"]) for name in ID.findall(cells[0])}
    assert missing
    assert missing <= known_rows()
    relied_on = {name for line in LINES for name in ID.findall(line[2])}
    assert not missing & relied_on
    # Each of them is also told where it would matter, and not only in a table at the end.
    told = {name for text in sections().values() for name in ID.findall(text)}
    assert missing <= told


@pytest.mark.parametrize(
    ("attacker", "words"),
    [
        ("Hostile model file", "Poisoned weights"),
        ("LAN neighbour", "Host header"),
        ("Host root", "can lie to every probe"),
        ("Compromised gateway", "reads every question"),
    ],
)
def test_what_cannot_be_stopped_is_said(attacker: str, words: str) -> None:
    remains = sections()[attacker].partition("**Remains.**")[2]
    assert words in " ".join(remains.split())
