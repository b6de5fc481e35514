# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpack chosen collections from the ``ansible`` wheel.

Usage: unpack_collections.py LOCK WHEEL DESTINATION NAMESPACE/NAME...

The wheel may come from a cache that anybody could have written to, so it is hashed against the
lock again. Exit status 1 and one line on standard error when it is not the pinned one, or when a
collection is not in it.
"""

from __future__ import annotations

import hashlib
import re
import sys
import zipfile
from pathlib import Path


def pinned_hashes(lock: Path) -> set[str]:
    """Return the sha256 hex digests that the lock file allows."""
    return set(re.findall(r"--hash=sha256:([0-9a-f]{64})", lock.read_text(encoding="utf-8")))


def unpack(wheel: Path, destination: Path, names: list[str]) -> list[str]:
    """Extract the named collections; return the names that the wheel does not hold."""
    missing = []
    with zipfile.ZipFile(wheel) as archive:
        members = archive.namelist()
        for name in names:
            prefix = f"ansible_collections/{name}/"
            # The collections' own tests are most of their files and are of no use here.
            chosen = [m for m in members if m.startswith(prefix) and not m.startswith(f"{prefix}tests/")]
            if not chosen:
                missing.append(name)
            archive.extractall(destination, chosen)
    return missing


def main(arguments: list[str]) -> int:
    """Check the wheel against the lock, then unpack it."""
    lock, wheel, destination = (Path(a) for a in arguments[:3])
    with wheel.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest not in pinned_hashes(lock):
        print(
            f"TOOL-CHAIN: {wheel} is not the wheel pinned in {lock}. Delete it and run this again.",
            file=sys.stderr,
        )
        return 1
    missing = unpack(wheel, destination, arguments[3:])
    if missing:
        print(
            f"TOOL-CHAIN: {wheel.name} holds no {', '.join(missing)}. Pin another release.", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
