# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that writes a number of bytes for a person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

UNITS = ("decimal", "binary", "both")
_DECIMAL = (1000, ("B", "kB", "MB", "GB", "TB", "PB", "EB"))
_BINARY = (1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"))


def human_size(size: Any, units: str = "decimal") -> str:
    """Return `4.37 GB`, `4.07 GiB` or both. Raises AnsibleFilterError for what is no number of bytes."""
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise AnsibleFilterError("human_size: the size is a whole number of bytes, not negative")
    if units not in UNITS:
        raise AnsibleFilterError(f"human_size: units is one of {', '.join(UNITS)}")
    if units == "both":
        return f"{_write(size, *_DECIMAL)} ({_write(size, *_BINARY)})"
    return _write(size, *(_DECIMAL if units == "decimal" else _BINARY))


def _write(size: int, base: int, names: tuple[str, ...]) -> str:
    if size < base:
        return f"{size} B"
    power = 1
    while power < len(names) - 1 and _hundredths(size, base**power) >= base * 100:
        power += 1
    whole, part = divmod(_hundredths(size, base**power), 100)
    return f"{whole}.{part:02d} {names[power]}"


def _hundredths(size: int, unit: int) -> int:
    # In whole numbers, rounded half up: a float has 53 bits, and 999999 bytes are 1.00 MB, not 1000.00 kB.
    return (size * 200 + unit) // (2 * unit)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"human_size": human_size}
