# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ed25519 key files: a private key is made once, encrypted, for its owner alone, and never overwritten (row T2)."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

try:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        PublicFormat,
        load_pem_private_key,
        load_pem_public_key,
    )
except ImportError:
    # Plugins are listed and documented also where ansible-core's own dependencies are missing.
    HAS_CRYPTOGRAPHY = False
else:
    HAS_CRYPTOGRAPHY = True

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, Severity, refuse

PASSPHRASE_MIN_CHARS = 12
KEY_MAX_BYTES = 16 * 1024


def check_passphrase(passphrase: str) -> None:
    """Raise FindingError (ATTESTATION-PASSPHRASE) unless a new key may be encrypted with `passphrase`."""
    if len(passphrase) < PASSPHRASE_MIN_CHARS:
        raise refuse(
            "ATTESTATION-PASSPHRASE",
            "passphrase",
            f"shorter than {PASSPHRASE_MIN_CHARS} characters",
            "Choose a longer one, from a password manager or of several random words.",
        )


def make_key(path: str | Path, passphrase: str) -> Ed25519PublicKey:
    """Make a key pair; write the private half to `path`: PKCS#8 PEM, encrypted, mode 0600, directory 0700 if new.

    Raises FindingError: ATTESTATION-KEY-EXISTS (nothing is ever overwritten), ATTESTATION-PASSPHRASE,
    ATTESTATION-WRITE.
    """
    _require_library()
    check_passphrase(passphrase)
    target = Path(path)
    private_key = Ed25519PrivateKey.generate()
    data = private_key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase.encode("utf-8"))
    )
    temporary = target.parent / f".{target.name}.{secrets.token_hex(8)}"
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            # A link is never made over a file that is there: two runs cannot replace each other's key.
            os.link(temporary, target)
        finally:
            temporary.unlink()
    except FileExistsError:
        raise key_exists(target) from None
    except OSError as error:
        raise refuse(
            "ATTESTATION-WRITE",
            str(target),
            error.strerror or error,
            "Name a directory of yours on a file system with permissions and links.",
        ) from None
    return private_key.public_key()


def key_exists(path: str | Path) -> FindingError:
    """Return the refusal to make a key where a file lies already."""
    return refuse(
        "ATTESTATION-KEY-EXISTS",
        str(path),
        "there is a file already, and a key is never overwritten",
        "Name another file. To trust a key that was made before, give its public half instead.",
    )


def load_private(path: str | Path, passphrase: str) -> Ed25519PrivateKey:
    """Return the private key in a file that its owner alone can read.

    Raises FindingError: ATTESTATION-READ, ATTESTATION-KEY-PERMISSIONS, ATTESTATION-KEY-UNREADABLE.
    """
    _require_library()
    try:
        with open(path, "rb") as stream:
            found = os.fstat(stream.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise _unreadable(path, "it is no regular file")
            if found.st_mode & 0o077 or found.st_uid not in (0, os.geteuid()):
                raise refuse(
                    "ATTESTATION-KEY-PERMISSIONS",
                    str(path),
                    f"mode {stat.S_IMODE(found.st_mode):04o}, owner {found.st_uid}: others may have read it",
                    "Find out who could, revoke the key if anybody did; else chmod 0600 and give it to yourself.",
                    Severity.CRITICAL,
                )
            data = stream.read(KEY_MAX_BYTES)
    except OSError as error:
        raise refuse(
            "ATTESTATION-READ", str(path), error.strerror or error, "Name the file of your private key."
        ) from None
    try:
        key = load_pem_private_key(data, passphrase.encode("utf-8"))
    except TypeError:
        raise _unreadable(path, "it is not encrypted, so it is no secret any more") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _unreadable(path, "wrong passphrase, or no PKCS#8 PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _unreadable(path, "it is not an Ed25519 key")
    return key


def _unreadable(path: str | Path, why: str) -> FindingError:
    return refuse(
        "ATTESTATION-KEY-UNREADABLE",
        str(path),
        why,
        "Give the passphrase of this key, or name a key that make_keys.yml or openssl made encrypted.",
    )


def _require_library() -> None:
    if not HAS_CRYPTOGRAPHY:
        raise refuse(
            "ATTESTATION-LIBRARY",
            "cryptography",
            "the Python library is not installed on the controller",
            "Install securesystemslib[crypto] into the environment that Ansible runs in.",
        )


def unkept_public() -> Ed25519PublicKey:
    """Return the public half of a key that nobody keeps: what a prediction shows in place of the real one."""
    _require_library()
    return Ed25519PrivateKey.generate().public_key()


def public_der(public_key: Ed25519PublicKey) -> bytes:
    """Return the public key in DER, as `openssl pkey -pubin -outform DER` writes it."""
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def public_pem(public_key: Ed25519PublicKey) -> str:
    """Return the public key as PEM, as `openssl pkey -pubout` writes it."""
    return public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def parse_public(pem: str, subject: str) -> Ed25519PublicKey:
    """Return the public key of a PEM text. Raises FindingError (ATTESTATION-KEY-UNREADABLE)."""
    _require_library()
    try:
        key = load_pem_public_key(pem.encode("utf-8"))
    except (ValueError, UnsupportedAlgorithm):
        raise _unreadable(subject, "this is no public key in PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise _unreadable(subject, "it is not an Ed25519 key")
    return key
