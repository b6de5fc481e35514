# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S6: one item of the approvals file changes, and nothing else; the file is the old one or the new one."""

from __future__ import annotations

import builtins
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.plugin_utils import approval_edit
from ansible_collections.rampart.ollama.plugins.plugin_utils.approval_edit import remove_item, set_item
from ansible_collections.rampart.ollama.plugins.plugin_utils.approval_file import replace_text
from ansible_collections.rampart.ollama.plugins.plugin_utils.approvals import load_registry, parse_yaml

pytestmark = pytest.mark.row("S6")

DIGEST = "sha256:" + "a" * 64
FILE = """\
---
# Approved models of prod.
version: 1
models:   # the list

  # The first one.
  - name: first
    version: "1"      # as its publisher says
    licence:    Apache-2.0
    reference: first:1
    verified_date: 2025-11-09
    # Uses:
    approved_uses: [chat,   search]
    environments:
      - dev   # since January
      - staging
    signatures:
      - signer: bob@example.org
        signature: |
          -----BEGIN SSH SIGNATURE-----
          # looks like a comment, and is none
          -----END SSH SIGNATURE-----

  # The second one: 'quotes', "more quotes", and   spaces.
  - name: 'second'
    source:   "registry.ollama.ai"
    size:  12_345
# Nothing of this is approved any more:
revocations:
  - digest: sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
    reason: "it was: withdrawn # twice"
    revoked_date: 2026-01-01
    revoked_by: rssi@example.org
# The end.
"""
REVOCATION = {"blob": DIGEST, "reason": "r: x # y", "revoked_date": "2026-02-01", "revoked_by": "a@example.org"}


def entries(text: str) -> list[dict[str, Any]]:
    return [dict(entry) for entry in load_registry(text).entries]


def code(action: Any) -> str:
    with pytest.raises(FindingError) as caught:
        action()
    return caught.value.finding.code


def split(text: str) -> tuple[list[str], list[str], list[str]]:
    """The lines before, of, and after the first entry."""
    lines = text.splitlines(keepends=True)
    start, end = (
        lines.index("  - name: first\n"),
        lines.index("  # The second one: 'quotes', \"more quotes\", and   spaces.\n"),
    )
    return lines[:start], lines[start : end - 1], lines[end - 1 :]


def test_s6_only_the_lines_of_the_entry_change_and_its_comments_stay() -> None:
    entry = entries(FILE)[0]
    entry["risk_level"] = "LOW"
    entry["environments"] = ["dev", "staging", "prod"]
    after = set_item(FILE, "models", 0, entry)
    assert entries(after)[0] == entry
    before_lines, own, rest = split(FILE)
    new_before, new_own, new_rest = split(after)
    assert (new_before, new_rest) == (before_lines, rest)
    added = [line for line in new_own if line not in own]
    assert added == [
        "    licence: Apache-2.0\n",
        "    risk_level: LOW\n",
        "    approved_uses: [chat, search]\n",
        "      - prod\n",
    ]
    for comment in ("# as its publisher says", "# Uses:", "# since January", "# looks like a comment"):
        assert comment in "".join(new_own)
    # A new key stands where people look for it.
    assert new_own.index("    risk_level: LOW\n") < new_own.index("    approved_uses: [chat, search]\n")


def test_s6_an_item_of_a_list_goes_and_the_others_keep_their_comments() -> None:
    entry = entries(FILE)[0]
    entry["environments"] = ["dev"]
    after = set_item(FILE, "models", 0, entry)
    assert "- dev   # since January" in after
    entry["environments"] = ["staging", "dev"]
    assert entries(set_item(FILE, "models", 0, entry))[0]["environments"] == ["staging", "dev"]


def test_s6_a_new_entry_comes_behind_the_last_and_every_other_line_stays() -> None:
    after = set_item(FILE, "models", None, {"name": "third", "reference": "third:1"})
    lines, new = FILE.splitlines(), after.splitlines()
    place = lines.index("    size:  12_345") + 1
    assert new == [*lines[:place], "  - name: third", "    reference: third:1", *lines[place:]]


def test_s6_a_revocation_is_added_behind_the_others() -> None:
    after = set_item(FILE, "revocations", None, REVOCATION)
    assert after.startswith(FILE[: FILE.index("# The end.")])
    assert after.endswith("# The end.\n")
    assert load_registry(after).revocations[1].blob == DIGEST


def test_s6_the_first_revocation_makes_the_list() -> None:
    text = "---\n# c\nmodels: []   # none yet\n"
    after = set_item(text, "revocations", None, REVOCATION)
    assert after.startswith(text + "revocations:\n  - ")
    assert load_registry(after).revocations[0].reason == "r: x # y"


def test_s6_an_entry_goes_with_its_lines_only() -> None:
    after = remove_item(FILE, "models", 0)
    before_lines, _own, rest = split(FILE)
    assert after == "".join(before_lines + rest)


def test_s6_the_first_entry_comes_and_the_last_goes_and_the_file_is_as_it_was() -> None:
    text = "---\n# none yet\nmodels: []   # c\n"
    after = set_item(text, "models", None, {"name": "a", "approved_uses": ["x"]})
    assert after == "---\n# none yet\nmodels:   # c\n  - name: a\n    approved_uses:\n      - x\n"
    assert remove_item(after, "models", 0) == "---\n# none yet\nmodels: []   # c\n"


def test_s6_a_files_own_indentation_is_followed() -> None:
    text = "models:\n- name: a\n  environments:\n  - dev\n"
    after = set_item(text, "models", None, {"name": "b", "environments": ["dev"]})
    assert after == text + "- name: b\n  environments:\n  - dev\n"
    assert set_item(text.rstrip("\n"), "models", None, {"name": "b"}) == text + "- name: b\n"


