# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is seen of a device before anything is decided about it; plain data, to be recorded and judged again.

Looks only. What cannot be seen is written down as such: the judge (`luks_decide`) makes a refusal of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from .luks_tools import Answer, Runner, run

# The head is what a LUKS2 header takes by default, the tail is where RAID, ZFS and a spare GPT leave their marks.
HEAD_BYTES = 16 * 1024 * 1024
TAIL_BYTES = 1024 * 1024
PIECE = 1024 * 1024
_BLANK = bytes(PIECE)
_NO_ANSWER = Answer(-1, "", "not asked")
BLANK, INTERRUPTED, DATA, UNREAD = "blank", "interrupted", "data", "unread"


@dataclass(frozen=True)
class Observation:
    """A device as it was seen.

    `kind` is block, file, directory, absent or other; `device` is "major:minor"; `links` are the names below
    /dev/disk/by-id and where they lead; `content` is blank, interrupted (what is there is the beginning of a header
    that this collection was writing), data or unread.
    """

    requested: str
    path: str = ""
    kind: str = "absent"
    device: str = ""
    size: int = 0
    read_only: Optional[bool] = None
    lsblk: Answer = _NO_ANSWER
    blkid: Answer = _NO_ANSWER
    wipefs: Answer = _NO_ANSWER
    mounts: str = ""
    swaps: str = ""
    holders: tuple[str, ...] = ()
    holders_seen: bool = False
    links: dict[str, str] = field(default_factory=dict)
    content: str = UNREAD

    def as_dict(self) -> dict[str, Any]:
        """Return plain data, as `from_dict` reads it."""
        data = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name in ("lsblk", "blkid", "wipefs"):
            data[name] = data[name].as_dict()
        return {**data, "holders": list(self.holders), "links": dict(self.links)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Observation:
        """Return the observation of a recording. Raises TypeError or KeyError for what is none."""
        values = dict(data)
        for name in ("lsblk", "blkid", "wipefs"):
            if name in values:
                values[name] = Answer(**values[name])
        values["holders"] = tuple(values.get("holders", ()))
        return cls(**values)

    def fingerprint(self) -> str:
        """Return one text for everything that may not change between the look and the act."""
        own = {
            "path": self.path, "kind": self.kind, "device": self.device, "size": self.size, "ro": self.read_only,
            "blkid": self.blkid.as_dict(), "wipefs": self.wipefs.as_dict(), "holders": sorted(self.holders),
            "links": sorted(name for name, target in self.links.items() if target == self.path),
            "content": self.content, "lsblk": _without_counters(self.lsblk.out),
        }  # fmt: skip
        return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()


def _without_counters(text: str) -> Any:
    """Return lsblk's tree without what changes by itself: the free space of other file systems."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: strip(item) for key, item in value.items() if not key.startswith(("fsused", "fsuse%", "fsavail"))
            }
        return [strip(item) for item in value] if isinstance(value, list) else value

    try:
        return strip(json.loads(text))
    except ValueError:
        return text


class Looker:
    """Looks at a device below `root` (the host's "/") with a runner of programs."""

    def __init__(self, runner: Runner = run, root: str = "/") -> None:
        self.runner = runner
        self.root = Path(root)

    def observe(self, requested: str, staged: Optional[Path] = None, descriptor: Optional[int] = None) -> Observation:
        """Look at a device. `staged` is the header of an interrupted format; `descriptor` an open file of the device.

        Raises nothing for what the device is.
        """
        path = os.path.realpath(requested)
        try:
            found = os.stat(path)
        except OSError:
            return Observation(requested, path, "absent")
        if not stat.S_ISBLK(found.st_mode):
            kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory"}
            return Observation(requested, path, kinds.get(stat.S_IFMT(found.st_mode), "other"), size=found.st_size)
        device = "{0}:{1}".format(os.major(found.st_rdev), os.minor(found.st_rdev))
        system = self.root / "sys/dev/block" / device
        size = self._number(system / "size")
        holders = self._holders(system)
        return Observation(
            requested=requested,
            path=path,
            kind="block",
            device=device,
            size=0 if size is None else size * 512,
            read_only={0: False, 1: True}.get(-1 if (flag := self._number(system / "ro")) is None else flag),
            lsblk=self.runner(["lsblk", "--json", "--bytes", "--output-all"]),
            blkid=self.runner(["blkid", "-p", "-o", "export", path]),
            wipefs=self.runner(["wipefs", "--no-act", "--json", path]),
            mounts=self._text("proc/self/mountinfo"),
            swaps=self._text("proc/swaps"),
            holders=tuple(holders or ()),
            holders_seen=holders is not None,
            links=self._links(),
            content=self._content(path, staged, descriptor),
        )

    def _text(self, name: str) -> str:
        try:
            return (self.root / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def _number(self, path: Path) -> Optional[int]:
        try:
            return int(path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    def _holders(self, system: Path) -> Optional[list[str]]:
        """Return what the kernel builds on the device and on its partitions, None where that cannot be seen."""
        try:
            found = sorted(item.name for item in (system / "holders").iterdir())
            for part in sorted(system.resolve().iterdir()):
                if (part / "partition").exists():
                    found += sorted(item.name for item in (part / "holders").iterdir())
            return found
        except OSError:
            return None

    def _links(self) -> dict[str, str]:
        directory = Path("/dev/disk/by-id")
        try:
            return {str(item): os.path.realpath(item) for item in sorted(directory.iterdir())}
        except OSError:
            return {}

    def _content(self, path: str, staged: Optional[Path], descriptor: Optional[int]) -> str:
        opened = -1
        try:
            opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if descriptor is None else os.dup(descriptor)
            return content_of(opened, staged)
        except OSError:
            return UNREAD
        finally:
            if opened >= 0:
                os.close(opened)


def content_of(descriptor: int, staged: Optional[Path] = None) -> str:
    """Say what head and tail of an open device hold. Raises OSError.

    Interrupted means: the tail is blank, and every sector of the head is blank or the same as in `staged`, the header
    that was being written. Nobody else's data is taken for that.
    """
    size = os.lseek(descriptor, 0, os.SEEK_END)
    tail = min(TAIL_BYTES, size)
    if size == 0:
        return UNREAD
    if not _is_blank(_read(descriptor, tail, size - tail)):
        return DATA
    verdict = BLANK
    header = _open_staged(staged)
    try:
        for offset in range(0, min(HEAD_BYTES, size), PIECE):
            piece = _read(descriptor, min(PIECE, size - offset), offset)
            if _is_blank(piece):
                continue
            if header is None or not _is_part_of(piece, _read(header, len(piece), offset, short=True)):
                return DATA
            verdict = INTERRUPTED
    finally:
        if header is not None:
            os.close(header)
    return verdict


def _open_staged(staged: Optional[Path]) -> Optional[int]:
    """Open the header of an interrupted format: a file that only root can have written."""
    if staged is None or not staged.exists():
        return None
    descriptor = os.open(staged, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
        return descriptor
    os.close(descriptor)
    return None


def _read(descriptor: int, length: int, offset: int, short: bool = False) -> bytes:
    data = b""
    while len(data) < length:
        piece = os.pread(descriptor, length - len(data), offset + len(data))
        if not piece:
            break
        data += piece
    if len(data) < length and not short:
        raise OSError("the device ended early")
    return data


def _is_blank(piece: bytes) -> bool:
    return piece == _BLANK[: len(piece)] or piece == b"\xff" * len(piece)


def _is_part_of(piece: bytes, header: bytes, sector: int = 512) -> bool:
    zero = bytes(sector)
    return len(piece) == len(header) and all(
        piece[at : at + sector] in (zero[: len(piece) - at], header[at : at + sector])
        for at in range(0, len(piece), sector)
    )
