# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stand-in registry shall do wrong: read from a control file that lab.py replaces.

The file: {"default": FAULT, "blobs": {"sha256:<hex>": FAULT}, "manifests": {"<ns>/<model>:<tag>": FAULT}}.
FAULT: {"kind": one of KINDS, "bytes": n, "seconds": s, "status": n, "location": url, "times": n}; with `times` the
first n requests for a thing meet the fault, the others none. The kinds:
  lie         one byte of the body is another
  size        `bytes` more bytes are announced and sent than there are
  short       only `bytes` bytes are announced and sent
  endless     no length is announced, and the body has no end
  gzip        the body is sent compressed, and called so
  cut         the connection ends after `bytes` bytes of the body
  randomcut   the same after a random number of bytes, `bytes` at most
  slow        a pause of `seconds` before each 64 KiB
  slowhead    a pause of `seconds` before each line of the answer's head
  norange     a range is answered with 200 and the whole
  wrongrange  a range is answered with the one that begins a byte later
  longrange   a range is answered with one that ends `bytes` bytes later
  status      `status` is the answer
  redirect    the client is sent to `location` (http, an address, another port: whatever it says)
  loop        the client is sent to where it is
Of manifests alone:
  names       a layer is called ../../../../etc/passwd
  duplicate   a layer is there twice, with two sizes
  huge        a layer is declared to have `bytes` bytes
"""

from __future__ import annotations

import json
import random
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

CONTROL = Path("/run/registry/control.json")
MANIFEST_KINDS = ("names", "duplicate", "huge")
KINDS = (
    "ok",
    "lie",
    "size",
    "short",
    "endless",
    "gzip",
    "cut",
    "randomcut",
    "slow",
    "slowhead",
    "norange",
    "wrongrange",
    "longrange",
    "status",
    "redirect",
    "loop",
    *MANIFEST_KINDS,
)
# What a default says of blobs alone; a manifest that lies is asked for by name.
WHOLE_SITE = ("slow", "slowhead", "status")
CHUNK = 64 * 1024


@dataclass(frozen=True)
class Fault:
    """One way to misbehave. `bytes` in bytes, `seconds` in seconds, `times` 0 for always."""

    kind: str = "ok"
    bytes: int = 1024
    seconds: float = 1.0
    status: int = 503
    location: str = ""
    times: int = 0


def parse_fault(value: Any) -> Fault:
    """Validate one fault. Raises ValueError with what is wrong."""
    if not isinstance(value, dict) or value.get("kind") not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}")
    fault = Fault(**value)
    if fault.bytes < 0 or fault.seconds < 0 or fault.times < 0 or not 400 <= fault.status <= 599:
        raise ValueError("bytes, seconds and times must not be negative, status is 400 to 599")
    if fault.kind == "redirect" and not fault.location:
        raise ValueError("redirect needs a location")
    return fault


@dataclass(frozen=True)
class Faults:
    """The whole control file; `stamp` tells one from the next."""

    default: Fault
    blobs: dict[str, Fault]
    manifests: dict[str, Fault]
    stamp: int = 0

    def for_blob(self, digest: str) -> Fault:
        """What to do with a blob; the default applies to blobs that are not named."""
        return self.blobs.get(digest, self.default)

    def for_manifest(self, reference: str) -> Fault:
        """What to do with a manifest: only what was asked for it by name, or a default of the whole site."""
        named = self.manifests.get(reference)
        if named is not None:
            return named
        return self.default if self.default.kind in WHOLE_SITE else Fault()


def parse_faults(document: Any, stamp: int = 0) -> Faults:
    """Validate a control file's content. Raises ValueError."""
    return Faults(
        default=parse_fault(document.get("default", {"kind": "ok"})),
        blobs={str(name): parse_fault(item) for name, item in document.get("blobs", {}).items()},
        manifests={str(name): parse_fault(item) for name, item in document.get("manifests", {}).items()},
        stamp=stamp,
    )


def load_faults(control: Path = CONTROL) -> Faults:
    """Read the control file; without one the registry is honest. Raises ValueError for a broken one."""
    if not control.exists():
        return Faults(Fault(), {}, {})
    return parse_faults(json.loads(control.read_text(encoding="utf-8")), control.stat().st_mtime_ns)


def lying_manifest(body: bytes, fault: Fault) -> bytes:
    """A manifest's bytes with the fault applied."""
    if fault.kind == "lie":
        return body[:-2] + b" " + body[-2:]
    if fault.kind == "size":
        return body + b" " * fault.bytes
    if fault.kind == "short":
        return body[: fault.bytes]
    if fault.kind not in MANIFEST_KINDS:
        return body
    document = json.loads(body)
    layer = document["layers"][0]
    if fault.kind == "names":
        layer["digest"] = "sha256:../../../../etc/passwd"
    elif fault.kind == "duplicate":
        document["layers"].append({**layer, "size": layer["size"] + 1})
    else:
        layer["size"] = fault.bytes
    return json.dumps(document).encode()


class HangUpError(Exception):
    """The connection shall end here, in the middle of an answer."""


def lying_body(source: BinaryIO, start: int, end: int, size: int, fault: Fault) -> Iterator[bytes]:
    """Bytes start..end of a file of `size` bytes, with the fault applied; behind the file's end there are zeros.

    Raises HangUpError where the connection shall be cut.
    """
    limit = {"cut": fault.bytes, "randomcut": random.randint(0, fault.bytes)}.get(fault.kind, end - start)
    flipped = size // 2
    position = start
    source.seek(start)
    packer = zlib.compressobj(wbits=31)
    while position < end or fault.kind == "endless":
        wanted = min(CHUNK, end - position) if fault.kind != "endless" else CHUNK
        data = bytearray(source.read(wanted) or bytes(wanted))
        if fault.kind == "lie" and position <= flipped < position + len(data):
            data[flipped - position] ^= 0x01
        if fault.kind == "slow":
            time.sleep(fault.seconds)
        if fault.kind in ("cut", "randomcut") and position - start + len(data) >= limit:
            yield bytes(data[: limit - (position - start)])
            raise HangUpError
        yield packer.compress(data) if fault.kind == "gzip" else bytes(data)
        position += len(data)
    if fault.kind == "gzip":
        yield packer.flush()
