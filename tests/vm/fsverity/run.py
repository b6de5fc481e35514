# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S3: fs-verity with a real kernel: boots Debian's kernel in QEMU (TCG, no KVM needed) and runs guest.py in it.

    python3 tests/vm/fsverity/run.py [--seconds 600]

Installs QEMU and mmdebstrap if they are missing, keeps kernel and root in the cache, and prints what guest.py claims.
Ends with 0 when every claim was made and held.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODULE_UTILS = HERE.parents[2] / "plugins" / "module_utils"
CACHE = Path(os.environ.get("RAMPART_CACHE") or Path.home() / ".cache" / "rampart") / "vm-fsverity"
PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "cpio": "cpio",
    "depmod": "kmod",
}
SUITE = "bookworm"
ROOT_PACKAGES = "python3-minimal,libpython3-stdlib,busybox-static"
# In this order: the disks, then the file system and what it is made of.
MODULES = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")
CLAIMS = 18
DISK_MEBIBYTES = 64
INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /run /tmp
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t tmpfs run /run
/bin/busybox --install -s /bin
for module in $(cat /modules/order); do insmod /modules/$module; done
PYTHONDONTWRITEBYTECODE=1 python3 /guest.py 2>&1
sync
poweroff -f
"""


class RunError(Exception):
    """What cannot be done here, in one line."""


def call(*command: str, **options: object) -> str:
    """Run a command and return its output. Raises RunError with the end of what it said."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    if done.returncode:
        raise RunError("{0} ended with {1}: {2}".format(command[0], done.returncode, done.stdout[-800:].strip()))
    return done.stdout


