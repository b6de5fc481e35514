# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages are in an image and on a host: the lists that roles/sbom takes, read strictly (row S8).

A list of an image is what its own tools said in a throw-away container: sections of `[os-release]`, `[dpkg]`,
`[python]` and, so that a cut list is not taken for a short one, `[end]`. An image that has no shell to ask is
`[none]`. What an image says of itself is data from outside: bounded, and every line has its form or the list is
refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, clean_text, refuse

LIST_MAX_BYTES = 16 * 1024 * 1024
PACKAGES_MAX = 50_000
REQUIREMENTS_MAX_BYTES = 16 * 1024 * 1024

_SECTION = re.compile(r"\[(os-release|dpkg|python|end|none)\]\Z")
_OS_LINE = re.compile(r"\A([A-Z][A-Z0-9_]*)=(?:\"([^\"\\]*)\"|'([^']*)'|([^\s\"'\\]*))\Z")
_OS_ID = re.compile(r"\A[a-z0-9][a-z0-9._-]{0,63}\Z")
_DEB_NAME = re.compile(r"\A[a-z0-9][a-z0-9+.-]{0,255}\Z")
_DEB_VERSION = re.compile(r"\A[A-Za-z0-9.+:~-]{1,255}\Z")
_DEB_ARCH = re.compile(r"\A[a-z0-9][a-z0-9-]{0,63}\Z")
_DIST_INFO = re.compile(r"\A(?:.*/)?([A-Za-z0-9][A-Za-z0-9._]{0,127})-([A-Za-z0-9][A-Za-z0-9.+!_]{0,127})\.dist-info\Z")
_PIN = re.compile(r"\A([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[A-Za-z0-9,._ -]*\])?==([A-Za-z0-9.+!_-]+)(?:\s*;.*)?\Z")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})\Z")


@dataclass(frozen=True, order=True)
class Deb:
    """An installed Debian package; `source` and `source_version` are those of the package it was built from."""

    name: str
    version: str
    arch: str
    source: str = ""
    source_version: str = ""


@dataclass(frozen=True)
class Distribution:
    """`id` ("debian") and `version` ("13", or a code name where there is no number), both empty when unknown."""

    id: str = ""
    version: str = ""

    @property
    def label(self) -> str:
        """`debian-13`, the form package URLs use."""
        return "-".join(part for part in (self.id, self.version) if part)


@dataclass(frozen=True)
class ImageContent:
    """What an image holds. `listed` is false for one that could not be asked; `python` is (name, version)."""

    distribution: Distribution
    debs: tuple[Deb, ...]
    python: tuple[tuple[str, str], ...]
    listed: bool = True


def _bad_list(subject: str, why: object) -> FindingError:
    return refuse(
        "SBOM-PACKAGE-LIST",
        subject,
        why,
        "Remove this list of the image and run the role again: it is taken anew on the build host.",
    )


def parse_image_list(text: str, subject: str) -> ImageContent:
    """Return what a list says. Raises FindingError (SBOM-PACKAGE-LIST) for a list that is cut, too long or of
    another form.
    """
    if len(text) > LIST_MAX_BYTES:
        raise _bad_list(subject, "longer than {0} bytes".format(LIST_MAX_BYTES))
    sections: dict[str, list[str]] = {}
    current = ""
    for line in text.replace("\r\n", "\n").split("\n"):
        match = _SECTION.match(line)
        if match:
            current = match.group(1)
            if current in sections:
                raise _bad_list(subject, "the section [{0}] is there twice".format(current))
            sections[current] = []
        elif line.strip():
            if not current:
                raise _bad_list(subject, "it begins with {0!r}".format(clean_text(line, 60)))
            sections[current].append(line)
    if set(sections) == {"none"} and not sections["none"]:
        return ImageContent(Distribution(), (), (), listed=False)
    if set(sections) != {"os-release", "dpkg", "python", "end"} or sections["end"] or current != "end":
        raise _bad_list(subject, "it has not the sections os-release, dpkg, python, end: it may have been cut")
    debs = tuple(sorted({deb for line in sections["dpkg"] for deb in _deb(line, subject)}))
    python = tuple(sorted({_dist_info(line, subject) for line in sections["python"]}))
    if max(len(debs), len(python)) > PACKAGES_MAX:
        raise _bad_list(subject, "more than {0} packages".format(PACKAGES_MAX))
    return ImageContent(parse_os_release(sections["os-release"]), debs, python)


