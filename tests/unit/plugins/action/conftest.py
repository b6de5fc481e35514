# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What several tests of actions share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from approval_place import Place
from promotion_acts import NOW, Act, run_action

from ansible_collections.rampart.ollama.plugins.plugin_utils import approval_sign, collection_digest, controller
from approval_rig import Registry
from promotion_rig import Company, hexes


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    for name in ("SSH_AUTH_SOCK", "SSH_ASKPASS", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(approval_sign, "_terminal", lambda: "")
    return Place(tmp_path)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    made = Registry(tmp_path)
    monkeypatch.setenv("HTTPS_PROXY", made.proxy)
    for name in ("https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield made
    made.close()


@pytest.fixture
def company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Company:
    monkeypatch.setattr(collection_digest, "collection_digest", lambda root=None: hexes("d"))
    company = Company(tmp_path, NOW)
    monkeypatch.setattr(controller, "now", lambda: company.now)
    return company


@pytest.fixture
def act() -> Act:
    return run_action
