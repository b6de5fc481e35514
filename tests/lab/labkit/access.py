# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys, certificates and SSH configuration of the laboratory: made once, kept in .lab."""

from __future__ import annotations

import os
from pathlib import Path

from labkit.run import run
from labkit.settings import Paths, Settings

CA_DAYS = 3650
CA_SUBJECT = "/O=Rampart/CN=Rampart laboratory CA"


def ensure_ssh_key(file: Path, comment: str) -> None:
    """An Ed25519 key pair without passphrase, unless it is there."""
    if not file.exists():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(file)])


def public_key(file: Path) -> str:
    """`ssh-ed25519 AAAA...` of a key pair, without the comment."""
    words = file.with_name(file.name + ".pub").read_text(encoding="ascii").split()
    return " ".join(words[:2])


def ensure_certificates(paths: Paths, settings: Settings) -> None:
    """The laboratory's CA (.lab/ca.pem) and the registry's certificate for both of its names."""
    state = paths.state
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"]
    if not (state / "ca.pem").exists():
        run(
            ["openssl", "req", "-x509", *new_key, "-days", str(CA_DAYS), "-subj", CA_SUBJECT]
            + ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
            + ["-keyout", str(state / "ca.key"), "-out", str(state / "ca.pem")]
        )
        (state / "registry.pem").unlink(missing_ok=True)
    if not (state / "registry.pem").exists():
        names = ",".join(f"DNS:{name}" for name in settings.internet.names)
        run(
            ["openssl", "req", "-x509", *new_key, "-days", "397", "-subj", "/O=Rampart/CN=registry"]
            + ["-CA", str(state / "ca.pem"), "-CAkey", str(state / "ca.key")]
            + ["-addext", f"subjectAltName={names}"]
            + ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=serverAuth"]
            + ["-addext", "keyUsage=critical,digitalSignature"]
            + ["-keyout", str(state / "registry.key"), "-out", str(state / "registry.pem")]
        )


def host_key(paths: Paths, name: str) -> Path:
    """Where a host's SSH host key is kept, so that a fresh host is still the same host to SSH."""
    return paths.state / "host-keys" / name


def render_ssh_config(paths: Paths, settings: Settings, sudo: bool) -> str:
    """ssh_config that reaches the hosts through the laboratory's network namespace."""
    enter = f'nsenter --target "$(cat {paths.engine_pid})" --net socat - TCP:%h:%p'
    lines = ["# Written by tests/lab/lab.py."]
    for name, host in settings.hosts.items():
        lines += [
            f"Host {name}",
            f"    HostName {host.ipv4}",
            f"    HostKeyAlias {name}",
        ]
    lines += [
        f"Host {' '.join(settings.hosts)}",
        f"    User {settings.admin.name}",
        f'    IdentityFile "{paths.state}/id_ed25519"',
        "    IdentitiesOnly yes",
        f'    UserKnownHostsFile "{paths.state}/known_hosts"',
        "    GlobalKnownHostsFile /dev/null",
        "    StrictHostKeyChecking yes",
        "    HostKeyAlgorithms ssh-ed25519",
        "    ServerAliveInterval 15",
        f"    ProxyCommand {'sudo -n ' if sudo else ''}{enter}",
    ]
    return "\n".join(lines) + "\n"


def ensure_access(paths: Paths, settings: Settings) -> None:
    """Everything in .lab that reaching the hosts takes, owned by the person who called sudo."""
    keys = paths.state / "host-keys"
    keys.mkdir(parents=True, exist_ok=True, mode=0o700)
    ensure_ssh_key(paths.state / "id_ed25519", "rampart-laboratory")
    known = []
    for name in settings.hosts:
        ensure_ssh_key(host_key(paths, name), name)
        known.append(f"{name} {public_key(host_key(paths, name))}\n")
    (paths.state / "known_hosts").write_text("".join(known), encoding="ascii")
    ensure_certificates(paths, settings)
    owner = os.environ.get("SUDO_UID")
    config = render_ssh_config(paths, settings, sudo=owner is not None)
    (paths.state / "ssh_config").write_text(config, encoding="utf-8")
    if owner is not None:
        for file in [paths.state, *paths.state.rglob("*")]:
            if not file.is_symlink():
                os.chown(file, int(owner), int(os.environ.get("SUDO_GID", "-1")))
