# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The attempts on files and sockets: writing, reading, replacing, connecting.

As in `attack_attempts` each returns (outcome, evidence). Nothing is left behind: what an attempt could create it
removes again.
"""

from __future__ import annotations

import mmap
import os
import socket
from contextlib import suppress

from .attack_attempts import ERROR, REFUSED, SUCCEEDED, Parameters, Result, name_of

ENGINE_SOCKETS = (
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/host/run/docker.sock",
    "/host/var/run/docker.sock",
)
NOTHING = "there is nothing here to attack"
OPEN_LIMIT = 200


def _counted(words: list[str]) -> Result:
    """Return a refusal that names each reason once, with how often it was met."""
    if not words:
        return ERROR, NOTHING
    return REFUSED, ", ".join("{0} x {1}".format(word, words.count(word)) for word in sorted(set(words)))


def engine_socket(_parameters: Parameters) -> Result:
    """Open the control socket of a container engine."""
    words = set()
    for path in ENGINE_SOCKETS:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as handle:
                handle.settimeout(1.0)
                handle.connect(path)
                return SUCCEEDED, "{0} is open".format(path)
        except OSError as error:
            words.add(name_of(error.errno))
    return REFUSED, ", ".join(sorted(words))


def unix_sockets(parameters: Parameters) -> Result:
    """Connect to each of the Unix sockets `paths`, by whichever of the three types it takes."""
    words = []
    for path in parameters["paths"]:
        word = ""
        for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM):
            try:
                with socket.socket(socket.AF_UNIX, kind) as handle:
                    handle.settimeout(1.0)
                    handle.connect(path)
                    return SUCCEEDED, "{0} is open".format(path)
            except OSError as error:
                word = name_of(error.errno)
            if word != "EPROTOTYPE":
                break
        words.append(word)
    return _counted(words)


def abstract_socket(parameters: Parameters) -> Result:
    """Connect to the abstract Unix socket `canary`, which listens in the host's network namespace."""
    if not parameters.get("canary"):
        return ERROR, "no socket was made to be attacked"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as handle:
            handle.settimeout(1.0)
            handle.connect("\0" + str(parameters["canary"]))
    except OSError as error:
        return REFUSED, "the host's abstract socket: {0}".format(name_of(error.errno))
    return SUCCEEDED, "an abstract socket of the host is open"


def write_file(parameters: Parameters) -> Result:
    """Create a file in each of `directories`; what was created is removed again."""
    words = []
    for directory in parameters["directories"]:
        path = os.path.join(str(directory), ".rampart-attack-{0}".format(os.getpid()))
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            words.append("{0}: {1}".format(directory, name_of(error.errno)))
            continue
        os.close(handle)
        with suppress(OSError):
            os.unlink(path)
        return SUCCEEDED, "a file was created in {0}".format(directory)
    return (REFUSED, ", ".join(words)) if words else (ERROR, NOTHING)


def execute_temporary(parameters: Parameters) -> Result:
    """Write to a temporary directory and map what was written as code: what noexec forbids."""
    words = []
    for directory in parameters["directories"]:
        path = os.path.join(str(directory), ".rampart-attack-{0}".format(os.getpid()))
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o700)
        except OSError as error:
            words.append("{0}: not writable ({1})".format(directory, name_of(error.errno)))
            continue
        try:
            os.write(handle, b"\xc3" * 16)
            with mmap.mmap(handle, 16, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC):
                return SUCCEEDED, "what was written to {0} can be executed".format(directory)
        except OSError as error:
            words.append("{0}: {1}".format(directory, name_of(error.errno)))
        finally:
            os.close(handle)
            with suppress(OSError):
                os.unlink(path)
    return (REFUSED, ", ".join(words)) if words else (ERROR, NOTHING)


def read_files(parameters: Parameters) -> Result:
    """Open each of the files `paths` for reading; nothing of what they hold is read."""
    words = []
    for path in parameters["paths"]:
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError as error:
            words.append(name_of(error.errno))
        else:
            return SUCCEEDED, "{0} can be read".format(path)
    return _counted(words)


def list_directories(parameters: Parameters) -> Result:
    """List each of `directories`."""
    words = []
    for directory in parameters["directories"]:
        try:
            os.listdir(directory)
        except OSError as error:
            words.append(name_of(error.errno))
        else:
            return SUCCEEDED, "{0} can be listed".format(directory)
    return _counted(words)


def environments(_parameters: Parameters) -> Result:
    """Open the environment of every process that belongs to somebody else; nothing of it is read."""
    own, words = os.getuid(), []
    for name in [name for name in os.listdir("/proc") if name.isdigit()]:
        path = "/proc/{0}/environ".format(name)
        try:
            if os.stat("/proc/" + name).st_uid == own:
                continue
            with open(path, "rb") as stream:
                stream.read(1)
        except OSError as error:
            words.append(name_of(error.errno))
        else:
            return SUCCEEDED, "the environment of process {0} can be read".format(name)
    return _counted([word for word in words if word not in ("ENOENT", "ESRCH")])


def replace_sockets(parameters: Parameters) -> Result:
    """Put a symbolic link, then a directory, into each of `directories`, as whoever replaces a socket would."""
    words = []
    for directory in parameters["directories"]:
        path = os.path.join(str(directory), ".rampart-attack-{0}".format(os.getpid()))
        try:
            os.symlink("/etc/passwd", path)
        except OSError as error:
            words.append(name_of(error.errno))
        else:
            with suppress(OSError):
                os.unlink(path)
            return SUCCEEDED, "a symbolic link was put into {0}".format(directory)
        try:
            os.mkdir(path)
        except OSError as error:
            words.append(name_of(error.errno))
        else:
            with suppress(OSError):
                os.rmdir(path)
            return SUCCEEDED, "a directory was made in {0}".format(directory)
    return _counted(words)


def hard_links(parameters: Parameters) -> Result:
    """Give each of the files `paths` a second name in a directory that anybody may write."""
    words = []
    for path in parameters["paths"]:
        for directory in ("/tmp", "/var/tmp", "/dev/shm"):  # noqa: S108 - places to attack, not to use
            name = os.path.join(directory, ".rampart-attack-{0}".format(os.getpid()))
            try:
                os.link(path, name, follow_symlinks=False)
            except OSError as error:
                words.append(name_of(error.errno))
                continue
            with suppress(OSError):
                os.unlink(name)
            return SUCCEEDED, "{0} got a second name in {1}".format(path, directory)
    return _counted(words)