def install() -> None:
    """Install the programs that are missing."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    os.environ["PATH"] = path
    missing = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})
    if missing:
        print("installing " + ", ".join(missing), flush=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        call("apt-get", "update", env=environment)
        call("apt-get", "install", "--yes", "--no-install-recommends", *missing, env=environment)


def fetch() -> tuple[Path, Path]:
    """Return the kernel and the directory of its modules, and see that `root.tar` is there; from the cache if it is."""
    CACHE.mkdir(parents=True, exist_ok=True)
    kernels = CACHE / "kernel"
    if not (kernels / "done").exists():
        shutil.rmtree(kernels, ignore_errors=True)
        kernels.mkdir()
        depends = call("apt-cache", "depends", "linux-image-amd64")
        found = re.search(r"Depends: (linux-image-\d\S*-amd64)", depends)
        if not found:
            raise RunError("apt knows no linux-image-amd64")
        print("fetching " + found.group(1), flush=True)
        call("apt-get", "download", found.group(1), cwd=kernels)
        (package,) = kernels.glob("*.deb")
        call("dpkg-deb", "-x", str(package), str(kernels / "files"))
        package.unlink()
        (modules,) = (kernels / "files" / "lib" / "modules").iterdir()
        call("depmod", "-b", str(kernels / "files"), modules.name)
        (kernels / "done").touch()
    if not (CACHE / "root.tar").exists():
        print("making a root of " + ROOT_PACKAGES, flush=True)
        command = [
            "mmdebstrap",
            "--mode=root",
            "--variant=extract",
            "--format=tar",
            "--include=" + ROOT_PACKAGES,
            SUITE,
        ]
        # setsid: its apt would stop on terminal output of a background process group.
        call("setsid", "--wait", *command, str(CACHE / "root.tar.new"))
        (CACHE / "root.tar.new").rename(CACHE / "root.tar")
    (kernel,) = (kernels / "files" / "boot").glob("vmlinuz-*")
    (modules,) = (kernels / "files" / "lib" / "modules").iterdir()
    return kernel, modules


def wanted_modules(modules: Path) -> list[Path]:
    """Return the module files to load, each after those it needs; what is built in has none."""
    needs = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        name, _colon, rest = line.partition(":")
        needs[name] = rest.split()
    by_name = {Path(name).name.partition(".")[0].replace("-", "_"): name for name in needs}
    order: list[str] = []

    def add(name: str) -> None:
        if name not in order:
            for other in reversed(needs[name]):
                add(other)
            order.append(name)

    for module in MODULES:
        if module in by_name:
            add(by_name[module])
    return [modules / name for name in order]


def make_initramfs(target: Path, work: Path, modules: Path) -> None:
    """Lay out the root with our code in it, as the kernel unpacks it into memory."""
    root = work / "root"
    root.mkdir()
    call("tar", "-xf", str(CACHE / "root.tar"), "-C", str(root), "--exclude=./dev/*")
    for name in ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache", "var/lib/apt", "var/lib/dpkg"):
        shutil.rmtree(root / name, ignore_errors=True)
    (root / "modules").mkdir()
    order = wanted_modules(modules)
    for path in order:
        shutil.copy(path, root / "modules" / path.name)
    (root / "modules" / "order").write_text("\n".join(path.name for path in order) + "\n")
    (root / "rampart_vm").mkdir()
    for path in MODULE_UTILS.glob("*.py"):
        shutil.copy(path, root / "rampart_vm" / path.name)
    (root / "rampart_vm" / "__init__.py").touch()
    shutil.copy(HERE / "guest.py", root / "guest.py")
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    with target.open("wb") as stream:
        names = subprocess.run(["find", "."], cwd=root, check=True, stdout=subprocess.PIPE).stdout
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=root, input=names, stdout=stream, check=True)


def make_disk(target: Path, *features: str) -> None:
    with target.open("wb") as stream:
        stream.truncate(DISK_MEBIBYTES * 1024 * 1024)
    call("mke2fs", "-q", "-t", "ext4", "-b", "4096", *features, str(target))


def boot(kernel: Path, work: Path, seconds: float) -> str:
    """Run the machine until it powers itself off; return what it wrote to its console. Raises RunError."""
    command = ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"]
    command += ["-m", "1024", "-nographic", "-no-reboot", "-nic", "none", "-kernel", str(kernel)]
    command += ["-initrd", str(work / "initramfs"), "-append", "console=ttyS0 quiet panic=-1 rdinit=/init"]
    for name in ("verity", "plain"):
        command += ["-drive", "file={0},format=raw,if=virtio,cache=unsafe".format(work / name)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=max(seconds, 1), check=False
        )
    except subprocess.TimeoutExpired as error:
        said = (error.stdout or b"").decode("utf-8", "replace")
        raise RunError("the machine did not end in {0:.0f} s; it said: {1}".format(seconds, said[-1500:])) from error
    return done.stdout.decode("utf-8", "replace")


def main() -> int:
    """Boot, and judge what was said."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="the budget of time for everything")
    asked = parser.parse_args()
    ends = time.monotonic() + asked.seconds
    try:
        install()
        kernel, modules = fetch()
        with tempfile.TemporaryDirectory(prefix="rampart-vm-") as name:
            work = Path(name)
            make_initramfs(work / "initramfs", work, modules)
            make_disk(work / "verity", "-O", "verity")
            make_disk(work / "plain", "-O", "^verity")
            began = time.monotonic()
            said = boot(kernel, work, ends - began)
    except RunError as error:
        print("cannot run: {0}".format(error))
        return 2
    lines = [line.strip() for line in said.splitlines()]
    claims = [line for line in lines if line.startswith("CLAIM ")]
    print("\n".join(line for line in lines if line.startswith(("KERNEL ", "CLAIM "))))
    held = sum(line.startswith("CLAIM ok ") for line in claims)
    print("{0} of {1} claims held, {2:.0f} s in the machine".format(held, CLAIMS, time.monotonic() - began))
    if held == len(claims) == CLAIMS and "END" in lines:
        return 0
    print("the console's end:\n" + said[-3000:])
    return 1


if __name__ == "__main__":
    sys.exit(main())
