# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sensor's main program: `python3 -m ...watch_sensor_main --config FILE [--check]`.

It starts as root for as long as it takes to open the kernel's sockets, and gives up everything but two capabilities for
good before it reads a byte of anybody's data.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
from typing import Optional

from .findings import FindingError, refuse
from .nsenter import EnterError, Privileges, take
from .procfs import ProcError, ProcFS
from .watch_config import Config, load_config
from .watch_sensor import Sensor
from .watch_unit import ERROR, NOTICE, Journal

DEFAULT_CONFIG = "/etc/rampart/watch/watch.json"
CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE = 2, 19
# To read what /proc shows of other users' processes (namespaces, programs, environment, root) and root's directories.
KEPT = 1 << CAP_DAC_READ_SEARCH | 1 << CAP_SYS_PTRACE
_REMEDY = "Start it as the unit rampart-watch-sensor does; the role isolation_watch installs that unit."


def give_up_privileges(config: Config) -> None:
    """Become the unprivileged account for good. Raises FindingError (WATCH-PRIVILEGES); the caller must then end."""
    if config.uid == 0 or config.gid == 0:
        raise refuse("WATCH-PRIVILEGES", "sensor", "uid and gid must be those of an unprivileged account", _REMEDY)
    try:
        status = ProcFS().status("self")
        kept = KEPT & status.capabilities["CapPrm"]
        sets = {"CapEff": kept, "CapPrm": kept, "CapInh": 0, "CapBnd": kept}
        if status.uids[1] == 0:
            take(Privileges(config.uid, config.gid, (), sets, True))
        status = ProcFS().status("self")
    except (EnterError, ProcError) as error:
        raise refuse("WATCH-PRIVILEGES", "sensor", error, _REMEDY) from error
    # What was asked for is looked at once more: going on with more would be worse than not going on.
    held = {name: mask for name, mask in status.capabilities.items() if mask & ~KEPT}
    if 0 in status.uids or 0 in status.gids + status.groups or held or status.no_new_privs is not True:
        raise refuse("WATCH-PRIVILEGES", "sensor", "privileges are left: {0}".format(sorted(held)), _REMEDY)


def main(arguments: Optional[list[str]] = None) -> int:
    """Run the sensor until it is told to end; 0 then, 1 when it may or can not run."""
    parser = argparse.ArgumentParser(prog="rampart-watch-sensor", description="Watches the isolation of the models.")
    parser.add_argument("--config", default=DEFAULT_CONFIG, help="the configuration (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="read the configuration, say whether it is sound, and end")
    options = parser.parse_args(arguments)
    journal = Journal()
    try:
        config = load_config(options.config)
        if options.check:
            return 0
        sensor = Sensor(config)
        sensor.open_sources()
        give_up_privileges(config)
    except FindingError as error:
        journal.say(ERROR, error.finding.as_text())
        return 1
    sensor.dropped = True
    os.umask(0o027)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: sensor.stop())
    gc.collect()
    gc.freeze()
    for source in sensor.hearing.sources:
        if not source.privileged:
            source.try_open(sensor.clock())
    closed = ["{0} ({1})".format(item.name, item.reason) for item in sensor.hearing.sources if not item.is_open]
    journal.say(NOTICE, "watching; not open: {0}".format(", ".join(closed) or "nothing, all sources are"))
    sensor.run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
