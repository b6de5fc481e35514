# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row W1 in a machine with device-mapper and a software TPM: boots Debian in QEMU (TCG, no KVM needed) four times.

    .venv/bin/python tests/vm/disk_encryption/run.py [--seconds 600]

1. The machine is killed while it formats. 2. It formats, enrols the TPM, and gets the role's crypttab, fstab and
drop-in. 3. It comes up with the volume opened by the TPM; a PCR changes; it is enrolled anew with the recovery key.
4. It comes up with PCRs that do not match: reachable, Docker not started, opened with the recovery key.
Kernel, QEMU and the rest come as for tests/vm/fsverity, whose code is used. Ends with 0 when every claim held.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jinja2

HERE = Path(__file__).resolve().parent
ROLE = HERE.parents[2] / "roles" / "disk_encryption"
PACKAGES = (
    "systemd,systemd-sysv,udev,cryptsetup-bin,libtss2-esys-3.0.2-0,libtss2-rc0,libtss2-tcti-device0,libtss2-mu0,"
    "python3-minimal,libpython3-stdlib,kmod,e2fsprogs,util-linux"
)
CLAIMS = 27
DISK_MEBIBYTES = 256
NAME = "rampart-data"
POINT = "/srv/rampart"
INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /dev /new
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for module in $(/bin/busybox cat /modules/order); do /bin/busybox insmod /modules/$module; done
/bin/busybox mount -t ext4 /dev/vda /new
exec /bin/busybox switch_root /new /lib/systemd/systemd
"""
# docker.service is a stand-in: what is shown is that it waits for the volume, and does not start without it.
UNITS = {
    "rampart-test.service": """[Unit]
