# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand in for pip's bootstrap script inside ansible-test: the interpreter's own ensurepip, then pip.

Takes the arguments of the original (``--no-setuptools`` and ``--no-wheel`` have no meaning here).
"""

from __future__ import annotations

import os
import subprocess
import sys


def main() -> int:
    """Install pip with ensurepip, then install what was asked for with it."""
    # ansible-test points PYTHONPATH and GET_PIP at this very script; a child must not find it again.
    environment = {name: value for name, value in os.environ.items() if name != "GET_PIP"}
    bootstrap = subprocess.run(
        [sys.executable, "-m", "ensurepip", "--default-pip"], env=environment, check=False
    )
    if bootstrap.returncode:
        return bootstrap.returncode
    wanted = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
    return subprocess.run(
        [sys.executable, "-m", "pip", "install", *wanted], env=environment, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