def parse_os_release(lines: list[str]) -> Distribution:
    """Return the distribution that the lines of /etc/os-release name; other lines are not looked at."""
    values: dict[str, str] = {}
    for line in lines:
        match = _OS_LINE.match(line)
        if match:
            values[match.group(1)] = next((value for value in match.groups()[1:] if value is not None), "")
    wanted = (values.get("ID", ""), values.get("VERSION_ID") or values.get("VERSION_CODENAME", ""))
    return Distribution(*(value if _OS_ID.match(value) else "" for value in wanted))


def _deb(line: str, subject: str) -> list[Deb]:
    """Return the package of a line of dpkg-query, or nothing for one that is not installed."""
    fields = line.split("\t")
    if len(fields) != 6:
        raise _bad_list(subject, "{0!r} is no line of dpkg-query".format(clean_text(line, 80)))
    name, version, arch, status, source, source_version = fields
    if status != "installed":
        return []
    for value, pattern in ((name, _DEB_NAME), (version, _DEB_VERSION), (arch, _DEB_ARCH)):
        if not pattern.match(value):
            raise _bad_list(subject, "{0!r} is no package".format(clean_text(line, 80)))
    if (source and not _DEB_NAME.match(source)) or (source_version and not _DEB_VERSION.match(source_version)):
        raise _bad_list(subject, "{0!r} names no source".format(clean_text(line, 80)))
    return [Deb(name, version, arch, source, source_version)]


def _dist_info(line: str, subject: str) -> tuple[str, str]:
    match = _DIST_INFO.match(line)
    if not match:
        raise _bad_list(subject, "{0!r} is no dist-info directory".format(clean_text(line, 80)))
    return canonical(match.group(1)), match.group(2)


def canonical(name: str) -> str:
    """Return a Python package's name as indexes compare it: lower case, runs of `-_.` as one `-`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def parse_requirements(text: str, subject: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return {(name, version): the sha256 of each file that may be installed} of a hash-pinned requirements file.

    Raises FindingError (SBOM-REQUIREMENTS) for a line that pins nothing.
    """
    if len(text) > REQUIREMENTS_MAX_BYTES:
        raise _bad_requirements(subject, "longer than {0} bytes".format(REQUIREMENTS_MAX_BYTES))
    pins: dict[tuple[str, str], tuple[str, ...]] = {}
    for line in text.replace("\\\n", " ").split("\n"):
        line = re.sub(r"(?:\A|\s)#.*\Z", "", line).strip()
        if not line or (line.startswith("--") and not line.startswith("--hash")):
            continue
        requirement, *hashes = re.split(r"\s+(?=--hash=)", line)
        match = _PIN.match(requirement)
        found = [_HASH.match(item.strip()) for item in hashes]
        if not match or not found or not all(found):
            raise _bad_requirements(subject, "{0!r} is not pinned by version and sha256".format(clean_text(line, 80)))
        key = (canonical(match.group(1)), match.group(2))
        pins[key] = tuple(sorted(item.group(1) for item in found if item))
    return pins


def _bad_requirements(subject: str, why: str) -> FindingError:
    return refuse("SBOM-REQUIREMENTS", subject, why, "Make the file again with scripts/lock; edit it by no hand.")


def host_debs(packages: Any) -> tuple[Deb, ...]:
    """Return the Debian packages in the facts of ansible.builtin.package_facts. Raises FindingError (SBOM-INPUT)."""
    if not isinstance(packages, Mapping):
        raise refuse(
            "SBOM-INPUT", "host packages", "no mapping of names to packages", "Give ansible_facts['packages']."
        )
    debs = set()
    for name, versions in packages.items():
        for item in versions if isinstance(versions, list) else [versions]:
            fields = item if isinstance(item, Mapping) else {}
            if fields.get("source") != "apt":
                continue
            version, arch = str(fields.get("version") or ""), str(fields.get("arch") or "")
            if _DEB_NAME.match(str(name)) and _DEB_VERSION.match(version) and _DEB_ARCH.match(arch):
                debs.add(Deb(str(name), version, arch))
                continue
            raise refuse(
                "SBOM-INPUT",
                clean_text(name, 80),
                "its version {0!r} or architecture {1!r} is none".format(clean_text(version, 40), clean_text(arch, 20)),
                "Run dpkg --audit on the host, mend what it names, then run again.",
            )
    return tuple(sorted(debs))
