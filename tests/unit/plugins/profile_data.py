# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The seccomp profile of the containers, built from the data of role confinement as the role does it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.rampart.ollama.plugins.module_utils.seccomp import build, render

FILES = Path(__file__).resolve().parents[3] / "roles" / "confinement" / "files"


def profile_data() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (Docker's default as facts, what is removed from it), fresh."""
    default, reviewed = (
        yaml.safe_load((FILES / name).read_text(encoding="utf-8"))
        for name in ("docker_default.yml", "seccomp_removals.yml")
    )
    return default, reviewed


@functools.cache
def seccomp_text(gpu: bool = False) -> str:
    """Return a profile's text."""
    return render(build(*profile_data(), gpu=gpu))
