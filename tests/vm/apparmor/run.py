# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row I1: the AppArmor profiles with a real kernel: boots Debian's kernel in QEMU (TCG) and runs guest.py in it.

    .venv/bin/python tests/vm/apparmor/run.py [--seconds 600]

Uses the machine of tests/vm/fsverity with the package apparmor in its root. Ends with 0 when every claim was made and
held.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

import jinja2
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
ROLE = ROOT / "roles" / "confinement"
CLAIMS = 45
INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /run /tmp
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t securityfs securityfs /sys/kernel/security
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t tmpfs run /run
/bin/busybox --install -s /bin
/bin/busybox ip link set lo up
PYTHONDONTWRITEBYTECODE=1 python3 /guest.py 2>&1
poweroff -f
"""


def machine() -> ModuleType:
    """Return tests/vm/fsverity/run.py, set to a root of our own; its kernel is shared where it is there already."""
    spec = importlib.util.spec_from_file_location("vm_run", HERE.parent / "fsverity" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    vm = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(vm)
    shared = vm.CACHE / "kernel"
    vm.CACHE = vm.CACHE.parent / "vm-apparmor"
    vm.ROOT_PACKAGES += ",apparmor"
    vm.CACHE.mkdir(parents=True, exist_ok=True)
    if (shared / "done").exists() and not (vm.CACHE / "kernel").exists():
        (vm.CACHE / "kernel").symlink_to(shared)
    return vm


def profiles(target: Path) -> None:
    """Render every profile as the role does."""
    variables = yaml.safe_load((ROLE / "vars" / "main.yml").read_text(encoding="utf-8"))
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    template = environment.from_string((ROLE / "templates" / "apparmor.j2").read_text(encoding="utf-8"))
    components = variables["_confinement_components"]
    for name in components:
        text = template.render(item=name, ansible_managed="test", _confinement_components=components)
        (target / f"rampart-{name}").write_text(text)


def make_initramfs(vm: ModuleType, target: Path, work: Path) -> None:
    """Lay out the root with our code and the profiles in it, as the kernel unpacks it into memory."""
    root = work / "root"
    root.mkdir()
    vm.call("tar", "-xf", str(vm.CACHE / "root.tar"), "-C", str(root), "--exclude=./dev/*")
    for name in ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache", "var/lib/apt", "var/lib/dpkg"):
        shutil.rmtree(root / name, ignore_errors=True)
    (root / "rampart_vm").mkdir()
    for path in vm.MODULE_UTILS.glob("*.py"):
        shutil.copy(path, root / "rampart_vm" / path.name)
    (root / "rampart_vm" / "__init__.py").touch()
    (root / "profiles").mkdir()
    profiles(root / "profiles")
    shutil.copy(HERE / "guest.py", root / "guest.py")
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    with target.open("wb") as stream:
        names = subprocess.run(["find", "."], cwd=root, check=True, stdout=subprocess.PIPE).stdout
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=root, input=names, stdout=stream, check=True)


def main() -> int:
    """Boot, and judge what was said."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="the budget of time for everything")
    asked = parser.parse_args()
    ends = time.monotonic() + asked.seconds
    vm = machine()
    try:
        vm.install()
        kernel, _modules = vm.fetch()
        with tempfile.TemporaryDirectory(prefix="rampart-vm-") as name:
            work = Path(name)
            make_initramfs(vm, work / "initramfs", work)
            for disk in ("verity", "plain"):
                vm.make_disk(work / disk)
            began = time.monotonic()
            said = vm.boot(kernel, work, ends - began)
    except vm.RunError as error:
        print(f"cannot run: {error}")
        return 2
    lines = [line.strip() for line in said.splitlines()]
    claims = [line for line in lines if line.startswith("CLAIM ")]
    print("\n".join(line for line in lines if line.startswith(("KERNEL ", "CLAIM "))))
    held = sum(line.startswith("CLAIM ok ") for line in claims)
    print(f"{held} of {CLAIMS} claims held, {time.monotonic() - began:.0f} s in the machine")
    if held == len(claims) == CLAIMS and "END" in lines:
        return 0
    print("the console's end:\n" + said[-3000:])
    return 1


if __name__ == "__main__":
    sys.exit(main())
