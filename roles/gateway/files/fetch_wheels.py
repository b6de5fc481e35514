# Copyright: (c) 2026, Rampart contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Download the wheels of requirements.txt, each checked against its hash, for the image to install without network.

Run on the build host, whose pip knows the way (mirror, proxy, company CA). Every wheel has to be in
requirements.txt with its sha256; a file of another name in the target is removed, so the result depends on
requirements.txt alone. A complete target is left as it is, without asking the network. Prints "complete: ..." then,
else "N wheels in ...". Exit status: pip's; nothing half-downloaded is left under a wheel's name.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON = "3.13"  # Debian 13's
GLIBC = ("2_17", "2_24", "2_26", "2_27", "2_28", "2_31", "2_34", "2_35", "2_39", "2_40", "2_41")


def pip_command(target: Path, machine: str) -> list[str]:
    """The pip call that takes wheels for Debian 13 on ``machine`` only, whatever runs this script."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--only-binary", ":all:", "--implementation", "cp", "--python-version", PYTHON]
    for abi in ("cp313", "abi3", "none"):
        command += ["--abi", abi]
    for name in [f"manylinux_{version}_{machine}" for version in GLIBC] + [f"manylinux2014_{machine}"]:
        command += ["--platform", name]
    return [*command, "--requirement", str(HERE / "requirements.txt"), "--dest", str(target)]


def complete(target: Path) -> bool:
    """Does the target hold exactly one wheel of a listed hash for each requirement, and nothing else?"""
    blocks = re.split(r"\n(?=[a-z0-9])", (HERE / "requirements.txt").read_text("utf-8"))
    present = [hashlib.sha256(path.read_bytes()).hexdigest() for path in target.iterdir()]
    matches = [sum(block.count(f"sha256:{digest}") for digest in present) for block in blocks]
    return len(present) == len(blocks) and set(matches) == {1}


def main() -> int:
    """Fill the target directory; the exit status."""
    parser = argparse.ArgumentParser(description="Download the gateway's wheels.")
    parser.add_argument("target", nargs="?", type=Path, default=HERE / "wheels")
    parser.add_argument("--machine", default=platform.machine(), help="x86_64 or aarch64")
    options = parser.parse_args()
    target: Path = options.target
    target.mkdir(parents=True, exist_ok=True)
    if complete(target):
        print(f"complete: {target}")
        return 0
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        status = subprocess.run(pip_command(Path(scratch), options.machine), check=False).returncode
        if status:
            print("GW-WHEELS: download failed; see pip's message above. Nothing was changed.", file=sys.stderr)
            return status
        fresh = {path.name: path for path in Path(scratch).iterdir()}
        for path in target.iterdir():
            if path.name not in fresh:
                path.unlink()
        for name, path in sorted(fresh.items()):
            path.replace(target / name)
    print(f"{len(fresh)} wheels in {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
