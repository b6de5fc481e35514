# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real cryptsetup, and real block devices to refuse and to format: loop devices on files of the test's own.

lsblk says of a loop device that it is one, and it has no serial number; the runner here adds what a disk would have.
All else (blkid, wipefs, sysfs, the exclusive open, every byte) is the kernel's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import luks_tools
from ansible_collections.rampart.ollama.plugins.module_utils.luks_look import Looker, Observation
from ansible_collections.rampart.ollama.plugins.module_utils.luks_tools import Answer, run

CACHE = Path(os.environ.get("RAMPART_CACHE") or Path.home() / ".cache" / "rampart") / "cryptsetup"
SIZE = 96 * 1024 * 1024
SYSTEM = {
    "name": "vda",
    "path": "/dev/vda",
    "maj:min": "254:0",
    "type": "disk",
    "size": 10**10,
    "ro": False,
    "rm": False,
}
MOUNTS = "29 1 254:0 / / rw - ext4 /dev/vda rw\n"
SWAPS = "Filename\tType\tSize\tUsed\tPriority\n"


def cryptsetup_directory() -> str:
    """Return where cryptsetup is: installed, or from Debian's package in the cache; "" where it cannot be had."""
    found = shutil.which("cryptsetup", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if found:
        return os.path.dirname(found)
    program = CACHE / "sbin" / "cryptsetup"
    if not program.exists() and shutil.which("apt-get"):
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "cryptsetup-bin"], cwd=CACHE, capture_output=True, check=False)
        for package in CACHE.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(package), str(CACHE)], check=True)
            package.unlink()
    return str(program.parent) if program.exists() else ""


@pytest.fixture(scope="session")
def cryptsetup() -> str:
    directory = cryptsetup_directory()
    if not directory:
        pytest.skip("no cryptsetup here, and no package of it to be had")
    return directory


@pytest.fixture
def tools(cryptsetup: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """The real runner, with that cryptsetup on its PATH."""
    environment = dict(luks_tools._ENVIRONMENT)
    environment["PATH"] = cryptsetup + ":" + environment["PATH"]
    monkeypatch.setattr(luks_tools, "_ENVIRONMENT", environment)
    return run


class Disk:
    """A loop device that passes for a disk with a serial number."""

    def __init__(self, backing: Path, tools: Callable[..., Answer]) -> None:
        self.backing = backing
        self.tools = tools
        with backing.open("wb") as stream:
            stream.truncate(SIZE)
        self.path = ""
        self.commands: list[list[str]] = []
        self.more: dict[str, Any] = {}

    def attach(self) -> None:
        done = subprocess.run(
            ["losetup", "--find", "--show", str(self.backing)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip("no loop device here: " + done.stderr.strip())
        self.path = done.stdout.strip()

    def detach(self) -> None:
        subprocess.run(["losetup", "--detach", self.path], check=False)

    @property
    def by_id(self) -> str:
        return "/dev/disk/by-id/virtio-" + os.path.basename(self.path)

    def run(self, command: list[str], **options: Any) -> Answer:
        self.commands.append(command)
        if command[0] != "lsblk":
            return self.tools(command, **options)
        found = os.stat(self.path)
        disk = {
            "name": "vdb", "path": self.path, "maj:min": f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}",
            "type": "disk", "size": SIZE, "ro": False, "rm": False, "hotplug": False, "serial": "LOOP1",
            "tran": "virtio",
        }  # fmt: skip
        return Answer(0, json.dumps({"blockdevices": [SYSTEM, {**disk, **self.more}]}), "")

    def looker(self) -> Looker:
        disk = self

        class OnLoop(Looker):
            def observe(self, requested: str, *rest: Any, **more: Any) -> Observation:
                seen = super().observe(disk.path, *rest, **more)
                return Observation(
                    **{
                        **{name: getattr(seen, name) for name in seen.__dataclass_fields__},
                        "links": {disk.by_id: disk.path},
                        "mounts": MOUNTS,
                        "swaps": SWAPS,
                    }
                )

        return OnLoop(self.run)

    def head(self, length: int = 17 * 1024 * 1024) -> bytes:
        with open(self.path, "rb") as stream:
            return stream.read(length)

    def write(self, offset: int, data: bytes) -> None:
        with open(self.path, "r+b") as stream:
            stream.seek(offset)
            stream.write(data)


@pytest.fixture
def disk(tmp_path: Path, tools: Callable[..., Answer]) -> Iterator[Disk]:
    """A blank disk, attached for the test."""
    if os.geteuid() != 0:
        pytest.skip("loop devices are root's")
    made = Disk(tmp_path / "disk", tools)
    made.attach()
    yield made
    made.detach()


@pytest.fixture
def workshop(tmp_path: Path) -> Path:
    path = tmp_path / "workshop"
    path.mkdir(mode=0o700)
    return path
