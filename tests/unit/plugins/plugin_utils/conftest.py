# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What several tests of the controller's logic share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from approval_desk import Desk


@pytest.fixture
def desk(tmp_path: Path, model: Callable[..., Any]) -> Desk:
    return Desk(tmp_path, model("m:1", b"w").entry())
