# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama's on-disk store: where things lie, and a look at everything in it without following a link (row S3).

manifests/<host>/<namespace>/<model>/<tag>    the registry's raw manifest
blobs/sha256-<64 hex>                         config and layers
.publishing/, .lock                           ours: copies on their way in, and the publisher's lock
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional, Union

from .findings import Finding, FindingError, Severity, clean_text
from .hashing import FileStatus, kind_of, read_plain
from .manifest import MANIFEST_MAX_BYTES, Manifest, parse_manifest, sha256_of
from .names import ModelName, blob_file, digest_of_file, name_from_parts

MANIFESTS = "manifests"
BLOBS = "blobs"
PUBLISHING = ".publishing"
LOCK = ".lock"
FILE_MODE = 0o444
DIRECTORY_MODE = 0o755
# A hostile or broken store may hold 100,000 stray files: each code is told this often, then counted.
FINDINGS_PER_CODE = 50

_PARTIAL = re.compile(r"(-partial(-\d+)?|\.tmp|\.part)\Z|\Asha256-\d{1,20}\Z")


class FindingList:
    """Findings in the order they were made, at most FINDINGS_PER_CODE of one code; the rest is counted."""

    def __init__(self) -> None:
        self._items: list[Finding] = []
        self._counts: dict[str, int] = {}
        # Of each code that was cut short: the worst of what is not told one by one. It decides the verdict.
        self._cut: dict[str, Finding] = {}

    def add(self, code: str, severity: Severity, subject: str, evidence: object, remedy: str) -> None:
        """Record one finding."""
        if self._wanted(code, severity):
            self._keep(Finding(code, severity, subject, str(evidence), remedy))

    def append(self, finding: Finding) -> None:
        """Record a finding that is made already."""
        if self._wanted(finding.code, finding.severity):
            self._keep(finding)

    def _wanted(self, code: str, severity: Severity) -> bool:
        """Count a finding; return whether it is to be kept: as one of the first, or as the worst of the rest."""
        self._counts[code] = self._counts.get(code, 0) + 1
        cut = self._cut.get(code)
        return self._counts[code] <= FINDINGS_PER_CODE or cut is None or severity.rank > cut.severity.rank

    def _keep(self, finding: Finding) -> None:
        if self._counts[finding.code] <= FINDINGS_PER_CODE:
            self._items.append(finding)
        else:
            self._cut[finding.code] = finding

    def count(self, *codes: str) -> int:
        """Return how often any of the codes was recorded, the uncounted ones included."""
        return sum(self._counts.get(code, 0) for code in codes)

    def items(self) -> list[Finding]:
        """Return the findings, with one more of each code that was cut short."""
        items = list(self._items)
        for code, worst in self._cut.items():
            evidence = "{0} more like the {1} named".format(self._counts[code] - FINDINGS_PER_CODE, FINDINGS_PER_CODE)
            items.append(Finding(code, worst.severity, "the store", evidence, worst.remedy))
        return items


@dataclass(frozen=True)
class StoredModel:
    """A manifest found in the store: its name, path relative to the store, digest of its bytes, and its
    content.

    `manifest` is None when it could not be parsed; `refusal` then says why.
    """

    name: ModelName
    path: str
    digest: str
    manifest: Optional[Manifest]
    refusal: Optional[Finding] = None


@dataclass
class StoreContent:
    """Everything found in a store: models, blob files ({digest: status}) and what does not belong.

    `nameless` are files where manifests lie (paths relative to the store) whose path is no model's name.
    `complete` is false when a directory or a manifest could not be read: there may be more models than these.
    """

    models: list[StoredModel] = field(default_factory=list)
    blobs: dict[str, FileStatus] = field(default_factory=dict)
    nameless: list[str] = field(default_factory=list)
    complete: bool = True
    findings: FindingList = field(default_factory=FindingList)


