# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The allowed_signers file of ssh-keygen, and who a key belongs to (row T2).

ssh-keygen decides whether a signature holds. This only reads which key is listed for whom, to tell one person from
another: a key under two names is one person. What it could not judge (certificates) is refused, as is a file that
ssh-keygen and this might read differently.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, clean_text, refuse
from ansible_collections.rampart.ollama.plugins.module_utils.hashing import UnsafeFileError, read_plain

SIGNERS_MAX_BYTES = 1024 * 1024
_OPTION = re.compile(r'(?P<name>[a-z-]+)(?:="(?P<value>[^"]*)")?(?P<more>,|\Z)')
_OPTIONS = ("namespaces", "valid-after", "valid-before")
_KEY_TYPE = re.compile(r"\A[a-z0-9-]+(@openssh\.com)?\Z")
_REMEDY = "Correct the file (ALLOWED SIGNERS in man ssh-keygen), then run again."


@dataclass(frozen=True)
class Signer:
    """One line of the file: the patterns of names it is for, and its public key's bytes."""

    patterns: tuple[str, ...]
    key: bytes

    def names(self, principal: str) -> bool:
        """Whether the line is for `principal`, whatever the case of either."""
        wanted = principal.strip().casefold()
        positive = False
        for pattern in self.patterns:
            if _glob(pattern.removeprefix("!")).match(wanted):
                if pattern.startswith("!"):
                    return False
                positive = True
        return positive


@dataclass(frozen=True)
class AllowedSigners:
    """The allowed signers, the file's bytes as they were read, and its path for messages."""

    path: str
    data: bytes
    signers: tuple[Signer, ...]

    def holds(self, key: bytes, principal: str) -> bool:
        """Whether `principal` is someone whose key this is."""
        return any(signer.key == key and signer.names(principal) for signer in self.signers)

    def knows(self, principal: str) -> bool:
        """Whether a line names `principal` in full: a pattern fits names that nobody has."""
        wanted = principal.strip().casefold()
        return any(
            signer.names(wanted) and wanted in [pattern.casefold() for pattern in signer.patterns]
            for signer in self.signers
        )


def _glob(pattern: str) -> re.Pattern[str]:
    parts = (".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern.casefold())
    return re.compile(r"\A{0}\Z".format("".join(parts)), re.DOTALL)


def read_signers(path: str | Path) -> AllowedSigners:
    """Return the allowed signers in a file. Raises FindingError: APPROVAL-SIGNERS-MISSING,
    APPROVAL-SIGNERS-INVALID.
    """
    data = read_key_file(path, "APPROVAL-SIGNERS-MISSING", "the allowed signers")
    if len(data) > SIGNERS_MAX_BYTES:
        raise _invalid(path, "longer than {0} bytes".format(SIGNERS_MAX_BYTES))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _invalid(path, "not UTF-8 from byte {0} on".format(error.start)) from error
    signers = []
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            signer = _parse_line(line)
        except ValueError as error:
            raise _invalid(path, "line {0}: {1}".format(number, error)) from error
        if signer is not None:
            signers.append(signer)
    return AllowedSigners(str(path), data, tuple(signers))


def read_key_file(path: str | Path, code: str, what: str) -> bytes:
    """Return the bytes of a file of keys, at most one more than SIGNERS_MAX_BYTES; `code` is for when it cannot be."""
    try:
        return read_plain(path, SIGNERS_MAX_BYTES)
    except OSError as error:
        why = "it is {0}".format(error) if isinstance(error, UnsafeFileError) else error.strerror or error
        raise refuse(
            code,
            str(path),
            "{0} cannot be read: {1}".format(what, why),
            "Put the plain file there (docs/models_registry.md says how), or name another one.",
        ) from error


def _invalid(path: str | Path, why: str) -> FindingError:
    return refuse("APPROVAL-SIGNERS-INVALID", str(path), why, _REMEDY)


def _parse_line(line: str) -> Signer | None:
    """Return the signer of a line, None for an empty one or a comment. Raises ValueError with what is wrong."""
    if "\r" in line or "\0" in line:
        raise ValueError("it holds a carriage return or a null byte; write the file with Unix line ends")
    fields = line.strip(" \t")
    if not fields or fields.startswith("#"):
        return None
    principals, _space, rest = _split(fields)
    if '"' in principals:
        raise ValueError("quoted names are not accepted: a name has no spaces")
    first, _space, after = _split(rest)
    if _options_end(rest) > len(first):
        first, after = rest[: _options_end(rest)], rest[_options_end(rest) :].strip(" \t")
    if "=" in first or first == "cert-authority" or first.startswith("cert-authority,"):
        _judge_options(first)
        first, _space, after = _split(after)
    if not _KEY_TYPE.match(first) or "-cert-" in first:
        raise ValueError("{0!r} is no type of a plain public key".format(clean_text(first, 40)))
    encoded = _split(after)[0]
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("its key is not base64") from error
    if not key.startswith(len(first).to_bytes(4, "big") + first.encode("ascii")):
        raise ValueError("its key is not of type {0}".format(first))
    return Signer(tuple(part for part in principals.split(",") if part), key)


def _split(text: str) -> tuple[str, str, str]:
    match = re.search(r"[ \t]+", text)
    return (text[: match.start()], " ", text[match.end() :]) if match else (text, "", "")


def _options_end(text: str) -> int:
    """Return where a list of options ends: at the first white space outside quotes."""
    quoted = False
    for position, char in enumerate(text):
        if char == '"':
            quoted = not quoted
        elif char in " \t" and not quoted:
            return position
    return len(text)


def _judge_options(text: str) -> None:
    position = 0
    while position < len(text):
        match = _OPTION.match(text, position)
        name = match["name"] if match else ""
        if name == "cert-authority":
            raise ValueError("certificate authorities are not accepted: they cannot tell one person from another")
        if match is None or name not in _OPTIONS or match["value"] is None:
            raise ValueError("the option {0!r} is unknown".format(clean_text(text[position:], 40)))
        position = match.end()