After=multi-user.target
[Service]
Type=oneshot
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
Environment=PYTHONDONTWRITEBYTECODE=1
ExecStart=/usr/bin/python3 /guest.py
ExecStopPost=/usr/bin/systemctl --no-block poweroff
[Install]
WantedBy=graphical.target
""",
    "docker.service": """[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/findmnt --noheadings --output SOURCE /var/lib/docker
[Install]
WantedBy=multi-user.target
""",
}


def load_fsverity() -> ModuleType:
    """Return tests/vm/fsverity/run.py, which fetches kernel and programs."""
    spec = importlib.util.spec_from_file_location("fsverity_run", HERE.parent / "fsverity" / "run.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BASE = load_fsverity()
CACHE = BASE.CACHE.parent / "vm-disk"


def render(template: str, **values: Any) -> str:
    """Render a template of the role as Ansible does."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROLE / "templates"),
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["bool"] = bool
    return environment.get_template(template).render(
        disk_encryption_name=NAME,
        disk_encryption_mount_point=POINT,
        disk_encryption_mount_options="nodev,nosuid",
        disk_encryption_binds=[{"path": "/var/lib/docker", "directory": "docker"}],
        disk_encryption_tpm2_pcrs="8",
        disk_encryption_passphrase_seconds=10,
        disk_encryption_discard=False,
        **values,
    )


def fetch_root() -> None:
    if not (CACHE / "root.tar").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        print("making a root of " + PACKAGES, flush=True)
        command = [
            "mmdebstrap",
            "--mode=root",
            "--variant=minbase",
            "--format=tar",
            "--include=" + PACKAGES,
            BASE.SUITE,
        ]
        BASE.call("setsid", "--wait", *command, str(CACHE / "root.tar.new"))
        (CACHE / "root.tar.new").rename(CACHE / "root.tar")


def make_root(work: Path, modules: Path) -> None:
    """Lay out the system disk with our code in it."""
    root = work / "root"
    root.mkdir()
    BASE.call("tar", "-xf", str(CACHE / "root.tar"), "-C", str(root), "--exclude=./dev/*")
    for name in ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(root / name, ignore_errors=True)
    kernel = root / "lib" / "modules" / modules.name
    shutil.copytree(
        modules, kernel, ignore=shutil.ignore_patterns("sound", "net", "gpu", "media", "wireless", "infiniband")
    )
    (root / "rampart_vm").mkdir()
    for path in BASE.MODULE_UTILS.glob("*.py"):
        shutil.copy(path, root / "rampart_vm" / path.name)
    (root / "rampart_vm" / "__init__.py").touch()
    shutil.copy(HERE / "guest.py", root / "guest.py")
    system = root / "etc" / "systemd" / "system"
    for name, text in UNITS.items():
        (system / name).write_text(text)
    for target, unit in (("graphical.target", "rampart-test.service"), ("multi-user.target", "docker.service")):
        (system / (target + ".wants")).mkdir(exist_ok=True)
        (system / (target + ".wants") / unit).symlink_to("/etc/systemd/system/" + unit)
    for unit in ("serial-getty@ttyS0.service", "getty@tty1.service", "apt-daily.timer", "e2scrub_all.timer"):
        (system / unit).symlink_to("/dev/null")
    # What the role writes; the guest puts it in place once the volume is there.
    tables = root / "role"
    tables.mkdir()
    (tables / "crypttab").write_text(render("crypttab.j2", _disk_encryption_source="UUID=@UUID@"))
    (tables / "fstab").write_text(render("fstab.j2"))
    (tables / "after-volume.conf").write_text(render("after-volume.conf.j2"))
    (root / "etc/fstab").write_text("/dev/vda / ext4 defaults 0 1\n")
    image = work / "system"
    with image.open("wb") as stream:
        stream.truncate(1500 * 1024 * 1024)
    BASE.call("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(image))
    shutil.rmtree(root)


def make_initramfs(work: Path, modules: Path) -> None:
    root = work / "early"
    (root / "modules").mkdir(parents=True)
    (root / "bin").mkdir()
    BASE.call("tar", "-xf", str(BASE.CACHE / "root.tar"), "-C", str(root), "./bin/busybox")
    order = BASE.wanted_modules(modules)
    for path in order:
        shutil.copy(path, root / "modules" / path.name)
    (root / "modules" / "order").write_text("\n".join(path.name for path in order) + "\n")
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    names = subprocess.run(["find", "."], cwd=root, check=True, stdout=subprocess.PIPE).stdout
    with (work / "initramfs").open("wb") as stream:
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=root, input=names, stdout=stream, check=True)


@contextlib.contextmanager
def software_tpm(work: Path) -> Iterator[Path]:
    """Run a TPM 2.0 whose state outlives the boots, as a real one's does."""
    state, socket = work / "tpm", work / "tpm.socket"
    state.mkdir(exist_ok=True)
    command = ["swtpm", "socket", "--tpm2", "--tpmstate", "dir={0}".format(state), "--flags", "startup-clear"]
    process = subprocess.Popen([*command, "--ctrl", "type=unixio,path={0}".format(socket), "--terminate"])
    try:
        for _step in range(100):
            if socket.exists():
                break
            time.sleep(0.05)
        yield socket
    finally:
        process.terminate()
        process.wait(10)
        socket.unlink(missing_ok=True)


def boot(kernel: Path, work: Path, stage: int, seconds: float, kill_at: str = "") -> str:
    """Run one boot until it powers off (or says `kill_at`: then it is killed); return what it said. Raises RunError."""
    command = ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"]
    command += ["-m", "1024", "-nographic", "-no-reboot", "-nic", "none", "-kernel", str(kernel)]
    command += ["-device", "virtio-rng-pci", "-initrd", str(work / "initramfs")]
    command += ["-append", "console=ttyS0 quiet panic=-1 mitigations=off rampart.stage={0}".format(stage)]
    for name, serial in (("system", "SYSTEM1"), ("data", "RAMPARTVOL")):
        command += ["-drive", "file={0},format=raw,if=none,id={1},cache=unsafe".format(work / name, name)]
        command += ["-device", "virtio-blk-pci,drive={0},serial={1}".format(name, serial)]
    said: list[str] = []
    with software_tpm(work) as socket:
        command += ["-chardev", "socket,id=tpm,path={0}".format(socket), "-tpmdev", "emulator,id=tpm0,chardev=tpm"]
        command += ["-device", "tpm-tis,tpmdev=tpm0"]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        timer = threading.Timer(max(seconds, 1), process.kill)
        timer.start()
        try:
            for line in process.stdout or ():
                said.append(line.strip())
                if kill_at and line.strip().endswith(kill_at):
                    time.sleep(random.uniform(0, 1.5))
                    process.kill()
                    said.append("KILLED")
            process.wait()
            in_time = timer.is_alive()
        finally:
            timer.cancel()
            if process.poll() is None:
                process.kill()
                process.wait()
    if not in_time:
        raise BASE.RunError("boot {0} did not end in {1:.0f} s: {2}".format(stage, seconds, "\n".join(said[-40:])))
    return "\n".join(said)


def main() -> int:
    """Boot, and judge what was said."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="the budget of time for everything")
    ends = time.monotonic() + parser.parse_args().seconds
    BASE.PROGRAMS["swtpm"] = "swtpm"
    claims: list[str] = []
    try:
        BASE.install()
        kernel, modules = BASE.fetch()
        fetch_root()
        with tempfile.TemporaryDirectory(prefix="rampart-vm-") as name:
            work = Path(name)
            make_root(work, modules)
            make_initramfs(work, modules)
            with (work / "data").open("wb") as stream:
                stream.truncate(DISK_MEBIBYTES * 1024 * 1024)
            for stage in (1, 2, 3, 4):
                began = time.monotonic()
                said = boot(kernel, work, stage, ends - began, "FORMATTING" if stage == 1 else "").splitlines()
                new = [line for line in said if line.startswith("CLAIM ")]
                print("boot {0}: {1:.0f} s".format(stage, time.monotonic() - began))
                print("\n".join(line for line in said if line.startswith(("CLAIM ", "NOTE "))), flush=True)
                claims += new
                if "KILLED" not in said and "END" not in said:
                    print("the console's end:\n" + "\n".join(said[-60:]))
                    break
    except BASE.RunError as error:
        print("cannot run: {0}".format(error))
        return 2
    held = sum(line.startswith("CLAIM ok ") for line in claims)
    print("{0} of {1} claims held".format(held, CLAIMS))
    return 0 if held == len(claims) == CLAIMS else 1


if __name__ == "__main__":
    sys.exit(main())
