# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stand-in registry shall do wrong: read from a control file that lab.py replaces.

The file: {"default": FAULT, "blobs": {"sha256:<hex>": FAULT}, "manifests": {"<ns>/<model>:<tag>": FAULT}}.
FAULT: {"kind": one of KINDS, "bytes": n, "seconds": s, "status": n, "location": url}; the kinds:
  lie       one byte of the body is another
  size      `bytes` more bytes are announced and sent than there are
  cut       the connection ends after `bytes` bytes of the body
  slow      a pause of `seconds` before each 64 KiB
  status    `status` is the answer
  redirect  the client is sent to `location`
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONTROL = Path("/run/registry/control.json")
KINDS = ("ok", "lie", "size", "cut", "slow", "status", "redirect")


@dataclass(frozen=True)
class Fault:
    """One way to misbehave. `bytes` in bytes, `seconds` in seconds."""

    kind: str = "ok"
    bytes: int = 1024
    seconds: float = 1.0
    status: int = 503
    location: str = ""


def parse_fault(value: Any) -> Fault:
    """Validate one fault. Raises ValueError with what is wrong."""
    if not isinstance(value, dict) or value.get("kind") not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}")
    fault = Fault(**value)
    if fault.bytes < 0 or fault.seconds < 0 or not 400 <= fault.status <= 599:
        raise ValueError("bytes and seconds must not be negative, status is 400 to 599")
    if fault.kind == "redirect" and not fault.location:
        raise ValueError("redirect needs a location")
    return fault


@dataclass(frozen=True)
class Faults:
    """The whole control file."""

    default: Fault
    blobs: dict[str, Fault]
    manifests: dict[str, Fault]

    def for_blob(self, digest: str) -> Fault:
        """What to do with a blob; the default applies to blobs that are not named."""
        return self.blobs.get(digest, self.default)

    def for_manifest(self, reference: str) -> Fault:
        """What to do with a manifest: only what was asked for it by name, or a default of slow or status."""
        named = self.manifests.get(reference)
        if named is not None:
            return named
        return self.default if self.default.kind in ("slow", "status") else Fault()


def parse_faults(document: Any) -> Faults:
    """Validate a control file's content. Raises ValueError."""
    return Faults(
        default=parse_fault(document.get("default", {"kind": "ok"})),
        blobs={str(name): parse_fault(item) for name, item in document.get("blobs", {}).items()},
        manifests={str(name): parse_fault(item) for name, item in document.get("manifests", {}).items()},
    )


def load_faults(control: Path = CONTROL) -> Faults:
    """Read the control file; without one the registry is honest. Raises ValueError for a broken one."""
    if not control.exists():
        return Faults(Fault(), {}, {})
    return parse_faults(json.loads(control.read_text(encoding="utf-8")))