def test_s6_line_ends_of_windows_stay_what_they_are() -> None:
    text = FILE.replace("\n", "\r\n")
    after = set_item(text, "models", None, {"name": "third"})
    assert after.count("\r\n") == after.count("\n") == text.count("\n") + 1
    assert code(lambda: set_item(FILE.replace("\n", "\r\n", 3), "models", None, {"name": "x"})) == "APPROVAL-EDIT"


@pytest.mark.parametrize(
    "value",
    [
        "on",
        "yes",
        "0.3",
        "2026-01-31",
        "null",
        "~",
        "0x1f",
        "1e3",
        "010",
        "x: y",
        "# x",
        "- x",
        "*a",
        "&a",
        "!x",
        "é",
        "'",
        '"',
        "a\nb",
        " x ",
    ],
)
def test_s6_a_text_that_yaml_would_take_for_something_else_stays_a_text(value: str) -> None:
    after = set_item(FILE, "models", None, {"name": "third", "licence": value, "approved_uses": [value]})
    assert entries(after)[-1] == {"name": "third", "licence": value, "approved_uses": [value]}


@pytest.mark.parametrize(
    ("text", "key", "number"),
    [
        ("models: [{name: a}]\n", "models", 0),
        ("models: [{name: a}]\n", "models", None),
        ("models:\n  - {name: a}\n", "models", 0),
        ("models:\n  -\n    name: a\n", "models", 0),
        ("{models: []}\n", "models", None),
        ("models: [\n]\n", "models", None),
        ("models: []\n...\n", "revocations", None),
    ],
)
def test_s6_a_layout_that_cannot_be_changed_safely_is_refused(text: str, key: str, number: int | None) -> None:
    assert load_registry(text) is not None
    item = REVOCATION if key == "revocations" else {"name": "b"}
    assert code(lambda: set_item(text, key, number, item)) == "APPROVAL-EDIT"


def test_s6_a_result_that_reads_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = approval_edit._dump
    monkeypatch.setattr(
        approval_edit, "_dump", lambda *given: [line.replace("third", "fourth") for line in real(*given)]
    )
    assert code(lambda: set_item(FILE, "models", None, {"name": "third"})) == "APPROVAL-EDIT"
    monkeypatch.setattr(approval_edit, "_dump", lambda *given: ["name: ["])
    assert code(lambda: set_item(FILE, "models", None, {"name": "third"})) == "APPROVAL-EDIT"


def test_s6_without_ruamel_there_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def deny(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("ruamel"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", deny)
    with pytest.raises(FindingError, match="pip install"):
        set_item(FILE, "models", None, {"name": "third"})


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
MADE = st.fixed_dictionaries(
    {"name": TEXTS},
    optional={
        "licence": TEXTS,
        "version": TEXTS,
        "approved_uses": st.lists(TEXTS, max_size=3),
        "size": st.integers(0, 9),
    },
)


@settings(max_examples=60, deadline=None)
@given(MADE, st.sampled_from([None, 0, 1]))
def test_s6_whatever_an_entry_holds_it_reads_back_and_the_rest_stays(entry: dict[str, Any], number: int | None) -> None:
    try:
        after = set_item(FILE, "models", number, entry)
    except FindingError as error:
        assert error.finding.code in ("APPROVAL-EDIT", "APPROVAL-INVALID")
        return
    data, before = parse_yaml(after), parse_yaml(FILE)
    place = 2 if number is None else number
    assert data["models"][place] == entry
    del data["models"][place]
    if number is not None:
        del before["models"][number]
    assert data == before
    for line in (
        "# Approved models of prod.",
        "# The first one.",
        "# The end.",
        '    reason: "it was: withdrawn # twice"',
    ):
        assert line in after.split("\n") or line.strip() in after


# --- the file


def test_s6_a_file_is_replaced_whole_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "models_registry.yaml"
    path.write_text("models: []\n")
    path.chmod(0o640)
    replace_text(path, "models: []\n", "models: [] # é\n")
    assert path.read_text() == "models: [] # é\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == [path.name]


def test_s6_a_file_that_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "models_registry.yaml"
    path.write_text("models: [] # somebody's\n")
    assert code(lambda: replace_text(path, "models: []\n", "x")) == "APPROVAL-CHANGED"
    assert path.read_text() == "models: [] # somebody's\n"


def test_s6_a_link_is_not_replaced_nor_written_through(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_text("models: []\n")
    path = tmp_path / "models_registry.yaml"
    path.symlink_to(real)
    assert code(lambda: replace_text(path, "models: []\n", "x")) == "APPROVAL-FILE-UNSAFE"
    assert path.is_symlink()
    assert real.read_text() == "models: []\n"


@pytest.fixture
def readable() -> Iterator[Path]:
    """A directory that others can look into and only its owner can write."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to act as somebody who may not write")
def test_s6_a_directory_that_cannot_be_written_is_one_clear_error(readable: Path) -> None:
    path = readable / "models_registry.yaml"
    path.write_text("models: []\n")
    os.seteuid(65534)
    try:
        assert code(lambda: replace_text(path, "models: []\n", "x")) == "APPROVAL-WRITE"
    finally:
        os.seteuid(0)
    assert path.read_text() == "models: []\n"
    assert os.listdir(readable) == [path.name]


@pytest.mark.parametrize("broken", ["rename", "fsync", "fchmod"])
def test_s6_a_full_or_failing_disk_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    path = tmp_path / "models_registry.yaml"
    path.write_text("models: []\n")

    def fail(*_given: Any, **_more: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, broken, fail)
    assert code(lambda: replace_text(path, "models: []\n", "x")) == "APPROVAL-WRITE"
    monkeypatch.undo()
    assert path.read_text() == "models: []\n"
    assert os.listdir(tmp_path) == [path.name]
