# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start one service of the isolation watch: `python3 -I -B watch_service.py sensor|actor|gate [arguments]`.

With -I nothing of the environment and no directory of a user's is on the path of modules; the directory of this file,
which only root can write, is put there by hand.
"""

from __future__ import annotations

import importlib
import os
import sys

SERVICES = {"sensor": "watch_sensor_main", "actor": "watch_actor", "gate": "watch_gate"}


def main() -> int:
    """Run the service that the first argument names."""
    if len(sys.argv) < 2 or sys.argv[1] not in SERVICES:
        sys.stderr.write("usage: watch_service.py {0} [arguments]\n".format("|".join(SERVICES)))
        return 2
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    service = importlib.import_module("rampart_watch.{0}".format(SERVICES[sys.argv[1]]))
    return int(service.main(sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(main())
