# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person who waits for a download is told (row S2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.rampart.ollama.plugins.filter.human_size import human_size


def duration(seconds: float) -> str:
    """Return a time that is left: `1 min 20 s`, rounded as far as an estimate is worth."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60 // 10 * 10} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def line(name: str, seen: Mapping[str, Any]) -> str:
    """Return one line about a fetch: `seen` holds done, total and rate, in bytes (a second), from the host."""
    total, rate = max(0, int(seen["total"])), max(0, int(seen["rate"]))
    done = min(max(0, int(seen["done"])), total)
    text = f"{name}: {100 * done // total if total else 100} % of {human_size(total, 'binary')}"
    if done == total:
        return f"{text}, all there"
    if not rate:
        return f"{text}, nothing comes at present"
    return f"{text}, {human_size(rate, 'binary')}/s, about {duration((total - done) / rate)} left"
