# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signing an approval with ssh-keygen: with a key file, an agent's key or a token's (rows S6, T2).

ssh-keygen itself asks for what it needs: through the agent, through SSH_ASKPASS where there is a desktop, else on the
terminal that Ansible was started on. A passphrase never passes through Ansible, and no argument ever holds one.
"""

from __future__ import annotations

import base64
import binascii
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.rampart.ollama.plugins.module_utils.findings import clean_text, refuse

from .approval_signature import NAMESPACE, files, holds, parse_signature, payload, require_ssh_keygen

# A person reads a prompt, finds a token and touches it.
SIGN_SECONDS = 300
_KEY_MAX_BYTES = 64 * 1024

# Run by ssh-keygen as SSH_ASKPASS. Ansible's workers have no terminal of their own, so it is told which one to ask on.
# A mere notice (touch the token) is shown until ssh-keygen ends the helper.
_ASKPASS = b"""#!/bin/sh
exec 3<>"$RAMPART_TERMINAL" || exit 1
if [ "$SSH_ASKPASS_PROMPT" = none ]; then
    printf '%s\\n' "$1" >&3
    exec sleep 300
fi
saved=$(stty -g <&3)
trap 'stty "$saved" <&3' EXIT
trap 'exit 1' HUP INT TERM
stty -echo <&3
printf '%s ' "$1" >&3
IFS= read -r answer <&3 || exit 1
echo >&3
printf '%s\\n' "$answer"
"""


def _terminal() -> str:
    """Return the terminal Ansible was started on, or an empty text when there is none to ask on."""
    for pid in (os.getpid(), os.getppid()):
        try:
            path = os.readlink("/proc/{0}/fd/0".format(pid))
            if path.startswith(("/dev/pts/", "/dev/tty", "/dev/console")):
                descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY)
                try:
                    if os.isatty(descriptor):
                        return path
                finally:
                    os.close(descriptor)
        except OSError:
            continue
    return ""


@contextmanager
def asking_environment() -> Iterator[dict[str, str]]:
    """Yield an environment in which ssh-keygen (and git, which calls it) can ask a person, where there is one."""
    environment = {**os.environ, "LC_ALL": "C"}
    desktop = environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")
    terminal = _terminal()
    if not terminal or (desktop and environment.get("SSH_ASKPASS")):
        yield environment
        return
    with files({"askpass": _ASKPASS}) as paths:
        Path(paths["askpass"]).chmod(0o700)
        asking = {"SSH_ASKPASS": paths["askpass"], "SSH_ASKPASS_REQUIRE": "force", "RAMPART_TERMINAL": terminal}
        yield {**environment, **asking}


def sign(entry: Mapping[str, Any], key: str, subject: str) -> str:
    """Return the armored signature of `entry` by the key in a file: a private key, or the public one of an agent's.

    Raises FindingError: APPROVAL-SSH-KEYGEN, APPROVAL-SIGN-FAILED.
    """
    program = require_ssh_keygen()
    data = payload(entry)
    # Absolute, so that no name is taken for an option.
    command = [program, "-Y", "sign", "-n", NAMESPACE, "-f", str(Path(key).expanduser().absolute())]
    with asking_environment() as environment:
        try:
            done = subprocess.run(
                command, input=data, capture_output=True, timeout=SIGN_SECONDS, check=False, env=environment
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _failed(subject, error) from error
    text = done.stdout.decode("ascii", "replace")
    if done.returncode or not holds(data, text):
        raise _failed(subject, done.stderr.decode("utf-8", "replace") or "ssh-keygen made no signature")
    return parse_signature(text).armored


def _failed(subject: str, why: object) -> Exception:
    return refuse(
        "APPROVAL-SIGN-FAILED",
        subject,
        clean_text(why, 300),
        "Add the key to ssh-agent (ssh-add) and name its .pub file, run in a terminal, or sign the payload elsewhere"
        " (docs/models_registry.md).",
    )


def public_key(key: str) -> bytes | None:
    """Return the public key beside or in a key file, None when there is none that can be read."""
    path = Path(key).expanduser()
    for candidate in (path, path.with_name(path.name + ".pub")):
        try:
            with candidate.open("rb") as stream:
                fields = stream.read(_KEY_MAX_BYTES).split()
            if candidate.suffix == ".pub" and len(fields) >= 2:
                return base64.b64decode(fields[1], validate=True)
        except (OSError, binascii.Error, ValueError):
            continue
    return None


def add_signature(
    entry: Mapping[str, Any], signer: str, key: str = "", made_elsewhere: str = ""
) -> list[dict[str, str]]:
    """Return the signatures of `entry` with one of `signer` among them that holds.

    Signatures that no longer hold are left out. One of `signer` that holds is kept, unless it was made with another
    key than `key`. `made_elsewhere` is an armored signature over `payload(entry)`. Raises FindingError as `sign` does.
    """
    data = payload(entry)
    subject = clean_text(entry.get("reference") or entry.get("name"), 120)
    kept = [dict(item) for item in entry.get("signatures", ()) if holds(data, item["signature"])]
    others = [item for item in kept if item["signer"].casefold() != signer.casefold()]
    if made_elsewhere:
        if not holds(data, made_elsewhere):
            raise _failed(subject, "the signature that was given is not over this entry")
        armored = parse_signature(made_elsewhere).armored
    else:
        wanted = public_key(key)
        for item in kept:
            mine = item["signer"].casefold() == signer.casefold()
            if mine and wanted in (None, parse_signature(item["signature"]).key):
                return kept
        armored = sign(entry, key, subject)
    if any(item["signature"] == armored and item["signer"] == signer for item in kept):
        return kept
    return [*others, {"signer": signer, "signature": armored}]
