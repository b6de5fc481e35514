# Copyright: (c) 2026, Rampart contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the gateway and the tests' own modules are found; the fixtures are in gateway_rig.py."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# mutate.py points this to a copy of the package with one protection removed.
SOURCE = os.environ.get("RAMPART_GATEWAY_SOURCE", str(HERE.parent / "src"))
sys.path[:0] = [str(HERE), SOURCE]

from gateway_rig import rig, start  # noqa: E402

__all__ = ["pytest_configure", "rig", "start"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "row(name): the row of the requirements that the test proves")
