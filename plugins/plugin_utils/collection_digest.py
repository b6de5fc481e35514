# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The identity of the collection that runs: one digest over the files that decide what happens on hosts (row S9).

It is the same in a checkout and where the built archive was installed, so it names the code that was tested and
the code that is promoted. Anyone can compute it again:

    find meta playbooks plugins roles -type f -not -path '*/.*' -not -path '*/__pycache__/*' \
        -not -name '*.py[co]' -not -path '*.egg-info/*' -not -path 'roles/gateway/files/wheels/*' -print0 |
        LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import yaml

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, refuse

NAME = "rampart.ollama"
ROOMS = ("meta", "playbooks", "plugins", "roles")
# Made by tools beside the sources and in no archive. The wheels are pinned by hash in the gateway's requirements.
_WHEELS = "roles/gateway/files/wheels"


def collection_root() -> Path:
    """Return the directory of the collection this very code belongs to."""
    return Path(__file__).resolve().parents[2]


def collection_digest(root: Path | None = None) -> str:
    """Return the sha256 (hexadecimal) of the collection's files: names and contents, neither times nor modes.

    Raises FindingError (COLLECTION-UNREADABLE) for what cannot be read, and for a link, which is no content.
    """
    base = root or collection_root()
    names = sorted((name for room in ROOMS for name in _files(base, room)), key=os.fsencode)
    total = hashlib.sha256()
    for name in names:
        try:
            digest = hashlib.sha256((base / name).read_bytes()).hexdigest()
        except OSError as error:
            raise _unreadable(name, str(error.strerror or error)) from None
        total.update(f"{digest}  {name}\n".encode())
    return total.hexdigest()


def _files(base: Path, room: str) -> list[str]:
    found: list[str] = []
    for directory, directories, files in os.walk(base / room, onerror=_fail):
        here = Path(directory).relative_to(base).as_posix()
        directories[:] = [name for name in directories if not _left_out(f"{here}/{name}")]
        files = [name for name in files if not _left_out(f"{here}/{name}")]
        for name in (*directories, *files):
            path = f"{here}/{name}"
            if (base / path).is_symlink():
                raise _unreadable(path, "it is a symbolic link")
            if "\n" in path or "\\" in path:
                raise _unreadable(path, "such a name cannot be listed")
        found.extend(f"{here}/{name}" for name in files)
    return found


def _left_out(path: str) -> bool:
    name = path.rsplit("/", 1)[-1]
    return (
        name.startswith(".") or name == "__pycache__" or name.endswith((".pyc", ".pyo", ".egg-info")) or path == _WHEELS
    )


def _fail(error: OSError) -> None:
    raise _unreadable(str(error.filename), str(error.strerror or error))


def _unreadable(path: str, why: str) -> FindingError:
    return refuse("COLLECTION-UNREADABLE", path, why, "Install the collection anew from its archive, then run again.")


def collection_version(root: Path | None = None) -> str:
    """Return the collection's version from MANIFEST.json (installed) or galaxy.yml (checkout)."""
    base = root or collection_root()
    try:
        if (base / "MANIFEST.json").exists():
            info = json.loads((base / "MANIFEST.json").read_text(encoding="utf-8"))["collection_info"]
        else:
            info = yaml.safe_load((base / "galaxy.yml").read_text(encoding="utf-8"))
        return str(info["version"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise _unreadable(str(base), f"its version cannot be read: {error}") from None
