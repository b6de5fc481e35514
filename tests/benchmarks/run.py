# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run every benchmark of this directory one after another and keep what they print in build/bench/summary.txt.

Figures of a shared machine are read as ratios: each benchmark prints its named peer beside ours from the same run.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SUMMARY = HERE.parents[1] / "build" / "bench" / "summary.txt"


def main() -> int:
    """Return 0 when every benchmark ran."""
    load = os.getloadavg()[0]
    lines = [f"{platform.platform()}, {os.cpu_count()} cores, load {load:.1f}, {platform.python_version()}"]
    failed = 0
    for script in sorted(HERE.glob("bench_*.py")):
        done = subprocess.run(
            [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        failed += done.returncode != 0
        lines += ["", f"== {script.stem} (exit status {done.returncode})", done.stdout.rstrip()]
    SUMMARY.parent.mkdir(parents=True, exist_ok=True)
    SUMMARY.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
