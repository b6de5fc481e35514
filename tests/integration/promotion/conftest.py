# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as it is installed, and a company that has it."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

import pytest

from ansible_collections.rampart.ollama.plugins.plugin_utils import collection_digest
from promotion_rig import ROOT
from promotion_site import Site


@pytest.fixture(scope="session")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection as an installed archive has it."""
    root = tmp_path_factory.mktemp("collections")
    target = root / "ansible_collections/rampart/ollama"
    left_out = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info", ".*", "wheels")
    for room in (*collection_digest.ROOMS, "docs"):
        shutil.copytree(ROOT / room, target / room, ignore=left_out)
    shutil.copy(ROOT / "galaxy.yml", target)
    return root


@pytest.fixture
def site(tmp_path: Path, collections: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    digest = collection_digest.collection_digest(collections / "ansible_collections/rampart/ollama")
    monkeypatch.setattr(collection_digest, "collection_digest", lambda root=None: digest)
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    return Site(tmp_path, now, home=tmp_path / "home", collections=collections)