class ModelStore:
    """A store's root and the paths in it. `uid` and `gid` are who must own it (root, unless a test says
    otherwise).
    """

    def __init__(self, root: Union[str, Path], uid: int = 0, gid: int = 0) -> None:
        # Made absolute, not resolved: a store that is a symbolic link is refused, not followed.
        self.root = Path.cwd() / root
        self.uid = uid
        self.gid = gid

    def path(self, *parts: str) -> Path:
        """Return the path of something below the root."""
        return self.root.joinpath(*parts)

    def blob_path(self, digest: str) -> Path:
        """Return where a blob lies. Raises FindingError for what is no digest."""
        return self.path(BLOBS, blob_file(digest))

    def manifest_path(self, name: ModelName) -> Path:
        """Return where a model's manifest lies."""
        return self.path(MANIFESTS, *name.parts)

    def exists(self) -> bool:
        """Whether the root is a directory (a symbolic link is none)."""
        try:
            return stat.S_ISDIR(os.lstat(self.root).st_mode)
        except OSError:
            return False

    def look(self) -> StoreContent:
        """Return what is in the store, hashing manifests but no blob. A missing store is one finding; never
        raises.
        """
        content = StoreContent()
        if not self.exists():
            content.findings.add(
                "STORE-MISSING",
                Severity.HIGH,
                str(self.root),
                "there is no directory at this path",
                "Name the store's directory, or publish a model into it (ollama_model).",
            )
            return content
        self._check_entry(self.root, os.lstat(self.root), content.findings)
        for name, path, status in self._entries(self.root, content):
            self._look_top(name, path, status, content)
        return content

    def _look_top(self, name: str, path: Path, status: os.stat_result, content: StoreContent) -> None:
        findings = content.findings
        if name == LOCK and stat.S_ISREG(status.st_mode):
            return
        if name == PUBLISHING and stat.S_ISDIR(status.st_mode):
            for inner, _path, _status in self._entries(path, content):
                findings.add(
                    "STORE-PARTIAL",
                    Severity.LOW,
                    "{0}/{1}".format(PUBLISHING, inner),
                    "left by an interrupted run",
                    "Run ollama_model again: the publisher clears it.",
                )
        elif name == "manifest-v2":
            findings.add(
                "STORE-MANIFEST-V2",
                Severity.HIGH,
                name,
                "a newer Ollama laid out manifests here, unseen by this check",
                "Remove it, and pin an Ollama version whose store format is known.",
            )
        elif name in (MANIFESTS, BLOBS) and stat.S_ISDIR(status.st_mode):
            self._check_entry(path, status, findings)
            if name == BLOBS:
                self._look_blobs(content)
            else:
                self._look_manifests(path, (), content)
        else:
            self._unexpected(path, status, findings)

    def _look_blobs(self, content: StoreContent) -> None:
        for name, path, status in self._entries(self.path(BLOBS), content):
            digest = digest_of_file(name)
            if digest and stat.S_ISREG(status.st_mode):
                self._check_entry(path, status, content.findings)
                content.blobs[digest] = FileStatus.of(status)
            elif stat.S_ISREG(status.st_mode) and _PARTIAL.search(name):
                content.findings.add(
                    "STORE-PARTIAL",
                    Severity.MEDIUM,
                    self._relative(path),
                    "left by an interrupted download",
                    "Delete the file: nothing refers to it.",
                )
            else:
                self._unexpected(path, status, content.findings)

    def _look_manifests(self, directory: Path, parts: tuple[str, ...], content: StoreContent) -> None:
        """Walk host/namespace/model/tag: directories on the first three levels, files on the fourth."""
        for name, path, status in self._entries(directory, content):
            inner = parts + (name,)
            if len(inner) < 4 and stat.S_ISDIR(status.st_mode):
                self._check_entry(path, status, content.findings)
                self._look_manifests(path, inner, content)
            elif len(inner) == 4 and stat.S_ISREG(status.st_mode):
                self._check_entry(path, status, content.findings)
                self._read_model(inner, path, content)
            else:
                self._unexpected(path, status, content.findings)

    def _read_model(self, parts: tuple[str, ...], path: Path, content: StoreContent) -> None:
        relative = self._relative(path)
        try:
            name = name_from_parts(*parts)
        except FindingError as error:
            content.nameless.append(relative)
            content.findings.add(
                "STORE-MANIFEST-INVALID",
                Severity.HIGH,
                relative,
                error.finding.evidence,
                "Delete the file: Ollama may list it as a model.",
            )
            return
        try:
            data = read_plain(path, MANIFEST_MAX_BYTES)
        except OSError as error:
            content.complete = False
            content.findings.add(
                "STORE-READ-ERROR",
                Severity.HIGH,
                relative,
                error.strerror or error,
                "Check the disk, then verify again.",
            )
            return
        try:
            content.models.append(StoredModel(name, relative, sha256_of(data), parse_manifest(data, relative)))
        except FindingError as error:
            content.findings.append(error.finding)
            content.models.append(StoredModel(name, relative, sha256_of(data), None, error.finding))

    def _entries(self, directory: Path, content: StoreContent) -> Iterator[tuple[str, Path, os.stat_result]]:
        """Yield (name, path, status of the thing itself) of a directory, sorted; unreadable ones become
        findings.
        """
        findings = content.findings
        try:
            with os.scandir(directory) as listing:
                names = sorted(entry.name for entry in listing)
        except OSError as error:
            content.complete = False
            findings.add(
                "STORE-READ-ERROR",
                Severity.HIGH,
                self._relative(directory),
                error.strerror or error,
                "Check permissions and the disk, then verify again.",
            )
            return
        for name in names:
            path = directory / name
            try:
                yield name, path, os.lstat(path)
            except OSError as error:
                content.complete = False
                findings.add(
                    "STORE-CHANGED",
                    Severity.MEDIUM,
                    self._relative(path),
                    "it went away while it was looked at ({0})".format(error.strerror or error),
                    "Verify again when nothing writes to the store.",
                )

    def _check_entry(self, path: Path, status: os.stat_result, findings: FindingList) -> None:
        """Record a wrong owner or mode, and further names (hard links) of a file."""
        mode = stat.S_IMODE(status.st_mode)
        wanted = DIRECTORY_MODE if stat.S_ISDIR(status.st_mode) else FILE_MODE
        if mode != wanted:
            loose = mode & 0o022 or mode & 0o7000 or (wanted == FILE_MODE and mode & 0o111)
            findings.add(
                "STORE-MODE",
                Severity.HIGH if loose else Severity.MEDIUM,
                self._relative(path),
                "mode {0:04o}, must be {1:04o}".format(mode, wanted),
                "Run ollama_model again, or chmod it.",
            )
        if (status.st_uid, status.st_gid) != (self.uid, self.gid):
            findings.add(
                "STORE-OWNER",
                Severity.HIGH,
                self._relative(path),
                "owned by {0}:{1}, must be {2}:{3}".format(status.st_uid, status.st_gid, self.uid, self.gid),
                "Run ollama_model again: whoever owns a file can rewrite it.",
            )
        if stat.S_ISREG(status.st_mode) and status.st_nlink != 1:
            findings.add(
                "STORE-HARDLINK",
                Severity.MEDIUM,
                self._relative(path),
                "the file has {0} names".format(status.st_nlink),
                "Run ollama_model again: it publishes a file of its own.",
            )

    def _unexpected(self, path: Path, status: os.stat_result, findings: FindingList) -> None:
        relative = self._relative(path)
        if stat.S_ISLNK(status.st_mode):
            try:
                target = clean_text(path.readlink(), 200)
            except OSError:
                target = "?"
            findings.add(
                "STORE-SYMLINK",
                Severity.HIGH,
                relative,
                "a symbolic link to {0}".format(target),
                "Delete it: a store holds plain files only.",
            )
            return
        findings.add(
            "STORE-UNEXPECTED-FILE",
            Severity.MEDIUM,
            relative,
            "a {0} that is no part of a store".format(kind_of(status.st_mode)),
            "Delete it, or move it elsewhere.",
        )

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self.root) if path != self.root else self.root)
