# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S9: one digest for the collection, the same in a checkout and installed, and another for every change."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.plugin_utils import collection_digest

pytestmark = pytest.mark.row("S9")

ROOT = Path(__file__).resolve().parents[4]
FIND = next(
    collection_digest.__doc__[start:].replace("\\\n", " ").replace("\n", " ").strip()
    for start in [(collection_digest.__doc__ or "").index("find meta")]
    if collection_digest.__doc__
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("meta/runtime.yml", "playbooks/site.yml", "plugins/a/b.py", "roles/gateway/files/x.txt", "galaxy.yml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"# {name}\nversion: 1.2.3\n", encoding="utf-8")
    return tmp_path


def test_is_what_the_documented_command_says(tree: Path) -> None:
    (tree / "plugins/\u00e9t\u00e9 1.py").write_text("x", encoding="utf-8")
    done = subprocess.run(["bash", "-c", FIND], cwd=tree, capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == collection_digest.collection_digest(tree)


def test_of_this_collection_is_the_one_of_its_copy(tmp_path: Path) -> None:
    """A copy of the same files, made without what tools leave behind, as an installed archive is."""
    left_out = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info", ".*", "wheels")
    for room in collection_digest.ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=left_out)
    digests = {collection_digest.collection_digest(path) for path in (ROOT, tmp_path)}
    assert len(digests) == 1
    assert collection_digest.collection_root() == ROOT


@pytest.mark.parametrize(
    "noise",
    [
        ".git/config",
        "plugins/a/__pycache__/b.cpython-313.pyc",
        "plugins/a/b.pyc",
        "plugins/.mypy_cache/x",
        "roles/gateway/files/.venv/x",
        "roles/gateway/files/wheels/x.whl",
        "roles/gateway/files/src/x.egg-info/PKG-INFO",
        "tests/unit/x.py",
        "docs/x.md",
        "reports/dev/h1/phase1.json",
        "inventories/dev/hosts.yml",
    ],
)
def test_does_not_depend_on_what_tools_and_people_keep_beside(tree: Path, noise: str) -> None:
    before = collection_digest.collection_digest(tree)
    (tree / noise).parent.mkdir(parents=True, exist_ok=True)
    (tree / noise).write_text("noise", encoding="utf-8")
    assert collection_digest.collection_digest(tree) == before


def test_depends_on_every_byte_and_name(tree: Path) -> None:
    seen = {collection_digest.collection_digest(tree)}
    (tree / "plugins/a/b.py").write_text("other", encoding="utf-8")
    seen.add(collection_digest.collection_digest(tree))
    (tree / "plugins/a/b.py").rename(tree / "plugins/a/c.py")
    seen.add(collection_digest.collection_digest(tree))
    (tree / "roles/gateway/files/y.txt").touch()
    seen.add(collection_digest.collection_digest(tree))
    (tree / "meta/runtime.yml").unlink()
    seen.add(collection_digest.collection_digest(tree))
    assert len(seen) == 5


@pytest.mark.parametrize("name", ["plugins/a/link.py", "roles/link"])
def test_a_link_is_no_content(tree: Path, name: str) -> None:
    (tree / name).symlink_to("/etc/passwd" if name.endswith(".py") else "/etc")
    with pytest.raises(FindingError, match="COLLECTION-UNREADABLE"):
        collection_digest.collection_digest(tree)


@pytest.mark.parametrize("name", ["plugins/a\nb.py", "plugins/a\\b.py"])
def test_a_name_that_could_pass_for_two_lines_is_refused(tree: Path, name: str) -> None:
    (tree / name).touch()
    with pytest.raises(FindingError, match="COLLECTION-UNREADABLE"):
        collection_digest.collection_digest(tree)


def test_a_room_that_is_missing_is_said(tree: Path) -> None:
    shutil.rmtree(tree / "meta")
    with pytest.raises(FindingError, match="COLLECTION-UNREADABLE"):
        collection_digest.collection_digest(tree)


def test_version_is_found_in_both_forms(tree: Path) -> None:
    assert collection_digest.collection_version(tree) == "1.2.3"
    (tree / "MANIFEST.json").write_text('{"collection_info": {"version": "4.5.6"}}', encoding="utf-8")
    assert collection_digest.collection_version(tree) == "4.5.6"
    (tree / "MANIFEST.json").write_text("[]", encoding="utf-8")
    with pytest.raises(FindingError, match="COLLECTION-UNREADABLE"):
        collection_digest.collection_version(tree)
