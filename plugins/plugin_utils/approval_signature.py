# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures of approvals: what is signed, and whether a signature of ssh-keygen holds (rows S6, T2).

Signed is the canonical JSON of the entry without its signatures, so that comments, order and quoting of the YAML
may change and nothing else. The verdict is ssh-keygen's; keys, expiry and revocation are those of its own files.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.rampart.ollama.plugins.module_utils.findings import (
    FindingError,
    Severity,
    clean_text,
    refuse,
)

from .approval_signers import AllowedSigners, read_key_file, read_signers

# Signatures made for anything else (a commit, a file) are none of an approval.
NAMESPACE = "rampart-approval@v1"
VERIFY_SECONDS = 30
_ARMOR = re.compile(r"-----BEGIN SSH SIGNATURE-----\n([A-Za-z0-9+/=\n]{1,16000})-----END SSH SIGNATURE-----\n?\Z")
_MAGIC = b"SSHSIG"


def payload(entry: Mapping[str, Any]) -> bytes:
    """Return the bytes that a signature of `entry` is over: JSON, keys sorted, no spaces, UTF-8, no signatures.

    The entry has passed the schema, so it holds texts, whole numbers, lists and mappings only.
    """
    signed = {key: value for key, value in entry.items() if key != "signatures"}
    return json.dumps(
        signed, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode("utf-8")


@dataclass(frozen=True)
class Signature:
    """A parsed signature: the bytes inside the armor, and the public key that they say made it."""

    blob: bytes
    key: bytes

    @property
    def armored(self) -> str:
        """The signature in the one form that leaves nothing to interpretation."""
        text = base64.b64encode(self.blob).decode("ascii")
        lines = [text[start : start + 70] for start in range(0, len(text), 70)]
        return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""])


def parse_signature(text: str) -> Signature:
    """Return the signature in an armored text. Raises ValueError when it is none, or not one alone."""
    match = _ARMOR.match(text.strip() + "\n")
    if not match:
        raise ValueError("it is no armored SSH signature")
    try:
        blob = base64.b64decode(match[1].replace("\n", ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("its armor is not base64") from error
    # "SSHSIG", version, then the public key as a string with its length.
    length = int.from_bytes(blob[10:14], "big")
    if not blob.startswith(_MAGIC) or len(blob) < 14 + length or not length:
        raise ValueError("its armor holds no SSH signature")
    return Signature(blob, blob[14 : 14 + length])


def require_ssh_keygen(program: str = "ssh-keygen") -> str:
    """Return the path of ssh-keygen. Raises FindingError (APPROVAL-SSH-KEYGEN) when it is not installed."""
    path = shutil.which(program)
    if path is None:
        raise refuse(
            "APPROVAL-SSH-KEYGEN",
            program,
            "it is not installed on the controller",
            "Install OpenSSH's client (Debian: openssh-client), 8.9 or newer, then run again.",
        )
    return path


@contextmanager
def files(contents: Mapping[str, bytes]) -> Iterator[dict[str, str]]:
    """Yield {name: path} of files in a directory that only this user can enter; it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="rampart-") as directory:
        paths = {}
        for name, data in contents.items():
            path = Path(directory) / name
            path.write_bytes(data)
            paths[name] = str(path)
        yield paths


class Verifier:
    """Verifies signatures against one allowed_signers file and, if there is one, a list of revoked keys (KRL)."""

    def __init__(self, signers: AllowedSigners, revoked_keys: bytes | None = None) -> None:
        self.signers = signers
        self.revoked_keys = revoked_keys
        self._program = require_ssh_keygen()

    @classmethod
    def from_files(cls, signers: str | Path, revoked_keys: str | Path | None = None) -> Verifier:
        """Read the files. Raises FindingError: APPROVAL-SIGNERS-MISSING, APPROVAL-SIGNERS-INVALID,
        APPROVAL-REVOKED-KEYS, APPROVAL-SSH-KEYGEN.
        """
        listed = read_signers(signers)
        krl = read_key_file(revoked_keys, "APPROVAL-REVOKED-KEYS", "the revoked keys") if revoked_keys else None
        return cls(listed, krl)

    def verify(self, data: bytes, signer: str, text: str, subject: str) -> Signature:
        """Return the signature when it is `signer`'s over `data`. Raises FindingError
        (APPROVAL-SIGNATURE-INVALID).
        """
        try:
            signature = parse_signature(text)
        except ValueError as error:
            raise _bad(subject, signer, error) from error
        contents = {"allowed_signers": self.signers.data, "signature": signature.armored.encode("ascii")}
        if self.revoked_keys is not None:
            contents["revoked_keys"] = self.revoked_keys
        with files(contents) as paths:
            command = [self._program, "-Y", "verify", "-n", NAMESPACE, "-I", signer]
            command += ["-f", paths["allowed_signers"], "-s", paths["signature"]]
            if "revoked_keys" in paths:
                command += ["-r", paths["revoked_keys"]]
            status, said = run_ssh_keygen(command, data)
        if status:
            for name, path in paths.items():
                said = said.replace(path, name)
            raise _bad(subject, signer, said or "ssh-keygen ended with status {0}".format(status))
        return signature


def run_ssh_keygen(command: list[str], data: bytes) -> tuple[int, str]:
    """Run ssh-keygen on `data` and return (exit status, what it said), never raising for what it finds."""
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, input=data, capture_output=True, timeout=VERIFY_SECONDS, check=False, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, clean_text(error, 200)
    return done.returncode, clean_text(done.stderr.decode("utf-8", "replace"), 300)


def holds(data: bytes, text: str) -> bool:
    """Whether a signature is over `data` at all, whoever made it: no list of signers is asked."""
    try:
        armored = parse_signature(text).armored
    except ValueError:
        return False
    with files({"signature": armored.encode("ascii")}) as paths:
        command = [require_ssh_keygen(), "-Y", "check-novalidate", "-n", NAMESPACE, "-s", paths["signature"]]
        return run_ssh_keygen(command, data)[0] == 0


def _bad(subject: str, signer: str, why: object) -> FindingError:
    return refuse(
        "APPROVAL-SIGNATURE-INVALID",
        subject,
        "the signature of {0} does not hold: {1}".format(clean_text(signer, 60), clean_text(why, 250)),
        "Find out what changed in the entry or in allowed_signers; then have an allowed signer review and sign it.",
        Severity.CRITICAL,
    )
